package main

import (
	"context"
	"io"
	"log/slog"

	"github.com/redis/go-redis/v9"
	"google.golang.org/grpc/grpclog"
)

// newLogger makes warder's own log. Every line that warder writes about itself
// goes through one of these, to standard error.
func newLogger(w io.Writer, s logSettings) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(s.Level)); err != nil {
		level = slog.LevelInfo
	}
	options := &slog.HandlerOptions{Level: level}
	if s.Format == "text" {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}

// silenceLibraries turns off the process-wide logs of libraries: they print
// addresses and commands as they please. What matters of it comes back as an error.
func silenceLibraries() {
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))
	redis.SetLogger(silence{})
}

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}
