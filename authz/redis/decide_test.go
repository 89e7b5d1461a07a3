package redis

import (
	"errors"
	"maps"
	"slices"
	"testing"
	"time"
)

// TestDecide checks which server is the primary, by what Sentinels said and when.
func TestDecide(t *testing.T) {
	t.Parallel()
	now := time.Now()
	at := func(id string, ago time.Duration, primary string, epoch int64, voters int) view {
		return view{id: id, asked: now.Add(-ago), primary: primary, epoch: epoch, voters: voters}
	}
	const ms = time.Millisecond
	for _, tt := range []struct {
		want  string // "" for no primary
		proof time.Duration
		name  string
		views []view
	}{
		{"A", 20 * ms, "all agree", []view{at("1", 10*ms, "A", 4, 3), at("2", 20*ms, "A", 4, 3), at("3", 30*ms, "A", 4, 3)}},
		{"A", 900 * ms, "a majority agrees", []view{at("1", 10*ms, "A", 4, 3), at("2", 900*ms, "A", 4, 3), {}}},
		{"A", 10 * ms, "the only one", []view{at("1", 10*ms, "A", 0, 1)}},
		{"B", 20 * ms, "the last failover counts", []view{at("1", 10*ms, "A", 4, 3), at("2", 20*ms, "B", 5, 3), at("3", 30*ms, "A", 4, 3)}},
		{"B", 30 * ms, "the last failover counts, heard last", []view{at("3", 30*ms, "A", 4, 3), at("2", 20*ms, "B", 5, 3)}},
		{"A", 20 * ms, "the same address in a later epoch", []view{at("1", 10*ms, "A", 4, 3), at("2", 20*ms, "A", 6, 3)}},
		{"A", 30 * ms, "three of five", []view{at("1", 10*ms, "A", 4, 5), at("2", 20*ms, "A", 4, 5), at("3", 30*ms, "A", 4, 5)}},
		{"", 0, "two of five", []view{at("1", 10*ms, "A", 4, 5), at("2", 20*ms, "A", 4, 5)}},
		{"", 0, "two of four", []view{at("1", 10*ms, "A", 4, 4), at("2", 20*ms, "A", 4, 4)}},
		{"", 0, "one of three", []view{at("1", 10*ms, "A", 4, 3)}},
		{"", 0, "one of three by two addresses", []view{at("1", 10*ms, "A", 4, 3), at("1", 20*ms, "A", 4, 3)}},
		{"", 0, "one knows of more Sentinels", []view{at("1", 10*ms, "A", 4, 3), at("2", 20*ms, "A", 4, 5)}},
		{"", 0, "heard too long ago", []view{at("1", 10*ms, "A", 4, 3), at("2", trustFor, "A", 4, 3), at("3", time.Hour, "A", 4, 3)}},
		{"", 0, "different in one epoch", []view{at("1", 10*ms, "A", 4, 3), at("2", 20*ms, "B", 4, 3), at("3", 20*ms, "A", 4, 3)}},
		{"", 0, "nobody", nil},
		{"", 0, "nobody yet", []view{{}, {}, {}}},
	} {
		primary, _, proof, err := decide(tt.views, now)
		switch {
		case (err == nil) != (tt.want != "") || err == nil && primary != tt.want:
			t.Errorf("%s: %s, %v; want %q", tt.name, primary, err, tt.want)
		case err == nil && now.Sub(proof) != tt.proof:
			t.Errorf("%s: known %v ago, want %v", tt.name, now.Sub(proof), tt.proof)
		}
	}
}

// TestReign checks how long a primary is believed.
func TestReign(t *testing.T) {
	t.Parallel()
	now := time.Now()
	w := &watch{}
	if w.owner("", now).node != nil {
		t.Error("a primary before any Sentinel was heard")
	}
	n := &node{}
	w.current.Store(&reign{node: n, proof: now})
	for _, tt := range []struct {
		want bool
		at   time.Time
	}{
		{true, now},
		{true, now.Add(trustFor - 1)},
		{false, now.Add(trustFor)},
		{false, apart(t, now, 0, trustFor)}, // the machine was suspended
		{false, apart(t, now, trustFor, 0)}, // the clock was set back
	} {
		if got := w.owner("", tt.at).node == n; got != tt.want {
			t.Errorf("believed after %v: %v, want %v", tt.at.Sub(now), got, tt.want)
		}
	}
	if w.moved(t.Context(), "", place{node: n}, nil) || !w.moved(t.Context(), "", place{node: &node{}}, nil) {
		t.Error("the owner is not the one that is believed")
	}
}

// TestElsewhereClosed: a cluster that is closed begins to use no server to which another one
// redirects a question. Nobody would close the connections to it.
func TestElsewhereClosed(t *testing.T) {
	t.Parallel()
	s, err := New(Config{URL: "redis+cluster://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	c, is := s.servers.Load().topology.(*cluster)
	if !is {
		t.Fatal("not a cluster")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.elsewhere(&redirection{ask: true, address: "127.0.0.1:2"}); !errors.Is(err, errClosed) {
		t.Errorf("after Close: %v; want %v", err, errClosed)
	}
	if len(c.byAddr) > 0 {
		t.Errorf("%d servers are in use after Close", len(c.byAddr))
	}
}

// TestElsewhere: which server a question is redirected to.
func TestElsewhere(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"127.0.0.1:2": "127.0.0.1:2",
		"::1:2":       "[::1]:2", // as servers write it
		"[::1]:2":     "[::1]:2",
		":2":          "", // not this machine
		"2":           "",
		"":            "",
	} {
		s, err := New(Config{URL: "redis+cluster://127.0.0.1:1"})
		if err != nil {
			t.Fatal(err)
		}
		c, _ := s.servers.Load().topology.(*cluster)
		to := &redirection{ask: true, address: address}
		_, err = s.elsewhere(t.Context(), s.servers.Load(), subject{key: "session:1:a"}, to, time.Now())
		if used := slices.Collect(maps.Keys(c.byAddr)); err == nil || want == "" && (len(used) > 0 || !errors.Is(err, to)) || want != "" && !slices.Equal(used, []string{want}) {
			t.Errorf("%q: uses %q, %v; want %q", address, used, err, want)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}
