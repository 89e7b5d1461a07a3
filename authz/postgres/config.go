package postgres

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"warder/authz"
)

// Config says where users and API keys are and how to ask.
type Config struct {
	// DatabaseURL is postgres:// or postgresql://, also as SQLAlchemy writes it
	// (postgresql+asyncpg://…?ssl=require).
	DatabaseURL string
	// UsersQuery has one parameter, the user id, and the columns is_active and
	// roles. If it also has a column id, that has to be the id asked for. "" means
	// [DefaultUsersQuery].
	UsersQuery string
	// APIKeysQuery has one parameter, the lower-case hex SHA-256 of the whole key,
	// and the columns prefix, scopes, is_active, expires_at and user_id. "" means
	// [DefaultAPIKeysQuery].
	APIKeysQuery string
	// Standby lets a standby answer whose data is at most MaxStandbyLag old, by the
	// clock of the primary; 0 means 10s. Otherwise only a primary answers.
	Standby       bool
	MaxStandbyLag time.Duration
	// Timeout bounds one question, connecting included; 0 means 150ms.
	Timeout time.Duration
	// MaxConns bounds the connections; 0 means 10.
	MaxConns int
	// Log gets warnings about what rows hold, one a second at most and never with
	// the content; nil means none.
	Log *slog.Logger
}

const (
	defaultTimeout  = 150 * time.Millisecond
	defaultMaxConns = 10

	// DefaultMaxStandbyLag is above what a standby in the same place needs, and below
	// what people wait for after they deactivated a user.
	DefaultMaxStandbyLag = 10 * time.Second

	// connectTimeout bounds a connection in the making, which goes on when the
	// question that wanted it has given up. While it hangs it takes a place in the
	// pool, so this has to be well below the 2s in which all is to be well again.
	connectTimeout = time.Second
	// farewell bounds what a connection that was given up may still do: see hangup.
	farewell = 500 * time.Millisecond
)

// New checks the configuration. It does not wait for a connection: the database
// may be away when warder starts, see [Directory.Check]. No error shows the URL or
// a part of it that could be the password.
func New(c Config) (*Directory, error) {
	d, pool, err := c.parse()
	if err != nil {
		return nil, err
	}
	// The pool's only error is about its size, which is checked.
	if d.pool, err = pgxpool.NewWithConfig(context.Background(), pool); err != nil {
		return nil, fmt.Errorf("directory: making the pool of connections: %w", err)
	}
	return d, nil
}

// Validate returns the error that [New] would return, and connects to nothing.
func (c Config) Validate() error {
	_, _, err := c.parse()
	return err
}

func (c Config) parse() (*Directory, *pgxpool.Config, error) {
	address, unprepared, err := readURL(c.DatabaseURL)
	if err != nil {
		return nil, nil, authz.Misconfigured("directory.database_url", "%v", err)
	}
	pool, err := pgxpool.ParseConfig(address)
	if err != nil {
		return nil, nil, authz.Misconfigured("directory.database_url", "%v", refusedBy(address)) // the driver's error shows the URL
	}
	d := &Directory{
		timeout:  cmp.Or(c.Timeout, defaultTimeout),
		users:    statement{field: "directory.users_query", name: "warder_users", sql: cmp.Or(c.UsersQuery, DefaultUsersQuery)},
		apiKeys:  statement{field: "directory.api_keys_query", name: "warder_api_keys", sql: cmp.Or(c.APIKeysQuery, DefaultAPIKeysQuery)},
		warnings: limitedLog{log: c.Log, now: time.Now},
		server:   serverCheck{standby: c.Standby, maxLag: cmp.Or(c.MaxStandbyLag, DefaultMaxStandbyLag)},
		standbys: standbyLog{limited: limitedLog{log: c.Log, now: time.Now}},
	}
	if unprepared {
		d.users.name, d.apiKeys.name = "", ""
	}
	maxConns := cmp.Or(c.MaxConns, defaultMaxConns)
	switch {
	case d.timeout < 0:
		return nil, nil, authz.Misconfigured("directory.timeout", "%v is negative; write one such as 150ms", d.timeout)
	case d.server.maxLag < 0:
		return nil, nil, authz.Misconfigured("directory.max_standby_lag", "%v is negative; write one such as 10s", d.server.maxLag)
	case maxConns < 0 || maxConns > 10_000:
		return nil, nil, authz.Misconfigured("directory", "a pool of %d connections; use 1 to 10000", maxConns)
	}
	bound(pool, d.timeout, maxConns, unprepared)
	choosePrimary(pool.ConnConfig, address, c.Standby)
	// At least a quarter of the connections is left to those who are known. Keys get
	// less than users: about a user one is asked with a token and a session only.
	d.strangers = newShare[string](maxConns/2, d.timeout/2)
	d.strangerKeys = newShare[authz.KeyHash](maxConns/4, d.timeout/2)
	return d, pool, nil
}

// bound keeps every question inside its time, and hung connections from using
// up the pool.
func bound(c *pgxpool.Config, timeout time.Duration, maxConns int, unprepared bool) {
	c.MaxConns = int32(maxConns) //nolint:gosec // New has checked the range
	c.MinConns = 1               // so that a first request does not wait for a handshake
	c.HealthCheckPeriod = 5 * time.Second
	// Names, types and servers change under a connection: none gets old.
	c.MaxConnLifetime = 5 * time.Minute
	c.MaxConnLifetimeJitter = 30 * time.Second
	// A connection that was idle is tried before it is used, and its silence must
	// leave time for another one.
	c.PingTimeout = timeout / 3

	conn := c.ConnConfig
	conn.ConnectTimeout = connectTimeout
	conn.DialFunc = dial
	conn.AfterConnect = func(_ context.Context, conn *pgconn.PgConn) error {
		return conn.Conn().SetDeadline(time.Time{}) // of dial
	}
	conn.OnNotice = nil
	setDefault(conn.RuntimeParams, "application_name", "warder")
	// No query of the configuration may write, whatever the URL says. A pooler such
	// as PgBouncer refuses parameters that it does not know: there each question says so.
	delete(conn.RuntimeParams, "default_transaction_read_only")
	if !unprepared {
		conn.RuntimeParams["default_transaction_read_only"] = "on"
		// A snapshot for the whole transaction would be older than the answer to serverQuery.
		conn.RuntimeParams["default_transaction_isolation"] = "read committed"
	}
}

// choosePrimary connects to the primary where the URL names several servers and does
// not say which, or asks for one that takes writes: no session of warder does, so
// that the driver's own test would refuse all.
func choosePrimary(c *pgx.ConnConfig, address string, standby bool) {
	_, query, _ := strings.Cut(address, "?")
	params, _ := url.ParseQuery(query) // readURL wrote it
	several := slices.ContainsFunc(c.Fallbacks, func(f *pgconn.FallbackConfig) bool { return f.Host != c.Host || f.Port != c.Port })
	switch wanted := params.Get("target_session_attrs"); {
	case wanted == "read-write", (wanted == "" || wanted == "any") && several && !standby:
		c.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsPrimary
	}
}

func setDefault(params map[string]string, name, value string) {
	if _, set := params[name]; !set {
		params[name] = value
	}
}

// dial connects, for a session or for a request to cancel one. The deadline
// holds until the connection is a session: nothing else bounds the latter.
func dial(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := net.Dialer{
		Timeout:         connectTimeout,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3},
	}
	until := time.Now().Add(connectTimeout) //nolint:forbidigo // deadlines of sockets are in real time
	conn, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(until); err != nil {
		conn.Close()
		return nil, err
	}
	return hangup{conn}, nil
}

// hangup shortens the driver's farewell. A connection whose question was given
// up asks the server to cancel it and then waits up to 15s for the server to
// close, and keeps its place in the pool for so long: with a server that hangs the
// pool would be full of farewells, and stay so after the server is back.
type hangup struct{ net.Conn }

// SetDeadline brings a deadline forward that is far away. Those that end a
// question are never in the future.
func (h hangup) SetDeadline(t time.Time) error {
	if latest := time.Now().Add(farewell); t.After(latest) { //nolint:forbidigo // as above
		t = latest
	}
	return h.Conn.SetDeadline(t)
}
