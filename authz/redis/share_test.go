package redis

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// nodeID returns an id of a server of a cluster.
func nodeID(name string) string { return strings.Repeat("0", 40-len(name)) + name }

func TestReadOutlook(t *testing.T) {
	t.Parallel()
	line := func(name, address, flags, more string) string {
		return nodeID(name) + " " + address + " " + flags + " - 0 1700000000000 7 connected" + more + "\n"
	}
	for _, tt := range []struct {
		want, name, text string
		names            bool
	}{
		{"a 10.0.0.1:6379 primary 7 [[0 5460] [5462 5462]] moving []", "a primary", line("a", "10.0.0.1:6379@16379", "myself,master", " 0-5460 5462"), false},
		{"a 10.0.0.1:6379 primary 7 [[0 0]] moving [77 93]", "moving slots", line("a", "10.0.0.1:6379@16379", "myself,master", " 0 [77->-"+nodeID("b")+"] [93-<-"+nodeID("c")+"]"), false},
		{"a 10.0.0.1:6379 primary 7 [[0 0]] b 10.0.0.2:6379 replica 7 [] moving []", "a replica", line("a", "10.0.0.1:6379@16379,,shard-id=x", "myself,master", " 0") + line("b", "10.0.0.2:6379@16379,,shard-id=x", "slave", ""), false},
		{"a from:6379 primary 7 [] moving []", "it does not know its address", line("a", ":6379@16379", "myself,master", ""), false},
		{"a 10.0.0.1:6379 primary 7 [] moving []", "names are not needed", line("a", "10.0.0.1:6379@16379,redis-0.example", "myself,master", ""), false},
		{"a redis-0.example:6379 primary 7 [] moving []", "names are for TLS", line("a", "10.0.0.1:6379@16379,redis-0.example", "myself,master", ""), true},
		{"a [::1]:6379 primary 7 [] moving []", "IPv6", line("a", "::1:6379@16379", "myself,master", ""), false},
		{"a 10.0.0.1:6379 primary 7 [] moving []", "one that cannot be reached", line("a", "10.0.0.1:6379@16379", "myself,master", "") + line("b", ":0@0", "master,noaddr", " 0-5") + line("c", "10.0.0.3:6379@16379", "handshake", ""), false},
		{"", "nothing", "", false},
		{"", "another text", "OK\n", false},
		{"", "nobody says myself", line("a", "10.0.0.1:6379@16379", "master", ""), false},
		{"", "a slot that does not exist", line("a", "10.0.0.1:6379@16379", "myself,master", " 0-16384"), false},
		{"", "slots in disorder", line("a", "10.0.0.1:6379@16379", "myself,master", " 7-3"), false},
		{"", "no number", line("a", "10.0.0.1:6379@16379", "myself,master", " x"), false},
		{"", "a negative number", line("a", "10.0.0.1:6379@16379", "myself,master", " [-1->-"+nodeID("b")+"]"), false},
		{"", "no epoch", strings.Replace(line("a", "10.0.0.1:6379@16379", "myself,master", ""), " 7 ", " x ", 1), false},
	} {
		o, err := readOutlook(tt.text, "from:1234", tt.names)
		if err != nil {
			if tt.want != "" {
				t.Errorf("%s: %v", tt.name, err)
			}
			continue
		}
		got := ""
		for _, p := range o.peers {
			kind := map[bool]string{true: "primary", false: "replica"}[p.primary]
			got += fmt.Sprint(strings.TrimLeft(p.id, "0"), " ", p.address, " ", kind, " ", p.epoch, " ", p.slots, " ")
		}
		if got += fmt.Sprint("moving ", o.moving); got != tt.want || o.id != nodeID("a") {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, got, tt.want)
		}
	}
	one, _ := readOutlook(line("a", "h:1@2", "myself,master", " 0-5"), "", false)
	later, _ := readOutlook(strings.ReplaceAll(line("a", "h:1@2", "myself,master", " 0-5"), "1700000000000", "1700000000999"), "", false)
	other, _ := readOutlook(line("a", "h:1@2", "myself,master", " 0-6"), "", false)
	if one.text != later.text || one.text == other.text {
		t.Error("outlooks are not told apart by what they say")
	}
}

// TestShare checks who has a slot when servers say different things about it, and whether a
// majority says so.
func TestShare(t *testing.T) {
	t.Parallel()
	now := time.Now()
	// An outlook is written as "who: server@epoch=slots …"; a server without slots is a replica.
	outlooks := func(texts ...string) map[string]outlook {
		heard := map[string]outlook{}
		for i, text := range texts {
			who, servers, _ := strings.Cut(text, ": ")
			o := outlook{id: who, asked: now.Add(-time.Duration(i) * time.Millisecond)}
			for server := range strings.FieldsSeq(servers) {
				id, more, _ := strings.Cut(server, "@")
				epoch, slots, _ := strings.Cut(more, "=")
				p := peer{id: id, address: id}
				_, _ = fmt.Sscan(epoch, &p.epoch)
				for slot := range strings.SplitSeq(slots, ",") {
					n := 0
					if _, err := fmt.Sscan(slot, &n); err == nil {
						p.primary, p.slots = true, append(p.slots, [2]int{n, n})
					}
				}
				o.peers = append(o.peers, p)
			}
			heard[who] = o
		}
		return heard
	}
	const same = " a@1=1 b@2=2 c@3=3"
	for _, tt := range []struct {
		want, name string // the owners of slots 1, 2 and 3; "" for no majority
		heard      map[string]outlook
	}{
		{"a b c", "all agree", outlooks("a:"+same, "b:"+same, "c:"+same)},
		{"a b c", "a majority is enough", outlooks("a:"+same, "b:"+same)},
		{"", "one of three is not", outlooks("a:" + same)},
		{"", "replicas have no vote", outlooks("a:"+same, "x:"+same, "y:"+same)},
		{"", "nobody", outlooks()},
		{"x b c", "a replica was elected, and says so itself", outlooks("a:"+same, "x: x@4=1 a@1 b@2=2 c@3=3", "b:"+same, "c:"+same)},
		{"x b c", "a replica was elected, and one of the others knows", outlooks("a:"+same, "b: x@4=1 b@2=2 c@3=3", "c:"+same)},
		{"", "a replica was elected, and only the minority is heard", outlooks("a:" + same)},
		{"b b c", "a slot has moved, and only the new owner knows", outlooks("a:"+same, "b: a@1 b@4=1,2 c@3=3", "c:"+same)},
		{"b b c", "a slot has moved, and the old owner has a greater epoch since", outlooks("a: a@9 b@4=1,2 c@3=3", "b: a@1 b@4=1,2 c@3=3", "c: a@9=1 b@4=2 c@3=3")},
		{"- b c", "a slot that nobody has", outlooks("a: a@1=7 b@2=2 c@3=3", "b: a@1=7 b@2=2 c@3=3", "c:"+same)},
		{"- b c", "two have a slot with the same epoch", outlooks("a:"+same, "x: x@1=1 a@1 b@2=2 c@3=3", "b:"+same, "c:"+same)},
		{"x b c", "two had a slot with the same epoch", outlooks("a:"+same, "y: y@1=1 a@1 b@2=2 c@3=3", "x: x@4=1 a@1 b@2=2 c@3=3", "b:"+same, "c:"+same)},
		{"a a a", "one has all", outlooks("a: a@0=1,2,3 x@0")},
	} {
		owners, of := share(tt.heard)
		proof, err := majority(owners, &of, tt.heard)
		if (err == nil) != (tt.want != "") {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
			continue
		}
		var got []string
		for slot := 1; slot <= 3; slot++ {
			if of[slot] < 0 {
				got = append(got, "-")
			} else {
				got = append(got, owners[of[slot]].id)
			}
		}
		if tt.want != "" && (strings.Join(got, " ") != tt.want || now.Sub(proof) > 4*time.Millisecond) {
			t.Errorf("%s: %q, %v ago; want %q", tt.name, got, now.Sub(proof), tt.want)
		}
	}
}

// TestSlots compares slots with those that servers compute.
func TestSlots(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]int{
		"": 0, "123456789": 12739, "foo": 12182, "bar": 5061, "{user1000}.following": 3443, "x{user1000}y": 3443, "user1000": 3443, "foo{}{bar}": 8363, "foo{bar}{zap}": 5061,
	} {
		if got := slotOf(key); got != want {
			t.Errorf("slotOf(%q) = %d, want %d", key, got, want)
		}
	}
}
