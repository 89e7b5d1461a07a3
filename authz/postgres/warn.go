package postgres

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// A limitedLog writes at most one warning per second. A bad row would otherwise cause one
// for every request of its user.
type limitedLog struct {
	log *slog.Logger // may be nil
	now func() time.Time

	mu         sync.Mutex
	next       time.Time
	suppressed int
}

func (l *limitedLog) warn(ctx context.Context, message string, attrs ...slog.Attr) {
	if l.log == nil {
		return
	}
	l.mu.Lock()
	now := l.now()
	if now.Before(l.next) {
		l.suppressed++
		l.mu.Unlock()
		return
	}
	suppressed := l.suppressed
	l.next, l.suppressed = now.Add(time.Second), 0
	l.mu.Unlock()
	if suppressed > 0 {
		attrs = append(attrs, slog.Int("more_warnings", suppressed))
	}
	l.log.LogAttrs(ctx, slog.LevelWarn, message, attrs...) //nolint:sloglint // the callers have literals
}
