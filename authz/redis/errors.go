package redis

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"syscall"

	"github.com/redis/go-redis/v9"
)

// Servers that do not have all sessions, or may have sessions that were ended.
var (
	// A replica may still have a session that was logged out on the primary.
	errReplica     = errors.New("the server is a replica; name the primary")
	errSentinel    = errors.New("the server is a Sentinel, which has no sessions; write redis+sentinel://host:26379/NAME/0, with the NAME that it has for the primary")
	errCluster     = errors.New("the server belongs to a Redis Cluster, of which each server has a part of the sessions; write redis+cluster:// instead of redis://")
	errNotCluster  = errors.New("the server belongs to no cluster; write redis:// instead of redis+cluster://")
	errNotSentinel = errors.New("the server is no Sentinel; write redis:// for a server that has sessions itself")
)

// wrongServer returns the error above that err wraps, or nil.
func wrongServer(err error) error {
	for _, wrong := range []error{errReplica, errSentinel, errCluster, errNotSentinel, errNotCluster} {
		if errors.Is(err, wrong) {
			return wrong
		}
	}
	return nil
}

// errNoTime means that a key of sessions.revoked_before_template has a value that is no time.
var errNoTime = errors.New("redis: the value of a key of sessions.revoked_before_template is no time; store seconds or milliseconds since 1970, or RFC 3339, as a string")

const getHint = "the user needs +get on the keys of sessions.revoked_before_template"

// mayNotGet reports whether the text of NOPERM is about GET, which only these keys need.
func mayNotGet(text string) bool { return strings.Contains(text, "'get' command") }

// errorCode is the first word of a server's error.
var errorCode = regexp.MustCompile(`^[A-Z]{2,20}$`)

// hints explain the errors that a wrong configuration causes, by the code and by what the rest
// of the error begins with.
var hints = []struct{ code, text, hint string }{
	{"WRONGPASS", "", "the user or password in redis_url is wrong"},
	{"NOAUTH", "", "it requires a password, and redis_url has none"},
	{"NOPERM", "", "the user needs +exists on the session keys"},
	{"LOADING", "", "it is loading its data"},
	{"MASTERDOWN", "", "it is a replica that has lost its primary"},
	{"CROSSSLOT", "", "it is a cluster; write redis+cluster:// instead of redis://"},
	{"CLUSTERDOWN", "", "the cluster is down, or the server is cut off from the others"},
	{"ERR", "DB index is out of range", "it does not have the database that redis_url names: its setting databases says how many there are"},
	{"ERR", "invalid DB index", "it does not have the database that redis_url names"},
	{"ERR", "SELECT is not allowed in cluster mode", "a cluster has database 0 only; leave the number out of redis_url"},
	{"ERR", "AUTH <password> called without any password", "it has no password, and redis_url has one; is it the right server, or a Sentinel?"},
	{"ERR", "Client sent AUTH, but no password is set", "it has no password, and redis_url has one; is it the right server, or a Sentinel?"},
	{"ERR", "wrong number of arguments for 'auth' command", "it does not know users, as before Redis 6; leave the user out of redis_url"},
	{"ERR", "max number of clients", "it has as many connections as its setting maxclients allows"},
	{"ERR", "unknown command", "is it Redis, or a proxy that does not pass this command on?"},
}

// A redirection is the error of a server of a cluster that does not answer about a key.
type redirection struct {
	ask     bool // this time only; otherwise the key has moved
	address string
	text    string
}

func (r *redirection) Error() string { return r.text }

// newRedirection reads MOVED or ASK, a slot and an address.
func newRedirection(reply redis.Error) *redirection {
	r := &redirection{text: answered(reply, "it is a cluster; write redis+cluster:// instead of redis://")}
	if parts := strings.Fields(reply.Error()); len(parts) == 3 {
		r.ask, r.address = parts[0] == "ASK", parts[2]
	}
	return r
}

// explain turns an error of the client into one that is safe to log. It says what is
// wrong and what to change, without the key, the address or the password. It wraps only
// errReplica, errSentinel, errCluster and the context's errors.
func explain(ctx context.Context, err error) error {
	if wrong := wrongServer(err); wrong != nil {
		return fmt.Errorf("redis: %w", wrong)
	}
	if reply, ok := errors.AsType[redis.Error](err); ok && !errors.Is(err, redis.Nil) {
		code, text, _ := strings.Cut(reply.Error(), " ")
		switch code {
		case "MOVED", "ASK":
			return newRedirection(reply)
		case "WRONGTYPE":
			return errNoTime
		case "NOPERM":
			if mayNotGet(text) {
				return errors.New(answered(reply, getHint))
			}
		}
		for _, h := range hints {
			if h.code == code && strings.HasPrefix(text, h.text) {
				return errors.New(answered(reply, h.hint))
			}
		}
		return errors.New(answered(reply, ""))
	}
	if ctxErr := ctx.Err(); ctxErr != nil {
		return fmt.Errorf("redis did not answer in time: %w", ctxErr)
	}
	var (
		timeout   net.Error
		operation *net.OpError
		expired   x509.CertificateInvalidError
	)
	for _, is := range []struct {
		so   bool
		text string
	}{
		{errors.As(err, &timeout) && timeout.Timeout(), "did not answer in time"},
		{errors.Is(err, redis.ErrPoolTimeout) || errors.Is(err, redis.ErrPoolExhausted), "is slow: every connection is in use"},
		{errors.Is(err, redis.ErrClosed), "was not asked: closed"},
		{errors.Is(err, syscall.ECONNREFUSED), "cannot be reached: connection refused"},
		{errors.Is(err, syscall.ENOENT), "cannot be reached: no such socket"},
		{errors.Is(err, syscall.EACCES), "cannot be reached: permission denied on the socket"},
		{isType[*net.DNSError](err), "cannot be reached: the host's name is not known"},
		{isType[x509.HostnameError](err), "has a certificate that is not trusted: it is for another name than the host of redis_url; sessions.tls.server_name sets the name to expect"},
		{errors.As(err, &expired) && expired.Reason == x509.Expired, "has a certificate that is not trusted: it has expired, or is not valid yet"},
		{isCertificateRefused(err), "has a certificate that is not trusted; name its authority with sessions.tls.ca_file"},
		{isType[tls.RecordHeaderError](err), "does not speak TLS; write redis:// instead of rediss://"},
		{errors.As(err, &operation) && operation.Op == "remote error", "ended TLS; it wants a certificate of warder, or does not accept the one of sessions.tls.cert_file"},
		{errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE), "closed the connection"},
		{isType[*net.OpError](err), "cannot be reached"},
	} {
		if is.so {
			return errors.New("redis " + is.text)
		}
	}
	return errors.New("redis sent an invalid reply to EXISTS; is it Redis?")
}

// A refusal is an error that will recur: the user lacks a permission, or the server does
// not know the command.
type refusal struct{ text string }

func (r *refusal) Error() string { return r.text }

// explainTracking is explain for the commands that only tracking uses.
func explainTracking(ctx context.Context, err error) error {
	if reply, ok := errors.AsType[redis.Error](err); ok {
		switch code, text, _ := strings.Cut(reply.Error(), " "); code {
		case "NOPERM":
			if mayNotGet(text) {
				return &refusal{answered(reply, getHint)}
			}
			return &refusal{answered(reply, "for tracked the user needs +pttl on the session keys, "+
				"+client|id +client|tracking +subscribe +ping +pubsub|numsub, and the channels &"+invalidations+"*")}
		case "ERR":
			if word, _, _ := strings.Cut(strings.ToLower(text), " "); word == "unknown" || word == "syntax" {
				return &refusal{answered(reply, "tracked needs a server with CLIENT TRACKING, such as Redis 6 or Valkey")}
			}
		}
	}
	switch {
	case strings.HasSuffix(err.Error(), "payload: <nil>"):
		// FLUSHALL and FLUSHDB send an invalidation message without keys. The client does
		// not support it and has no error value for it.
		return errFlushed
	case strings.HasPrefix(err.Error(), "redis: unsupported pubsub"):
		return errStrange
	}
	return explain(ctx, err)
}

// isOutage reports whether an error means that Redis does not answer. A question causes an error by
// itself only if the key is at another server, or is a timed one with another value.
func isOutage(err error) bool {
	return !errors.Is(err, errClosed) && !isType[*redirection](err) && !errors.Is(err, errNoTime)
}

func isType[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}
