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

// errorCode is the first word of a server's error. The rest may contain the key.
var errorCode = regexp.MustCompile(`^[A-Z]{2,20}$`)

// hints explain the error codes that a wrong configuration causes.
var hints = map[string]string{
	"WRONGPASS":   "; the user or password in redis_url is wrong",
	"NOAUTH":      "; it requires a password, and redis_url has none",
	"NOPERM":      "; the user needs +exists on the session keys",
	"LOADING":     "; it is loading its data",
	"MASTERDOWN":  "; it is a replica that has lost its primary",
	"MOVED":       "; it is a cluster; name a server that holds all keys",
	"CLUSTERDOWN": "; it is a cluster that is down",
}

// explain turns an error of the client into one that is safe to log. It says what is
// wrong and what to change, without the key, the address or the password. It wraps only
// errReplica and the context's errors.
func explain(ctx context.Context, err error) error {
	if errors.Is(err, errReplica) {
		return fmt.Errorf("redis: %w", errReplica)
	}
	if reply, ok := errors.AsType[redis.Error](err); ok && !errors.Is(err, redis.Nil) {
		code, _, _ := strings.Cut(reply.Error(), " ")
		if !errorCode.MatchString(code) {
			code = "an error"
		}
		return fmt.Errorf("redis answers %s%s", code, hints[code])
	}
	if ctxErr := ctx.Err(); ctxErr != nil {
		return fmt.Errorf("redis did not answer in time: %w", ctxErr)
	}
	var (
		timeout net.Error
		unknown x509.UnknownAuthorityError
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
		{errors.As(err, &unknown) || isType[*tls.CertificateVerificationError](err), "has a certificate that is not trusted"},
		{isType[tls.RecordHeaderError](err), "does not speak TLS; write redis:// instead of rediss://"},
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
		switch code, _, _ := strings.Cut(reply.Error(), " "); code {
		case "NOPERM":
			return &refusal{"redis answers NOPERM; for tracked the user needs +pttl on the session keys, " +
				"+client|id +client|tracking +subscribe +ping +pubsub|numsub, and the channels &" + invalidations + "*"}
		case "ERR":
			return &refusal{"redis answers ERR; tracked needs a server with CLIENT TRACKING, such as Redis 6 or Valkey"}
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

func isType[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}
