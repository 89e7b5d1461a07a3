package clitest

import (
	"bytes"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// Eventually polls until the condition holds: real files and a real kernel have
// their own time. It fails the test long after any of them should be done.
func Eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(15 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-deadline:
			t.Fatalf("never: %s", what)
		case <-tick.C:
		}
	}
}

// Discard is a log that nobody reads.
func Discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// A Buffer is a buffer that may be read while others write.
type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// Secret is long enough to be a key; its beginning is what a leak looks like.
const Secret = "canary-jwt-secret-0123456789abcdef"

// Environment is an environment that holds the given NAME=value words only.
func Environment(words ...string) func(name string) (value string, set bool) {
	return func(name string) (string, bool) {
		for _, w := range words {
			if value, ok := strings.CutPrefix(w, name+"="); ok {
				return value, true
			}
		}
		return "", false
	}
}

// FreeAddress is a TCP address of this machine that nobody listens at.
func FreeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
