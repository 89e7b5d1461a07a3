package main

import (
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"warder/authz/authztest"
	"warder/authz/postgres"
	"warder/cmd/warder/internal/clitest"
)

// TestScripts runs testdata/script/*.txtar. The scripts hold command lines as a user types
// them, and each runs warder as a separate process. `exits CODE warder …` expects that exit
// code.
func TestScripts(t *testing.T) {
	t.Parallel()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	stores := &scriptStores{t: t, redis: map[string]*authztest.Redis{}, postgres: map[string]*authztest.Postgres{}}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			bin := filepath.Join(e.WorkDir, ".bin")
			if err := os.Mkdir(bin, 0o700); err != nil {
				return err
			}
			e.Setenv("PATH", bin+string(filepath.ListSeparator)+e.Getenv("PATH"))
			e.Setenv(asProgram, "1")
			e.Setenv("SECRET", clitest.Secret)
			return os.Symlink(program, filepath.Join(bin, "warder"))
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "redis": stores.redisCommand, "postgres": stores.postgresCommand, "token": mintToken,
		},
	})
}

// exits implements `exits CODE COMMAND ARG…`: the command must exit with the code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND ARG…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := err.(interface{ ExitCode() int })
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// scriptStores are the servers of the scripts, by their addresses.
type scriptStores struct {
	t        *testing.T
	mu       sync.Mutex
	redis    map[string]*authztest.Redis
	postgres map[string]*authztest.Postgres
}

// redisCommand implements `redis start`, which sets REDIS_ADDR, and `redis REPLY COMMAND ARG…`, which
// expects the first line of a reply.
func (s *scriptStores) redisCommand(ts *testscript.TestScript, _ bool, args []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(args) == 1 && args[0] == "start" {
		server := authztest.StartRedis(s.t, "")
		s.redis[server.Addr] = server
		ts.Setenv("REDIS_ADDR", server.Addr)
		return
	}
	if got := s.redis[ts.Getenv("REDIS_ADDR")].Do(s.t, args[1:]...); got != args[0] {
		ts.Fatalf("redis %v answers %s, want %s", args[1:], got, args[0])
	}
}

// postgresCommand implements `postgres start`, which makes a database with the reference schema and
// sets DATABASE and PG_ADDR, `postgres exec SQL` and `postgres holds CONDITION`.
func (s *scriptStores) postgresCommand(ts *testscript.TestScript, _ bool, args []string) {
	s.mu.Lock() // the schema makes a role that all databases share
	defer s.mu.Unlock()
	switch args[0] {
	case "start":
		db := authztest.StartPostgres(s.t)
		db.Exec(s.t, postgres.Schema)
		s.postgres[db.Database] = db
		ts.Setenv("DATABASE", db.Database)
		ts.Setenv("PG_ADDR", db.Addr)
		ts.Setenv("PG_ADMIN", url.UserPassword(db.User, db.Password).String())
	case "exec":
		ts.Check(s.postgres[ts.Getenv("DATABASE")].Try(s.t, args[1]))
	case "holds":
		ts.Check(s.postgres[ts.Getenv("DATABASE")].Try(s.t, "DO $$ BEGIN ASSERT ("+args[1]+"); END $$"))
	}
}

// mintToken implements `token FILE USER SESSION LIFE`, which writes a token.
func mintToken(ts *testscript.TestScript, _ bool, args []string) {
	life, err := time.ParseDuration(args[3])
	ts.Check(err)
	text := authztest.Mint(&testing.T{}, authztest.Token{Secret: []byte(clitest.Secret), Claims: map[string]any{
		"sub": args[1], "jti": args[2], "exp": time.Now().Add(life).Unix(),
	}})
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text+"\n"), 0o600))
}
