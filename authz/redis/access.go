package redis

import (
	"cmp"
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/redis/go-redis/v9"

	"warder/authz"
)

// A target is a server and what a connection logs in with. A target does not change. When a
// password changes, there is a new one.
type target struct {
	// options have neither credentials nor database, because logIn sends them.
	options            *redis.Options
	username, password string
	database           int
	clientName         string
	among              deployment // of the server
	seeds              []string   // addresses of the URL
	primary            string     // the name that Sentinels have for the primary
	sentinels          *target    // what a connection to a Sentinel logs in with
	dial               func(ctx context.Context, network, address string) (net.Conn, error)
	certificates       string // tells apart the contents of certificates and keys
	// instead is the target that the server refused before this one was made, or nil.
	instead *target
	proved  atomic.Bool // a connection has logged in with it
}

// sameServer reports whether two targets have the same sessions.
func (t *target) sameServer(other *target) bool {
	return t.options.Network == other.options.Network && slices.Equal(t.seeds, other.seeds) &&
		t.among == other.among && t.primary == other.primary &&
		t.protection() == other.protection() && t.database == other.database
}

// protection returns how connections are protected: not at all, by TLS with any certificate, or
// by TLS.
func (t *target) protection() string {
	switch c := t.options.TLSConfig; {
	case c == nil:
		return "none"
	case c.InsecureSkipVerify:
		return "any certificate"
	}
	return "TLS"
}

// sameLogin reports whether connections to one target are opened as those to the other.
func (t *target) sameLogin(other *target) bool {
	return t.username == other.username && t.password == other.password && t.certificates == other.certificates
}

// samePlace reports whether connections to one target can stay when the other is used: they
// differ in the password or in certificates only.
func (t *target) samePlace(other *target) bool {
	return t.sameServer(other) && t.username == other.username
}

// target checks the URL, the password and the files of certificates, and makes a target of them.
func (c Config) target() (*target, error) {
	l, err := readURL(c.URL)
	if err != nil {
		return nil, authz.Misconfigured("sessions.redis_url", "%v", err)
	}
	if c.Password != "" && l.password != "" {
		return nil, authz.Misconfigured("sessions.password_file", "is set, and redis_url holds a password too; keep one of the two")
	}
	secured, certificates, err := c.TLS.load(l)
	if err != nil {
		return nil, err
	}
	options := &redis.Options{
		Network: "tcp", TLSConfig: secured,
		ConnMaxIdleTime: l.maxIdleTime, ConnMaxLifetime: l.maxLifetime,
		PoolSize: cmp.Or(c.PoolSize, l.poolSize, defaultPoolSize),
	}
	if l.socket {
		options.Network = "unix"
	}
	if l.maxConns > 0 {
		options.PoolSize = min(options.PoolSize, l.maxConns)
	}
	if options.PoolSize < 0 || options.PoolSize > maxPoolSize {
		return nil, authz.Misconfigured("sessions", "%d is not a pool size; use 1 to %d", options.PoolSize, maxPoolSize)
	}
	bound(options, cmp.Or(c.Timeout, defaultTimeout))
	t := &target{
		options: options, among: l.among, seeds: l.addresses(),
		username: l.username, password: cmp.Or(c.Password, l.password), database: l.database, clientName: l.clientName,
		dial: options.Dialer, certificates: certificates,
	}
	if err := c.applySentinels(t, l); err != nil {
		return nil, err
	}
	return t, nil
}

// An access holds the target of new connections, and the one before it. Connections that are
// logged in stay when a password changes. Which password a server accepts may change a moment
// before or after the configuration does, so a refused login is repeated with what the
// configuration says now, and with the password before.
type access struct {
	config  Config
	current atomic.Pointer[target]
	// part returns the target of this access in that of the configuration.
	part func(*target) *target

	mu sync.Mutex
	// previous is the last target that worked, until one with the current password does. It
	// has the sessions of current. It may be nil.
	previous *target
}

// replace makes next the target of new connections, unless it is the same.
func (a *access) replace(next *target) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if now := a.current.Load(); now == nil || next == nil || !now.samePlace(next) || !now.sameLogin(next) {
		a.use(next)
	}
}

// use makes next the target of new connections. The lock is held.
func (a *access) use(next *target) {
	old := a.current.Load()
	switch {
	case old == nil || next == nil || !old.sameServer(next):
		a.previous = nil // its sessions are others
	case old.proved.Load():
		a.previous = old
	}
	a.current.Store(next)
}

// worked records that a connection has logged in with t. If t was tried instead of the target
// of new connections, it becomes that.
func (a *access) worked(t *target) {
	if t.proved.Swap(true) {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch a.current.Load() {
	case t:
		a.previous = nil
	case t.instead:
		a.use(t)
	}
}

// before returns the target before t with the same sessions, or nil.
func (a *access) before(t *target) *target {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.previous == nil || a.previous == t || !a.previous.sameServer(t) {
		return nil
	}
	return a.previous
}

// latest returns what the configuration says now, if that logs in to the server of t with
// something else, or nil.
func (a *access) latest(ctx context.Context, t *target) *target {
	if now := a.current.Load(); now != t {
		if now.sameServer(t) {
			return now
		}
		return nil
	}
	if a.config.Reread == nil {
		return nil
	}
	secrets, err := a.config.Reread(ctx)
	if err != nil {
		return nil // the server's refusal says more
	}
	all, err := a.config.with(secrets).target()
	if err != nil {
		return nil
	}
	now := a.part(all)
	if now == nil || !now.sameServer(t) || now.sameLogin(t) {
		return nil
	}
	now.instead = t
	return now
}

// logIn authenticates a connection and selects its database. home is the target whose client
// opened the connection.
func (a *access) logIn(ctx context.Context, conn *redis.Conn, home *target) error {
	t := a.current.Load()
	if !t.sameServer(home) {
		t = home // its client is about to be closed
	}
	mode, err := authenticate(ctx, conn, t)
	for _, other := range []func() *target{
		func() *target { return a.latest(ctx, t) },
		func() *target { return a.before(t) },
		// The server may have changed the password between two attempts.
		func() *target { return a.latest(ctx, t) },
	} {
		if !isLoginRefused(err) {
			break
		}
		if next := other(); next != nil {
			t = next
			mode, err = authenticate(ctx, conn, next)
		}
	}
	if err != nil {
		return err
	}
	if err := t.among.modeError(mode); err != nil {
		return err
	}
	if t.database != 0 {
		if err := conn.Select(ctx, t.database).Err(); err != nil {
			return err
		}
	}
	if t.clientName != "" {
		// The name is for people. A server that refuses it answers questions nevertheless.
		if err := conn.ClientSetName(ctx, t.clientName).Err(); err != nil && !isType[redis.Error](err) {
			return err
		}
	}
	a.worked(t)
	return nil
}

// authenticate sends the credentials of a target. As the client does, it prefers HELLO, and
// uses AUTH for servers and proxies without it. It returns the mode of the server, which only
// HELLO tells: a user needs no right for HELLO.
func authenticate(ctx context.Context, conn *redis.Conn, t *target) (mode string, err error) {
	hello := conn.Hello(ctx, t.options.Protocol, t.username, t.password, "")
	switch err := hello.Err(); {
	case err == nil:
		mode, _ = hello.Val()["mode"].(string)
		return mode, nil
	case !isType[redis.Error](err) || isLoginRefused(err):
		return "", err
	case t.password == "":
		// No command is needed. This one shows whether the server wants a password.
		if err := conn.Do(ctx, "ROLE").Err(); isLoginRefused(err) {
			return "", err
		}
		return "", ctx.Err()
	case t.username != "":
		return "", conn.AuthACL(ctx, t.username, t.password).Err()
	}
	return "", conn.Auth(ctx, t.password).Err()
}

// isLoginRefused reports whether the server refuses a user or a password, or wants one.
func isLoginRefused(err error) bool {
	reply, answered := errors.AsType[redis.Error](err)
	if !answered {
		return false
	}
	code, text, _ := strings.Cut(reply.Error(), " ")
	switch code {
	case "WRONGPASS", "NOAUTH":
		return true
	case "ERR": // servers before version 6
		return strings.HasPrefix(text, "invalid password") || strings.HasPrefix(text, "AUTH ")
	}
	return false
}

// options returns options for a client of t at an address. The client calls connected, if it is
// not nil, for each connection that is logged in. It uses the newest certificates of the server.
func (a *access) options(t *target, address string, connected func(context.Context, *redis.Conn) error) *redis.Options {
	o := *t.options
	o.Addr = address
	o.OnConnect = func(ctx context.Context, conn *redis.Conn) error {
		if err := a.logIn(ctx, conn, t); err != nil || connected == nil {
			return err
		}
		return connected(ctx, conn)
	}
	o.Dialer = func(ctx context.Context, network, address string) (net.Conn, error) {
		by := t
		if now := a.current.Load(); now.sameServer(t) {
			by = now
		}
		conn, err := by.dial(ctx, network, address)
		if isCertificateRefused(err) {
			// The file of the authority may have changed a moment ago. The authority before is
			// not tried, because it may have been replaced for a reason.
			if next := a.latest(ctx, by); next != nil {
				return next.dial(ctx, network, address)
			}
		}
		return conn, err
	}
	return &o
}

// Reconfigure uses another URL and other passwords from now on. On an error the old ones stay.
// When only passwords or the content of a file differ, connections stay too. For another server,
// database or user, or where TLS is used in another way, they are replaced, questions in progress
// are still answered, and no fact of the old server is used again.
func (s *Sessions) Reconfigure(to Secrets) error {
	c := s.access.config.with(to)
	if err := c.Validate(); err != nil {
		return err
	}
	next, err := c.target()
	if err != nil {
		return err
	}
	old := s.access.current.Load()
	s.sentinels.replace(next.sentinels)
	s.access.replace(next)
	if !old.samePlace(next) {
		s.deploy(next)
	}
	return nil
}
