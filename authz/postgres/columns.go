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

// columns are one row, whose columns are found by name. They are good until the
// next row is read.
type columns struct {
	types  *pgtype.Map
	fields []pgconn.FieldDescription
	values [][]byte // nil for NULL
}

// find returns where the column is. Of two with one name it is neither.
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

// scan reads a column of one of the types into dst, which stays as it is for
// NULL. The message says what would be right.
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
		return false, unfit(fmt.Sprintf("the column %s cannot be read", name)) // the driver's error shows the value
	}
	return false, nil
}

func (c columns) flag(name string) (bool, error) {
	var flag bool
	_, err := c.scan(name, flagColumn, &flag)
	return flag, err
}

func (c columns) text(name string) (string, error) { return c.string(name, textColumn) }

// string reads a text. The spaces that fill up a char(n) are not part of it.
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

// longAgo stands for ends before all times, which must not become the zero time:
// that means never.
var longAgo = time.Unix(0, 0).UTC()

// end returns when something ends: the zero time is never.
func (c columns) end(name string) (time.Time, error) {
	var at pgtype.Timestamptz
	i, _ := c.find(name)
	if i < len(c.fields) {
		switch c.fields[i].DataTypeOID {
		case pgtype.TimestampOID: // without a zone: UTC
			var local pgtype.Timestamp
			if _, err := c.scan(name, endColumn, &local); err != nil {
				return time.Time{}, err
			}
			at = pgtype.Timestamptz(local)
		case pgtype.DateOID: // its first moment in UTC
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

// nameFaults is what is wrong with a column of names.
type nameFaults struct {
	shape   bool // it is no list of names at all, and counts as empty
	dropped int  // names that nobody can hold
}

// names reads roles or scopes. Only a JSON array of strings or a one-dimensional
// array of text counts: whatever else is there might be a name to somebody else,
// and warder does not guess.
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

// stringArray reads a JSON array of strings, null being none.
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
