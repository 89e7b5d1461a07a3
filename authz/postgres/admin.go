package postgres

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"warder/authz"
	"warder/authz/attribute"
)

// Commands are the statements of an [Admin]. "" means the default, which fits the reference
// schema. Each has exactly the parameters that are listed, all as text. A statement that
// returns keys has the columns id, prefix, scopes, is_active, expires_at and user_id, and may
// have created_at. Further columns are attributes.
type Commands struct {
	// CreateKey stores a key and returns its id. $1 is the owner's id or NULL, $2 the
	// lower-case hex SHA-256 of the key, $3 the prefix, $4 the scopes as a JSON array, $5 the
	// expiry time in RFC 3339 or NULL.
	CreateKey string
	// ListKeys returns keys. $1 is the owner's id, or NULL for all.
	ListKeys string
	// ShowKey returns the keys whose id or prefix is $1.
	ShowKey string
	// RevokeKey makes the key with the id $1 invalid.
	RevokeKey string
	// ExpireKey changes the expiry time of the key with the id $1 to $2, in RFC 3339.
	ExpireKey string
}

// The default commands, which fit the reference schema.
const (
	DefaultCreateKey = "INSERT INTO api_keys (user_id, key_hash, prefix, scopes, expires_at) VALUES ($1, $2, $3, $4, $5) RETURNING id"
	DefaultListKeys  = "SELECT id, prefix, scopes, is_active, expires_at, user_id, created_at FROM api_keys WHERE $1::text IS NULL OR user_id::text = $1 ORDER BY id"
	DefaultShowKey   = "SELECT id, prefix, scopes, is_active, expires_at, user_id, created_at FROM api_keys WHERE id::text = $1 OR prefix = $1 ORDER BY id"
	DefaultRevokeKey = "UPDATE api_keys SET is_active = false WHERE id::text = $1"
	DefaultExpireKey = "UPDATE api_keys SET expires_at = $2 WHERE id::text = $1"
)

// A Key is the row of an API key. Nothing in it is secret.
type Key struct {
	ID, Prefix string
	Scopes     authz.Names
	Active     bool
	ExpiresAt  time.Time // zero: never
	CreatedAt  time.Time // zero: not known
	OwnerID    string    // "": none
	// Attributes are the further columns of the statement.
	Attributes attribute.Set
}

// A NewKey is a key to store.
type NewKey struct {
	OwnerID   string // "": none
	Hash      authz.KeyHash
	Prefix    string
	Scopes    []string
	ExpiresAt time.Time // zero: never
}

// An Admin looks at API keys and changes them for an operator. The service does not use it.
// It has one connection and is not safe for concurrent use.
type Admin struct {
	conn     *pgx.Conn
	commands Commands
	timeout  time.Duration
}

// OpenAdmin connects to the database of c. Unless writes is true, the session is read-only, as
// the service's sessions are. The caller must call [Admin.Close].
func OpenAdmin(ctx context.Context, c Config, commands Commands, writes bool) (*Admin, error) {
	t, _, err := c.target()
	if err != nil {
		return nil, err
	}
	config := t.config.Copy()
	if writes {
		delete(config.RuntimeParams, "default_transaction_read_only")
	}
	timeout := cmp.Or(c.Timeout, defaultTimeout)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, explain("directory.database_url", contextFirst(ctx, err))
	}
	return &Admin{conn, Commands{
		CreateKey: cmp.Or(commands.CreateKey, DefaultCreateKey),
		ListKeys:  cmp.Or(commands.ListKeys, DefaultListKeys),
		ShowKey:   cmp.Or(commands.ShowKey, DefaultShowKey),
		RevokeKey: cmp.Or(commands.RevokeKey, DefaultRevokeKey),
		ExpireKey: cmp.Or(commands.ExpireKey, DefaultExpireKey),
	}, timeout}, nil
}

// Close closes the connection.
func (a *Admin) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	_ = a.conn.Close(ctx)
}

// Keys returns the keys of an owner, or all keys if ownerID is "".
func (a *Admin) Keys(ctx context.Context, ownerID string) ([]Key, error) {
	return a.find(ctx, "directory.commands.list_keys", a.commands.ListKeys, ownerID)
}

// Find returns the keys whose id or prefix is name.
func (a *Admin) Find(ctx context.Context, name string) ([]Key, error) {
	return a.find(ctx, "directory.commands.show_key", a.commands.ShowKey, name)
}

// find runs a statement that returns keys. A value that the parameter's type cannot hold has
// no keys.
func (a *Admin) find(ctx context.Context, field, sql, value string) (found []Key, err error) {
	err = a.transaction(ctx, pgx.ReadOnly, func(ctx context.Context) error {
		_, err := a.run(ctx, field, sql, []string{value}, func(row columns) error {
			k, err := readKey(row)
			found = append(found, k)
			return err
		})
		return err
	})
	if code := codeOf(err); code == "22P02" || code == "22003" { // it is no number, no UUID, or too large
		return nil, nil
	}
	return found, finish(field, err)
}

func readKey(row columns) (k Key, err error) {
	if k.ID, err = row.id("id"); err != nil {
		return k, err
	}
	if k.Prefix, err = row.text("prefix"); err != nil {
		return k, err
	}
	if k.Scopes, _, err = row.names("scopes"); err != nil {
		return k, err
	}
	if k.Active, err = row.flag("is_active"); err != nil {
		return k, err
	}
	if k.ExpiresAt, err = row.end("expires_at"); err != nil {
		return k, err
	}
	if k.OwnerID, err = row.id("user_id"); err != nil {
		return k, err
	}
	if _, given := row.find("created_at"); given {
		if k.CreatedAt, err = row.end("created_at"); err != nil {
			return k, err
		}
	}
	k.Attributes, _ = row.attributes(adminColumns)
	return k, nil
}

// Create stores a key and returns its id.
func (a *Admin) Create(ctx context.Context, k NewKey) (id string, err error) {
	const field = "directory.commands.create_key"
	err = a.transaction(ctx, "", func(ctx context.Context) error {
		id, err = a.create(ctx, field, k)
		return err
	})
	return id, finish(field, err)
}

func (a *Admin) create(ctx context.Context, field string, k NewKey) (id string, err error) {
	scopes, err := json.Marshal(append([]string{}, k.Scopes...))
	if err != nil {
		return "", err
	}
	changed, err := a.run(ctx, field, a.commands.CreateKey,
		[]string{k.OwnerID, k.Hash.Hex(), k.Prefix, string(scopes), stamp(k.ExpiresAt)},
		func(row columns) (err error) {
			id, err = row.id("id")
			return err
		})
	switch {
	case err != nil:
		return "", err
	case changed != 1 || id == "":
		return "", unfit(fmt.Sprintf("it stored %d rows and returned the id %q; it must store one and return its id, as in RETURNING id. Nothing was stored", changed, id))
	}
	return id, nil
}

// Revoke makes the key with the id invalid.
func (a *Admin) Revoke(ctx context.Context, id string) error {
	const field = "directory.commands.revoke_key"
	return finish(field, a.transaction(ctx, "", func(ctx context.Context) error {
		return a.change(ctx, field, a.commands.RevokeKey, id)
	}))
}

// Rotate stores a key and lets the key with the id oldID expire, both or neither. It returns
// the id of the new key.
func (a *Admin) Rotate(ctx context.Context, oldID string, until time.Time, k NewKey) (id string, err error) {
	field := "directory.commands.create_key"
	err = a.transaction(ctx, "", func(ctx context.Context) error {
		if id, err = a.create(ctx, field, k); err != nil {
			return err
		}
		field = "directory.commands.expire_key"
		return a.change(ctx, field, a.commands.ExpireKey, oldID, stamp(until))
	})
	return id, finish(field, err)
}

// change runs a statement that must change one row.
func (a *Admin) change(ctx context.Context, field, sql string, values ...string) error {
	changed, err := a.run(ctx, field, sql, values, func(columns) error { return nil })
	if err == nil && changed != 1 {
		err = unfit(fmt.Sprintf("it changed %d rows; it must change the one whose id is $1. Nothing was changed", changed))
	}
	return err
}

// stamp writes a time as text, and the zero Time as "", which is sent as NULL.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// transaction runs do in a transaction. With a pooler in front of the database, all of it goes
// to one server. mode is pgx.ReadOnly, or "" for the session's own mode.
func (a *Admin) transaction(ctx context.Context, mode pgx.TxAccessMode, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	if err := pgx.BeginTxFunc(ctx, a.conn, pgx.TxOptions{AccessMode: mode}, func(pgx.Tx) error { return do(ctx) }); err != nil {
		return contextFirst(ctx, err)
	}
	return nil
}

// run runs a statement. An empty value is sent as NULL. It returns the number of rows that
// were changed or returned.
func (a *Admin) run(ctx context.Context, field, sql string, values []string, read func(columns) error) (int64, error) {
	conn := a.conn.PgConn()
	description, err := conn.Prepare(ctx, "", sql, nil)
	if err != nil {
		return 0, err
	}
	if n := len(description.ParamOIDs); n != len(values) {
		return 0, unfit(fmt.Sprintf("it has %d parameters, and gets %d; use each of them, as the documentation of %s says", n, len(values), field))
	}
	sent := make([][]byte, len(values))
	for i, value := range values {
		if value != "" {
			sent[i] = []byte(value)
		}
	}
	result := conn.ExecPrepared(ctx, "", sent, nil, binary)
	var readErr error
	for result.NextRow() {
		if err := read(columns{a.conn.TypeMap(), result.FieldDescriptions(), result.Values()}); readErr == nil {
			readErr = err
		}
	}
	tag, err := result.Close()
	return tag.RowsAffected(), errors.Join(err, readErr)
}

// finish makes an error of a command one for people.
func finish(field string, err error) error {
	switch {
	case err == nil:
		return nil
	case codeOf(err) == "42501":
		return fmt.Errorf("%w; the role of the service may only read what the service reads, so name another one: --database-url-file or WARDER_ADMIN_DATABASE_URL", explain(field, err))
	case codeOf(err) == "25006":
		return fmt.Errorf("%s: the database is read-only, or a standby; name the primary", field)
	}
	return explain(field, err)
}
