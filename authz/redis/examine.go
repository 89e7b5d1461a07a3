package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// An Examination is what the server lets the configured user do, for an operator.
type Examination struct {
	User      string        // "": the server does not say
	Protected string        // how the connection is protected: "TLS", "unix socket", "loopback" or ""
	Skew      time.Duration // how far the server's clock is ahead of this one
	SkewKnown bool          // false: the user may not ask for the time
	// TellsRole reports whether the user may ask whether the server is a primary.
	TellsRole bool
	// Cluster reports whether the server is one of a Redis Cluster.
	Cluster bool
	// Excess are the rights that the user has and the service does not need.
	Excess []string
}

// A probe is a command that shows whether the user has a right. It changes nothing, because
// its key does not exist.
type probe struct {
	right string
	args  []any
}

// Examine asks the server about the rights of the configured user. It changes nothing: it
// tries commands on keys with a random name, which do not exist. Its errors are those of
// [Sessions.Check].
func (s *Sessions) Examine(ctx context.Context) (Examination, error) {
	random := rand.Text()
	if err := s.checkWith(ctx, random); err != nil {
		return Examination{}, err
	}
	session := s.keys[0].key(checkUser, random)
	at, err := s.servers.Load().await(ctx, session, s.now().Add(s.timeout))
	if err != nil {
		return Examination{}, err
	}
	n, client := at.node, at.node.client.Load()
	e := Examination{TellsRole: n.tellsRole.Load(), Protected: n.protection(), Cluster: s.access.current.Load().among == inCluster}
	if name, err := client.Do(ctx, "ACL", "WHOAMI").Text(); err == nil {
		e.User = name
	}
	before := s.now()
	if at, err := serverTime(client.Do(ctx, "TIME")); err == nil {
		after := s.now()
		e.Skew, e.SkewKnown = at.Sub(before.Add(after.Sub(before)/2)), true
	}
	probes := []probe{
		{"create sessions (+set on the session keys)", []any{"SET", session, "1", "XX"}},
		{"end sessions (+del on the session keys)", []any{"DEL", session}},
		{"list all keys (+scan)", []any{"SCAN", "0", "MATCH", session, "COUNT", "1"}},
		{"read the configuration of the server (+config)", []any{"CONFIG", "GET", "maxmemory"}},
	}
	if s.keys[0].before != "" {
		probes = append(probes, probe{"ask for keys that are no sessions (a key pattern wider than " + s.keys[0].before + "*)", []any{"EXISTS", random}})
	}
	for _, p := range probes {
		switch err := client.Do(ctx, p.args...).Err(); {
		case err == nil, errors.Is(err, redis.Nil), isType[*redirection](explain(ctx, err)): // a right is looked at first
			e.Excess = append(e.Excess, p.right)
		case ctx.Err() != nil:
			return e, explain(ctx, err)
		}
	}
	return e, nil
}

func (n *node) protection() string {
	options := n.s.access.current.Load().options
	host, _, _ := net.SplitHostPort(n.address)
	address, err := netip.ParseAddr(host)
	switch {
	case options.TLSConfig != nil:
		return "TLS"
	case options.Network == "unix":
		return "unix socket"
	case host == "localhost", err == nil && address.IsLoopback():
		return "loopback"
	}
	return ""
}

// serverTime reads the reply to TIME: seconds and microseconds.
func serverTime(reply *redis.Cmd) (time.Time, error) {
	parts, err := reply.StringSlice()
	if err != nil {
		return time.Time{}, err
	}
	numbers := []int64{0, 0}
	for i, part := range parts[:min(len(parts), len(numbers))] {
		if numbers[i], err = strconv.ParseInt(strings.TrimSpace(part), 10, 64); err != nil {
			return time.Time{}, err
		}
	}
	return time.Unix(numbers[0], numbers[1]*1000), nil
}

// SessionKey returns the key of a session.
func (s *Sessions) SessionKey(userID, sessionID string) string {
	return s.keys[0].key(userID, sessionID)
}
