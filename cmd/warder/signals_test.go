package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"warder/authz/authztest"
	"warder/cmd/warder/internal/clitest"
)

// serveProcess runs `warder serve` as a separate process that is configured by files only.
func serveProcess(t *testing.T, more string) (cmd *exec.Cmd, stderr *authztest.Buffer) {
	t.Helper()
	dir := t.TempDir()
	clitest.WriteFile(t, dir, "policy.yaml", clitest.PolicyWith("a"))
	clitest.WriteFile(t, dir, "directory.yaml", "users:\n  - {id: \"42\", is_active: true}\n")
	clitest.WriteFile(t, dir, "jwt", clitest.Secret)
	if !strings.Contains(more, "listen:") {
		more += "listen: {grpc: \"127.0.0.1:0\", admin: \"127.0.0.1:0\"}\n"
	}
	config := clitest.WriteFile(t, dir, "warder.yaml", `policy: policy.yaml
jwt: {keys: [{secret_file: jwt}]}
sessions: {redis_url: "memory://"}
directory: {file: directory.yaml}
`+more)
	stderr = &authztest.Buffer{}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd = exec.CommandContext(t.Context(), program, "serve", "-c", config)
	cmd.Env = []string{asProgram + "=1"}
	cmd.Stdout, cmd.Stderr = &bytes.Buffer{}, stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	clitest.Eventually(t, "the server is ready", func() bool { return strings.Contains(stderr.String(), `"msg":"ready"`) })
	return cmd, stderr
}

func sendSignal(t *testing.T, cmd *exec.Cmd, s os.Signal) {
	t.Helper()
	if err := cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

func TestSignals(t *testing.T) {
	t.Parallel()
	for _, s := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		cmd, stderr := serveProcess(t, "shutdown: {delay: 0s}\n")
		sendSignal(t, cmd, syscall.SIGHUP)
		clitest.Eventually(t, "SIGHUP looks at the policy", func() bool { return strings.Contains(stderr.String(), "policy unchanged") })
		sendSignal(t, cmd, s)
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %v, want exit code 0\n%s", s, err, stderr)
		}
		for line := range strings.Lines(stderr.String()) {
			if !strings.HasPrefix(line, "{") {
				t.Errorf("a line of the log is not JSON: %s", line)
			}
		}
	}
}

// TestHangupReloadsTLS checks that SIGHUP reloads the files of listen.tls, as the help says.
func TestHangupReloadsTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := clitest.NewAuthority(t, "ca").Issue(t, "warder", time.Now().Add(time.Hour))
	cmd, stderr := serveProcess(t, fmt.Sprintf("shutdown: {delay: 0s}\nlisten: {grpc: \"127.0.0.1:0\", admin: \"127.0.0.1:0\", tls: {cert_file: %q, key_file: %q}}\n",
		clitest.WriteFile(t, dir, "tls.crt", string(cert)), clitest.WriteFile(t, dir, "tls.key", string(key))))
	sendSignal(t, cmd, syscall.SIGHUP)
	clitest.Eventually(t, "SIGHUP reloads the certificate", func() bool { return strings.Contains(stderr.String(), "TLS files reloaded") })
	sendSignal(t, cmd, syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v, want exit code 0\n%s", err, stderr)
	}
}

// TestSecondSignalEndsAtOnce checks that a second signal ends the process without waiting
// for the drain.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	cmd, stderr := serveProcess(t, "shutdown: {delay: 5m}\n")
	sendSignal(t, cmd, syscall.SIGTERM)
	clitest.Eventually(t, "it shuts down", func() bool { return strings.Contains(stderr.String(), "shutting down") })
	sendSignal(t, cmd, syscall.SIGTERM)
	exit, ok := errors.AsType[*exec.ExitError](cmd.Wait())
	if !ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
		t.Errorf("the second signal: %v, want the process to be ended by it", exit)
	}
}
