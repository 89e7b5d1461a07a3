package clitest

import (
	"log/slog"
	"strings"
	"testing"
	"time"
)

// Eventually polls until the condition holds, for changes whose time depends on the file
// system or the kernel. It fails the test after a time much longer than any of them needs.
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

// Discard returns a logger that discards everything.
func Discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// Secret is long enough to be a JWT key. Tests look for its beginning to find leaks.
const Secret = "canary-jwt-secret-0123456789abcdef"

// Environment returns a lookup function for an environment of only these NAME=value words.
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
