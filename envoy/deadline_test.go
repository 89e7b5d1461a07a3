package envoy

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

type callKey struct{}

// TestDeadlineContext compares a deadlineContext with context.WithTimeout, step by step.
func TestDeadlineContext(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		caller, within time.Duration
		early          time.Duration // when the caller cancels; 0 means never
	}{
		"own deadline":       {time.Hour, time.Second, 0},
		"the caller's":       {time.Second, time.Hour, 0},
		"the caller cancels": {time.Hour, time.Hour, time.Second},
		"over at once":       {time.Hour, 0, 0},
	} {
		for _, waits := range []string{"nobody", "Done", "AfterFunc", "a child"} {
			t.Run(name+", "+waits, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					call, cancel := context.WithTimeout(context.WithValue(t.Context(), callKey{}, "value"), test.caller)
					defer cancel()
					ours := withDeadline(call, test.within)
					theirs, endTheirs := context.WithTimeout(call, test.within)
					defer endTheirs()

					called, child := 0, context.Context(nil)
					switch waits {
					case "Done":
						_ = ours.Done()
					case "AfterFunc":
						context.AfterFunc(ours, func() { called++ })
					case "a child":
						var end context.CancelFunc
						child, end = context.WithTimeout(ours, time.Hour)
						defer end()
					}
					compare := func(when string) {
						t.Helper()
						synctest.Wait()
						if ours.Err() != theirs.Err() { //nolint:errorlint // the very same
							t.Fatalf("%s: Err is %v, want %v", when, ours.Err(), theirs.Err())
						}
						if child != nil && child.Err() != theirs.Err() { //nolint:errorlint // the very same
							t.Fatalf("%s: the child's Err is %v, want %v", when, child.Err(), theirs.Err())
						}
						at, _ := ours.Deadline()
						if want, _ := theirs.Deadline(); !at.Equal(want) || ours.Value(callKey{}) != "value" {
							t.Fatalf("%s: deadline %v, want %v; value %v", when, at, want, ours.Value(callKey{}))
						}
					}
					compare("at the beginning")
					time.Sleep(time.Second - time.Nanosecond)
					compare("just before")
					if test.early != 0 {
						cancel()
					}
					time.Sleep(time.Nanosecond)
					compare("at the deadline")
					if theirs.Err() == nil {
						t.Fatal("nothing has ended")
					}
					<-ours.Done()
					if waits == "AfterFunc" && called != 1 {
						t.Errorf("called %d times", called)
					}
				})
			})
		}
	}
}

// TestDeadlineContextEnds tests that a derived context ends with its parent, and that a context
// that has already ended can be waited for.
func TestDeadlineContextEnds(t *testing.T) {
	t.Parallel()
	ours := withDeadline(t.Context(), time.Hour)
	child, cancel := context.WithCancel(ours)
	defer cancel()
	ours.end()
	<-child.Done()
	if !errors.Is(ours.Err(), context.Canceled) || !errors.Is(child.Err(), context.Canceled) {
		t.Errorf("%v and %v", ours.Err(), child.Err())
	}
	late := withDeadline(t.Context(), time.Hour)
	late.end()
	<-late.Done()
	if !errors.Is(late.Err(), context.Canceled) {
		t.Errorf("%v", late.Err())
	}
}
