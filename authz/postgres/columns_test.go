package postgres

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"warder/authz"
)

func TestSpelledAs(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		want bool
		oid  uint32
		id   string
	}{
		{true, pgtype.Int2OID, "32767"},
		{false, pgtype.Int2OID, "32768"},
		{true, pgtype.Int4OID, "-2147483648"},
		{false, pgtype.Int4OID, "2147483648"},
		{true, pgtype.Int8OID, "9223372036854775807"},
		{false, pgtype.Int8OID, "9223372036854775808"},
		{true, pgtype.Int8OID, "0"},
		{false, pgtype.Int8OID, "-0"},
		{false, pgtype.Int8OID, "00"},
		{false, pgtype.Int8OID, "+1"},
		{false, pgtype.Int8OID, "1_000"},
		{false, pgtype.Int8OID, "0x1"},
		{false, pgtype.Int8OID, ""},
		{true, pgtype.UUIDOID, "d94b6a2e-1f0c-4a3b-9a55-0e7f1c2b3a4d"},
		{false, pgtype.UUIDOID, "D94b6a2e-1f0c-4a3b-9a55-0e7f1c2b3a4d"},
		{false, pgtype.UUIDOID, "d94b6a2e1f0c4a3b9a550e7f1c2b3a4d"},
		{false, pgtype.UUIDOID, "d94b6a2e-1f0c-4a3b-9a55-0e7f1c2b3a4g"},
		{false, pgtype.UUIDOID, "d94b6a2e-1f0c-4a3b-9a550-e7f1c2b3a4d"},
		{true, pgtype.TextOID, "042"},
		{true, pgtype.VarcharOID, "A"},
		{true, pgtype.BPCharOID, "a"},
	} {
		if got, err := spelledAs(tt.oid, tt.id); got != tt.want || err != nil {
			t.Errorf("spelledAs(%d, %q) = %v, %v; want %v", tt.oid, tt.id, got, err, tt.want)
		}
	}
	for _, oid := range []uint32{0, pgtype.NameOID, pgtype.NumericOID, pgtype.Float8OID, pgtype.ByteaOID, pgtype.JSONBOID, 16_999} {
		if ok, err := spelledAs(oid, "42"); ok || err == nil {
			t.Errorf("spelledAs(%d) = %v, %v; want an error", oid, ok, err)
		}
	}
}

func FuzzStringArray(f *testing.F) {
	f.Add([]byte(`["ADMIN"]`))          // valid
	f.Add([]byte(`["ADMIN",1]`))        // not only strings
	f.Add([]byte(`[["ADMIN"]]`))        // nested
	f.Add([]byte(`{"0":"ADMIN"}`))      // how some languages encode an array
	f.Add([]byte(`["ADMIN"]x`))         // trailing data
	f.Add([]byte("[\"A\\ud800\xff\"]")) // invalid Unicode
	f.Fuzz(func(t *testing.T, data []byte) {
		list, ok := stringArray(data)
		var generic any
		err := json.Unmarshal(data, &generic)
		array, isArray := generic.([]any)
		want := err == nil && isArray
		for _, e := range array {
			_, isString := e.(string)
			want = want && isString
		}
		if ok != want {
			t.Fatalf("stringArray(%q) = %v, want %v", data, ok, want)
		}
		if ok && len(list) != len(array) {
			t.Fatalf("stringArray(%q) has %d of %d", data, len(list), len(array))
		}
	})
}

func FuzzTableOf(f *testing.F) {
	f.Add(DefaultUsersQuery)                                                  // the default
	f.Add(`SELECT a FROM "My Schema"."T" t WHERE t."Id"::text = $1 AND b`)    // every supported part
	f.Add("SELECT a FROM t WHERE k = decode($1, 'hex')")                      // bytea
	f.Add("SELECT a FROM t, u WHERE t.id = $1")                               // two tables
	f.Add("SELECT a FROM (SELECT 1) WHERE x = $1; DROP TABLE t -- canary'\"") // not supported
	f.Fuzz(func(t *testing.T, sql string) {
		found, ok := tableOf(sql)
		if ok && (found.table == "" || found.column == "" || strings.ContainsAny(strings.Trim(found.table, `"`), "();") && !strings.Contains(found.table, `"`)) {
			t.Errorf("tableOf(%q) = %+v", sql, found)
		}
	})
}

func TestLimitedLog(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	l := limitedLog{log: slog.New(slog.NewTextHandler(&text, nil)), now: func() time.Time { return now }}
	for range 10 {
		l.warn(t.Context(), "odd")
	}
	now = now.Add(time.Second)
	l.warn(t.Context(), "odd")
	got := strings.Split(strings.TrimSpace(text.String()), "\n")
	if len(got) != 2 || !strings.Contains(got[1], "more_warnings=9") {
		t.Errorf("log %q, want two lines, the second with more_warnings=9", got)
	}
	(&limitedLog{now: time.Now}).warn(t.Context(), "no logger")
}

func TestErrorsShowNoValue(t *testing.T) {
	t.Parallel()
	d := &Directory{users: statement{field: "directory.users_query"}}
	for _, err := range []error{authz.ErrNotFound, errManyRows, unfit("x"), parseError{}} {
		if got := d.failed(t.Context(), &d.users, err); strings.Contains(got.Error(), "canary") {
			t.Errorf("the error contains the driver's text: %v", got)
		}
	}
}

type parseError struct{}

func (parseError) Error() string { return "canary" }
