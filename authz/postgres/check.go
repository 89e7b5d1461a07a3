package postgres

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// checkTimeout bounds a Check, which is not part of a request.
const checkTimeout = 5 * time.Second

// tryTimeout bounds sampling and trying hints in a Check, so that a slow query does not fail it.
const tryTimeout = 2 * time.Second

// Check checks the queries against the database: their parameters, the names and
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
	tries, done := context.WithTimeout(ctx, tryTimeout)
	defer done()
	c := &checker{ctx: ctx, tries: tries, conn: conn.Conn(), server: d.server}
	// This comes first, because a standby may not have the tables yet.
	if _, err := c.run("SELECT $1::text", nil); err != nil {
		return nil, explain("directory", contextFirst(ctx, err))
	}
	var found AttributeColumns
	if !d.noUsers {
		found.Users = c.statement(&d.users, c.usersParameter, userColumns, []wantedColumn{
			{"is_active", flagColumn}, {"roles", namesColumn},
		})
	}
	if !d.noAPIKeys {
		found.APIKeys = c.statement(&d.apiKeys, c.hashParameter, apiKeyColumns, []wantedColumn{
			{"prefix", textColumn}, {"scopes", namesColumn}, {"is_active", flagColumn}, {"expires_at", endColumn}, {"user_id", idColumn},
		})
	}
	if err := ctx.Err(); err != nil {
		return nil, explain("directory", err)
	}
	if len(c.problems) == 0 {
		d.attributes.Store(&found)
	}
	return c.warnings, errors.Join(c.problems...)
}

type checker struct {
	ctx      context.Context //nolint:containedctx // a checker lives as long as one Check
	tries    context.Context //nolint:containedctx // as above; ends when nothing more is tried for a hint
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

// statement checks one query. It stops at a problem that prevents further checks. read are the
// columns with a meaning of their own; it returns those of the others that become attributes.
func (c *checker) statement(s *statement, parameter func(*statement, uint32) bool, read []string, wanted []wantedColumn) (attributes []string) {
	description, err := describe(c.ctx, c.conn.PgConn(), s.sql)
	if err != nil {
		c.refused(s, err, wanted)
		return nil
	}
	if n := len(description.ParamOIDs); n != 1 {
		c.problem(s, "%s", parameterCount(n))
		return nil
	}
	fits := parameter(s, description.ParamOIDs[0])
	for _, w := range wanted {
		fits = c.column(s, w, description.Fields) && fits
	}
	// Running the query with NULL finds no row and shows whether it is permitted.
	if _, err := c.run(s.sql, nil); err != nil {
		c.refused(s, err, wanted)
		return nil
	}
	if !fits {
		return nil
	}
	attributes = c.attributes(s, read, description.Fields)
	c.sample(s, description.Fields)
	return attributes
}

// column checks that the result has the column exactly once, with a supported type.
func (c *checker) column(s *statement, w wantedColumn, fields []pgconn.FieldDescription) bool {
	var names []string
	at, n := 0, 0
	for i, f := range fields {
		names = append(names, f.Name)
		if f.Name == w.name {
			at = i
			n++
		}
	}
	switch {
	case n == 0:
		c.problem(s, "the result has no column %s; it has %s%s: %s", w.name, strings.Join(names, ", "), then(c.absent(c.subject(s, fields), w)), w.role.right)
		return false
	case n > 1:
		c.problem(s, "the result has %d columns %s; give the others another alias", n, w.name)
		return false
	}
	oid := fields[at].DataTypeOID
	if !w.role.takes(oid) {
		on := c.subject(s, fields)
		hint := c.hint(on, w, at)
		if labels := c.labels(oid); hint == "" && w.name == "is_active" && len(labels) > 0 {
			hint = "compare it with the value of an active user, of " + strings.Join(labels[:min(len(labels), 10)], ", ")
		}
		c.problem(s, "the column %s is %s%s: %s", w.name, c.typeName(oid), then(hint), w.role.right)
		return false
	}
	if w.name == "expires_at" && oid == pgtype.TimestampOID {
		c.warning(s, "the column expires_at is a timestamp without time zone and is read as UTC%s", c.inZone(s, fields, w, at, "%s AT TIME ZONE 'UTC'", ", with the zone that applies"))
	}
	if w.name == "expires_at" && oid == pgtype.DateOID {
		c.warning(s, "the column expires_at is a date, so a key expires at the start of that day in UTC%s", c.inZone(s, fields, w, at, "(%s + 1)::timestamptz", " if the key should be valid on that day"))
	}
	return true
}

// then continues a message with a hint, if there is one.
func then(hint string) string {
	if hint == "" {
		return ""
	}
	return "; " + hint
}

// inZone proposes an expression for a time without a zone.
func (c *checker) inZone(s *statement, fields []pgconn.FieldDescription, w wantedColumn, at int, format, when string) string {
	on := c.subject(s, fields)
	expression := fmt.Sprintf(format, operand(source(on.sel.items[at])))
	if on.whole || !c.fits(on.sel.with(at, expression+" AS "+w.name).String(), on.keys, false, w) {
		return ""
	}
	return "; write " + expression + " AS " + w.name + when
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
		if sel, ok := parseSelection(s.sql); ok && haveTable {
			if query := c.instead(wanted, sel); query != "" {
				c.problem(s, "%s%s; write the query as %s", answer(pgErr), has, query)
				return
			}
		}
		var aliases []string
		for _, w := range wanted {
			aliases = append(aliases, w.name)
		}
		c.problem(s, "%s%s; name your columns by alias: %s", answer(pgErr), has, strings.Join(aliases, ", "))
	case "42501": // insufficient_privilege
		c.problem(s, "%s%s", answer(pgErr), c.grant(s, pgErr))
	case "42725", "42883": // ambiguous_function, undefined_function; for operators too
		c.problem(s, "%s; cast the parameter%s", answer(pgErr), c.comparing(s, isKnownID, "%s = $1::bigint", "%s = $1::uuid", "%s = $1::text", "%s::text = $1"))
	case "42P18": // indeterminate_datatype
		c.problem(s, "%s; cast the parameter, as in $1::text", answer(pgErr))
	case "25006": // read_only_sql_transaction
		c.problem(s, "it writes; write a SELECT")
	default:
		c.problem(s, "the database refuses the query: %s", answer(pgErr))
	}
}

// missingRight matches what a message of Postgres says the right is missing for.
var missingRight = regexp.MustCompile(`^permission denied for (schema|table|view|relation|materialized view|foreign table) (.+)$`)

// grant proposes how to give the right that is missing.
func (c *checker) grant(s *statement, e *pgconn.PgError) string {
	m := missingRight.FindStringSubmatch(e.Message)
	if m == nil {
		return ""
	}
	to := quoted(c.conn.Config().User)
	if m[1] == "schema" {
		return fmt.Sprintf("; run GRANT USAGE ON SCHEMA %s TO %s", quoted(m[2]), to)
	}
	relation := quoted(m[2])
	// The query may name its schema.
	for _, found := range regexp.MustCompile(`(`+name+`)\.(`+name+`)`).FindAllStringSubmatch(s.sql, -1) {
		if strings.Trim(found[2], `"`) == m[2] {
			relation = found[0]
		}
	}
	return fmt.Sprintf("; run GRANT SELECT ON %s TO %s", relation, to)
}

// isKnownID reports whether warder knows the spelling of ids of the type.
func isKnownID(oid uint32) bool {
	_, err := spelledAs(oid, "")
	return err == nil
}

func (c *checker) usersParameter(s *statement, oid uint32) bool {
	if isKnownID(oid) {
		return true
	}
	switch name := c.typeName(oid); oid {
	case pgtype.NumericOID, pgtype.Float4OID, pgtype.Float8OID:
		c.problem(s, "its parameter $1 is %s, in which a number has several spellings%s", name, c.comparing(s, isKnownID, "%s = $1::bigint"))
	default:
		c.problem(s, "its parameter $1 is %s, which may treat two different ids as equal%s", name, c.comparing(s, isKnownID, "%s::text = $1"))
	}
	return false
}

func (c *checker) hashParameter(s *statement, oid uint32) bool {
	takes := func(oid uint32) bool {
		_, err := isText(oid)
		return err == nil
	}
	if takes(oid) {
		return true
	}
	c.problem(s, "its parameter $1 is %s, but gets 64 lower-case hex digits%s", c.typeName(oid), c.comparing(s, takes, "%s = decode($1, 'hex')", "%s::text = $1"))
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
func (c *checker) run(sql string, value []byte, settings ...setting) ([]string, error) {
	var first []string
	err := c.server.ask(c.ctx, c.conn.PgConn(), request{sql: sql, value: [][]byte{value}, settings: settings}, func(result *pgconn.ResultReader) error {
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
