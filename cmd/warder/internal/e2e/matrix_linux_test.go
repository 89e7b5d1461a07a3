package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sys/unix"

	"warder/authz/authztest"
	"warder/envoy"
)

// A fault is a row of the matrix: something that fails for some seconds while requests go on.
type fault struct {
	name string
	// short is the mode in which make test has the row; "" if only make faults has it.
	short string
	// bites says that some requests cannot be answered meanwhile. A fault that keeps none from an
	// answer then tests nothing, which is an error.
	bites bool
	// lasts is how long the row takes at least; 0: as the plan says.
	lasts time.Duration
	// ends says that the process of warder ends.
	ends bool
	// before changes how warder is started for the row; nil if it stays as it is. If it returns a
	// reason, the row is left out.
	before func(t *testing.T, s *stage) (leftOut string)
	// self says that the fault ends by itself, which end waits for.
	self bool
	// restore puts right what the fault has left, after the row was measured; nil: nothing.
	restore func(t *testing.T, s *stage)
	// begin and end the fault. When end returns, the stores and Envoy serve again, and warder runs.
	begin, end func(t *testing.T, s *stage)
}

// A setup is a way to run the stores, with the faults that it can have.
type setup struct {
	name   string
	start  func(t *testing.T) *stores
	faults []fault
}

// setups are the tables of the matrix.
func setups() []setup {
	return []setup{
		{"Redis, Postgres", startStores, join(noFault(), redisFaults(), postgresFaults(), processFaults(), logFaults(), machineFaults())},
		{"Sentinel", startSentinels, join(noFault(), sentinelFaults())},
		{"Cluster", startCluster, join(noFault(), clusterFaults())},
		{"PgBouncer", startPooledStores, join(noFault(), poolerFaults(), postgresFaults())},
	}
}

func join(all ...[]fault) (faults []fault) {
	for _, each := range all {
		faults = append(faults, each...)
	}
	return faults
}

func startStores(t *testing.T) *stores {
	t.Helper()
	s := &stores{redis: authztest.StartRedis(t, "faults-c4n4ry-redis"), postgres: authztest.StartPostgresServer(t)}
	s.redisURL = s.redis.URL()
	// A change is sent once: sent twice, it could come after a later one.
	client := redis.NewClient(&redis.Options{Addr: s.redis.Addr, Password: s.redis.Password, MaxRetries: -1, DialerRetries: 1, DialTimeout: storeLimit, ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = client.Close() })
	s.sessions = client
	return s
}

// startPooledStores has PgBouncer in front of Postgres, which shares connections for each
// transaction.
func startPooledStores(t *testing.T) *stores {
	t.Helper()
	s := startStores(t)
	// By default, PgBouncer does not try for 15 s to reach a Postgres that it could not reach.
	s.bouncer = s.postgres.StartPgBouncer(t, "pool_mode = transaction", "server_login_retry = 1")
	return s
}

func noFault() []fault {
	nothing := func(*testing.T, *stage) {}
	return []fault{{name: "none", begin: nothing, end: nothing}}
}

// onCommand is a fault of Redis that begins and ends with a command.
func onCommand(name string, begin, end []string) fault {
	return fault{
		name: name, bites: true,
		begin: func(t *testing.T, s *stage) { s.set.redis.Do(t, begin...) },
		end:   func(t *testing.T, s *stage) { s.set.redis.Do(t, end...) },
	}
}

func redisFaults() []fault {
	const other = "faults-another-password"
	var password string
	var network *authztest.Proxy
	return []fault{
		{
			name: "Redis is killed, and starts empty", bites: true,
			begin: func(t *testing.T, s *stage) { s.loseSessions(func() { s.set.redis.Stop(t) }) },
			end:   func(t *testing.T, s *stage) { s.set.redis.Start(t) },
		},
		{
			name: "Redis does not answer (SIGSTOP)", bites: true,
			begin: func(t *testing.T, s *stage) { s.set.redis.Pause(t) },
			end:   func(t *testing.T, s *stage) { s.set.redis.Resume(t) },
		},
		{
			name: "Redis is cut off from warder; logouts go on", bites: true, short: "tracked",
			lasts: 2500 * time.Millisecond, // a logout counts within a second, and this is for the time after that
			before: func(t *testing.T, s *stage) string {
				network = authztest.StartProxy(t, s.set.redis.Addr)
				s.redisURL = strings.Replace(s.set.redis.URL(), s.set.redis.Addr, network.Addr, 1)
				return ""
			},
			begin: func(*testing.T, *stage) { network.Cut() },
			end:   func(*testing.T, *stage) { network.Mend() },
		},
		{
			name:  "Redis closes all connections, twice",
			begin: endRedisConnections, end: endRedisConnections,
		},
		{
			name: "Redis has another password", bites: true,
			begin: func(t *testing.T, s *stage) {
				password = s.set.redis.Password
				s.set.redis.Do(t, "CONFIG", "SET", "requirepass", other)
				s.set.redis.Password = other
				endRedisConnections(t, s)
			},
			end: func(t *testing.T, s *stage) {
				s.set.redis.Do(t, "CONFIG", "SET", "requirepass", password)
				s.set.redis.Password = password
			},
		},
		onCommand("Redis is demoted to a replica", []string{"REPLICAOF", "127.0.0.1", "1"}, []string{"REPLICAOF", "NO", "ONE"}),
		{
			name:  "Redis loses all sessions (FLUSHALL)",
			begin: func(t *testing.T, s *stage) { s.loseSessions(func() { s.set.redis.Do(t, "FLUSHALL") }) },
			end:   func(*testing.T, *stage) {},
		},
	}
}

func endRedisConnections(t *testing.T, s *stage) {
	t.Helper()
	for _, kind := range []string{"normal", "pubsub"} {
		s.set.redis.Do(t, "CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
	}
}

// onStatement is a fault of Postgres that begins and ends with SQL.
func onStatement(name string, bites bool, begin, end string) fault {
	return fault{
		name: name, bites: bites,
		begin: func(t *testing.T, s *stage) { s.set.postgres.Exec(t, begin) },
		end:   func(t *testing.T, s *stage) { s.set.postgres.Exec(t, end) },
	}
}

// endPostgresConnections ends those of warder, or of the pooler.
const endPostgresConnections = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"

func postgresFaults() []fault {
	var lock *pgx.Conn
	return []fault{
		{
			name: "Postgres is killed, and recovers", bites: true,
			begin: func(t *testing.T, s *stage) { s.set.postgres.Stop(t) },
			end:   func(t *testing.T, s *stage) { s.set.postgres.Start(t) },
		},
		{
			name: "Postgres does not answer (SIGSTOP)", bites: true,
			begin: func(t *testing.T, s *stage) { s.set.postgres.Pause(t) },
			end:   func(t *testing.T, s *stage) { s.set.postgres.Resume(t) },
		},
		onStatement("Postgres ends all connections, twice", false, endPostgresConnections, endPostgresConnections),
		onStatement("the tables have other names", true,
			"ALTER TABLE users RENAME TO people; ALTER TABLE api_keys RENAME TO keys", "ALTER TABLE people RENAME TO users; ALTER TABLE keys RENAME TO api_keys"),
		{
			name: "the tables are locked", bites: true,
			begin: func(t *testing.T, s *stage) {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				var err error
				if lock, err = pgx.Connect(ctx, s.set.postgres.URL()); err != nil {
					t.Fatal(err)
				}
				if _, err := lock.Exec(ctx, "BEGIN; LOCK TABLE users, api_keys"); err != nil {
					t.Fatal(err)
				}
			},
			end: func(t *testing.T, _ *stage) {
				if err := lock.Close(t.Context()); err != nil {
					t.Error(err)
				}
			},
		},
	}
}

// cutOffPostgres is a fault of the network that only warder sees.
func cutOffPostgres() fault {
	var network *authztest.Proxy
	return fault{
		name: "Postgres is cut off from warder; changes go on", bites: true,
		before: func(t *testing.T, s *stage) string {
			network = authztest.StartProxy(t, s.set.postgres.Addr)
			s.databaseURL = strings.Replace(s.set.postgres.URL(), s.set.postgres.Addr, network.Addr, 1)
			return ""
		},
		begin: func(*testing.T, *stage) { network.Cut() },
		end:   func(*testing.T, *stage) { network.Mend() },
	}
}

func poolerFaults() []fault {
	return []fault{
		{
			name: "PgBouncer is killed", bites: true,
			begin: func(t *testing.T, s *stage) { s.set.bouncer.Stop(t) },
			end:   func(t *testing.T, s *stage) { s.set.bouncer.Start(t) },
		},
		{
			name: "PgBouncer does not answer (SIGSTOP)", bites: true,
			begin: func(t *testing.T, s *stage) { s.set.bouncer.Pause(t) },
			end:   func(t *testing.T, s *stage) { s.set.bouncer.Resume(t) },
		},
	}
}

func processFaults() []fault {
	return []fault{
		cutOffPostgres(),
		{
			name: "warder is killed (kill -9)", bites: true, ends: true,
			begin: func(_ *testing.T, s *stage) { s.warder.kill() },
			end:   func(t *testing.T, s *stage) { s.launch(t) },
		},
		{
			name: "warder does not run (SIGSTOP)", bites: true,
			begin: func(t *testing.T, s *stage) { sendSignal(t, s.warder.cmd.Process.Pid, syscall.SIGSTOP) },
			end:   func(t *testing.T, s *stage) { sendSignal(t, s.warder.cmd.Process.Pid, syscall.SIGCONT) },
		},
		{
			name: "warder is stopped (SIGTERM)", bites: true, ends: true,
			begin: func(t *testing.T, s *stage) { s.stopWarder(t) },
			end:   func(t *testing.T, s *stage) { s.launch(t) },
		},
		{
			name: "Envoy is killed (kill -9)", bites: true,
			begin: func(t *testing.T, s *stage) { s.killProxy(t) },
			end:   func(t *testing.T, s *stage) { s.startProxy(t) },
		},
		{
			name: "Envoy does not run (SIGSTOP)", bites: true,
			begin: func(t *testing.T, s *stage) { sendSignal(t, s.envoy.PID(), syscall.SIGSTOP) },
			end:   func(t *testing.T, s *stage) { sendSignal(t, s.envoy.PID(), syscall.SIGCONT) },
		},
	}
}

func logFaults() []fault {
	var disk string
	return []fault{
		{
			name:  "the reader of the log does not read",
			begin: func(_ *testing.T, s *stage) { s.spout.gate.Lock() },
			end: func(t *testing.T, s *stage) {
				if s.spout.waiting.Load() == 0 {
					t.Error("nothing waits for the reader, so this tests nothing")
				}
				s.spout.gate.Unlock()
			},
		},
		{
			name: "the disk of the log is full",
			before: func(t *testing.T, s *stage) string {
				disk = t.TempDir()
				if err := syscall.Mount("none", disk, "tmpfs", 0, "size=16m"); err != nil {
					return "a small disk cannot be mounted: " + err.Error()
				}
				t.Cleanup(func() { _ = syscall.Unmount(disk, unix.MNT_DETACH) })
				file, err := os.Create(filepath.Join(disk, "log"))
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { file.Close() })
				s.stdout = file
				return ""
			},
			begin: func(t *testing.T, _ *stage) {
				err := os.WriteFile(filepath.Join(disk, "rest"), make([]byte, 16<<20), 0o600)
				if !errors.Is(err, syscall.ENOSPC) {
					t.Fatalf("filling the disk: %v", err)
				}
			},
			end: func(t *testing.T, _ *stage) {
				log := filepath.Join(disk, "log")
				full := sizeOf(t, log)
				if err := os.Remove(filepath.Join(disk, "rest")); err != nil {
					t.Fatal(err)
				}
				waitFor(t, "the log to go on", func() error {
					if n := sizeOf(t, log); n == full {
						return fmt.Errorf("still %d bytes", n)
					}
					return nil
				})
			},
		},
	}
}

func sizeOf(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

func machineFaults() []fault {
	var usual unix.Rlimit
	return []fault{
		{
			name: "warder has no file descriptors left, and all connections to stores end", bites: true, short: "strict",
			begin: func(t *testing.T, s *stage) {
				if err := unix.Prlimit(s.warder.cmd.Process.Pid, unix.RLIMIT_NOFILE, nil, &usual); err != nil {
					t.Fatal(err)
				}
				few := unix.Rlimit{Cur: 3, Max: usual.Max} // those above 2 stay open, and there is none for a new one
				if err := unix.Prlimit(s.warder.cmd.Process.Pid, unix.RLIMIT_NOFILE, &few, nil); err != nil {
					t.Fatal(err)
				}
				endRedisConnections(t, s)
				s.set.postgres.Exec(t, endPostgresConnections)
			},
			end: func(t *testing.T, s *stage) {
				if err := unix.Prlimit(s.warder.cmd.Process.Pid, unix.RLIMIT_NOFILE, &usual, nil); err != nil {
					t.Fatal(err)
				}
			},
		},
		clockStep("warder's clock is stepped forward an hour, and back", time.Hour, "tracked"),
		clockStep("warder's clock is stepped back an hour, and forward", -time.Hour, ""),
		{
			name: "Redis, Postgres, warder and Envoy are killed (kill -9)", bites: true, ends: true, short: "strict",
			begin: func(t *testing.T, s *stage) {
				s.loseSessions(func() { s.set.redis.Stop(t) })
				s.set.postgres.Stop(t)
				s.warder.kill()
				s.killProxy(t)
			},
			end: func(t *testing.T, s *stage) {
				s.set.redis.Start(t)
				s.set.postgres.Start(t)
				s.startProxy(t)
				s.launch(t)
			},
		},
	}
}

// clockStep steps the clock of warder. A token that expires in half an hour is no longer valid
// when the clock has been stepped forward, and all others stay valid.
func clockStep(name string, step time.Duration, short string) fault {
	var clock *wallClock
	return fault{
		name: name, short: short,
		before: func(t *testing.T, s *stage) string {
			s.run(t)
			var err error
			if clock, err = newWallClock(t, s.warder.cmd.Process.Pid); err != nil {
				return err.Error()
			}
			return ""
		},
		begin: func(t *testing.T, s *stage) {
			if step < 0 {
				clock.set(t, step)
				return
			}
			brief := s.addBrief(t, step/2)
			waitFor(t, "the brief token to be used", func() error {
				if s.traffic.number.Load() < s.briefSince+64 {
					return errors.New("not yet")
				}
				return nil
			})
			brief.isEnding()
			clock.set(t, step)
			brief.hasEnded(0)
		},
		end: func(t *testing.T, s *stage) {
			s.endBrief()
			clock.set(t, 0)
		},
	}
}

// A plan says how long a row takes, and how many requests a second there are.
type plan struct {
	rate                  float64
	before, during, after time.Duration
}

// A faultRow is a line of the printed table.
type faultRow struct {
	setup, mode, fault string
	ledger             *ledger
	meanwhile          int // requests without an answer during the fault
	recovery           time.Duration
	later              int // valid requests that were refused after the recovery
	memory             [2]int64
}

// roomForMemory is how much more memory warder may use after a fault than before. The race detector
// has memory of its own.
func roomForMemory() int64 {
	if raceEnabled {
		return 256 << 20
	}
	return 64 << 20
}

// row runs one row.
func (s *stage) row(t *testing.T, f fault, p plan) *faultRow {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("warder wrote: …%s", tailOf(s.leaks.text("warder stderr"), 4000))
		}
	})
	if f.before != nil {
		redisURL, databaseURL, stdout := s.redisURL, s.databaseURL, s.stdout
		defer func() {
			s.redisURL, s.databaseURL, s.stdout = redisURL, databaseURL, stdout
			s.run(t)
		}()
		started := s.warder
		if leftOut := f.before(t, s); leftOut != "" {
			t.Skipf("%s is left out: %s", t.Name(), leftOut)
		}
		if s.warder == started {
			s.run(t)
		}
	}
	s.calm(t, s.traffic.turnLedger(), time.Now(), 500*time.Millisecond)
	r := &faultRow{fault: f.name, mode: s.mode.name, ledger: s.traffic.turnLedger()}
	s.calm(t, r.ledger, time.Now(), p.before)
	r.memory[0] = s.memory(t)

	began, ended := time.Now(), time.Time{}
	f.begin(t, s)
	defer func() {
		if ended.IsZero() { // the row has failed, and the next one needs the stores
			f.end(t, s)
		}
	}()
	if !f.self {
		s.wait(max(p.during, f.lasts))
	}
	if f.bites {
		waitFor(t, "the fault to keep a request from an answer", func() error {
			if unanswered, _ := r.ledger.failures(began); len(unanswered) == 0 {
				return errors.New("all were answered, so this tests nothing")
			}
			return nil
		})
	}
	f.end(t, s)
	ended = time.Now()
	s.calm(t, r.ledger, ended, p.after)
	s.traffic.turnLedger() // what comes next is not of this row
	r.memory[1] = s.memory(t)
	meanwhile, _ := r.ledger.failures(began)
	after, _ := r.ledger.failures(ended)
	well := recovery(ended, after)
	_, later := r.ledger.failures(well.Add(1))
	r.meanwhile, r.recovery, r.later = len(meanwhile)-len(after), well.Sub(ended), len(later)
	r.check(t)
	if f.restore != nil {
		f.restore(t, s)
	}
	return r
}

// check fails the test for a wrong answer. How long anything took is printed and not judged, since
// a busy machine takes longer.
func (r *faultRow) check(t *testing.T) {
	t.Helper()
	r.ledger.mu.Lock()
	defer r.ledger.mu.Unlock()
	if r.ledger.wronglyAllowed > 0 || r.ledger.falselyRefused > 0 {
		t.Errorf("%d wrongly allowed, %d valid credentials refused with a 4xx: %s", r.ledger.wronglyAllowed, r.ledger.falselyRefused, strings.Join(r.ledger.mistakes, "; "))
	}
	if r.memory[1] > r.memory[0]+roomForMemory() {
		t.Errorf("%d MiB of memory before and %d after", r.memory[0]>>20, r.memory[1]>>20)
	}
}

// calm waits until all requests have been answered, and the valid ones allowed, for some time.
func (s *stage) calm(t *testing.T, l *ledger, since time.Time, quiet time.Duration) {
	t.Helper()
	allowed := l.allowed()
	waitFor(t, "requests to be answered again", func() error {
		last := since
		unanswered, refused := l.failures(since)
		for _, failures := range [][]time.Time{unanswered, refused} {
			if len(failures) > 0 && failures[len(failures)-1].After(last) {
				last = failures[len(failures)-1]
			}
		}
		if n := l.allowed() - allowed; time.Since(last) < quiet || n < 10 {
			return fmt.Errorf("%d were not answered, %d valid ones refused, and %d allowed", len(unanswered), len(refused), n)
		}
		return nil
	})
}

// wait lets the load go on.
func (s *stage) wait(d time.Duration) {
	select {
	case <-time.After(d):
	case <-s.t.Context().Done():
	}
}

func (s *stage) memory(t *testing.T) int64 {
	t.Helper()
	return usageOf(t, s.warder.cmd.Process.Pid).resident
}

var rowHead = []string{"stores", "consistency", "fault", "requests", "wrongly allowed", "meanwhile 503 or no answer", "time to recovery", "wrongly refused after it", "slowest answer", "MiB before, after"}

func (r *faultRow) cells() []string {
	r.ledger.mu.Lock()
	defer r.ledger.mu.Unlock()
	return []string{
		r.setup, r.mode, r.fault, fmt.Sprint(r.ledger.requests), fmt.Sprint(r.ledger.wronglyAllowed), fmt.Sprint(r.meanwhile),
		fmt.Sprintf("%.2f s", r.recovery.Seconds()), fmt.Sprint(r.later + r.ledger.falselyRefused),
		fmt.Sprintf("%d ms", r.ledger.slowest.Milliseconds()), fmt.Sprintf("%d, %d", r.memory[0]>>20, r.memory[1]>>20),
	}
}

// printMachine prints what the figures were measured with.
func (s *stage) printMachine(t *testing.T) {
	t.Helper()
	binary, err := envoy.FindBinary("")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Print(factLines(machine(t, binary, s.set.redis.URL(), s.set.postgres.URL())))
}

// TestFaultMatrix breaks everything that warder works with, one after the other, at a steady load
// through a real Envoy, in both consistencies, while users log in and out and API keys are issued
// and revoked. make faults runs all rows, or those whose name FAULTS matches, and prints the table.
func TestFaultMatrix(t *testing.T) {
	p := plan{rate: 50, before: 500 * time.Millisecond, during: time.Second, after: time.Second}
	rows := knob(t, "FAULTS", nil, regexp.Compile)
	if rows != nil {
		p = plan{rate: 100, before: 2 * time.Second, during: 4 * time.Second, after: 4 * time.Second}
	}
	table := [][]string{rowHead}
	var once sync.Once
	for _, setup := range setups() {
		t.Run(setup.name, func(t *testing.T) {
			var s *stage
			for _, m := range modes() {
				var faults []fault
				for _, f := range setup.faults {
					if rows == nil && f.short == m.name || rows != nil && rows.MatchString(setup.name+": "+f.name) {
						faults = append(faults, f)
					}
				}
				if len(faults) == 0 {
					continue
				}
				if s == nil {
					s = newStage(t, setup.start(t))
				}
				if rows != nil {
					once.Do(func() { s.printMachine(t) })
				}
				t.Run(m.name, func(t *testing.T) {
					s.play(t, m, p.rate)
					for _, f := range faults {
						t.Run(f.name, func(t *testing.T) {
							r := s.row(t, f, p)
							r.setup = setup.name
							table = append(table, r.cells())
						})
					}
				})
			}
		})
	}
	fmt.Printf("%.0f requests a second, a fault of %v\n\n%s\n", p.rate, p.during, aligned(table))
}
