package postgres

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"warder/authz/attribute"
)

// attributeColumn is a column that becomes an attribute.
var attributeColumn = columnRole{
	[]uint32{pgtype.TextOID, pgtype.VarcharOID, pgtype.BPCharOID, pgtype.NameOID, pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.UUIDOID, pgtype.BoolOID},
	"an attribute is a text, an integer, a uuid or a boolean",
}

// The columns of the results that are not attributes, because they have a meaning of their own.
var (
	userColumns   = []string{"is_active", "roles", "id"}
	apiKeyColumns = []string{"prefix", "scopes", "is_active", "expires_at", "user_id"}
	adminColumns  = append(slices.Clone(apiKeyColumns), "id", "created_at")
)

// attributes returns the further columns of a row. NULL and the empty text are no value. A value
// that no attribute can have, of a type that is not supported, of a name that two columns have, or
// after the first [attribute.Max] columns, is unreadable. unusable are the columns of the first kind.
func (c columns) attributes(read []string) (found attribute.Set, unusable []string) {
	var b attribute.Builder
	n := 0
	for i := range c.fields {
		name := c.fields[i].Name
		if slices.Contains(read, name) || !attribute.ValidName(name) {
			continue
		}
		if n++; n > attribute.Max {
			b.PutUnreadable(name)
			continue
		}
		value, ok := c.attribute(i)
		if !ok {
			b.PutUnreadable(name)
		} else if !b.Put(name, value) {
			unusable = append(unusable, name)
		}
	}
	return b.Set(), unusable
}

// attribute returns the text of a value, "" for NULL. ok is false if its type is not supported.
func (c columns) attribute(i int) (text string, ok bool) {
	f := c.fields[i]
	if c.values[i] == nil {
		return "", true
	}
	scan := func(dst any) bool { return c.types.Scan(f.DataTypeOID, f.Format, c.values[i], dst) == nil }
	switch {
	case !attributeColumn.takes(f.DataTypeOID):
		return "", false
	case f.DataTypeOID == pgtype.BoolOID:
		var flag bool
		ok = scan(&flag)
		return fmt.Sprint(flag), ok
	case isIntegerOID(f.DataTypeOID):
		var n int64
		ok = scan(&n)
		return fmt.Sprint(n), ok
	case f.DataTypeOID == pgtype.UUIDOID:
		var id pgtype.UUID
		ok = scan(&id)
		return id.String(), ok
	}
	ok = scan(&text)
	if f.DataTypeOID == pgtype.BPCharOID {
		text = strings.TrimRight(text, " ")
	}
	return text, ok
}

// warnAboutAttributes warns about values that cannot be used, without the values. The types of the
// columns are those of the query, about which [Directory.Check] warns.
func (d *Directory) warnAboutAttributes(ctx context.Context, unusable []string, about ...slog.Attr) {
	if len(unusable) > 0 {
		about = append(about, slog.String("columns", strings.Join(unusable, ",")))
		d.warnings.warn(ctx, "columns have values that no attribute can have (longer than 1024 bytes, with a control character or with white space at an end); "+
			"the attributes are unreadable: no header has them, and conditions that read them are false", about...)
	}
}

// AttributeColumns are the columns of the two queries that become attributes.
type AttributeColumns struct{ Users, APIKeys []string }

// AttributeColumns returns the columns that become attributes, as of the last [Directory.Check]
// that found both queries to be fit. known is false if there was none.
func (d *Directory) AttributeColumns() (found AttributeColumns, known bool) {
	if last := d.attributes.Load(); last != nil {
		return *last, true
	}
	return AttributeColumns{}, false
}

// attributes checks the further columns of a query, and returns those that become attributes.
func (c *checker) attributes(s *statement, read []string, fields []pgconn.FieldDescription) (names []string) {
	var badNames, badTypes, casts, twice []string
	n := 0
	for i, f := range fields {
		if slices.Contains(read, f.Name) {
			continue
		}
		if !attribute.ValidName(f.Name) {
			badNames = append(badNames, quoted(f.Name))
			continue
		}
		n++
		switch {
		case slices.ContainsFunc(fields[:i], func(other pgconn.FieldDescription) bool { return other.Name == f.Name }):
			twice = append(twice, f.Name)
			names = slices.DeleteFunc(names, func(name string) bool { return name == f.Name })
		case !attributeColumn.takes(f.DataTypeOID):
			badTypes = append(badTypes, f.Name+" ("+c.typeName(f.DataTypeOID)+")")
			casts = append(casts, c.castOf(s, fields, i))
		case n <= attribute.Max:
			names = append(names, f.Name)
		}
	}
	if n > attribute.Max {
		c.warning(s, "the result has %d further columns, each of which is an attribute, and those after the first %d are unreadable; name the columns that you need instead of *", n, attribute.Max)
	}
	if len(badNames) > 0 {
		c.warning(s, "no attribute can have the name of the columns %s, which are not used: %s; give those that should be attributes an alias, as in AS tenant, and leave the others out", strings.Join(badNames, ", "), attribute.NameGrammar)
	}
	if len(twice) > 0 {
		c.warning(s, "two columns have the name %s, so that the attribute is unreadable; give one of them another alias", strings.Join(twice, ", "))
	}
	if len(badTypes) > 0 {
		c.warning(s, "the columns %s are of types that attributes cannot have, so that they are unreadable; write %s for those that should be attributes, and leave the others out: %s",
			strings.Join(badTypes, ", "), strings.Join(casts, ", "), attributeColumn.right)
	}
	slices.Sort(names)
	return names
}

// castOf returns the column i as a text.
func (c *checker) castOf(s *statement, fields []pgconn.FieldDescription, i int) string {
	e := quoted(fields[i].Name)
	if sel, ok := parseSelection(s.sql); ok && len(sel.items) == len(fields) && !slices.ContainsFunc(sel.items, func(item string) bool { return strings.HasSuffix(item, "*") }) {
		e = operand(source(sel.items[i]))
	}
	return e + "::text AS " + quoted(fields[i].Name)
}
