package postgres

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"warder/authz"
)

// A target is a database and what a connection logs in with. A target does not change. When
// a password changes, there is a new one.
type target struct {
	config *pgx.ConnConfig
	// databases are the databases of the URL, with their servers.
	databases string
	// place is the URL without its password.
	place string
	// files reports whether the URL names files, whose contents are not in place.
	files bool
	// unprepared reports whether the URL disables prepared statements.
	unprepared bool
	// settings are set in each transaction, for a URL without prepared statements.
	settings []setting
	// instead is the target that the server refused before this one was made, or nil.
	instead *target
	proved  atomic.Bool // a connection has logged in with it
}

// fileParameters are the parameters of the URL that name files. They are read again with
// each new target.
var fileParameters = []string{"sslrootcert", "sslcert", "sslkey", "passfile", "servicefile"}

// newTarget makes a target of the configuration that parse has made from an address.
func newTarget(parsed parsedURL, password string, config *pgx.ConnConfig) (*target, error) {
	rest, query, _ := strings.Cut(parsed.address, "?")
	params, _ := url.ParseQuery(query) // readURL produced it
	rest = strings.TrimPrefix(rest, "postgres://")
	given := false
	if authority, _, _ := strings.Cut(rest, "/"); strings.Contains(authority, "@") {
		login, servers, _ := strings.Cut(rest, "@")
		user, secret, _ := strings.Cut(login, ":")
		rest, given = user+"@"+servers, secret != ""
	}
	if password != "" {
		if given || params.Has("password") {
			return nil, authz.Misconfigured("directory.password_file", "is set, and database_url holds a password too; keep one of the two")
		}
		config.Password = password
	}
	t := &target{config: config, unprepared: parsed.unprepared, databases: databasesOf(config)}
	if t.unprepared {
		t.settings = takeSettings(config)
	}
	t.files = slices.ContainsFunc(fileParameters, params.Has)
	params.Del("password")
	t.place = rest + "?" + params.Encode() + fmt.Sprint(t.settings)
	return t, nil
}

// sameDatabase reports whether two targets have the same data: they are the same databases
// on the same servers.
func (t *target) sameDatabase(other *target) bool {
	return t.databases == other.databases
}

func databasesOf(c *pgx.ConnConfig) string {
	all := []string{fmt.Sprintf("%q %d %q", c.Host, c.Port, c.Database)}
	for _, f := range c.Fallbacks {
		all = append(all, fmt.Sprintf("%q %d", f.Host, f.Port))
	}
	return strings.Join(all, " ")
}

// sameLogin reports whether a connection with one target is like one with the other.
func (t *target) sameLogin(other *target) bool {
	return t.place == other.place && t.config.Password == other.config.Password && !t.files && !other.files
}

// An access holds the target of new connections, and the one before it. Connections that are
// logged in stay when a password changes. Which password a server accepts may change a moment
// before or after the configuration does, so a refused login is repeated with what the
// configuration says now, and with the password before.
type access struct {
	config  Config
	current atomic.Pointer[target]

	mu sync.Mutex
	// previous is the last target that worked, until one with the current password does. It
	// is the same database as current. It may be nil.
	previous *target
	// moved is closed when current becomes another place.
	moved chan struct{}
}

// place returns the target of new connections and a channel that is closed when there is one
// of another place.
func (a *access) place() (*target, <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.current.Load(), a.moved
}

// install makes t the first target.
func (a *access) install(c Config, t *target) {
	a.config, a.moved = c, make(chan struct{})
	a.prepare(t)
	a.current.Store(t)
}

// loggedInWith is the key under which a connection keeps its target.
const loggedInWith = "warder_target"

// prepare makes connections with t report that they have logged in.
func (a *access) prepare(t *target) {
	connected := t.config.AfterConnect
	t.config.AfterConnect = func(ctx context.Context, conn *pgconn.PgConn) error {
		if err := connected(ctx, conn); err != nil {
			return err
		}
		conn.CustomData()[loggedInWith] = t
		a.worked(t)
		return nil
	}
}

// make checks a URL and a password, and makes a target of them.
func (a *access) make(databaseURL, password string) (*target, error) {
	c := a.config
	c.DatabaseURL, c.Password = databaseURL, password
	t, _, err := c.target()
	if err != nil {
		return nil, err
	}
	if t.unprepared != a.current.Load().unprepared {
		return nil, authz.Misconfigured("directory.database_url", "turns prepared statements on or off (pgbouncer, prepared_statement_cache_size), which needs a new start")
	}
	a.prepare(t)
	return t, nil
}

// replace makes next the target of new connections. It reports whether next is another place.
func (a *access) replace(next *target) (moved bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.use(next)
}

// use is replace with the lock held.
func (a *access) use(next *target) (moved bool) {
	old := a.current.Load()
	switch {
	case !old.sameDatabase(next):
		a.previous = nil // its data is another's
	case old.proved.Load():
		a.previous = old
	}
	a.current.Store(next)
	if next.place == old.place {
		return false
	}
	close(a.moved)
	a.moved = make(chan struct{})
	return true
}

// worked records that a connection has logged in with t. If t was tried instead of the target
// of new connections, it becomes that.
func (a *access) worked(t *target) {
	if t.proved.Swap(true) {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch current := a.current.Load(); current {
	case t:
		a.previous = nil
	case t.instead:
		a.use(t)
	}
}

// tryOthers connects with other targets after the server has refused t: with what the
// configuration says now, then with the target before it, and then with the current one again,
// because the server may have changed the password between two attempts. It ends when one is not
// refused, and returns the last error.
func (a *access) tryOthers(ctx context.Context, t *target, refused error, connect func(*target) error) error {
	var before *target
	for _, other := range []func() *target{
		func() *target { return a.latest(ctx, t) },
		func() *target { before = a.before(t); return before },
		func() *target {
			if before == nil {
				return nil
			}
			return a.latest(ctx, before)
		},
	} {
		if next := other(); next != nil {
			if refused = connect(next); !isLoginRefused(refused) {
				break
			}
		}
	}
	return refused
}

// latest returns what the configuration says now, if it is another login than t, or nil.
func (a *access) latest(ctx context.Context, t *target) *target {
	if now := a.current.Load(); now != t { // new connections use it in any case
		return now
	}
	databaseURL, password := a.config.DatabaseURL, a.config.Password
	if a.config.Reread != nil {
		var err error
		if databaseURL, password, err = a.config.Reread(ctx); err != nil {
			return nil // the server's refusal says more
		}
	}
	// Files that the URL names are read here too.
	now, err := a.make(databaseURL, password)
	if err != nil || !now.sameDatabase(t) || now.sameLogin(t) {
		return nil
	}
	now.instead = t
	return now
}

// before returns the last target of the same database as t that worked, or nil. It may be t
// itself, because the connection that was refused may have used a newer one.
func (a *access) before(t *target) *target {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.previous == nil || !a.previous.sameDatabase(t) {
		return nil
	}
	return a.previous
}

// A triedTarget is the key of a context with the target that a new connection must use.
type triedTarget struct{}

// beforeConnect is the hook of the pool that chooses the target of a new connection.
func (a *access) beforeConnect(ctx context.Context, config *pgx.ConnConfig) error {
	t, tried := ctx.Value(triedTarget{}).(*target)
	if !tried {
		t = a.current.Load()
	}
	*config = *t.config.Copy()
	return nil
}

// prepareConn is the hook of the pool that refuses a connection to a database that is no longer
// configured. The pool's Reset does not end a connection that was being opened.
func (a *access) prepareConn(_ context.Context, conn *pgx.Conn) (bool, error) {
	t, known := conn.PgConn().CustomData()[loggedInWith].(*target)
	return known && t.sameDatabase(a.current.Load()), nil
}

// acquire takes a connection from the pool. While the server refuses the login of a new one,
// it tries the other targets.
func (d *Directory) acquire(ctx context.Context) (*pgxpool.Conn, error) {
	t := d.access.current.Load()
	conn, err := d.pool.Acquire(ctx)
	if isLoginRefused(err) {
		err = d.access.tryOthers(ctx, t, err, func(next *target) error {
			conn, err = d.pool.Acquire(context.WithValue(ctx, triedTarget{}, next))
			return err
		})
	}
	return conn, err
}

// connect opens a connection outside of the pool, with the configuration that adapt makes of
// that of a target. Like acquire, it tries the other targets. It returns the target as well.
func (d *Directory) connect(ctx context.Context, adapt func(*target) *pgconn.Config) (*pgconn.PgConn, *target, error) {
	t := d.access.current.Load()
	conn, err := pgconn.ConnectConfig(ctx, adapt(t))
	if isLoginRefused(err) {
		err = d.access.tryOthers(ctx, t, err, func(next *target) error {
			t = next
			conn, err = pgconn.ConnectConfig(ctx, adapt(t))
			return err
		})
	}
	return conn, t, err
}

// isLoginRefused reports whether the server refuses a user, a password or a certificate, or
// has a certificate that is not trusted.
func isLoginRefused(err error) bool {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		// PgBouncer uses a code of the protocol.
		return classOf(err) == "28" || pgErr.Code == "08P01" && strings.Contains(pgErr.Message, "auth")
	}
	return isCertificateRefused(err)
}

// Reconfigure uses another URL and password from now on. On an error the old ones stay. When
// only the password or the content of a file that the URL names differs, connections stay
// too. For another server, database or user they are closed when they are idle.
func (d *Directory) Reconfigure(databaseURL, password string) error {
	next, err := d.access.make(databaseURL, password)
	if err != nil {
		return err
	}
	if next.sameLogin(d.access.current.Load()) {
		return nil
	}
	if d.access.replace(next) {
		d.pool.Reset()
	}
	return nil
}

// Files returns the files that the URL names, by the name of their parameter: certificates,
// keys and passwords. Connections use what they held when Reconfigure was called last.
func (c Config) Files() map[string]string {
	parsed, err := readURL(c.DatabaseURL)
	if err != nil {
		return nil
	}
	_, query, _ := strings.Cut(parsed.address, "?")
	params, _ := url.ParseQuery(query) // readURL produced it
	files := map[string]string{}
	for _, name := range fileParameters {
		if path := params.Get(name); path != "" && path != "system" { // sslrootcert=system is no file
			files[name] = path
		}
	}
	return files
}
