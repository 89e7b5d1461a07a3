package envoy

import (
	"runtime"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"warder/authz"
)

// TestAllocations bounds the allocations of a check, from the bytes of the request to the bytes
// of the response. The budgets are slightly above the measured values.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates too")
	}
	s := newTestServer(t, Config{})
	for _, test := range []struct {
		name, path, reason string
		credential         authz.Header
		budget             float64
	}{
		{"public", "/public/x", "public", authz.Header{Name: "a", Value: "b"}, 10},
		{"session", "/users/x?page=2", "session", authz.Header{Name: "authorization", Value: bearer(t)}, 13},
	} {
		text, err := proto.Marshal(checkRequest("GET", test.path, append(slices.Clip(usual), test.credential)...))
		if err != nil {
			t.Fatal(err)
		}
		var answer []byte
		got := testing.AllocsPerRun(200, func() {
			in := new(CheckRequest)
			in.decode(text)
			out := s.Check(t.Context(), in)
			if out.about[1] != test.reason {
				t.Fatalf("%+v", out)
			}
			answer = out.appendTo(answer[:0])
		})
		if got > test.budget {
			t.Errorf("%s: %v allocations, at most %v wanted", test.name, got, test.budget)
		} else {
			t.Logf("%s: %v allocations", test.name, got)
		}
	}
}

// TestServeAllocations bounds what the server allocates for a check from the bytes of its frames
// to the bytes of the response, gRPC included. The budgets are slightly above the measured
// values.
func TestServeAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates too")
	}
	const budget, budgetBytes = 66, 6200
	const rounds, batch = 200, 16
	_, address := serveAddress(t, newTestServer(t, Config{}), nil)
	p := newRawPeer(t, address, marshal(t, usualSession(t)))
	for range rounds {
		p.send(t, batch)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range rounds {
		p.send(t, batch)
	}
	runtime.ReadMemStats(&after)
	allocations := (after.Mallocs - before.Mallocs) / (rounds * batch)
	bytes := (after.TotalAlloc - before.TotalAlloc) / (rounds * batch)
	if allocations > budget || bytes > budgetBytes {
		t.Errorf("%d allocations and %d bytes, at most %d and %d wanted", allocations, bytes, budget, budgetBytes)
	} else {
		t.Logf("%d allocations, %d bytes", allocations, bytes)
	}
}
