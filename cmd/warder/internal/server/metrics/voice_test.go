package metrics

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"warder/authz"
)

// TestStoreVoice checks that an outage of a store and its end are logged once each, and that
// frequent outages are not all logged.
func TestStoreVoice(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	now := time.Unix(1_800_000_000, 0)
	meter := newStoreMetrics().meter("sessions")
	meter.voice.log, meter.voice.now = slog.New(slog.NewTextHandler(&out, nil)), func() time.Time { return now }
	gone := errors.New("redis did not answer in time")
	for _, step := range []struct {
		want string // what is said then, "" for nothing
		err  error
		wait time.Duration // before
	}{
		{"", nil, 0},
		{"", authz.ErrNotFound, 0},
		{"level=ERROR msg=\"a store does not answer, requests that need it get a 503\" store=sessions error=\"redis did not answer in time\"", gone, 0},
		{"", gone, time.Hour},
		{"", authz.ErrOverloaded, 0},
		{"level=INFO msg=\"a store answers again\" store=sessions", authz.ErrNotFound, 0},
		{"", nil, 0},
		{"a store does not answer", gone, voiceTime},
		{"a store answers again", nil, 0},
		{"", gone, voiceTime - 1},
		{"", nil, 0},
		{"a store does not answer", gone, 1},
	} {
		out.Reset()
		now = now.Add(step.wait)
		meter.asked(0, step.err)
		if got := out.String(); !strings.Contains(got, step.want) || step.want == "" && got != "" {
			t.Errorf("after %v: %q, want %q", step.err, got, step.want)
		}
	}
}
