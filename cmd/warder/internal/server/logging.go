package server

import (
	"context"
	"io"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"google.golang.org/grpc/grpclog"

	"warder/authz/mask"
	"warder/cmd/warder/internal/config"
)

// NewLogger makes warder's own log. Every line that warder writes about itself
// goes through one of these, masked, to standard error.
func NewLogger(w io.Writer, s config.Log) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(s.Level)); err != nil {
		level = slog.LevelInfo
	}
	options := &slog.HandlerOptions{Level: level}
	var handler slog.Handler = slog.NewJSONHandler(w, options)
	if s.Format == "text" {
		handler = slog.NewTextHandler(w, options)
	}
	return slog.New(mask.NewHandler(handler, s.Mask))
}

// newQueuedLogger makes a logger that never waits for its reader, for a server: checks
// write to it when a store fails. The caller closes the queue.
func newQueuedLogger(w io.Writer, s config.Log, dropped *prometheus.CounterVec) (*slog.Logger, *lineQueue) {
	q := newLineQueue("standard error", w, nil, dropped, linesOfOwn)
	q.log = NewLogger(q.part(linesOfOwn), s) // before the first line
	return q.log, q
}

// SilenceLibraries turns off the process-wide logs of libraries: they print
// addresses and commands as they please. What matters of it comes back as an error.
func SilenceLibraries() {
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))
	redis.SetLogger(silence{})
}

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}
