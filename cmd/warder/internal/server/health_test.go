package server

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"warder/authz/memory"
	"warder/cmd/warder/internal/admin"
	"warder/cmd/warder/internal/cli"
	"warder/cmd/warder/internal/clitest"
	"warder/cmd/warder/internal/config"
	"warder/cmd/warder/internal/explain"
)

// runCommand runs a command that asks a running server, as the program does.
func runCommand(env cli.LookupEnv, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	p := cli.Process{Env: env, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs}
	root := &cobra.Command{Use: "warder", SilenceErrors: true, SilenceUsage: true}
	root.AddCommand(admin.NewHealthCommand(p), explain.NewCommand(p))
	code = cli.Run(root, args, p)
	return code, out.String(), errs.String()
}

func TestHealthCommand(t *testing.T) {
	t.Parallel()
	s := testSettings(t)
	r := start(t, s, MemoryStores(memory.New(nil)))
	onSocket := testSettings(t)
	onSocket.Listen.Admin = config.Address{Network: "unix", Address: filepath.Join(clitest.SocketDir(t), "a.sock")}
	socket := start(t, onSocket, MemoryStores(memory.New(nil)))
	away := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		admin.Answer(w, http.StatusServiceUnavailable, "not ready: waiting for sessions (Redis)")
	}))
	defer away.Close()
	gone := httptest.NewServer(nil)
	gone.Close()

	// A health check does not need secrets, so it ignores unreadable ones.
	config := clitest.WriteFile(t, t.TempDir(), "warder.yaml", "jwt: {keys: [{secret: '${UNSET}'}]}\nlisten: {admin: '"+r.Admin.String()+"'}\n")
	for _, c := range []struct {
		want         int
		stdout, errs string
		env          cli.LookupEnv
		args         []string
	}{
		{0, "ready\n", "", clitest.Environment(), []string{"--url", "http://" + r.Admin.String() + "/readyz"}},
		{0, "alive\n", "", clitest.Environment(), []string{"--url", "http://" + r.Admin.String() + "/healthz"}},
		{0, "ready\n", "", clitest.Environment(), []string{"-c", config}},
		{0, "ready\n", "", clitest.Environment("WARDER_CONFIG=" + config), nil},
		{0, "ready\n", "", clitest.Environment("WARDER_LISTEN_ADMIN=" + r.Admin.String()), nil},
		{0, "ready\n", "", clitest.Environment("WARDER_LISTEN_ADMIN=unix://" + onSocket.Listen.Admin.Address), nil},
		{1, "", "503 Service Unavailable: not ready: waiting for sessions (Redis)", clitest.Environment(), []string{"--url", away.URL}},
		{1, "", "connection refused", clitest.Environment(), []string{"--url", gone.URL}},
		{1, "", "is not an address to listen on", clitest.Environment("WARDER_LISTEN_ADMIN=example.com:1"), nil},
		{1, "", "gone.yaml: cannot be read", clitest.Environment(), []string{"-c", "gone.yaml"}},
	} {
		code, stdout, stderr := runCommand(c.env, append([]string{"health"}, c.args...)...)
		if code != c.want || stdout != c.stdout || !strings.Contains(stderr, c.errs) || c.want == 0 && stderr != "" {
			t.Errorf("health %v: %d %q %q, want %d %q %q", c.args, code, stdout, stderr, c.want, c.stdout, c.errs)
		}
	}
	socket.stop()
}
