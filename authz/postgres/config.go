package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"warder/authz"
)

// Config configures a [Directory].
type Config struct {
	// DatabaseURL is postgres:// or postgresql://, or the form of another library, such as
	// postgresql+asyncpg://…?ssl=require, jdbc:postgresql://… or …?pgbouncer=true. A parameter
	// that is not known is an error. Some are known and have no effect: see [Config.Warnings].
	DatabaseURL string
	// Password is the password of a URL that has none. It may be "".
	Password string
	// AwaitPassword is for a Password that is not known yet: while it is "", no connection is
	// opened, and [Directory.Reconfigure] gives it.
	AwaitPassword bool
	// Reread, if not nil, returns the URL and the password that are configured now. It is
	// called when the database refuses a login, before the login is repeated.
	Reread func(context.Context) (databaseURL, password string, err error)
	// UsersQuery has one parameter, the user id, and returns the columns is_active and
	// roles. If it also returns a column id, that must equal the parameter. Further columns
	// are attributes of the user. "" means
	// [DefaultUsersQuery].
	UsersQuery string
	// APIKeysQuery has one parameter, the lower-case hex SHA-256 of the whole key,
	// and returns the columns prefix, scopes, is_active, expires_at and user_id. Further
	// columns are attributes of the key. "" means
	// [DefaultAPIKeysQuery].
	APIKeysQuery string
	// NoAPIKeys is for a database without API keys: [Directory.APIKey] finds none, without a
	// query, and [Directory.Check] does not look at APIKeysQuery.
	NoAPIKeys bool
	// NoUsers is for a database without users: [Directory.User] finds none, without a query, and
	// [Directory.Check] does not look at UsersQuery.
	NoUsers bool
	// Standby accepts answers from a standby whose last replayed transaction is at most
	// MaxStandbyLag old. Without it only a primary answers.
	Standby bool
	// MaxStandbyLag is [DefaultMaxStandbyLag] if 0. The age is the difference between the
	// standby's clock and the commit time, which is by the primary's clock.
	MaxStandbyLag time.Duration
	// Timeout bounds one question, including connecting. 0 means 150ms.
	Timeout time.Duration
	// MaxConns is the size of the connection pool. 0 means 10.
	MaxConns int
	// Log receives warnings about rows, at most one per second and without their values,
	// and the state of [Directory.Listen]. It may be nil.
	Log *slog.Logger
}

const (
	defaultTimeout = 150 * time.Millisecond
	// DefaultMaxConns is the default size of the connection pool.
	DefaultMaxConns = 10

	// DefaultMaxStandbyLag is more than the usual lag of a standby in the same network,
	// and short enough for the deactivation of a user to take effect.
	DefaultMaxStandbyLag = 10 * time.Second

	// connectTimeout bounds a connection attempt, which continues after its question has
	// timed out. The attempt occupies a place in the pool, so the timeout must be well
	// below the 2s within which warder must recover from an outage.
	connectTimeout = time.Second
	// farewell bounds the closing of a connection: see hangup.
	farewell = 500 * time.Millisecond
)

// New checks the configuration and returns a Directory. It does not wait for a connection,
// because the database may be down when warder starts: see [Directory.Check]. No error
// contains the URL or a part of it that could be the password. The caller must call
// [Directory.Close].
func New(c Config) (*Directory, error) {
	d, pool, err := c.parse()
	if err != nil {
		return nil, err
	}
	// The only error is about the pool's size, which parse has checked.
	if d.pool, err = pgxpool.NewWithConfig(context.Background(), pool); err != nil {
		return nil, fmt.Errorf("directory: making the pool of connections: %w", err)
	}
	return d, nil
}

// Validate checks the configuration like [New], without connecting.
func (c Config) Validate() error {
	_, _, err := c.parse()
	return err
}

func (c Config) parse() (*Directory, *pgxpool.Config, error) {
	t, pool, err := c.target()
	if err != nil {
		return nil, nil, err
	}
	d := &Directory{
		timeout: cmp.Or(c.Timeout, defaultTimeout), noAPIKeys: c.NoAPIKeys, noUsers: c.NoUsers,
		users:    statement{field: "directory.users_query", name: "warder_users", sql: cmp.Or(c.UsersQuery, DefaultUsersQuery)},
		apiKeys:  statement{field: "directory.api_keys_query", name: "warder_api_keys", sql: cmp.Or(c.APIKeysQuery, DefaultAPIKeysQuery)},
		warnings: limitedLog{log: c.Log, now: time.Now},
		server:   serverCheck{standby: c.Standby, maxLag: cmp.Or(c.MaxStandbyLag, DefaultMaxStandbyLag)},
		standbys: standbyLog{limited: limitedLog{log: c.Log, now: time.Now}},
	}
	if t.unprepared {
		d.users.name, d.apiKeys.name = "", ""
	}
	maxConns := cmp.Or(c.MaxConns, DefaultMaxConns)
	switch {
	case d.timeout < 0:
		return nil, nil, authz.Misconfigured("directory.timeout", "%v is negative; write one such as 150ms", d.timeout)
	case d.server.maxLag < 0:
		return nil, nil, authz.Misconfigured("directory.max_standby_lag", "%v is negative; write one such as 10s", d.server.maxLag)
	case maxConns < 0 || maxConns > 10_000:
		return nil, nil, authz.Misconfigured("directory", "a pool of %d connections; use 1 to 10000", maxConns)
	}
	d.line.places = int64(maxConns)
	d.access.install(c, t)
	pool.BeforeConnect, pool.PrepareConn = d.access.beforeConnect, d.access.prepareConn
	// This leaves a quarter of the connections or more to known users and keys, except in
	// the smallest pools. Unknown keys get fewer connections than unknown users, because a
	// question about a user takes a valid token and a session.
	d.strangers = newShare[string](maxConns/2, d.timeout/2)
	d.strangerKeys = newShare[authz.KeyHash](maxConns/4, d.timeout/2)
	return d, pool, nil
}

// target checks the URL and the password. It makes a target of them, and the configuration of
// a pool.
func (c Config) target() (*target, *pgxpool.Config, error) {
	parsed, err := readURL(c.DatabaseURL)
	if err != nil {
		return nil, nil, authz.Misconfigured("directory.database_url", "%v", err)
	}
	pool, err := pgxpool.ParseConfig(parsed.address)
	if err != nil {
		return nil, nil, authz.Misconfigured("directory.database_url", "%v", refusedBy(parsed.address)) // the driver's error contains the URL
	}
	bound(pool, cmp.Or(c.Timeout, defaultTimeout), cmp.Or(c.MaxConns, DefaultMaxConns), parsed.unprepared)
	splitSockets(&pool.ConnConfig.Config)
	if err := chooseServer(pool.ConnConfig, c.Standby); err != nil {
		return nil, nil, authz.Misconfigured("directory.database_url", "%v", err)
	}
	if c.AwaitPassword && c.Password == "" {
		pool.ConnConfig.DialFunc = func(context.Context, string, string) (net.Conn, error) { return nil, errNoPassword }
	}
	t, err := newTarget(parsed, c.Password, pool.ConnConfig)
	return t, pool, err
}

var errNoPassword = errors.New("the password is not known yet")

// Warnings returns what is probably not intended: at most one line, which names the parameters
// of the URL that have no effect.
func (c Config) Warnings() []string {
	parsed, err := readURL(c.DatabaseURL)
	if err != nil || len(parsed.ignored) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("parameters of the URL without effect: %s; warder has a pool of its own, and directory.timeout bounds connecting and each query. Leave them out",
		strings.Join(parsed.ignored, ", "))}
}

// bound sets the limits of the pool and of its connections, so that connections that hang
// cannot use up the pool.
func bound(c *pgxpool.Config, timeout time.Duration, maxConns int, unprepared bool) {
	c.MaxConns = int32(maxConns) //nolint:gosec // New has checked the range
	c.MinConns = 1               // the first request need not wait for a handshake
	c.HealthCheckPeriod = 5 * time.Second
	// Host names, types and servers can change, so connections are replaced regularly.
	c.MaxConnLifetime = 5 * time.Minute
	c.MaxConnLifetimeJitter = 30 * time.Second
	// The pool pings an idle connection before it is used. If there is no reply, this must
	// leave time to use another connection.
	c.PingTimeout = timeout / 3

	conn := c.ConnConfig
	conn.ConnectTimeout = connectTimeout
	conn.DialFunc = dial
	conn.AfterConnect = func(_ context.Context, conn *pgconn.PgConn) error {
		return conn.Conn().SetDeadline(time.Time{}) // clears the deadline set by dial
	}
	conn.OnNotice = nil
	setDefault(conn.RuntimeParams, "application_name", "warder")
	// Configured queries must not write, whatever the URL says. A pooler such as PgBouncer
	// rejects unknown startup parameters; in that case serverCheck.ask makes each
	// transaction read-only.
	delete(conn.RuntimeParams, "default_transaction_read_only")
	if !unprepared {
		conn.RuntimeParams["default_transaction_read_only"] = "on"
		// At a higher isolation level the query would use the snapshot of serverQuery,
		// which may be older than the answer to serverQuery.
		conn.RuntimeParams["default_transaction_isolation"] = "read committed"
	}
}

// socketFile matches the path of the file that Postgres makes for a socket: it has the port in
// its name, and libpq's host is its folder.
var socketFile = regexp.MustCompile(`^(/.*)/\.s\.PGSQL\.([0-9]{1,5})$`)

// splitSockets makes the folder and the port of hosts that are the files of sockets.
func splitSockets(c *pgconn.Config) {
	split := func(host *string, port *uint16) {
		if m := socketFile.FindStringSubmatch(*host); m != nil {
			if n, err := strconv.ParseUint(m[2], 10, 16); err == nil {
				*host, *port = m[1], uint16(n)
			}
		}
	}
	split(&c.Host, &c.Port)
	for _, f := range c.Fallbacks {
		split(&f.Host, &f.Port)
	}
}

// chooseServer sets how the driver chooses among the servers of the URL, and which server it
// accepts. The driver's own tests for read-write and read-only ask whether a session is
// read-only, and all sessions of warder are: they mean the primary and a standby here. Without
// the choice in the URL, the primary of several servers is chosen.
func chooseServer(c *pgx.ConnConfig, standby bool) error {
	several := slices.ContainsFunc(c.Fallbacks, func(f *pgconn.FallbackConfig) bool { return f.Host != c.Host || f.Port != c.Port })
	wanted := func(attrs pgconn.ValidateConnectFunc) bool {
		// The choice may also be from the environment or a service file, so that only the driver
		// knows it.
		return c.ValidateConnect != nil && reflect.ValueOf(c.ValidateConnect).Pointer() == reflect.ValueOf(attrs).Pointer()
	}
	switch {
	case c.ValidateConnect == nil && several && !standby,
		wanted(pgconn.ValidateConnectTargetSessionAttrsReadWrite),
		wanted(pgconn.ValidateConnectTargetSessionAttrsPreferStandby) && !standby:
		c.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsPrimary
	case wanted(pgconn.ValidateConnectTargetSessionAttrsReadOnly), wanted(pgconn.ValidateConnectTargetSessionAttrsStandby):
		if !standby {
			return errors.New("target_session_attrs asks for a standby, and without directory.standby: true no standby may answer; " +
				"write target_session_attrs=primary, or set directory.standby")
		}
		c.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsStandby
	}
	return nil
}

func setDefault(params map[string]string, name, value string) {
	if _, set := params[name]; !set {
		params[name] = value
	}
}

// dial opens a connection for a session or for a cancel request. Its deadline remains until
// a session is established. For a cancel request nothing else sets a deadline.
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

// hangup bounds how long the driver takes to close a connection. After a question times
// out, the driver sends a cancel request and waits up to 15s for the server to close the
// connection, which keeps its place in the pool meanwhile. With a server that hangs, the
// pool would fill up with such connections and stay full after the server is back.
type hangup struct{ net.Conn }

// SetDeadline sets the deadline to t, or to farewell from now if that is earlier. The
// deadlines that the driver sets to end a question are never in the future.
func (h hangup) SetDeadline(t time.Time) error {
	if latest := time.Now().Add(farewell); t.After(latest) { //nolint:forbidigo // as above
		t = latest
	}
	return h.Conn.SetDeadline(t)
}
