package traces

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"warder/authz/mask"
)

// quiet is the shortest time between two lines about a failing collector.
const quiet = time.Minute

// maxErrorText bounds the text of an error of the collector in the log, in bytes.
const maxErrorText = 512

// A reporter is an exporter whose failures are logged, at most one in each period of quiet.
type reporter struct {
	sdktrace.SpanExporter
	log     *slog.Logger
	now     func() time.Time
	secrets []string // header values that the collector may repeat

	mu      sync.Mutex
	failing bool
	said    time.Time
	lost    int // spans lost since then
}

// ExportSpans implements sdktrace.SpanExporter. It returns nil, because it has reported the
// error itself.
func (r *reporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	r.heard(r.SpanExporter.ExportSpans(ctx, spans), len(spans))
	return nil
}

func (r *reporter) heard(err error, spans int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		if r.failing {
			r.failing = false
			r.log.Info("traces are exported again")
		}
		return
	}
	r.failing = true
	r.lost += spans
	now := r.now()
	if !r.said.IsZero() && now.Sub(r.said) < quiet {
		return
	}
	r.log.Warn("traces were not exported", "spans", r.lost, "error", r.clean(err.Error()))
	r.said, r.lost = now, 0
}

// clean returns the text without the secrets that were sent to the collector. The log masks
// what else looks like a secret.
func (r *reporter) clean(text string) string {
	for _, secret := range r.secrets {
		if len(secret) >= minSecret {
			text = strings.ReplaceAll(text, secret, mask.Replacement)
		}
	}
	excerpt := mask.NewExcerpt(text)
	return excerpt.Shown(excerpt.Text, maxErrorText)
}

// minSecret is the length of the shortest secret that is searched for. Shorter ones, such as
// the word Bearer, would hide parts of ordinary text.
const minSecret = 8
