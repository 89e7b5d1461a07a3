package authztest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A Redis is a real server (Valkey or Redis) on a loopback port and a unix socket. It starts
// empty and does not persist its data.
type Redis struct {
	Addr     string // 127.0.0.1:port, the same after a restart
	Socket   string // the path of the unix socket
	Password string // "" for none

	path    string
	dir     string
	before  []string // arguments before the others
	process *process
}

// StartRedis starts a server that stops when the test ends. password may be "".
func StartRedis(t testing.TB, password string) *Redis {
	t.Helper()
	return startRedis(t, password)
}

// StartRedisCluster starts a Redis Cluster of one server that serves no slots yet.
func StartRedisCluster(t testing.TB, password string) *Redis {
	t.Helper()
	return startRedis(t, password, "--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(freePort(t)))
}

// StartSentinel starts a Sentinel that watches no primary.
func StartSentinel(t testing.TB, password string) *Redis {
	t.Helper()
	state := filepath.Join(t.TempDir(), "sentinel.conf") // it wants a file to write to
	if err := os.WriteFile(state, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return startRedis(t, password, state, "--sentinel")
}

func startRedis(t testing.TB, password string, before ...string) *Redis {
	t.Helper()
	dir, remove, err := shortDir()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(remove)
	r := &Redis{
		Addr:     net.JoinHostPort("127.0.0.1", strconv.Itoa(freePort(t))),
		Socket:   filepath.Join(dir, "redis.sock"),
		Password: password,
		path:     redisServer.find(t),
		dir:      dir,
		before:   before,
	}
	r.Start(t)
	t.Cleanup(r.stop)
	return r
}

// URL returns the redis:// URL of database 0, with the password.
func (r *Redis) URL() string {
	u := url.URL{Scheme: "redis", Host: r.Addr, Path: "/0"}
	if r.Password != "" {
		u.User = url.UserPassword("", r.Password)
	}
	return u.String()
}

// Start restarts the server after Stop, on the same port and empty. It returns when the server
// answers.
func (r *Redis) Start(t testing.TB) {
	t.Helper()
	r.start(t)
}

// StartReplica is Start, as a replica of a primary.
func (r *Redis) StartReplica(t testing.TB, primary *Redis) {
	t.Helper()
	host, port, _ := net.SplitHostPort(primary.Addr)
	r.start(t, "--replicaof", host+" "+port)
}

func (r *Redis) start(t testing.TB, more ...string) {
	t.Helper()
	_, port, _ := net.SplitHostPort(r.Addr)
	args := append(slices.Concat(r.before, more),
		"--bind", "127.0.0.1", "--port", port, "--unixsocket", r.Socket,
		"--save", "", "--appendonly", "no", "--dir", r.dir, "--daemonize", "no", "--loglevel", "warning",
	)
	if r.Password != "" {
		args = append(args, "--requirepass", r.Password)
	}
	process, err := startProcess(false, r.path, args...)
	if err != nil {
		t.Fatal(err)
	}
	r.process = process
	if err := process.await(r.answers); err != nil {
		t.Fatal(err)
	}
}

// Stop kills the server. Its data is lost.
func (r *Redis) Stop(t testing.TB) {
	t.Helper()
	r.stop()
}

func (r *Redis) stop() { r.process.kill() }

// Pause stops the server from answering until Resume. Connections stay open.
func (r *Redis) Pause(t testing.TB) {
	t.Helper()
	r.process.pause()
}

// Resume ends Pause.
func (r *Redis) Resume(t testing.TB) {
	t.Helper()
	r.process.resume()
}

// Do sends one command on a new connection and returns the first line of the reply as sent by
// the server: "+OK", ":1", "$-1". An error reply fails the test.
func (r *Redis) Do(t testing.TB, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	reply, err := r.do(ctx, args...)
	if err == nil && strings.HasPrefix(reply, "-") {
		err = errors.New(reply)
	}
	if err != nil {
		t.Fatalf("redis %s: %v", args[0], err)
	}
	return reply
}

// InfoNumber returns a number of the reply to INFO.
func InfoNumber(t testing.TB, info, name string) float64 {
	t.Helper()
	for line := range strings.Lines(info) {
		if value, found := strings.CutPrefix(strings.TrimSpace(line), name+":"); found {
			number, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatal(err)
			}
			return number
		}
	}
	t.Fatalf("INFO has no %s:\n%s", name, info)
	return 0
}

func (r *Redis) answers(ctx context.Context) error {
	reply, err := r.do(ctx, "PING")
	if err == nil && reply != "+PONG" {
		err = errors.New(reply)
	}
	return err
}

func (r *Redis) do(ctx context.Context, args ...string) (string, error) {
	lines, err := r.doLines(ctx, 1, args...)
	if err != nil {
		return "", err
	}
	return lines[0], nil
}

// DoAll sends commands on one connection. An error reply, and one of several lines, fails the test.
func (r *Redis) DoAll(t testing.TB, commands ...[]string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	err := r.talk(ctx, func(lines *bufio.Reader) error {
		for range commands {
			if line, err := lines.ReadString('\n'); err != nil || line[0] != '+' && line[0] != ':' {
				return fmt.Errorf("%q %w", line, err)
			}
		}
		return nil
	}, commands...)
	if err != nil {
		t.Fatal(err)
	}
}

// doLines returns the first lines of the reply to a command, or the one line of an error. They end
// early if the reply is an empty list.
func (r *Redis) doLines(ctx context.Context, n int, args ...string) (reply []string, err error) {
	err = r.talk(ctx, func(lines *bufio.Reader) error {
		for len(reply) < n {
			line, err := lines.ReadString('\n')
			if err != nil {
				return err
			}
			if reply = append(reply, strings.TrimSuffix(line, "\r\n")); line[0] == '-' || reply[0] == "*0" {
				break
			}
		}
		return nil
	}, args)
	return reply, err
}

// talk sends commands on a new connection and reads the replies.
func (r *Redis) talk(ctx context.Context, read func(*bufio.Reader) error, commands ...[]string) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", r.Addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	lines := bufio.NewReader(conn)
	if r.Password != "" {
		if _, err := conn.Write(command([]string{"AUTH", r.Password})); err != nil {
			return err
		}
		if reply, err := lines.ReadString('\n'); err != nil || reply != "+OK\r\n" {
			return fmt.Errorf("AUTH: %s %w", reply, err)
		}
	}
	for _, args := range commands {
		if _, err := conn.Write(command(args)); err != nil {
			return err
		}
	}
	return read(lines)
}

// command encodes a command as an array of bulk strings (RESP 2).
func command(args []string) []byte {
	b := fmt.Appendf(nil, "*%d\r\n", len(args))
	for _, arg := range args {
		b = fmt.Appendf(b, "$%d\r\n%s\r\n", len(arg), arg)
	}
	return b
}
