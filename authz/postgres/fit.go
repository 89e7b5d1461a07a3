package postgres

import (
	"slices"

	"github.com/jackc/pgx/v5/pgtype"
)

// A columnRole is the purpose of a column, which determines the types it may have.
type columnRole struct {
	oids  []uint32
	right string // describes the expected type, for messages
}

func (r columnRole) takes(oid uint32) bool { return slices.Contains(r.oids, oid) }

var (
	flagColumn = columnRole{
		[]uint32{pgtype.BoolOID},
		"is_active is a boolean",
	}
	textColumn = columnRole{
		[]uint32{pgtype.TextOID, pgtype.VarcharOID, pgtype.BPCharOID, pgtype.NameOID},
		"it is a text",
	}
	idColumn = columnRole{
		[]uint32{pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.UUIDOID, pgtype.TextOID, pgtype.VarcharOID, pgtype.BPCharOID},
		"it is an integer, a uuid or a text",
	}
	endColumn = columnRole{
		[]uint32{pgtype.TimestamptzOID, pgtype.TimestampOID, pgtype.DateOID},
		"it is a timestamptz",
	}
	namesColumn = columnRole{
		[]uint32{pgtype.JSONBOID, pgtype.JSONOID, pgtype.TextOID, pgtype.VarcharOID, pgtype.TextArrayOID, pgtype.VarcharArrayOID},
		"it is jsonb or json with an array of strings, or text[]",
	}
)

func isIntegerOID(oid uint32) bool {
	return oid == pgtype.Int2OID || oid == pgtype.Int4OID || oid == pgtype.Int8OID
}

func isTextArrayOID(oid uint32) bool {
	return oid == pgtype.TextArrayOID || oid == pgtype.VarcharArrayOID
}
