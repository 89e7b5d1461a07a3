package admin

import (
	"testing"

	"warder/cmd/warder/internal/config"
)

func TestReachable(t *testing.T) {
	t.Parallel()
	for listen, want := range map[string]string{
		":9192": "127.0.0.1:9192", "0.0.0.0:9192": "127.0.0.1:9192", "[::]:9192": "[::1]:9192", "10.1.2.3:1": "10.1.2.3:1", "localhost:1": "localhost:1",
	} {
		if got := reachable(config.Address{Network: "tcp", Address: listen}); got != want {
			t.Errorf("reachable(%s) = %s, want %s", listen, got, want)
		}
	}
}
