package postgres

import (
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5/pgtype"
)

// spelledAs reports whether id is the canonical spelling of a value of the parameter's
// type. Postgres accepts several spellings of a value (042 and 42, a UUID in upper case).
// If warder did too, one user would have several ids, each with its own sessions. It
// returns an error for a type whose comparison warder does not know.
func spelledAs(oid uint32, id string) (bool, error) {
	switch oid {
	case pgtype.Int2OID:
		return isInteger(id, 16), nil
	case pgtype.Int4OID:
		return isInteger(id, 32), nil
	case pgtype.Int8OID:
		return isInteger(id, 64), nil
	case pgtype.UUIDOID:
		return isUUID(id), nil
	case pgtype.TextOID, pgtype.VarcharOID, pgtype.BPCharOID:
		// bpchar ignores trailing spaces, which an id cannot have.
		return true, nil
	}
	return false, unfit(fmt.Sprintf("its parameter $1 is of a type (OID %d) whose spelling of ids is not known; "+
		"write WHERE id = $1::bigint for a number, WHERE id::text = $1 for anything else", oid))
}

func isInteger(id string, bits int) bool {
	n, err := strconv.ParseInt(id, 10, bits)
	return err == nil && strconv.FormatInt(n, 10) == id
}

func isUUID(id string) bool {
	if len(id) != 36 {
		return false
	}
	for i := range len(id) {
		switch c := id[i]; {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case c < '0' || '9' < c && c < 'a' || 'f' < c:
			return false
		}
	}
	return true
}

// isText returns an error for a parameter whose type is not text. As bytea, for example,
// the hex digits of a hash would be 64 bytes of text and match nothing.
func isText(oid uint32) (bool, error) {
	switch oid {
	case pgtype.TextOID, pgtype.VarcharOID, pgtype.BPCharOID:
		return true, nil
	case pgtype.ByteaOID:
		return false, unfit("its parameter $1 is bytea, but gets lower-case hex digits; write WHERE key_hash = decode($1, 'hex')")
	}
	return false, unfit(fmt.Sprintf("its parameter $1 is of a type (OID %d) that is not text; it gets 64 lower-case hex digits; write WHERE key_hash::text = $1", oid))
}

func parameterCount(n int) string {
	if n == 0 {
		return "it has no parameter; write WHERE … = $1"
	}
	return fmt.Sprintf("it has %d parameters; only $1 gets a value", n)
}
