package postgres

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// A hint is SQL that a message proposes. Every hint was tried: the changed query has the wanted
// column with a type that fits, it runs, and it returns one good row for each sampled key. What
// does not is not shown.

// rowTimeout bounds a query that reads sampled rows or tries a hint, in milliseconds. Reading a
// few rows of a join may take long, which is no reason to fail the start.
var rowTimeout = setting{"statement_timeout", "1000"}

// keysOf returns a few values of the column that the query looks up, those with the most rows
// first. ok is false if the query has another form.
func (c *checker) keysOf(s *statement) (keys []string, k key, ok bool, err error) {
	sel, ok := parseSelection(s.sql)
	if ok {
		k, ok = sel.key()
	}
	if !ok {
		return nil, key{}, false, nil
	}
	text := k.column + "::text"
	if k.decoded {
		text = "encode(" + k.column + ", 'hex')"
	}
	// The parameter is unused; run requires one.
	keys, err = c.run("SELECT k FROM (SELECT "+text+" AS k "+sel.from+" WHERE "+k.column+" IS NOT NULL AND $1::text IS NULL LIMIT 10000) AS s "+
		"GROUP BY k ORDER BY count(*) DESC, k LIMIT 5", nil, rowTimeout)
	return keys, k, true, err
}

// A subject is a query whose column does not fit, with what a hint needs to know.
type subject struct {
	sel    selection
	whole  bool // the query is wrapped, so that a hint has to name all of it
	fields []pgconn.FieldDescription
	keys   []string
	rows   int // the most rows for one key
	values [][]string
}

// subject takes the query apart, or wraps it as a subquery.
func (c *checker) subject(s *statement, fields []pgconn.FieldDescription) subject {
	on := subject{fields: fields}
	on.keys, _, _, _ = c.keysOf(s)
	sel, ok := parseSelection(s.sql)
	if ok && len(sel.items) == len(fields) && !slices.ContainsFunc(sel.items, func(item string) bool { return strings.HasSuffix(item, "*") }) {
		on.sel = sel
	} else {
		on.whole = true
		on.sel = selection{head: "SELECT", from: "FROM (" + strings.TrimSuffix(strings.TrimSpace(s.sql), ";") + ") AS q"}
		for _, f := range fields {
			on.sel.items = append(on.sel.items, "q."+quoted(f.Name))
		}
	}
	on.values = make([][]string, len(fields))
	for _, key := range on.keys {
		if c.tries.Err() != nil {
			break
		}
		rows := 0
		_ = c.server.ask(c.ctx, c.conn.PgConn(), sampling(s.sql, key, nil), func(result *pgconn.ResultReader) error {
			for result.NextRow() {
				rows++
				for i, value := range result.Values() {
					if value != nil && i < len(on.values) && len(on.values[i]) < 100 {
						on.values[i] = append(on.values[i], string(value))
					}
				}
			}
			_, err := result.Close()
			return err
		})
		on.rows = max(on.rows, rows)
	}
	return on
}

func sampling(sql, key string, formats []int16) request {
	return request{sql: sql, value: [][]byte{[]byte(key)}, formats: formats, settings: []setting{rowTimeout}}
}

// fits reports whether a changed query runs, has the wanted columns, and returns at most one
// row without faults for each key. filled requires that one of the rows has names.
func (c *checker) fits(sql string, keys []string, filled bool, wanted ...wantedColumn) bool {
	if c.tries.Err() != nil {
		return false
	}
	description, err := describe(c.ctx, c.conn.PgConn(), sql)
	if err != nil || len(description.ParamOIDs) != 1 {
		return false
	}
	for _, w := range wanted {
		found := 0
		for _, f := range description.Fields {
			if f.Name == w.name {
				found++
				if !w.role.takes(f.DataTypeOID) {
					return false
				}
			}
		}
		if found != 1 {
			return false
		}
	}
	if _, err := c.run(sql, nil, rowTimeout); err != nil {
		return false
	}
	total := 0
	for _, key := range keys {
		rows, good := 0, true
		err := c.server.ask(c.ctx, c.conn.PgConn(), sampling(sql, key, binary), func(result *pgconn.ResultReader) error {
			for result.NextRow() {
				rows++
				for _, w := range wanted {
					row := columns{c.conn.TypeMap(), result.FieldDescriptions(), result.Values()}
					if w.name != "roles" && w.name != "scopes" {
						continue
					}
					names, faults, err := row.names(w.name)
					total += len(names)
					good = good && err == nil && faults == nameFaults{}
				}
			}
			_, err := result.Close()
			return err
		})
		if err != nil || rows > 1 || !good {
			return false
		}
	}
	return !filled || total > 0
}

// hint proposes what to write for the wanted column in the place of item i, or "".
func (c *checker) hint(on subject, w wantedColumn, i int) string {
	f := on.fields[i]
	names := w.name == "roles" || w.name == "scopes"
	several := names && (on.rows > 1 || on.sel.joins())
	filled := names && slices.ContainsFunc(on.values[i], func(v string) bool { return strings.Trim(v, " {}[]") != "" })
	for _, e := range slices.Compact([]string{source(on.sel.items[i]), on.sel.items[i]}) {
		of := expressionOf{e: operand(e), column: f.Name + " " + e, oid: f.DataTypeOID, typeName: c.typeName(f.DataTypeOID), values: on.values[i]}
		if several && !strings.HasSuffix(of.typeName, "[]") {
			if query := c.aggregated(on, w, i, of.text()); query != "" {
				return "write the query as " + query
			}
		}
		for _, expression := range c.expressions(of, w) {
			sel := on.sel.with(i, expression+" AS "+w.name)
			if !c.fits(sel.String(), on.keys, filled, w) {
				continue
			}
			if on.whole {
				return "write the query as " + sel.String()
			}
			return "write " + expression + " AS " + w.name
		}
	}
	return ""
}

// constant matches an expression that a GROUP BY must not name.
var constant = regexp.MustCompile(`(?i)^(?:true|false|null|[0-9.]+|'[^']*')(?:::[\w ]+)?$`)

// aggregated proposes the query with the names of all rows for a key in one row, or "".
func (c *checker) aggregated(on subject, w wantedColumn, i int, text string) string {
	var others []string
	for n, item := range on.sel.items {
		if e := source(item); n != i && !constant.MatchString(e) && !slices.Contains(others, e) {
			others = append(others, e)
		}
	}
	groups := [][]string{others}
	if k, ok := on.sel.key(); ok {
		groups = [][]string{slices.Compact(append([]string{k.column}, others...)), others, {k.column}}
	}
	aggregates := []string{"array_agg(" + text + ")", "array_remove(array_agg(" + text + "), NULL)"}
	if on.sel.outer() {
		aggregates = aggregates[1:]
	}
	for _, by := range groups {
		for _, aggregate := range aggregates {
			if len(by) == 0 {
				continue
			}
			query := on.sel.with(i, aggregate+" AS "+w.name).grouped(by).String()
			if c.fits(query, on.keys, len(on.values[i]) > 0, w) {
				return query
			}
		}
	}
	return ""
}

// An expressionOf is an expression in the query whose type or content does not fit.
type expressionOf struct {
	e        string
	column   string // words that may say what it means
	oid      uint32
	typeName string
	values   []string // of sampled rows
}

// text returns the expression as a text.
func (of expressionOf) text() string {
	if of.oid == pgtype.TextOID || of.oid == pgtype.VarcharOID {
		return of.e
	}
	return of.e + "::text"
}

func (of expressionOf) any(has func(string) bool) bool { return slices.ContainsFunc(of.values, has) }

func (of expressionOf) all(has func(string) bool) bool {
	return len(of.values) > 0 && !of.any(func(v string) bool { return !has(v) })
}

func begins(with string) func(string) bool {
	return func(v string) bool { return strings.HasPrefix(strings.TrimSpace(v), with) }
}

func contains(part string) func(string) bool {
	return func(v string) bool { return strings.Contains(v, part) }
}

// expressions returns what may turn the expression into the wanted column, best first.
func (c *checker) expressions(of expressionOf, w wantedColumn) []string {
	switch w.name {
	case "is_active":
		return c.flags(of)
	case "expires_at":
		return ends(of)
	case "roles", "scopes":
		return lists(of, w.name)
	}
	return []string{of.text()}
}

// lists returns expressions for a list of names.
func lists(of expressionOf, name string) []string {
	split := func(by string) []string {
		array := "string_to_array(" + of.text() + ", '" + by + "')"
		return []string{array, "array_remove(" + array + ", '')"}
	}
	json := of.e
	if of.oid != pgtype.JSONBOID {
		json += "::jsonb"
	}
	switch {
	case strings.HasSuffix(of.typeName, "[]"):
		return []string{of.e + "::text[]", "array_remove(" + of.e + "::text[], NULL)"}
	case slices.Contains([]uint32{pgtype.BoolOID, pgtype.ByteaOID, pgtype.TimestamptzOID, pgtype.TimestampOID, pgtype.DateOID}, of.oid):
		return nil
	case of.all(begins(`"`)):
		return []string{"jsonb_build_array(" + json + ")"}
	case of.all(begins("[")) && of.any(contains("{")):
		var found []string
		for _, member := range []string{"name", "role", "scope", "code", "slug", "authority"} {
			found = append(found, "jsonb_path_query_array("+json+", '$[*]."+member+"')")
		}
		return found
	case of.oid == pgtype.JSONBOID || of.oid == pgtype.JSONOID:
		return []string{"jsonb_path_query_array(" + json + ", '$.keyvalue() ? (@.value == true).key')"}
	case of.all(begins("['")):
		return []string{"replace(" + of.text() + ", '''', '\"')::jsonb"}
	case of.all(begins("{")):
		return []string{of.text() + "::text[]"}
	case of.any(contains(", ")):
		return []string{"regexp_split_to_array(" + of.text() + `, '\s*,\s*')`}
	case of.any(contains(",")):
		return split(",")
	case of.any(contains(";")):
		return split(";")
	case of.any(contains("|")):
		return split("|")
	case name == "scopes" && of.any(contains(" ")):
		return split(" ")
	}
	return []string{"ARRAY[" + of.text() + "]", "array_remove(ARRAY[" + of.text() + "], NULL)"}
}

var (
	// negative and positive match names of columns that say what a value means. A name that
	// matches neither leaves that open.
	negative = regexp.MustCompile(`(?i)delet|disab|inactiv|deactiv|bann|block|lock|suspend|remov|archiv|revok|expel|ended`)
	positive = regexp.MustCompile(`(?i)activ|enabl|confirm|verif|approv|joined`)
	// activeWord matches the usual words for an active user.
	activeWord = regexp.MustCompile(`(?i)^(?:active|activated|enabled|on|yes|y|a)$`)
)

// flags returns expressions for the flag of an active user. A time or a state says nothing by
// itself: a wrong guess would let deleted users in.
func (c *checker) flags(of expressionOf) []string {
	isNegative := negative.MatchString(of.column)
	isPositive := !isNegative && positive.MatchString(strings.ReplaceAll(of.column, "is_active", ""))
	switch of.oid {
	case pgtype.BoolOID:
		if isNegative {
			return []string{"NOT " + of.e}
		}
		return []string{of.e}
	case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.NumericOID, pgtype.Float4OID, pgtype.Float8OID:
		if isNegative {
			return []string{of.e + " = 0"}
		}
		return []string{of.e + " <> 0"}
	case pgtype.BitOID, pgtype.VarbitOID:
		if isNegative {
			return []string{of.e + " = B'0'"}
		}
		return []string{of.e + " = B'1'"}
	case pgtype.TimestamptzOID, pgtype.TimestampOID, pgtype.DateOID:
		switch {
		case isNegative:
			return []string{of.e + " IS NULL"}
		case isPositive:
			return []string{of.e + " IS NOT NULL"}
		}
		return nil
	}
	if isNegative {
		return nil
	}
	for _, word := range append(c.labels(of.oid), of.values...) {
		if activeWord.MatchString(word) && !strings.EqualFold(word, "on") && !strings.EqualFold(word, "yes") && !strings.EqualFold(word, "y") {
			return []string{of.e + " = '" + word + "'"}
		}
	}
	return []string{of.text() + "::boolean"}
}

// labels returns the values of an enum.
func (c *checker) labels(oid uint32) []string {
	labels, _ := c.run("SELECT enumlabel::text FROM pg_catalog.pg_enum WHERE enumtypid = $1::oid ORDER BY enumsortorder", []byte(fmt.Sprint(oid)))
	return labels
}

// ends returns expressions for a time.
func ends(of expressionOf) []string {
	if isIntegerOID(of.oid) || of.oid == pgtype.Float8OID || of.oid == pgtype.NumericOID {
		if of.any(func(v string) bool { whole, _, _ := strings.Cut(v, "."); return len(whole) > 11 }) { // seconds are in the year 5138
			return []string{"to_timestamp(" + of.e + " / 1000.0)"}
		}
		return []string{"to_timestamp(" + of.e + ")"}
	}
	return []string{of.e + "::timestamptz"}
}

// meanings match the names of columns that may be meant.
var meanings = map[string]*regexp.Regexp{
	"is_active":  regexp.MustCompile(`(?i)activ|enabl|disab|status|state|delet|lock|bann|block|suspend|revok`),
	"roles":      regexp.MustCompile(`(?i)role|group|authorit|permission`),
	"scopes":     regexp.MustCompile(`(?i)scope|grant|permission|abilit`),
	"prefix":     regexp.MustCompile(`(?i)prefix|head|hint|start`),
	"expires_at": regexp.MustCompile(`(?i)expir|until|valid`),
	"user_id":    regexp.MustCompile(`(?i)user|owner|account`),
}

// absent proposes what to write for a column that the result does not have, or "".
func (c *checker) absent(on subject, w wantedColumn) string {
	var meant, fitting []int
	for i, f := range on.fields {
		if _, taken := meanings[f.Name]; taken || f.Name == "id" {
			continue
		}
		if meanings[w.name].MatchString(f.Name) {
			meant = append(meant, i)
		} else if w.role.takes(f.DataTypeOID) {
			fitting = append(fitting, i)
		}
	}
	if len(meant) > 0 {
		fitting = nil
	}
	if len(fitting) > 1 {
		fitting = nil // any of them
	}
	for _, i := range append(meant, fitting...) {
		e := source(on.sel.items[i])
		if on.sel.joins() && (w.name == "roles" || w.name == "scopes") || !w.role.takes(on.fields[i].DataTypeOID) || negative.MatchString(e) {
			if hint := c.hint(on, w, i); hint != "" {
				return hint
			}
			continue
		}
		if c.fits(on.sel.with(i, e+" AS "+w.name).String(), on.keys, false, w) {
			return "write " + e + " AS " + w.name
		}
		if hint := c.hint(on, w, i); hint != "" {
			return hint
		}
	}
	if none := map[string]string{"expires_at": "NULL::timestamptz", "user_id": "NULL::text"}[w.name]; none != "" &&
		c.fits(on.sel.with(len(on.sel.items), none+" AS "+w.name).String(), on.keys, false, w) {
		return "write " + none + " AS " + w.name
	}
	return ""
}

// comparing proposes another comparison with the parameter, or "". takes reports whether a type
// of the parameter fits.
func (c *checker) comparing(s *statement, takes func(uint32) bool, formats ...string) string {
	sel, ok := parseSelection(s.sql)
	if !ok {
		return ""
	}
	for _, format := range formats {
		changed, with, ok := sel.comparing(format)
		if !ok {
			return ""
		}
		description, err := describe(c.ctx, c.conn.PgConn(), changed.String())
		if err != nil || len(description.ParamOIDs) != 1 || !takes(description.ParamOIDs[0]) {
			continue
		}
		if _, err := c.run(changed.String(), nil, rowTimeout); err == nil {
			return "; write WHERE " + with
		}
	}
	return ""
}

// instead proposes a whole query for a table, of which the configured one names columns that it
// does not have, or "".
func (c *checker) instead(wanted []wantedColumn, sel selection) string {
	description, err := describe(c.ctx, c.conn.PgConn(), "SELECT *, $1::text AS warder_parameter "+sel.from)
	if err != nil {
		return ""
	}
	fields := description.Fields[:len(description.Fields)-1]
	sel.items = nil
	for _, w := range wanted {
		item := ""
		for _, f := range fields {
			if f.Name != w.name && (!meanings[w.name].MatchString(f.Name) || meanings[f.Name] != nil) {
				continue
			}
			of := expressionOf{e: quoted(f.Name), column: f.Name, oid: f.DataTypeOID, typeName: c.typeName(f.DataTypeOID)}
			for _, e := range append(plainly(of, w), c.expressions(of, w)...) {
				item = e + " AS " + w.name
				if e == w.name {
					item = e
				}
				if c.fits("SELECT "+item+" "+sel.from+" WHERE $1::text IS NOT NULL", nil, false, w) {
					break
				}
				item = ""
			}
			if item != "" {
				break
			}
		}
		if none := map[string]string{"expires_at": "NULL::timestamptz", "user_id": "NULL::text"}[w.name]; item == "" && none != "" {
			item = none + " AS " + w.name
		}
		if item == "" {
			return ""
		}
		sel.items = append(sel.items, item)
	}
	if query := sel.String(); c.fits(query, nil, false, wanted...) {
		return query
	}
	return ""
}

// plainly returns the expression itself if it fits as it is.
func plainly(of expressionOf, w wantedColumn) []string {
	if !w.role.takes(of.oid) || w.name == "is_active" && negative.MatchString(of.column) {
		return nil
	}
	return []string{of.e}
}

// quoted returns name as an SQL identifier, quoted if necessary.
func quoted(name string) string {
	if plainName.MatchString(name) && !slices.Contains([]string{"user", "group", "order", "end", "all", "any", "table", "default", "check", "grant", "primary"}, name) {
		return name
	}
	return pgx.Identifier{name}.Sanitize()
}
