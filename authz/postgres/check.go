package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// checkTimeout bounds a Check, which is not part of a request.
const checkTimeout = 5 * time.Second

// Check checks the two queries against the database: their parameters, the names and
// types of their columns, the permissions, and the contents of a few rows if it can
// identify the table.
//
// The error lists every problem, one per line, with SQL that would fix it. An error that
// wraps [ErrUnreachable] says nothing about the queries, and Check may succeed later. Any
// other error remains until the configuration or the database is changed. Warnings are
// about things that work but are probably not intended.
func (d *Directory) Check(ctx context.Context) (warnings []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	conn, err := d.acquire(ctx)
	if err != nil {
		return nil, explain("directory", contextFirst(ctx, err))
	}
	defer conn.Release()
	c := &checker{ctx: ctx, conn: conn.Conn(), server: d.server}
	// This comes first, because a standby may not have the tables yet.
	if _, err := c.run("SELECT $1::text", nil); err != nil {
		return nil, explain("directory", contextFirst(ctx, err))
	}
	c.statement(&d.users, c.usersParameter, []wantedColumn{
		{"is_active", flagColumn}, {"roles", namesColumn},
	})
	if !d.noAPIKeys {
		c.statement(&d.apiKeys, c.hashParameter, []wantedColumn{
			{"prefix", textColumn}, {"scopes", namesColumn}, {"is_active", flagColumn}, {"expires_at", endColumn}, {"user_id", idColumn},
		})
	}
	if err := ctx.Err(); err != nil {
		return nil, explain("directory", err)
	}
	return c.warnings, errors.Join(c.problems...)
}

type checker struct {
	ctx      context.Context //nolint:containedctx // a checker lives as long as one Check
	conn     *pgx.Conn
	server   serverCheck
	warnings []string
	problems []error
}

type wantedColumn struct {
	name string
	role columnRole
}

func (c *checker) problem(s *statement, format string, args ...any) {
	c.problems = append(c.problems, fmt.Errorf(s.field+": "+format, args...))
}

func (c *checker) warning(s *statement, format string, args ...any) {
	c.warnings = append(c.warnings, s.field+": "+fmt.Sprintf(format, args...))
}

// statement checks one query. It stops at a problem that prevents further checks.
func (c *checker) statement(s *statement, parameter func(*statement, uint32) bool, wanted []wantedColumn) {
	description, err := describe(c.ctx, c.conn.PgConn(), s.sql)
	if err != nil {
		c.refused(s, err, wanted)
		return
	}
	if n := len(description.ParamOIDs); n != 1 {
		c.problem(s, "%s", parameterCount(n))
		return
	}
	fits := parameter(s, description.ParamOIDs[0])
	for _, w := range wanted {
		fits = c.column(s, w, description.Fields) && fits
	}
	// Running the query with NULL finds no row and shows whether it is permitted.
	if _, err := c.run(s.sql, nil); err != nil {
		c.refused(s, err, wanted)
		return
	}
	if fits {
		c.sample(s)
	}
}

// column checks that the result has the column exactly once, with a supported type.
func (c *checker) column(s *statement, w wantedColumn, fields []pgconn.FieldDescription) bool {
	var names []string
	var oid uint32
	n := 0
	for _, f := range fields {
		names = append(names, f.Name)
		if f.Name == w.name {
			oid = f.DataTypeOID
			n++
		}
	}
	switch {
	case n == 0:
		c.problem(s, "the result has no column %s; it has %s. Write %s AS %s: %s", w.name, strings.Join(names, ", "), c.candidate(w, fields), w.name, w.role.right)
	case n > 1:
		c.problem(s, "the result has %d columns %s; give the others another alias", n, w.name)
	case !w.role.takes(oid):
		c.problem(s, "the column %s is %s; write %s AS %s: %s", w.name, c.typeName(oid), cast(w, oid, c.typeName(oid)), w.name, w.role.right)
	default:
		if w.name == "expires_at" && oid == pgtype.TimestampOID {
			c.warning(s, "the column expires_at is a timestamp without time zone and is read as UTC; write expires_at AT TIME ZONE 'UTC' AS expires_at, with the zone that applies")
		}
		if w.name == "expires_at" && oid == pgtype.DateOID {
			c.warning(s, "the column expires_at is a date, so a key expires at the start of that day in UTC; write (expires_at + 1)::timestamptz AS expires_at if the key should be valid on that day")
		}
		return true
	}
	return false
}

// candidate suggests a column or an expression for the missing column w.
func (c *checker) candidate(w wantedColumn, fields []pgconn.FieldDescription) string {
	known := []string{"is_active", "roles", "prefix", "scopes", "expires_at", "user_id", "id"}
	var found []string
	for _, f := range fields {
		if w.role.takes(f.DataTypeOID) && !slices.Contains(known, f.Name) {
			found = append(found, quoted(f.Name))
		}
	}
	switch {
	case len(found) == 1:
		return found[0]
	case len(found) == 0 && w.name == "expires_at":
		return "NULL::timestamptz"
	case len(found) == 0 && w.name == "user_id":
		return "NULL::text"
	}
	return "<column>"
}

// cast returns the SQL that turns a column of another type into one that fits.
func cast(w wantedColumn, oid uint32, typeName string) string {
	switch w.name {
	case "is_active":
		switch oid {
		case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.NumericOID, pgtype.Float4OID, pgtype.Float8OID:
			return "is_active <> 0"
		case pgtype.BitOID, pgtype.VarbitOID:
			return "is_active = B'1'"
		case pgtype.TimestamptzOID, pgtype.TimestampOID, pgtype.DateOID:
			return "is_active IS NOT NULL" // a column such as activated_at
		case pgtype.TextOID, pgtype.VarcharOID, pgtype.BPCharOID:
			return "is_active::boolean"
		}
		return "is_active::text = '<active>'" // an enum of states, say
	case "expires_at":
		if isIntegerOID(oid) || oid == pgtype.Float8OID || oid == pgtype.NumericOID {
			return "to_timestamp(expires_at)"
		}
		return "expires_at::timestamptz"
	case "roles", "scopes":
		if strings.HasSuffix(typeName, "[]") {
			return w.name + "::text[]"
		}
		return "ARRAY[" + w.name + "]::text[]"
	}
	return w.name + "::text"
}

// refused reports a query that Postgres rejects.
func (c *checker) refused(s *statement, err error, wanted []wantedColumn) {
	pgErr, _ := errors.AsType[*pgconn.PgError](err)
	if pgErr == nil || temporary(pgErr.Code) || c.ctx.Err() != nil {
		c.problems = append(c.problems, explain(s.field, contextFirst(c.ctx, err)))
		return
	}
	t, haveTable := tableOf(s.sql)
	switch pgErr.Code {
	case "42P01": // undefined_table
		c.problem(s, "%s; create it (warder schema sql prints the reference schema) or name your own table in the query", answer(pgErr))
	case "42703": // undefined_column
		has := ""
		if columns := c.tableColumns(t); haveTable && len(columns) > 0 {
			has = fmt.Sprintf("; %s has %s", t.table, strings.Join(columns, ", "))
		}
		var aliases []string
		for _, w := range wanted {
			aliases = append(aliases, "<column> AS "+w.name)
		}
		c.problem(s, "%s%s. Name the columns by alias, as in SELECT %s FROM … WHERE … = $1", answer(pgErr), has, strings.Join(aliases, ", "))
	case "42501": // insufficient_privilege
		table := "<table>"
		if haveTable {
			table = t.table
		}
		grant := "GRANT SELECT ON " + table
		if strings.Contains(pgErr.Message, "schema") {
			schema, _, _ := strings.Cut(table, ".")
			grant = "GRANT USAGE ON SCHEMA " + schema
		}
		c.problem(s, "%s; run %s TO %s", answer(pgErr), grant, quoted(c.conn.Config().User))
	case "42725", "42883": // ambiguous_function, undefined_function; for operators too
		c.problem(s, "%s; cast the parameter, as in WHERE id = $1::bigint", answer(pgErr))
	case "42P18": // indeterminate_datatype
		c.problem(s, "%s; cast the parameter, as in $1::text", answer(pgErr))
	case "25006": // read_only_sql_transaction
		c.problem(s, "it writes; write a SELECT")
	default:
		c.problem(s, "the database refuses the query: %s", answer(pgErr))
	}
}

func (c *checker) usersParameter(s *statement, oid uint32) bool {
	if _, err := spelledAs(oid, ""); err == nil {
		return true
	}
	switch name := c.typeName(oid); oid {
	case pgtype.NumericOID, pgtype.Float4OID, pgtype.Float8OID:
		c.problem(s, "its parameter $1 is %s, in which a number has several spellings; write WHERE id = $1::bigint", name)
	default:
		c.problem(s, "its parameter $1 is %s, which may treat two different ids as equal; write WHERE id::text = $1", name)
	}
	return false
}

func (c *checker) hashParameter(s *statement, oid uint32) bool {
	_, err := isText(oid)
	if err == nil {
		return true
	}
	if oid == pgtype.ByteaOID {
		c.problem(s, "%v", err)
	} else {
		c.problem(s, "its parameter $1 is %s, but gets 64 lower-case hex digits; write WHERE key_hash::text = $1", c.typeName(oid))
	}
	return false
}

// typeName returns the SQL name of the type.
func (c *checker) typeName(oid uint32) string {
	names, err := c.run("SELECT format_type($1::oid, NULL)", []byte(fmt.Sprint(oid)))
	if err != nil || len(names) == 0 {
		return fmt.Sprintf("of a type (OID %d)", oid)
	}
	return names[0]
}

func (c *checker) tableColumns(t table) []string {
	names, err := c.run("SELECT attname::text FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped ORDER BY attnum", []byte(t.table))
	if err != nil {
		return nil
	}
	return names
}

// run runs a query with one parameter in text format and returns the first column.
func (c *checker) run(sql string, value []byte) ([]string, error) {
	var first []string
	err := c.server.ask(c.ctx, c.conn.PgConn(), request{sql: sql, value: [][]byte{value}}, func(result *pgconn.ResultReader) error {
		for result.NextRow() {
			if values := result.Values(); len(values) > 0 {
				first = append(first, string(values[0]))
			}
		}
		_, err := result.Close()
		return err
	})
	return first, err
}

// quoted returns name as an SQL identifier, quoted if necessary.
func quoted(name string) string {
	if plainName.MatchString(name) {
		return name
	}
	return pgx.Identifier{name}.Sanitize()
}
