package redis

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	slotCount = 16384
	// maxPeers bounds how many servers of a cluster are asked about it.
	maxPeers = 1000
)

// A peer is a server of a cluster, as one of them describes it.
type peer struct {
	id, address string
	primary     bool
	down        bool
	epoch       uint64 // of its configuration: the one with the greatest epoch has a slot
	slots       [][2]int
}

// An outlook is what a server of a cluster said about all.
type outlook struct {
	id     string // of the server itself
	asked  time.Time
	peers  []peer
	moving []int  // the slots that the server gets or gives away
	text   string // the same outlook has the same text
}

// readOutlook reads a reply to CLUSTER NODES. from is the address that was asked, for a server
// that does not know its own. With names, servers that have a host name are reached by it.
func readOutlook(reply, from string, names bool) (outlook, error) {
	var o outlook
	var text strings.Builder
	for line := range strings.Lines(reply) {
		f := strings.Fields(line)
		if len(f) < 8 || len(f[0]) != 40 {
			return outlook{}, errNotCluster
		}
		flags := strings.Split(f[2], ",")
		p := peer{id: f[0], primary: slices.Contains(flags, "master"), down: slices.Contains(flags, "fail")}
		myself := slices.Contains(flags, "myself")
		if myself {
			o.id = p.id
		}
		p.address = peerAddress(f[1], from, myself, names)
		if p.address == "" || slices.Contains(flags, "noaddr") || slices.Contains(flags, "handshake") {
			continue // nothing can be asked there
		}
		var err error
		if p.epoch, err = strconv.ParseUint(f[6], 10, 64); err != nil {
			return outlook{}, errNotCluster
		}
		for _, slot := range f[8:] {
			if inner, is := strings.CutPrefix(slot, "["); is {
				number, _, _ := strings.Cut(inner, "-")
				n, err := strconv.Atoi(number)
				if err != nil || n < 0 || n >= slotCount {
					return outlook{}, errNotCluster
				}
				o.moving = append(o.moving, n)
				continue
			}
			first, last, isRange := strings.Cut(slot, "-")
			from, err1 := strconv.Atoi(first)
			to := from
			var err2 error
			if isRange {
				to, err2 = strconv.Atoi(last)
			}
			if err1 != nil || err2 != nil || from < 0 || to < from || to >= slotCount {
				return outlook{}, errNotCluster
			}
			p.slots = append(p.slots, [2]int{from, to})
		}
		o.peers = append(o.peers, p)
		for _, field := range append(f[:3], f[6:]...) { // without times, which always differ
			text.WriteString(field)
			text.WriteByte(' ')
		}
	}
	if o.id == "" {
		return outlook{}, errNotCluster
	}
	o.text = text.String()
	return o, nil
}

// peerAddress reads ip:port@busport[,hostname[,…]].
func peerAddress(text, from string, myself, names bool) string {
	address, more, _ := strings.Cut(text, "@")
	_, more, _ = strings.Cut(more, ",")
	name, _, _ := strings.Cut(more, ",")
	i := strings.LastIndexByte(address, ':')
	if i < 0 {
		return ""
	}
	host, port := strings.Trim(address[:i], "[]"), address[i+1:]
	if names && hostText.MatchString(name) {
		host = name
	}
	if host == "" && myself {
		host, _, _ = net.SplitHostPort(from)
	}
	joined, err := joinAddress([]string{host, port})
	if err != nil {
		return ""
	}
	return joined
}

// A table says which server has each slot. It does not change.
type table struct {
	text    string // of the outlooks that it was made of
	owners  []peer
	of      [slotCount]int    // index in owners, or -1
	tenures [slotCount]uint32 // see place
	nodes   []*node           // of owners
	built   uint32
}

var errNobody = errors.New("no server of the cluster answers")

// A scattered cluster is one of which too few servers answer.
type scattered struct{ heard, voters int }

func (e *scattered) Error() string {
	return fmt.Sprintf("only %d of %d primaries of the cluster answer, which is no majority", e.heard, e.voters)
}

// share finds which servers have which slots, by the outlooks of servers that were heard. A server
// knows best what it has itself. Of several that have a slot, the one with the greatest epoch has
// it: each failover and each move of a slot gives a greater one. Nobody has a slot that two have
// with the same epoch.
func share(heard map[string]outlook) (owners []peer, of [slotCount]int) {
	var disputed [slotCount]bool
	for slot := range of {
		of[slot] = -1
	}
	for _, o := range heard {
		for _, p := range o.peers {
			if _, itself := heard[p.id]; !p.primary || itself && p.id != o.id {
				continue
			}
			at := -1 // the index of p in owners
			for _, r := range p.slots {
				for slot := r[0]; slot <= r[1]; slot++ {
					if has := of[slot]; has >= 0 && owners[has].epoch >= p.epoch {
						disputed[slot] = disputed[slot] || owners[has].epoch == p.epoch && owners[has].id != p.id
						continue
					}
					disputed[slot] = false
					if at < 0 {
						at = len(owners)
						owners = append(owners, p)
					}
					of[slot] = at
				}
			}
		}
	}
	for slot, is := range disputed {
		if is {
			of[slot] = -1
		}
	}
	return owners, of
}

// majority returns the time at which a majority of the primaries that have slots was heard.
func majority(owners []peer, of *[slotCount]int, heard map[string]outlook) (proof time.Time, err error) {
	voters := map[string]bool{}
	for _, at := range of {
		if at >= 0 {
			voters[owners[at].id] = true
		}
	}
	var times []time.Time
	for id := range voters {
		if o, is := heard[id]; is {
			times = append(times, o.asked)
		}
	}
	if len(heard) == 0 {
		return time.Time{}, errNobody
	}
	proof, enough := byMajority(times, len(voters))
	if !enough {
		return time.Time{}, &scattered{len(times), len(voters)}
	}
	return proof, nil
}

// A cluster is the topology of a Redis Cluster: each primary has a part of the slots, into which
// keys are divided. All primaries are asked several times a second which server has which slot.
type cluster struct {
	*council[outlook]
	t       *target
	current atomic.Pointer[shared]
	byAddr  map[string]*node // with the lock of the council
}

// shared is a table and the latest time at which a majority knew it.
type shared struct {
	*table
	proof time.Time
}

func (s *Sessions) cluster(t *target) *cluster {
	c := &cluster{t: t, byAddr: map[string]*node{}}
	c.council = newCouncil[outlook](s, t.seeds, maxPeers)
	c.ask = c.askPeer
	c.connect = func(address string) *redis.Client {
		o := s.access.options(t, address, nil)
		o.PoolSize, o.MaxActiveConns = 1, 1
		return redis.NewClient(o)
	}
	c.conclude = c.decide
	c.convene()
	return c
}

// askPeer asks a server for its outlook, and sometimes names the servers to ask. Those are the
// primaries, and all servers while no majority of them answers.
func (c *cluster) askPeer(ctx context.Context, m *member[outlook]) (outlook, []string, error) {
	p := packet{pipe: m.client.Pipeline()}
	nodes := p.pipe.ClusterNodes(ctx)
	asked := c.s.now()
	if _, err := p.exec(ctx); err != nil {
		return outlook{}, nil, explainCluster(ctx, err)
	}
	o, err := readOutlook(nodes.Val(), m.address, c.t.options.TLSConfig != nil)
	if err != nil {
		return outlook{}, nil, err
	}
	o.asked = asked
	var others []string
	now := c.current.Load()
	lost := now == nil || !within(now.proof, c.s.now(), trustFor/2)
	if lost || m.lists() || o.text != m.view.text {
		others = []string{}
		for _, p := range o.peers {
			if lost || p.primary && len(p.slots) > 0 {
				others = append(others, p.address)
			}
		}
	}
	return o, others, nil
}

// decide uses what the servers say now. The lock is held.
func (c *cluster) decide() error {
	now, heard := c.s.now(), map[string]outlook{}
	for _, m := range c.members {
		if o := m.view; within(o.asked, now, trustFor) && o.asked.After(heard[o.id].asked) {
			heard[o.id] = o
		}
	}
	var text strings.Builder
	for _, id := range slices.Sorted(maps.Keys(heard)) {
		text.WriteString(heard[id].text)
	}
	old := c.current.Load()
	if old != nil && old.text == text.String() {
		proof, err := majority(old.owners, &old.of, heard)
		if err == nil && proof.After(old.proof) {
			c.current.Store(&shared{old.table, proof})
		}
		return err
	}
	owners, of := share(heard)
	proof, err := majority(owners, &of, heard)
	if err != nil {
		return err
	}
	next := c.build(text.String(), owners, of, heard)
	c.current.Store(&shared{next, proof})
	primaries := map[string]bool{} // also those that are about to get slots
	for _, o := range heard {
		for _, p := range o.peers {
			primaries[p.address] = primaries[p.address] || p.primary
		}
	}
	for address, n := range c.byAddr {
		if !primaries[address] && !slices.Contains(next.nodes, n) {
			delete(c.byAddr, address)
			c.s.afterAnswers(n.close)
		}
	}
	return nil
}

// build makes a table. The lock is held.
func (c *cluster) build(text string, owners []peer, of [slotCount]int, heard map[string]outlook) *table {
	next := &table{text: text, owners: owners, of: of, nodes: make([]*node, len(owners)), built: settled}
	var before *table
	if old := c.current.Load(); old != nil {
		before = old.table
		next.built = before.built + 1
	}
	for _, o := range heard {
		for _, slot := range o.moving {
			next.tenures[slot] = next.built // a mark for the loop below
		}
	}
	has := make([][]int, len(owners)) // slots that stay
	for slot, at := range of {
		if at < 0 {
			next.tenures[slot] = unsettled
			continue
		}
		n := next.nodes[at]
		if n == nil {
			n = c.nodeAt(owners[at].address)
			next.nodes[at] = n
		}
		switch {
		case next.tenures[slot] != 0:
			next.tenures[slot] = unsettled
			continue
		case before != nil && before.tenures[slot] != unsettled && before.nodes[before.of[slot]] == n && before.owners[before.of[slot]].epoch == owners[at].epoch:
			next.tenures[slot] = before.tenures[slot]
		default:
			next.tenures[slot] = next.built
		}
		has[at] = append(has[at], slot)
	}
	for at, n := range next.nodes {
		if n != nil && len(has[at]) > 0 {
			n.checkAmong(has[at])
		}
	}
	return next
}

// nodeAt returns the node at an address. The lock is held.
func (c *cluster) nodeAt(address string) *node {
	n := c.byAddr[address]
	if n == nil {
		n = c.s.newNode(address)
		c.byAddr[address] = n
	}
	return n
}

func (c *cluster) owner(key string, now time.Time) place {
	t := c.current.Load()
	if t == nil || !within(t.proof, now, trustFor) {
		return place{}
	}
	return t.at(slotOf(key))
}

func (t *table) at(slot int) place {
	if t.of[slot] < 0 {
		return place{}
	}
	return place{t.nodes[t.of[slot]], t.tenures[slot]}
}

func (c *cluster) await(ctx context.Context, key string, until time.Time) (place, error) {
	return c.council.await(ctx, until, func() place { return c.owner(key, c.s.now()) })
}

func (c *cluster) moved(ctx context.Context, key string, at place, err error) bool {
	if isType[*redirection](err) || errors.Is(err, errReplica) {
		_, err := c.council.await(ctx, c.s.now().Add(c.s.timeout), func() place {
			if now := c.owner(key, c.s.now()); now != at {
				return now
			}
			return place{}
		})
		return err == nil
	}
	if err != nil {
		c.askNow() // the primary may have failed
	}
	now := c.owner(key, c.s.now())
	return now.node != nil && now != at
}

func (c *cluster) elsewhere(to *redirection) (*node, error) {
	address := peerAddress(to.address, "", false, false) // of IPv6 it is without brackets
	if address == "" {
		return nil, to // a server without a host would be one on this machine
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running.Err() != nil { // close would not find a new node
		return nil, errClosed
	}
	return c.nodeAt(address), nil
}

func (c *cluster) nodes(ctx context.Context) ([]*node, error) {
	if _, err := c.await(ctx, c.s.checkKey(), c.s.now().Add(max(c.s.timeout, trustFor))); err != nil {
		return nil, err
	}
	var all []*node
	for _, n := range c.current.Load().nodes {
		if n != nil && !slices.Contains(all, n) {
			all = append(all, n)
		}
	}
	return all, nil
}

func (c *cluster) available() bool {
	t := c.current.Load()
	return t != nil && within(t.proof, c.s.now(), trustFor) &&
		!slices.ContainsFunc(t.nodes, func(n *node) bool { return n != nil && !n.breaker.Available() })
}

func (c *cluster) close() {
	c.dissolve()
	c.mu.Lock()
	all := slices.Collect(maps.Values(c.byAddr))
	c.mu.Unlock()
	for _, n := range all {
		n.close()
	}
}

// explainCluster is explain for questions about a cluster.
func explainCluster(ctx context.Context, err error) error {
	if reply, ok := errors.AsType[redis.Error](err); ok {
		switch code, text, _ := strings.Cut(reply.Error(), " "); {
		case code == "NOPERM":
			return errors.New(answered(reply, "for a cluster the user needs +cluster|nodes and +asking"))
		case code == "ERR" && (strings.Contains(text, "cluster support disabled") || strings.HasPrefix(text, "unknown command")):
			return fmt.Errorf("redis: %w", errNotCluster)
		}
	}
	return explain(ctx, err)
}

// slotOf returns the slot of a key: CRC16 (XMODEM) of it, or of what is between its first braces.
func slotOf(key string) int {
	if _, rest, found := strings.Cut(key, "{"); found {
		if tag, _, closed := strings.Cut(rest, "}"); closed && tag != "" {
			key = tag
		}
	}
	var sum uint16
	for i := range len(key) {
		sum = sum<<8 ^ crc16[byte(sum>>8)^key[i]]
	}
	return int(sum % slotCount)
}

var crc16 = func() (table [256]uint16) {
	for i := range table {
		sum := uint16(i) << 8
		for range 8 {
			if sum&0x8000 != 0 {
				sum = sum<<1 ^ 0x1021
			} else {
				sum <<= 1
			}
		}
		table[i] = sum
	}
	return table
}()
