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
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
