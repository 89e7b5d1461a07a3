package postgres

import (
	"errors"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"warder/authz"
)

var (
	plainName = regexp.MustCompile(`^[a-z_][a-z0-9_]*$`)
	hexHash   = regexp.MustCompile(`^[0-9a-f]{64}$`)

	// simpleQuery is SELECT … FROM table [alias] WHERE [alias.]column = $1 [AND …],
	// with the table and the column as they stand there. No other form is guessed at.
	simpleQuery = regexp.MustCompile(`(?is)^\s*SELECT\s.+?\sFROM\s+(` + name + `(?:\.` + name + `)?)(?:\s+(?:AS\s+)?[a-z_]\w*)?` +
		`\s+WHERE\s+(?:` + name + `\.)?(` + name + `)(::text)?\s*=\s*(\$1(?:::\w+)?|decode\(\s*\$1\s*,\s*'hex'\s*\))(?:\s+AND\s.+)?\s*;?\s*$`)
)

const name = `(?:"[^"]+"|[a-zA-Z_]\w*)`

// samples is how many rows are looked at.
const samples = 5

// A table is where a query looks, as the query writes it.
type table struct {
	table, column string
	decoded       bool // the column is bytea
}

func tableOf(sql string) (table, bool) {
	m := simpleQuery.FindStringSubmatch(sql)
	if m == nil || strings.Contains(strings.ToLower(m[0]), " join ") {
		return table{}, false
	}
	return table{table: m[1], column: m[2], decoded: strings.HasPrefix(strings.ToLower(m[4]), "decode")}, true
}

// sample runs the query for a few rows of its table and looks at what they hold.
// It only warns: one odd row is no reason not to start.
func (c *checker) sample(s *statement) {
	t, ok := tableOf(s.sql)
	if !ok {
		c.warning(s, "its table cannot be told, so that no row was looked at; the form SELECT … FROM table WHERE column = $1 can")
		return
	}
	if c.looselyCompared(t) {
		c.warning(s, "%s.%s has a collation that takes different texts for one; write WHERE %s COLLATE \"C\" = $1", t.table, t.column, t.column)
	}
	text := t.column + "::text"
	if t.decoded {
		text = "encode(" + t.column + ", 'hex')"
	}
	// The parameter is there only because run has one.
	keys, err := c.run("SELECT "+text+" FROM "+t.table+" WHERE "+t.column+" IS NOT NULL AND $1::text IS NULL LIMIT 5", nil)
	if err != nil {
		c.warning(s, "no row could be looked at")
		return
	}
	for _, key := range keys[:min(len(keys), samples)] {
		if s.field == "directory.users_query" && !authz.ValidID(key) {
			c.warning(s, "%s.%s holds ids that no token can name; an id is 1 to 128 of A-Z a-z 0-9 . _ @ | + = ~ -", t.table, t.column)
			return
		}
		if s.field != "directory.users_query" && !hexHash.MatchString(key) {
			c.warning(s, "%s.%s holds what is no lower-case hex SHA-256, which no API key will match; %s", t.table, t.column, hashSQL(t, key))
			return
		}
		if message := c.sampleRow(s, key); message != "" {
			c.warning(s, "in a row of %s %s", t.table, message)
			return
		}
	}
}

// hashSQL names the SQL for the usual other forms of a hash.
func hashSQL(t table, key string) string {
	switch {
	case hexHash.MatchString(strings.ToLower(key)):
		return "write WHERE lower(" + t.column + ") = $1"
	case len(key) == 44 && strings.HasSuffix(key, "="):
		return "write WHERE " + t.column + " = encode(decode($1, 'hex'), 'base64')"
	}
	return "store the hash of the whole key, in hex"
}

// sampleRow says what is wrong with the row that the query finds, or nothing.
func (c *checker) sampleRow(s *statement, key string) string {
	var messages []string
	rows := 0
	err := c.server.ask(c.ctx, c.conn.PgConn(), request{sql: s.sql, value: [][]byte{[]byte(key)}, formats: binary}, func(result *pgconn.ResultReader) error {
		for result.NextRow() {
			rows++
			row := columns{c.conn.TypeMap(), result.FieldDescriptions(), result.Values()}
			messages = append(messages, faultsOf(row)...)
			if s.field == "directory.users_query" {
				messages = append(messages, idFault(row, key)...)
			}
		}
		_, err := result.Close()
		return err
	})
	pgErr, _ := errors.AsType[*pgconn.PgError](err)
	switch {
	case pgErr != nil:
		return "the query fails: " + answer(pgErr)
	case err != nil:
		return "the query fails"
	case rows > 1:
		return "the query finds more than one row for one key, which proves nobody; make it return one"
	case len(messages) > 0:
		return messages[0]
	}
	return ""
}

func faultsOf(row columns) []string {
	var messages []string
	for _, name := range []string{"roles", "scopes"} {
		if _, has := row.find(name); !has {
			continue
		}
		_, faults, err := row.names(name)
		switch {
		case err != nil:
			messages = append(messages, err.Error())
		case faults.shape:
			messages = append(messages, "the column "+name+" is no array of strings and counts as empty; store [\"NAME\", …]")
		case faults.dropped > 0:
			messages = append(messages, "the column "+name+" has names with a comma, a control character or a space at an end, or empty ones, which are dropped")
		}
	}
	return messages
}

// idFault says that a user would be unknown: the row has an id, and it is not the
// one that was asked for.
func idFault(row columns, key string) []string {
	if _, given := row.find("id"); !given {
		return nil
	}
	if found, err := row.id("id"); err != nil || found != key {
		return []string{"the column id is not the id that was asked for, so that the user counts as unknown; leave id out of the query, or look the user up by it"}
	}
	return nil
}

// looselyCompared reports whether the column's collation takes texts for equal
// that are not the same bytes.
func (c *checker) looselyCompared(t table) bool {
	column := t.column
	if strings.HasPrefix(column, `"`) {
		column = strings.Trim(column, `"`)
	} else {
		column = strings.ToLower(column)
	}
	found, err := c.run("SELECT a.attname::text FROM pg_attribute a JOIN pg_collation c ON c.oid = a.attcollation "+
		"WHERE a.attrelid = to_regclass($1) AND NOT a.attisdropped AND NOT c.collisdeterministic", []byte(t.table))
	if err != nil {
		return false
	}
	return slices.Contains(found, column)
}
