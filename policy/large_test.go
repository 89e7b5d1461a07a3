package policy_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"warder/policy"
	"warder/policy/pattern"
)

// BenchmarkLarge loads a policy of 10,000 routes, of which 1,000 have a condition, says
// what it keeps in memory, and matches a request of it.
func BenchmarkLarge(b *testing.B) {
	var text strings.Builder
	text.WriteString("version: 1\nroutes:\n")
	for i := range 10_000 {
		fmt.Fprintf(&text, "  - {id: r%d, match: \"GET,POST /api/v1/s%d/{id}/a%d\", allow: [{user: {roles: [R%d]}}]", i, i%100, i, i%7)
		if i%10 == 0 {
			fmt.Fprintf(&text, ", when: 'params.id == principal.user || request.query.q == \"x%d\"'", i)
		}
		text.WriteString("}\n")
	}
	files := []policy.File{{Name: "policy.yaml", Data: []byte(text.String())}}
	load := func(b *testing.B) *policy.Policy {
		p, err := policy.Parse(files, nil)
		if err != nil {
			b.Fatal(err)
		}
		return p
	}
	b.Run("load", func(b *testing.B) {
		before := heap()
		kept := load(b)
		size := heap() - before
		b.ReportAllocs()
		for b.Loop() {
			load(b)
		}
		b.ReportMetric(float64(size)/(1<<20), "MiB-kept")
		runtime.KeepAlive(kept)
	})
	b.Run("match", func(b *testing.B) {
		p := load(b)
		path, err := pattern.ParsePath("/api/v1/s90/42/a9990")
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			if r := p.Match("GET", "api.example.com", path); r == nil || r.Condition == nil {
				b.Fatal("another route")
			}
		}
	})
}

// heap returns the bytes that are in use.
func heap() int64 { return int64(collected().HeapAlloc) }

// collected returns the statistics of the memory after a collection.
func collected() (m runtime.MemStats) {
	runtime.GC()
	runtime.GC() // frees what the first one found with finalizers and cleanups
	runtime.ReadMemStats(&m)
	return m
}

// largePolicy is a policy of n routes of several kinds, and with several spellings. It has no
// conditions, of which each keeps what package condition needs.
func largePolicy(n int) policy.File {
	var b strings.Builder
	b.WriteString("version: 1\nip_lists: {office: [203.0.113.0/24, 2001:db8:7::/48]}\nroutes:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - {id: r%05d, match: ", i)
		switch i % 10 {
		case 0:
			fmt.Fprintf(&b, "{hosts: [api%d.example.com], paths: [/v1/things-%05d, \"/v1/things-%05d/{id}\"]}, allow: [{api_key: {scopes: [\"things:read\"]}}]}\n", i%3, i, i)
		case 1:
			fmt.Fprintf(&b, "\"GET,POST /api/v1/things-%05d/{id}\", allow: [{user: {roles: [ROLE%d, CONTROL]}}], client_ips: [office]}\n", i, i%7)
		case 2:
			fmt.Fprintf(&b, "\"GET /files/things-%05d-{id}.json\", public: true}\n", i)
		case 3, 4, 5:
			fmt.Fprintf(&b, "\"/{tenant}/things-%05d/**\", allow: [{user: {}}]}\n", i)
		default:
			fmt.Fprintf(&b, "\"/api/v1/things-%05d/{id}/audit\", allow: [{user: {roles: [CONTROL]}}]}\n", i)
		}
	}
	return policy.File{Name: "policy.yaml", Data: []byte(b.String())}
}

// TestLargeMemory bounds what 10,000 routes cost: the bytes and objects that the collector
// looks at in each of its runs while the policy is in use, and the allocations of loading it.
// The bounds are 25 % above what was measured.
func TestLargeMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates too")
	}
	files := []policy.File{largePolicy(10_000)}
	load := func() *policy.Policy {
		p, err := policy.Parse(files, nil)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	load() // fills what packages and the runtime keep
	before := collected()
	p := load()
	var loaded runtime.MemStats
	runtime.ReadMemStats(&loaded)
	after := collected()
	for _, c := range []struct {
		what      string
		got, most uint64
	}{
		{"bytes kept", after.HeapAlloc - before.HeapAlloc, 5_900_000},
		{"objects kept", after.HeapObjects - before.HeapObjects, 3_900},
		{"bytes allocated while loading", loaded.TotalAlloc - before.TotalAlloc, 88_000_000},
		{"objects allocated while loading", loaded.Mallocs - before.Mallocs, 1_260_000},
	} {
		t.Logf("%s: %d of at most %d", c.what, c.got, c.most)
		if c.got > c.most {
			t.Errorf("%s: %d, want at most %d", c.what, c.got, c.most)
		}
	}
	runtime.KeepAlive(p)
	runtime.KeepAlive(files)
}
