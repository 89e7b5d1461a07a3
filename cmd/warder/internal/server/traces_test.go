package server

import (
	"io"
	"strings"
	"testing"

	"warder/authz/memory"
	"warder/cmd/warder/internal/clitest"
)

// TestTracesInvalid tests that an invalid OTEL_ variable stops the start, and is reported
// together with the other problems.
func TestTracesInvalid(t *testing.T) {
	t.Parallel()
	s := testSettings(t)
	s.Policy = "missing.yaml"
	_, err := New(s, Options{
		Stdout: io.Discard, Log: clitest.Discard(), Stores: MemoryStores(memory.New(nil)),
		Env: clitest.Environment("OTEL_TRACES_EXPORTER=zipkin", "OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318"),
	})
	if err == nil || !strings.Contains(err.Error(), `OTEL_TRACES_EXPORTER: "zipkin" is not supported; use otlp, none`) || !strings.Contains(err.Error(), "missing.yaml") {
		t.Errorf("%v", err)
	}
}
