package server

import (
	"context"
	"io"
	"log/slog"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel"
	"google.golang.org/grpc/grpclog"

	"warder/authz/mask"
	"warder/cmd/warder/internal/config"
)

// NewLogger returns a logger for warder's own log. Every line that warder writes about itself
// goes through such a logger, which masks secrets, to standard error.
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

// newQueuedLogger returns a logger for a server, which never waits for its reader. Checks
// write to it when a store fails. The caller must close the queue.
func newQueuedLogger(w io.Writer, s config.Log, dropped *prometheus.CounterVec) (*slog.Logger, *lineQueue) {
	q := newLineQueue("standard error", w, nil, dropped, linesOfOwn)
	q.log = NewLogger(q.part(linesOfOwn), s) // before the first line
	return q.log, q
}

// SilenceLibraries turns off the process-wide logs of libraries, because they may print
// addresses and commands. The libraries also return the relevant failures as errors.
func SilenceLibraries() {
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))
	redis.SetLogger(silence{})
	otel.SetLogger(logr.Discard())
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) {}))
}

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}
