package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// An Examination is what the database lets the configured role do, for an operator.
type Examination struct {
	Role      string
	Protected string        // how the connection is protected: "TLS", "unix socket", "loopback" or ""
	Skew      time.Duration // how far the server's clock is ahead of this one
	// Excess are the rights that the role has and the service does not need.
	Excess []string
	// Announced are the tables of the two queries whose changes triggers announce, and
	// Unannounced those without.
	Announced, Unannounced []string
	// UnannouncedColumns are the columns of attributes, as table.column, that the triggers of their
	// table leave out.
	UnannouncedColumns []string
	// Listens reports whether announcements reach this connection.
	Listens bool
}

const roleQuery = `SELECT current_user::text, clock_timestamp(), rolsuper, rolcreaterole, rolcreatedb, rolbypassrls, rolreplication,
	CASE WHEN coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false) THEN 'TLS'
		WHEN inet_client_addr() IS NULL THEN 'unix socket'
		WHEN inet_client_addr() <<= '127.0.0.0/8' OR inet_client_addr() = '::1' THEN 'loopback' ELSE '' END
	FROM pg_roles WHERE rolname = current_user`

const tableQuery = `SELECT has_any_column_privilege(t, 'INSERT'), has_any_column_privilege(t, 'UPDATE'),
	has_table_privilege(t, 'DELETE'), has_table_privilege(t, 'TRUNCATE'),
	EXISTS (SELECT FROM pg_trigger g JOIN pg_proc p ON p.oid = g.tgfoid
		WHERE g.tgrelid = t AND NOT g.tgisinternal AND g.tgenabled IN ('O', 'A') AND p.prosrc LIKE '%warder_directory%')
	FROM (SELECT to_regclass($1::text)::oid AS t) AS named WHERE t IS NOT NULL`

// Examine asks the database about the rights of the configured role and about the
// announcements of changes. It changes nothing. For the queries themselves see
// [Directory.Check].
func (d *Directory) Examine(ctx context.Context) (e Examination, err error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	conn, err := d.acquire(ctx)
	if err != nil {
		return e, explain("directory", contextFirst(ctx, err))
	}
	defer conn.Release()
	if err := d.examineRole(ctx, conn.Conn(), &e); err != nil {
		return e, explain("directory", contextFirst(ctx, err))
	}
	attributes, _ := d.AttributeColumns()
	var statements []*statement
	var columns [][]string
	if !d.noUsers {
		statements, columns = append(statements, &d.users), append(columns, attributes.Users)
	}
	if !d.noAPIKeys {
		statements, columns = append(statements, &d.apiKeys), append(columns, attributes.APIKeys)
	}
	for i, s := range statements {
		if err := examineTable(ctx, conn.Conn(), s, columns[i], &e); err != nil {
			return e, explain(s.field, contextFirst(ctx, err))
		}
	}
	e.Listens = listens(ctx, conn)
	return e, nil
}

func (d *Directory) examineRole(ctx context.Context, conn *pgx.Conn, e *Examination) error {
	var at time.Time
	var is [5]bool
	before := d.warnings.now()
	err := conn.QueryRow(ctx, roleQuery, pgx.QueryExecModeExec).Scan(&e.Role, &at, &is[0], &is[1], &is[2], &is[3], &is[4], &e.Protected)
	if err != nil {
		return err
	}
	after := d.warnings.now()
	e.Skew = at.Sub(before.Add(after.Sub(before) / 2))
	for i, right := range []string{
		"everything (SUPERUSER)", "create roles (CREATEROLE)", "create databases (CREATEDB)", "ignore row security (BYPASSRLS)", "replicate (REPLICATION)",
	} {
		if is[i] {
			e.Excess = append(e.Excess, right)
		}
	}
	return nil
}

// examineTable examines the table of a query, if it can be identified.
func examineTable(ctx context.Context, conn *pgx.Conn, s *statement, attributes []string, e *Examination) error {
	t, ok := tableOf(s.sql)
	if !ok {
		return nil
	}
	var may [4]bool
	var announced bool
	err := conn.QueryRow(ctx, tableQuery, pgx.QueryExecModeExec, t.table).Scan(&may[0], &may[1], &may[2], &may[3], &announced)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil // Check reports a table that does not exist
	}
	if err != nil {
		return err
	}
	var rights []string
	for i, right := range []string{"INSERT", "UPDATE", "DELETE", "TRUNCATE"} {
		if may[i] {
			rights = append(rights, right)
		}
	}
	if len(rights) > 0 {
		e.Excess = append(e.Excess, fmt.Sprintf("write to %s (%s)", t.table, strings.Join(rights, ", ")))
	}
	if !announced {
		e.Unannounced = append(e.Unannounced, t.table)
		return nil
	}
	e.Announced = append(e.Announced, t.table)
	var args []byte // each with a zero byte after it; none for all columns
	if err := conn.QueryRow(ctx, argumentsQuery, pgx.QueryExecModeExec, t.table).Scan(&args); err != nil || len(args) == 0 {
		return err
	}
	announces := strings.Split(string(args), "\x00")
	for _, name := range attributes {
		if column := s.columnOf(name); !slices.Contains(announces, column) {
			e.UnannouncedColumns = append(e.UnannouncedColumns, t.table+"."+column)
		}
	}
	return nil
}

// argumentsQuery returns the arguments of the trigger that announces changed rows of a table. No
// argument is no row or an empty value.
const argumentsQuery = `SELECT coalesce((SELECT g.tgargs FROM pg_trigger g JOIN pg_proc p ON p.oid = g.tgfoid
	WHERE g.tgrelid = to_regclass($1::text)::oid AND NOT g.tgisinternal AND g.tgenabled IN ('O', 'A') AND p.prosrc LIKE '%warder_directory%'
		AND g.tgtype & 17 = 17 ORDER BY length(g.tgargs) LIMIT 1), ''::bytea)`

// columnName matches a column, with the table's name or alias before it.
var columnName = regexp.MustCompile(`^(?:` + name + `\.)*(` + name + `)(?:::\w+)?$`)

// columnOf returns the column of the table that an item of the query is, if it is one, or the name
// of the item.
func (s *statement) columnOf(item string) string {
	sel, ok := parseSelection(s.sql)
	if !ok {
		return item
	}
	for _, text := range sel.items {
		m := columnName.FindStringSubmatch(source(text))
		if m == nil {
			continue
		}
		alias := m[1]
		if words := strings.Fields(text); source(text) != text {
			alias = words[len(words)-1]
		}
		if strings.Trim(alias, `"`) == item {
			return strings.Trim(m[1], `"`)
		}
	}
	return item
}

// listens reports whether a notification that the connection sends to itself arrives. Through
// a pooler in transaction mode it may not.
func listens(ctx context.Context, conn *pgxpool.Conn) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	channel := "warder_doctor_" + strings.ToLower(rand.Text())
	for _, sql := range []string{"LISTEN " + channel, "NOTIFY " + channel} {
		if _, err := conn.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			return false
		}
	}
	got, err := conn.Conn().WaitForNotification(ctx)
	// The session may be shared by a pooler, so it must not keep the channel.
	_, _ = conn.Exec(ctx, "UNLISTEN "+channel, pgx.QueryExecModeSimpleProtocol)
	return err == nil && got.Channel == channel
}
