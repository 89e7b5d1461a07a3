package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"warder/cmd/warder/internal/admin"
)

// newAdmin returns the HTTP server of /healthz, /readyz, /metrics and /explain. It exposes
// no secrets and changes nothing, so that any prober may reach it.
func newAdmin(ready *readiness, metrics, explain http.Handler, log *slog.Logger) *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		admin.Answer(w, http.StatusOK, "alive")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		isReady, text := ready.state()
		if isReady {
			admin.Answer(w, http.StatusOK, text)
			return
		}
		admin.Answer(w, http.StatusServiceUnavailable, text)
	})
	mux.Handle("GET /metrics", metrics)
	mux.Handle("POST /explain", explain)
	return &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 2 * time.Second,
		ReadTimeout:       5 * time.Second,
		WriteTimeout:      5 * time.Second,
		IdleTimeout:       30 * time.Second,
		MaxHeaderBytes:    8 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

func serveAdmin(admin *http.Server, l net.Listener) error {
	if err := admin.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("the admin server stopped: %w", err)
	}
	return nil
}

// stopAdmin shuts the server down, with a short time for requests in flight to finish.
func stopAdmin(admin *http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if admin.Shutdown(ctx) != nil {
		_ = admin.Close()
	}
}
