package server

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"

	"warder/authz/mask"
	"warder/cmd/warder/internal/clitest"
	"warder/cmd/warder/internal/config"
)

// A vault holds the password that a program prints, and counts the runs of the program.
type vault struct{ file, runs string }

func newVault(t *testing.T, password string) vault {
	t.Helper()
	dir := t.TempDir()
	v := vault{filepath.Join(dir, "password"), filepath.Join(dir, "runs")}
	v.set(t, password)
	return v
}

// set makes the program print a password, or fail if it is "".
func (v vault) set(t *testing.T, password string) {
	t.Helper()
	if err := os.WriteFile(v.file+".new", []byte(password), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(v.file+".new", v.file); err != nil {
		t.Fatal(err)
	}
}

func (v vault) count() int {
	data, _ := os.ReadFile(v.runs)
	return strings.Count(string(data), "run")
}

// isOld reports whether the last run began so long ago that another one may begin.
func (v vault) isOld(t *testing.T) bool {
	t.Helper()
	info, err := os.Stat(v.runs)
	if err != nil {
		t.Fatal(err)
	}
	return time.Since(info.ModTime()) > commandPause
}

// argv is the value of password_command in YAML.
func (v vault) argv() string {
	return `[/bin/sh, -c, 'echo run >>"$2"; test -s "$1" && cat "$1" || { echo "no role for password=canary-stderr" >&2; exit 3; }', sh, ` + v.file + ", " + v.runs + "]"
}

// startCommanded starts a rotation whose passwords are printed by programs.
func startCommanded(t *testing.T, db, redis vault) *rotation {
	t.Helper()
	r, s := newRotation(t)
	text := "jwt: {keys: [{secret: " + clitest.Secret + "}]}\n" +
		"sessions: {redis_url: '" + r.redisURL("") + "', password_command: " + redis.argv() + "}\n" +
		"directory: {database_url: '" + r.databaseURL("") + "', password_command: " + db.argv() + "}\n"
	read, _, err := config.Read(clitest.WriteFile(t, t.TempDir(), "warder.yaml", text), clitest.Environment()).Resolve()
	if err != nil {
		t.Fatal(err)
	}
	read.Sessions.Timeout, read.Directory.Timeout = s.Sessions.Timeout, s.Directory.Timeout
	s.Sessions, s.Directory = read.Sessions, read.Directory
	r.running = start(t, s, nil)
	return r
}

// TestPasswordCommandRotates changes the passwords of both stores, which accept only the new one.
// The programs print it, and no request may be refused. The programs run few times, whatever the
// number of connections that are refused.
func TestPasswordCommandRotates(t *testing.T) {
	t.Parallel()
	db, redis := newVault(t, "canary-0"), newVault(t, "canary-0")
	r := startCommanded(t, db, redis)
	conn := r.dial(insecure.NewCredentials())
	ask := func() {
		header := map[string]string{"authorization": "Bearer " + signedWith(t, secretOf("0"), time.Now().Add(time.Hour), "")}
		if got, err := r.check(conn, "/user", header); got != codes.OK || err != nil {
			t.Errorf("a good request: %v, %v", got, err)
		}
	}
	ask()
	if db.count() != 1 || redis.count() != 1 {
		t.Errorf("the programs ran %d and %d times at the start, want once each", db.count(), redis.count())
	}
	for _, password := range []string{"canary-1", "canary-2"} {
		before := db.count()
		began := time.Now()
		db.set(t, password)
		redis.set(t, password)
		r.redis.Do(t, "ACL", "SETUSER", "w", "resetpass", ">"+password)
		r.db.Exec(t, "ALTER ROLE "+r.role+" PASSWORD '"+password+"'")
		clitest.Eventually(t, "runs that may be repeated", func() bool { return db.isOld(t) && redis.isOld(t) })
		r.disconnect(t)
		var all sync.WaitGroup
		for range 20 {
			all.Go(ask)
		}
		all.Wait()
		if runs, most := db.count()-before, 1+int(time.Since(began)/commandPause); runs < 1 || runs > most {
			t.Errorf("20 requests at once ran the program %d times, want 1 to %d", runs, most)
		}
	}
	if text := r.log.String(); strings.Contains(text, "canary") || strings.Count(text, `"secret reloaded","setting":"directory.password_command"`) != 3 {
		t.Errorf("a password is in the log, or not each change:\n%s", text)
	}
}

// TestPasswordCommandFails checks that warder waits for the first password, that a later failure
// keeps the last good one, and that log, metric and /readyz say so.
func TestPasswordCommandFails(t *testing.T) {
	t.Parallel()
	db := newVault(t, "")
	go func() {
		for db.count() < 2 && t.Context().Err() == nil {
			time.Sleep(time.Millisecond)
		}
		db.set(t, "canary-0")
	}()
	r := startCommanded(t, db, newVault(t, "canary-0")) // until it is ready
	for _, want := range []string{
		`"msg":"secret not loaded","setting":"directory.password_command","error":"/bin/sh has ended with exit status 3; it says: no role for password=***FILTERED***"`,
		`"msg":"store not usable, trying again","store":"directory (Postgres)","error":"directory.password_command: /bin/sh has ended with exit status 3`,
	} {
		if !strings.Contains(r.log.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, r.log)
		}
	}
	db.set(t, "")
	clitest.Eventually(t, "a run that may be repeated", func() bool { return db.isOld(t) })
	r.hangup <- os.Interrupt
	clitest.Eventually(t, "the failure of a later run", func() bool {
		_, text := r.readyz()
		return strings.Contains(text, "secret directory.password_command: the reload at ") && strings.Contains(text, "the last good one stays")
	})
	if strings.Contains(r.scrape().Of("warder_secret_last_reload_successful"), `{secret="directory.password_command"} 1`) {
		t.Error("the metric is not that of a failed run")
	}
	r.disconnect(t)
	conn := r.dial(insecure.NewCredentials())
	header := map[string]string{"authorization": "Bearer " + signedWith(t, secretOf("0"), time.Now().Add(time.Hour), "")}
	if got, err := r.check(conn, "/user", header); got != codes.OK || err != nil {
		t.Errorf("a request with the last good password: %v, %v", got, err)
	}
	if text := r.log.String(); strings.Contains(text, "canary") {
		t.Errorf("a password is in the log:\n%s", text)
	}
}

// TestPasswordCommandTimes checks when a program runs, with a clock of its own.
func TestPasswordCommandTimes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var runs atomic.Int64
		var fails atomic.Bool
		p := &commandPassword{key: "k", lifetime: 10 * time.Minute, run: func(context.Context) (mask.Secret, error) {
			time.Sleep(3 * time.Second)
			runs.Add(1)
			if fails.Load() {
				return mask.Secret{}, errors.New("no role")
			}
			return mask.New("canary"), nil
		}}
		want := func(n int64, when string) {
			t.Helper()
			synctest.Wait()
			if got := runs.Load(); got != n {
				t.Errorf("%s: %d runs, want %d", when, got, n)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { _ = p.keepFresh(ctx) }()
		for range 100 { // a storm of logins
			go func() { _, _ = p.ask(ctx, commandPause) }()
		}
		impatient, end := context.WithTimeout(ctx, time.Second)
		defer end()
		if _, err := p.ask(impatient, commandPause); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a question waits longer than its context: %v", err)
		}
		time.Sleep(5 * time.Second)
		want(1, "100 logins at once")
		time.Sleep(9 * time.Minute)
		want(1, "before the lifetime has passed")
		time.Sleep(time.Minute + 3*time.Second)
		want(2, "after the lifetime")
		if password, err := p.ask(ctx, commandPause); err != nil || password.Reveal() != "canary" {
			t.Errorf("%v, %v", password, err)
		}
		want(3, "a refused login")
		fails.Store(true)
		time.Sleep(10*time.Minute + time.Second)
		want(4, "the run after the lifetime")
		if p.last().Reveal() != "canary" {
			t.Error("the last good password is gone")
		}
		time.Sleep(10 * time.Minute)
		if n := runs.Load() - 4; n < 15 || n > 25 {
			t.Errorf("a program that fails ran %d times in 10 minutes, want about one in %v", n, maxCommandPause+3*time.Second)
		}
		if _, err := p.ask(ctx, commandPause); err == nil || err.Error() != "k: no role" {
			t.Error(err)
		}
		cancel()
		time.Sleep(time.Minute)
	})
}
