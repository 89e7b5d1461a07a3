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

	// simpleQuery matches SELECT … FROM table [alias] WHERE [alias.]column = $1 [AND …]
	// and captures the table and the column as written. Other forms are not parsed.
	simpleQuery = regexp.MustCompile(`(?is)^\s*SELECT\s.+?\sFROM\s+(` + name + `(?:\.` + name + `)?)(?:\s+(?:AS\s+)?[a-z_]\w*)?` +
		`\s+WHERE\s+(?:` + name + `\.)?(` + name + `)(::text)?\s*=\s*(\$1(?:::\w+)?|decode\(\s*\$1\s*,\s*'hex'\s*\))(?:\s+AND\s.+)?\s*;?\s*$`)
)

const name = `(?:"[^"]+"|[a-zA-Z_]\w*)`

// samples is the greatest number of rows that Check looks at.
const samples = 5

// A table is the table and the column that a query looks in, as written in the query.
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

// sample runs the query for a few rows of its table and checks their contents. It only
// warns, because a bad row is not a reason to fail the start.
func (c *checker) sample(s *statement) {
	t, ok := tableOf(s.sql)
	if !ok {
		c.warning(s, "its table is not known, so no rows were checked; rows are checked for the form SELECT … FROM table WHERE column = $1")
		return
	}
	if c.looselyCompared(t) {
		c.warning(s, "%s.%s has a collation that treats different texts as equal; write WHERE %s COLLATE \"C\" = $1", t.table, t.column, t.column)
	}
	text := t.column + "::text"
	if t.decoded {
		text = "encode(" + t.column + ", 'hex')"
	}
	// The parameter is unused; run requires one.
	keys, err := c.run("SELECT "+text+" FROM "+t.table+" WHERE "+t.column+" IS NOT NULL AND $1::text IS NULL LIMIT 5", nil)
	if err != nil {
		c.warning(s, "no rows could be read")
		return
	}
	for _, key := range keys[:min(len(keys), samples)] {
		if s.field == "directory.users_query" && !authz.ValidID(key) {
			c.warning(s, "%s.%s contains ids that a token cannot contain; an id is 1 to 128 of A-Z a-z 0-9 . _ @ | + = ~ -", t.table, t.column)
			return
		}
		if s.field != "directory.users_query" && !hexHash.MatchString(key) {
			c.warning(s, "%s.%s contains a value that is not a lower-case hex SHA-256, which no API key will match; %s", t.table, t.column, hashSQL(t, key))
			return
		}
		if message := c.sampleRow(s, key); message != "" {
			c.warning(s, "in a row of %s %s", t.table, message)
			return
		}
	}
}

// hashSQL returns advice for common other forms of a hash.
func hashSQL(t table, key string) string {
	switch {
	case hexHash.MatchString(strings.ToLower(key)):
		return "write WHERE lower(" + t.column + ") = $1"
	case len(key) == 44 && strings.HasSuffix(key, "="):
		return "write WHERE " + t.column + " = encode(decode($1, 'hex'), 'base64')"
	}
	return "store the hash of the whole key, in hex"
}

// sampleRow returns what is wrong with the row that the query finds, or "".
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
		return "the query finds more than one row for one key, so the answer is ambiguous; make it return one"
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
			messages = append(messages, "the column "+name+" is not an array of strings and counts as empty; store [\"NAME\", …]")
		case faults.dropped > 0:
			messages = append(messages, "the column "+name+" has invalid names (empty, or with a comma, a control character or a leading or trailing space), which are dropped")
		}
	}
	return messages
}

// idFault returns a message if the row has a column id that differs from key, so that the
// user would be unknown.
func idFault(row columns, key string) []string {
	if _, given := row.find("id"); !given {
		return nil
	}
	if found, err := row.id("id"); err != nil || found != key {
		return []string{"the column id differs from the parameter, so the user counts as unknown; leave id out of the query, or look the user up by it"}
	}
	return nil
}

// looselyCompared reports whether the column has a nondeterministic collation, which treats
// texts with different bytes as equal.
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
