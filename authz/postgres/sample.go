package postgres

import (
	"cmp"
	"errors"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"warder/authz"
	"warder/authz/attribute"
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

// A table is the table and the column that a query looks in, as written in the query.
type table struct {
	table, column string
}

func tableOf(sql string) (table, bool) {
	m := simpleQuery.FindStringSubmatch(sql)
	if m == nil || strings.Contains(strings.ToLower(m[0]), " join ") {
		return table{}, false
	}
	return table{table: m[1], column: m[2]}, true
}

// sample runs the query for a few rows of its table and checks their contents. It only
// warns, because a bad row is not a reason to fail the start.
func (c *checker) sample(s *statement, fields []pgconn.FieldDescription) {
	keys, k, ok, err := c.keysOf(s)
	if !ok {
		c.warning(s, "the column that it looks up is not known, so no rows were checked; rows are checked for the form SELECT … FROM … WHERE column = $1")
		return
	}
	where, column := "the query", k.column
	if t, ok := tableOf(s.sql); ok {
		where, column = t.table, t.table+"."+t.column
		if c.looselyCompared(t) {
			c.warning(s, "%s has a collation that treats different texts as equal%s", column, c.comparing(s, isKnownID, `%s COLLATE "C" = $1`))
		}
	}
	if err != nil {
		c.warning(s, "no rows could be read")
		return
	}
	for _, key := range keys {
		if c.tries.Err() != nil {
			return
		}
		if s.field == "directory.users_query" && !authz.ValidID(key) {
			c.warning(s, "%s contains ids that a token cannot contain; an id is 1 to 128 of A-Z a-z 0-9 . _ @ | + = ~ -", column)
			return
		}
		if s.field != "directory.users_query" && !hexHash.MatchString(key) {
			c.warning(s, "%s contains a value that is not a lower-case hex SHA-256, which no API key will match; %s", column, c.hashHint(s, key))
			return
		}
		if message := c.sampleRow(s, key, fields); message != "" {
			c.warning(s, "in a row of %s %s", where, message)
			return
		}
	}
}

// hashHint proposes how to look up common other forms of a hash.
func (c *checker) hashHint(s *statement, key string) string {
	format := ""
	switch {
	case hexHash.MatchString(strings.ToLower(key)):
		format = "lower(%s) = $1"
	case len(key) == 44 && strings.HasSuffix(key, "="):
		format = "%s = encode(decode($1, 'hex'), 'base64')"
	}
	if format != "" {
		if hint, found := strings.CutPrefix(c.comparing(s, func(oid uint32) bool { _, err := isText(oid); return err == nil }, format), "; "); found {
			return hint
		}
	}
	return "store the hash of the whole key, in hex"
}

// sampleRow returns what is wrong with the row that the query finds, or "".
func (c *checker) sampleRow(s *statement, key string, fields []pgconn.FieldDescription) string {
	var messages []string
	misshapen := "" // the column that is not a list
	rows := 0
	err := c.server.ask(c.ctx, c.conn.PgConn(), sampling(s.sql, key, binary), func(result *pgconn.ResultReader) error {
		for result.NextRow() {
			rows++
			row := columns{c.conn.TypeMap(), result.FieldDescriptions(), result.Values()}
			found, column := faultsOf(row)
			messages, misshapen = append(messages, found...), cmp.Or(misshapen, column)
			messages = append(messages, attributeFaults(s, row)...)
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
		return "the query finds more than one row for one key, so the answer is ambiguous; " + cmp.Or(c.listHint(s, fields), "make it return one")
	case misshapen != "":
		return "the column " + misshapen + " is not an array of strings and counts as empty; " + cmp.Or(c.listHint(s, fields), `store ["NAME", …]`)
	case len(messages) > 0:
		return messages[0]
	}
	return ""
}

// listHint proposes what to write for the column of roles or scopes, or returns "".
func (c *checker) listHint(s *statement, fields []pgconn.FieldDescription) string {
	for i, f := range fields {
		if f.Name == "roles" || f.Name == "scopes" {
			return c.hint(c.subject(s, fields), wantedColumn{f.Name, namesColumn}, i)
		}
	}
	return ""
}

// faultsOf returns what is wrong with the lists of a row, and the column that is not a list.
func faultsOf(row columns) (messages []string, misshapen string) {
	for _, name := range []string{"roles", "scopes"} {
		if _, has := row.find(name); !has {
			continue
		}
		_, faults, err := row.names(name)
		switch {
		case err != nil:
			messages = append(messages, err.Error())
		case faults.shape:
			misshapen = name
		case faults.dropped > 0:
			messages = append(messages, "the column "+name+" has invalid names (empty, or with a comma, a control character or a leading or trailing space), which are dropped")
		}
	}
	return messages, misshapen
}

// attributeFaults returns what is wrong with the attributes of a row. Columns of types that no
// attribute has are reported for the query.
func attributeFaults(s *statement, row columns) (messages []string) {
	read := userColumns
	if s.field != "directory.users_query" {
		read = apiKeyColumns
	}
	for i, f := range row.fields {
		if slices.Contains(read, f.Name) || !attribute.ValidName(f.Name) || !attributeColumn.takes(f.DataTypeOID) {
			continue
		}
		if value, ok := row.attribute(i); !ok || value != "" && !attribute.ValidValue(value) {
			messages = append(messages, "the column "+f.Name+" has a value that no attribute can have, so that it is unreadable: "+attribute.ValueGrammar)
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
