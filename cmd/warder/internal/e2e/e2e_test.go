package e2e

import "testing"

// TestEndToEnd runs the program behind a real Envoy with a real Redis and a real Postgres. At the
// end it searches all output for secrets.
func TestEndToEnd(t *testing.T) {
	leaks := newLeaks()
	t.Run("corpus", func(t *testing.T) { testCorpus(t, leaks, false) })
	t.Run("corpus, remembered", func(t *testing.T) { testCorpus(t, leaks, true) })
	t.Run("corpus, generated", func(t *testing.T) { testGenerated(t, leaks) })
	t.Run("faults", func(t *testing.T) { testFaults(t, leaks) })
	t.Run("standby", func(t *testing.T) { testStandby(t, leaks) })
	t.Run("logged", func(t *testing.T) { testLogged(t, leaks) })
	t.Run("traces", func(t *testing.T) { testTraces(t, leaks) })
	t.Run("huge request", func(t *testing.T) { testHugeRequest(t, leaks) })
	if leaks.text("metrics") == "" {
		t.Error("no metrics were kept to be searched")
	}
	leaks.scan(t)
}
