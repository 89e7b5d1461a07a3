package mask

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
)

// LogPanic logs a recovered panic: where it was recovered, the type of its value and the
// stack. It does not log the value, which may contain a token in any form. It must be called
// by the deferred function itself, so that the stack begins at the panic.
func LogPanic(ctx context.Context, log *slog.Logger, where string, fault any) {
	log.ErrorContext(ctx, "panic",
		slog.String("in", where), slog.String("type", fmt.Sprintf("%T", fault)), slog.Any("stack", stack()))
}

// stack returns the functions on the stack with their positions, without arguments.
func stack() []string {
	pcs := make([]uintptr, 32)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs)]) // skip Callers, stack and LogPanic
	var lines []string
	for {
		f, more := frames.Next()
		lines = append(lines, fmt.Sprintf("%s %s:%d", f.Function, filepath.Base(f.File), f.Line))
		if !more {
			return lines
		}
	}
}
