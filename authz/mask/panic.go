package mask

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
)

// LogPanic logs a panic that was recovered: where it happened and the type of what was
// thrown. Its value may hold a token in any form, and is not printed. Call it in the deferred
// function itself.
func LogPanic(ctx context.Context, log *slog.Logger, where string, fault any) {
	log.ErrorContext(ctx, "panic",
		slog.String("in", where), slog.String("type", fmt.Sprintf("%T", fault)), slog.Any("stack", stack()))
}

// stack returns the functions that are on the stack with their places, and no
// arguments.
func stack() []string {
	pcs := make([]uintptr, 32)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs)]) // not Callers, stack and LogPanic
	var lines []string
	for {
		f, more := frames.Next()
		lines = append(lines, fmt.Sprintf("%s %s:%d", f.Function, filepath.Base(f.File), f.Line))
		if !more {
			return lines
		}
	}
}
