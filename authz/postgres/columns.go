package postgres

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"warder/authz"
)

// columns is one row with access to its columns by name. It is valid until the next row
// is read.
type columns struct {
	types  *pgtype.Map
	fields []pgconn.FieldDescription
	values [][]byte // nil for NULL
}

// find returns the index of the column. It finds nothing if two columns have the name.
func (c columns) find(name string) (int, bool) {
	at, n := 0, 0
	for i := range c.fields {
		if c.fields[i].Name == name {
			at = i
			n++
		}
	}
	return at, n == 1
}

// scan reads a column with one of the role's types into dst. For NULL it leaves dst
// unchanged. The error says which types are supported.
func (c columns) scan(name string, role columnRole, dst any) (null bool, err error) {
	i, found := c.find(name)
	if !found {
		return false, unfit(fmt.Sprintf("the result has no column %s, or two; %s", name, role.right))
	}
	if !role.takes(c.fields[i].DataTypeOID) {
		return false, unfit(fmt.Sprintf("the column %s is of a type (OID %d) that does not fit; %s", name, c.fields[i].DataTypeOID, role.right))
	}
	if c.values[i] == nil {
		return true, nil
	}
	if err := c.types.Scan(c.fields[i].DataTypeOID, c.fields[i].Format, c.values[i], dst); err != nil {
		return false, unfit(fmt.Sprintf("the column %s cannot be read", name)) // the driver's error contains the value
	}
	return false, nil
}

func (c columns) flag(name string) (bool, error) {
	var flag bool
	_, err := c.scan(name, flagColumn, &flag)
	return flag, err
}

func (c columns) text(name string) (string, error) { return c.string(name, textColumn) }

// string reads a text column. It removes the padding of a char(n).
func (c columns) string(name string, role columnRole) (string, error) {
	var text string
	_, err := c.scan(name, role, &text)
	if i, found := c.find(name); found && c.fields[i].DataTypeOID == pgtype.BPCharOID {
		text = strings.TrimRight(text, " ")
	}
	return text, err
}

// id returns the text form of an id, "" for NULL.
func (c columns) id(name string) (string, error) {
	i, _ := c.find(name)
	var err error
	var null bool
	var text string
	switch {
	case i < len(c.fields) && isIntegerOID(c.fields[i].DataTypeOID):
		var n int64
		if null, err = c.scan(name, idColumn, &n); err == nil && !null {
			text = fmt.Sprint(n)
		}
	case i < len(c.fields) && c.fields[i].DataTypeOID == pgtype.UUIDOID:
		var id pgtype.UUID
		if null, err = c.scan(name, idColumn, &id); err == nil && !null {
			text = id.String()
		}
	default:
		text, err = c.string(name, idColumn)
	}
	return text, err
}

// longAgo replaces the expiry times that would become the zero Time, which means that a
// key does not expire.
var longAgo = time.Unix(0, 0).UTC()

// end reads an expiry time. The zero Time means never.
func (c columns) end(name string) (time.Time, error) {
	var at pgtype.Timestamptz
	i, _ := c.find(name)
	if i < len(c.fields) {
		switch c.fields[i].DataTypeOID {
		case pgtype.TimestampOID: // has no zone; read as UTC
			var local pgtype.Timestamp
			if _, err := c.scan(name, endColumn, &local); err != nil {
				return time.Time{}, err
			}
			at = pgtype.Timestamptz(local)
		case pgtype.DateOID: // the start of the day in UTC
			var day pgtype.Date
			if _, err := c.scan(name, endColumn, &day); err != nil {
				return time.Time{}, err
			}
			at = pgtype.Timestamptz(day)
		default:
			if _, err := c.scan(name, endColumn, &at); err != nil {
				return time.Time{}, err
			}
		}
	}
	switch {
	case !at.Valid || at.InfinityModifier == pgtype.Infinity:
		return time.Time{}, nil
	case at.InfinityModifier == pgtype.NegativeInfinity || at.Time.IsZero():
		return longAgo, nil
	}
	return at.Time.UTC(), nil
}

// nameFaults describes the problems of a column of names.
type nameFaults struct {
	shape   bool // the value is not a list of names and counts as empty
	dropped int  // number of invalid names
}

// names reads roles or scopes from a JSON array of strings or a one-dimensional array of
// text. It does not guess at the meaning of any other value.
func (c columns) names(name string) (authz.Names, nameFaults, error) {
	i, _ := c.find(name)
	var list []*string
	switch {
	case i < len(c.fields) && isTextArrayOID(c.fields[i].DataTypeOID):
		var array pgtype.Array[*string]
		if _, err := c.scan(name, namesColumn, &array); err != nil {
			return nil, nameFaults{}, err
		}
		if len(array.Dims) > 1 {
			return nil, nameFaults{shape: true}, nil
		}
		list = array.Elements
	default:
		var text []byte
		null, err := c.scan(name, namesColumn, &text)
		if err != nil || null {
			return nil, nameFaults{}, err
		}
		var ok bool
		if list, ok = stringArray(text); !ok {
			return nil, nameFaults{shape: true}, nil
		}
	}
	given := make([]string, 0, len(list))
	faults := nameFaults{}
	for _, n := range list {
		if n == nil {
			faults.dropped++
			continue
		}
		given = append(given, *n)
	}
	names, dropped := authz.NewNames(given)
	faults.dropped += dropped
	return names, faults, nil
}

// stringArray reads a JSON array of strings. null is not accepted, neither as the array
// nor as an element.
func stringArray(text []byte) ([]*string, bool) {
	var list []*string
	if err := json.Unmarshal(text, &list); err != nil || list == nil {
		return nil, false
	}
	for _, s := range list {
		if s == nil {
			return nil, false
		}
	}
	return list, true
}
