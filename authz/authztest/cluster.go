package authztest

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A Cluster is a real Redis Cluster of three primaries with a replica each. It notices a failure
// within a second.
type Cluster struct {
	Servers []*Redis // the first three begin as primaries
}

// ClusterConfig says which cluster is started.
type ClusterConfig struct {
	Password string   // may be ""
	Args     []string // more arguments of the servers
}

// clusterSlots is the number of slots of a cluster.
const clusterSlots = 16384

// StartCluster starts a cluster that stops when the test ends. It returns when all servers know
// all others, and all slots are served.
func StartCluster(t testing.TB, c ClusterConfig) *Cluster {
	t.Helper()
	args := append([]string{
		"--cluster-enabled", "yes", "--cluster-node-timeout", "800", "--cluster-replica-validity-factor", "0",
		"--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1",
	}, c.Args...)
	if c.Password != "" {
		args = append(args, "--masterauth", c.Password)
	}
	cluster, buses := &Cluster{}, []string{}
	for range 6 {
		bus := strconv.Itoa(freePort(t))
		buses = append(buses, bus)
		cluster.Servers = append(cluster.Servers, startRedis(t, c.Password, slices.Concat(args, []string{"--cluster-port", bus})...))
	}
	first := cluster.Servers[0]
	for i, s := range cluster.Servers[1:] {
		host, port, _ := net.SplitHostPort(s.Addr)
		first.Do(t, "CLUSTER", "MEET", host, port, buses[i+1])
	}
	for i := range 3 {
		cluster.Servers[i].Do(t, "CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(i*clusterSlots/3), strconv.Itoa((i+1)*clusterSlots/3-1))
	}
	cluster.await(t, func(info map[string]string) bool { return info["cluster_known_nodes"] == "6" })
	for i := range 3 {
		cluster.Servers[3+i].Do(t, "CLUSTER", "REPLICATE", cluster.id(t, cluster.Servers[i]))
	}
	cluster.await(t, func(info map[string]string) bool {
		return info["cluster_state"] == "ok" && info["cluster_slots_ok"] == strconv.Itoa(clusterSlots) && info["cluster_size"] == "3"
	})
	for _, s := range cluster.Servers[3:] {
		if err := s.process.await(func(ctx context.Context) error {
			lines, err := s.doLines(ctx, 8, "ROLE")
			if err == nil && (len(lines) < 8 || lines[7] != "connected") {
				err = errors.New("not in sync")
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	return cluster
}

// await waits until all servers agree to what CLUSTER INFO should say.
func (c *Cluster) await(t testing.TB, ready func(info map[string]string) bool) {
	t.Helper()
	for _, s := range c.Servers {
		err := s.process.await(func(ctx context.Context) error {
			text, err := s.doText(ctx, "CLUSTER", "INFO")
			if err != nil {
				return err
			}
			info := map[string]string{}
			for line := range strings.Lines(text) {
				name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
				info[name] = value
			}
			if !ready(info) {
				return errors.New(text)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func (c *Cluster) id(t testing.TB, s *Redis) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startLimit)
	defer cancel()
	id, err := s.doText(ctx, "CLUSTER", "MYID")
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// Hosts returns the addresses of the servers with commas between.
func (c *Cluster) Hosts() string {
	var all []string
	for _, s := range c.Servers {
		all = append(all, s.Addr)
	}
	return strings.Join(all, ",")
}

// Of returns the server that begins as the primary of a key, and its replica.
func (c *Cluster) Of(t testing.TB, key string) (primary, replica *Redis) {
	t.Helper()
	i := c.slot(t, key) * 3 / clusterSlots
	for c.slot(t, key) >= (i+1)*clusterSlots/3 {
		i++
	}
	return c.Servers[i], c.Servers[3+i]
}

func (c *Cluster) slot(t testing.TB, key string) int {
	t.Helper()
	slot, err := strconv.Atoi(strings.TrimPrefix(c.Servers[3].Do(t, "CLUSTER", "KEYSLOT", key), ":"))
	if err != nil {
		t.Fatal(err)
	}
	return slot
}

// AwaitPrimary waits until the server is a primary with slots, by what it says itself.
func (c *Cluster) AwaitPrimary(t testing.TB, s *Redis) {
	t.Helper()
	c.awaitRole(t, s, func(fields []string) bool { return strings.Contains(fields[2], "myself,master") && len(fields) > 8 })
}

// AwaitReplica waits until the server is a replica, by what it says itself.
func (c *Cluster) AwaitReplica(t testing.TB, s *Redis) {
	t.Helper()
	c.awaitRole(t, s, func(fields []string) bool { return strings.Contains(fields[2], "myself,slave") })
}

func (c *Cluster) awaitRole(t testing.TB, s *Redis, is func(fields []string) bool) {
	t.Helper()
	err := s.process.await(func(ctx context.Context) error {
		text, err := s.doText(ctx, "CLUSTER", "NODES")
		if err != nil {
			return err
		}
		for line := range strings.Lines(text) {
			if is(strings.Fields(line)) {
				return nil
			}
		}
		return errors.New(text)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A Move is a slot that is on its way from one primary to another.
type Move struct {
	cluster  *Cluster
	slot     string
	from, to *Redis
}

// Move begins to move the slot of a key: from here on, keys can be moved.
func (c *Cluster) Move(t testing.TB, key string, from, to *Redis) *Move {
	t.Helper()
	m := &Move{c, strconv.Itoa(c.slot(t, key)), from, to}
	to.Do(t, "CLUSTER", "SETSLOT", m.slot, "IMPORTING", c.id(t, from))
	from.Do(t, "CLUSTER", "SETSLOT", m.slot, "MIGRATING", c.id(t, to))
	return m
}

// Key moves one key.
func (m *Move) Key(t testing.TB, key string) {
	t.Helper()
	host, port, _ := net.SplitHostPort(m.to.Addr)
	args := []string{"MIGRATE", host, port, key, "0", "5000"}
	if m.to.Password != "" {
		args = append(args, "AUTH", m.to.Password)
	}
	m.from.Do(t, args...)
}

// Rest moves all keys that are left.
func (m *Move) Rest(t testing.TB) {
	t.Helper()
	for {
		ctx, cancel := context.WithTimeout(t.Context(), startLimit)
		lines, err := m.from.doLines(ctx, 3, "CLUSTER", "GETKEYSINSLOT", m.slot, "1")
		cancel()
		switch {
		case err == nil && lines[0] == "*0":
			return
		case err != nil || lines[0] != "*1":
			t.Fatal(lines, err)
		}
		m.Key(t, lines[2])
	}
}

// End gives the slot to the new primary.
func (m *Move) End(t testing.TB) {
	t.Helper()
	id := m.cluster.id(t, m.to)
	for _, s := range []*Redis{m.to, m.from} {
		s.Do(t, "CLUSTER", "SETSLOT", m.slot, "NODE", id)
	}
}

// doText sends a command and returns its reply, which is one text.
func (r *Redis) doText(ctx context.Context, args ...string) (string, error) {
	text := ""
	err := r.talk(ctx, func(lines *bufio.Reader) error {
		first, err := lines.ReadString('\n')
		if err != nil {
			return err
		}
		size, is := strings.CutPrefix(strings.TrimSpace(first), "$")
		n, err := strconv.Atoi(size)
		if !is || err != nil {
			return errors.New(first)
		}
		data := make([]byte, n)
		_, err = io.ReadFull(lines, data)
		text = string(data)
		return err
	}, args)
	return text, err
}
