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

// errorCode is how a server's error begins. What follows may hold the key.
var errorCode = regexp.MustCompile(`^[A-Z]{2,20}$`)

// hints say what would be right for the codes that a configuration causes.
var hints = map[string]string{
	"WRONGPASS":   "; the user or password in redis_url is wrong",
	"NOAUTH":      "; it wants a password, and redis_url has none",
	"NOPERM":      "; the user needs +exists on the session keys",
	"LOADING":     "; it is reading its data",
	"MASTERDOWN":  "; it is a replica that has lost its primary",
	"MOVED":       "; it is a cluster, name a server that holds all keys",
	"CLUSTERDOWN": "; it is a cluster that is down",
}

// explain turns an error of the client into one for a log: what is wrong and
// what would be right, without key, address and password. Only the context's own
// errors can be found in it.
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
		{errors.Is(err, redis.ErrClosed), "is not asked any more: closed"},
		{errors.Is(err, syscall.ECONNREFUSED), "cannot be reached: connection refused"},
		{errors.Is(err, syscall.ENOENT), "cannot be reached: no such socket"},
		{errors.Is(err, syscall.EACCES), "cannot be reached: no right to use the socket"},
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
	return errors.New("redis sent what is no reply to EXISTS; is it Redis?")
}

// A refusal is what Redis answers to a user without the right, or to a command that
// it does not know. It will do so again.
type refusal struct{ text string }

func (r *refusal) Error() string { return r.text }

// explainTracking is explain for what only tracking needs.
func explainTracking(ctx context.Context, err error) error {
	if reply, ok := errors.AsType[redis.Error](err); ok {
		switch code, _, _ := strings.Cut(reply.Error(), " "); code {
		case "NOPERM":
			return &refusal{"redis answers NOPERM; for tracked the user needs +pttl on the session keys, " +
				"+client|id +client|tracking +subscribe +ping +pubsub|numsub, and the channels &" + invalidations + "*"}
		case "ERR":
			return &refusal{"redis answers ERR; for tracked it has to know CLIENT TRACKING, as Redis 6 and Valkey do"}
		}
	}
	switch {
	case strings.HasSuffix(err.Error(), "payload: <nil>"):
		return errFlushed // the client knows no announcement without keys, and has no name for its error
	case strings.HasPrefix(err.Error(), "redis: unsupported pubsub"):
		return errStrange
	}
	return explain(ctx, err)
}

func isType[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}
