package authztest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Sentinels are three real Sentinels that watch a primary and its replicas. They notice a
// failure within half a second.
type Sentinels struct {
	Name      string // that they have for the primary
	Servers   []*Redis
	Sentinels []*Redis
}

// SentinelsConfig says which Sentinels are started.
type SentinelsConfig struct {
	Replicas         int
	Password         string   // of the servers; may be ""
	SentinelPassword string   // may be ""
	Args             []string // more arguments of the servers
}

// StartSentinels starts a primary, replicas and Sentinels that stop when the test ends. It
// returns when they know each other.
func StartSentinels(t testing.TB, c SentinelsConfig) *Sentinels {
	t.Helper()
	s := &Sentinels{Name: "mymaster"}
	args := append([]string{"--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"}, c.Args...)
	if c.Password != "" {
		args = append(args, "--masterauth", c.Password)
	}
	first := startRedis(t, c.Password, args...)
	s.Servers = append(s.Servers, first)
	host, port, _ := net.SplitHostPort(first.Addr)
	for range c.Replicas {
		replica := startRedis(t, c.Password, args...)
		replica.Do(t, "REPLICAOF", host, port)
		s.Servers = append(s.Servers, replica)
	}
	state := fmt.Sprintf("sentinel monitor %[1]s %s %s 2\nsentinel down-after-milliseconds %[1]s 400\nsentinel failover-timeout %[1]s 4000\n", s.Name, host, port)
	if c.Password != "" {
		state += fmt.Sprintf("sentinel auth-pass %s %s\n", s.Name, c.Password)
	}
	if c.SentinelPassword != "" {
		state += fmt.Sprintf("sentinel sentinel-pass %s\n", c.SentinelPassword)
	}
	for range 3 {
		file := filepath.Join(t.TempDir(), "sentinel.conf")
		if err := os.WriteFile(file, []byte(state), 0o600); err != nil {
			t.Fatal(err)
		}
		s.Sentinels = append(s.Sentinels, startRedis(t, c.SentinelPassword, file, "--sentinel"))
	}
	for _, sentinel := range s.Sentinels {
		if err := sentinel.process.await(func(ctx context.Context) error { return s.complete(ctx, sentinel, c.Replicas) }); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// complete returns an error while a Sentinel does not know all others.
func (s *Sentinels) complete(ctx context.Context, sentinel *Redis, replicas int) error {
	if reply, err := sentinel.do(ctx, "SENTINEL", "CKQUORUM", s.Name); err != nil || !strings.HasPrefix(reply, "+OK 3 ") {
		return errors.Join(err, errors.New(reply))
	}
	reply, err := sentinel.do(ctx, "SENTINEL", "REPLICAS", s.Name)
	if want := fmt.Sprintf("*%d", replicas); err == nil && reply != want {
		err = errors.New(reply)
	}
	return err
}

// Hosts returns the addresses of the Sentinels with commas between.
func (s *Sentinels) Hosts() string {
	var all []string
	for _, sentinel := range s.Sentinels {
		all = append(all, sentinel.Addr)
	}
	return strings.Join(all, ",")
}

// Primary returns the server that the first Sentinel calls the primary.
func (s *Sentinels) Primary(ctx context.Context) (*Redis, error) {
	reply, err := s.Sentinels[0].doLines(ctx, 5, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", s.Name)
	if err != nil {
		return nil, err
	}
	for _, server := range s.Servers {
		if _, port, _ := net.SplitHostPort(server.Addr); len(reply) == 5 && port == reply[4] {
			return server, nil
		}
	}
	return nil, errors.New("no primary")
}

// AwaitPrimary waits until the first Sentinel names a primary other than the server before.
func (s *Sentinels) AwaitPrimary(t testing.TB, before *Redis) *Redis {
	t.Helper()
	var found *Redis
	err := s.Sentinels[0].process.await(func(ctx context.Context) (err error) {
		if found, err = s.Primary(ctx); err == nil && found == before {
			err = errors.New("no other primary")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// Failover makes another server the primary, while the one before answers.
func (s *Sentinels) Failover(t testing.TB) {
	t.Helper()
	sentinel := s.Sentinels[len(s.Sentinels)-1]
	err := sentinel.process.await(func(ctx context.Context) error {
		reply, err := sentinel.do(ctx, "SENTINEL", "FAILOVER", s.Name)
		if err == nil && reply != "+OK" {
			err = errors.New(reply) // the one before is not over yet
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
