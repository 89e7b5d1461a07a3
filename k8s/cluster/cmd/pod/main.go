// Pod is what the pods of the tests run beside warder and Envoy: "pod pause" holds a
// pod's namespaces, "pod app" is an application.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "pod:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("usage: pod pause|app")
	}
	switch args[0] {
	case "pause":
		<-ctx.Done()
		return nil
	case "app":
		return serve(ctx)
	default:
		return fmt.Errorf("unknown command %q; want pause or app", args[0])
	}
}

// serve answers each request with its headers, on loopback like an application behind Envoy.
// ?wait=1s answers later. Told to end, it finishes what it has begun.
func serve(ctx context.Context) error {
	server := &http.Server{Addr: "127.0.0.1:8080", ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(echo)}
	ended := make(chan error, 1)
	go func() { ended <- server.ListenAndServe() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	return server.Shutdown(last)
}

func echo(w http.ResponseWriter, r *http.Request) {
	if wait := r.URL.Query().Get("wait"); wait != "" {
		d, err := time.ParseDuration(wait)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		time.Sleep(d)
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(r.Header); err != nil {
		fmt.Fprintln(os.Stderr, "pod:", err)
	}
}
