package server

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"

	"warder/authz/authztest"
	"warder/authz/mask"
	"warder/cmd/warder/internal/clitest"
	"warder/cmd/warder/internal/config"
)

// A secretPath is the file of a secret, which write changes in the ways of practice.
type secretPath struct {
	config.SecretFile
	versions int
}

func newSecretPath(t *testing.T, key, content string) *secretPath {
	t.Helper()
	return &secretPath{SecretFile: config.SecretFile{Key: key, Path: clitest.WriteFile(t, t.TempDir(), "secret", content)}}
}

func (p *secretPath) write(t *testing.T, how int, content string) {
	t.Helper()
	p.versions++
	switch how % 3 {
	case 0: // renamed over
		clitest.Replace(t, p.Path, content)
	case 1: // in place: empty for a moment, and then incomplete
		f, err := os.Create(p.Path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for _, part := range []string{content[:len(content)/2], content[len(content)/2:]} {
			if _, err := f.WriteString(part); err != nil {
				t.Fatal(err)
			}
		}
	case 2: // by the swap of a link
		dir := filepath.Dir(p.Path)
		target := clitest.WriteFile(t, dir, fmt.Sprintf("v%d", p.versions), content)
		link := filepath.Join(dir, "link")
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(link, p.Path); err != nil {
			t.Fatal(err)
		}
	}
}

// A rotation is a server with real stores, of which every secret is in a file.
type rotation struct {
	*running
	db    *authztest.Postgres
	redis *authztest.Redis
	role  string
	// passwords are in files by themselves, or in the URLs.
	inURL                    bool
	jwt, directory, sessions *secretPath
}

func (r *rotation) databaseURL(password string) string {
	u := url.URL{Scheme: "postgres", User: url.User(r.role), Host: r.db.Addr, Path: "/" + r.db.Database, RawQuery: "sslmode=disable"}
	if password != "" {
		u.User = url.UserPassword(r.role, password)
	}
	return u.String()
}

func (r *rotation) redisURL(password string) string {
	u := url.URL{Scheme: "redis", User: url.User("w"), Host: r.redis.Addr, Path: "/3"}
	if password != "" {
		u.User = url.UserPassword("w", password)
	}
	return u.String()
}

// content returns what a file holds for a password.
func (r *rotation) content(of func(string) string, password string) string {
	if r.inURL {
		return of(password)
	}
	return password
}

// newRotation starts the stores, and returns settings of a server without their logins.
func newRotation(t *testing.T) (*rotation, *config.Settings) {
	t.Helper()
	r := &rotation{db: authztest.StartPostgres(t), redis: authztest.StartRedis(t, "admin-canary")}
	r.role = "app_" + r.db.Database
	r.db.Exec(t, `CREATE TABLE users (id bigint PRIMARY KEY, is_active boolean, roles jsonb DEFAULT '[]');
		CREATE TABLE api_keys (prefix text, key_hash text, scopes jsonb, is_active boolean, expires_at timestamptz, user_id bigint)`)
	r.db.Exec(t, `INSERT INTO users (id, is_active) VALUES (42, true); CREATE ROLE `+r.role+` LOGIN PASSWORD 'canary-0'; GRANT SELECT ON users, api_keys TO `+r.role)
	r.redis.Do(t, "ACL", "SETUSER", "w", "on", ">canary-0", "~*", "&*", "+@all")
	r.redis.Do(t, "EVAL", "redis.call('SELECT', 3) return redis.call('SET', 'session:42:s1', '1')", "0")

	s := testSettings(t)
	s.Deadline, s.Sessions.Timeout, s.Directory.Timeout = 10*time.Second, 9*time.Second, 9*time.Second // not what is tested here
	r.jwt = newSecretPath(t, "jwt.keys[0].secret_file", secretOf("0"))
	s.JWT.Keys[0].Secret, s.JWT.Keys[0].File = mask.New(secretOf("0")), r.jwt.SecretFile
	return r, s
}

func startRotation(t *testing.T, inURL, tracked bool) *rotation {
	t.Helper()
	r, s := newRotation(t)
	r.inURL, s.Sessions.Tracked = inURL, tracked
	if inURL {
		s.Directory.DatabaseURL, s.Sessions.RedisURL = mask.New(r.databaseURL("canary-0")), mask.New(r.redisURL("canary-0"))
		r.directory = newSecretPath(t, "directory.database_url_file", r.databaseURL("canary-0"))
		r.sessions = newSecretPath(t, "sessions.redis_url_file", r.redisURL("canary-0"))
		s.Directory.DatabaseURLFile, s.Sessions.RedisURLFile = r.directory.SecretFile, r.sessions.SecretFile
	} else {
		s.Directory.DatabaseURL, s.Sessions.RedisURL = mask.New(r.databaseURL("")), mask.New(r.redisURL(""))
		s.Directory.Password, s.Sessions.Password = mask.New("canary-0"), mask.New("canary-0")
		r.directory = newSecretPath(t, "directory.password_file", "canary-0")
		r.sessions = newSecretPath(t, "sessions.password_file", "canary-0\n")
		s.Directory.PasswordFile, s.Sessions.PasswordFile = r.directory.SecretFile, r.sessions.SecretFile
	}
	r.running = start(t, s, nil)
	return r
}

// disconnect ends all connections of the server to its stores.
func (r *rotation) disconnect(t *testing.T) {
	t.Helper()
	r.db.Exec(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '"+r.role+"'")
	_ = r.redis.Do(t, "CLIENT", "KILL", "USER", "w")
}

// TestSecretsRotate changes every secret many times while requests are made. The stores accept
// only the new password, and connections end at any moment. No good request may be refused, and
// no request with a wrong secret may pass.
func TestSecretsRotate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name           string
		inURL, tracked bool
	}{{"passwords alone", false, false}, {"URLs", true, false}, {"tracked", false, true}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := startRotation(t, tt.inURL, tt.tracked)
			conn := r.dial(insecure.NewCredentials())
			ask := func(secret string, want codes.Code) {
				header := map[string]string{"authorization": "Bearer " + signedWith(t, secret, time.Now().Add(time.Hour), "")}
				if got, err := r.check(conn, "/user", header); got != want || err != nil {
					t.Errorf("a token of the secret %.3s: %v, %v; want %v", secret, got, err, want)
				}
			}
			var newest atomic.Value
			newest.Store(secretOf("0"))
			var asked [3]atomic.Int64 // by each client
			var ended atomic.Bool
			var clients sync.WaitGroup
			for n := range asked {
				clients.Go(func() {
					for !ended.Load() {
						ask(newest.Load().(string), codes.OK)
						ask(secretOf("never"), codes.Unauthenticated)
						asked[n].Add(1)
					}
				})
			}
			// A question survives that its connection ends twice, so each client makes a whole
			// one between two ends.
			more := func() {
				for n := range asked {
					goal := asked[n].Load() + 2
					clitest.Eventually(t, "more requests", func() bool { return asked[n].Load() >= goal })
				}
			}
			for i := 1; i <= 9 && !t.Failed(); i++ {
				before, password := fmt.Sprintf("canary-%d", i-1), fmt.Sprintf("canary-%d", i)
				r.redis.Do(t, "ACL", "SETUSER", "w", ">"+password)
				r.jwt.write(t, i, secretOf(fmt.Sprint(i)))
				r.directory.write(t, i+i/3, r.content(r.databaseURL, password))
				r.sessions.write(t, i+2*(i/3), r.content(r.redisURL, password))
				if i%3 == 0 { // the files have settled before the stores change
					clitest.Eventually(t, "the new secrets", func() bool {
						return strings.Count(r.log.String(), `"msg":"secret reloaded"`) >= i
					})
				}
				r.db.Exec(t, "ALTER ROLE "+r.role+" PASSWORD '"+password+"'")
				r.redis.Do(t, "ACL", "SETUSER", "w", "<"+before)
				r.disconnect(t)
				ask(secretOf(fmt.Sprint(i)), codes.OK) // at once
				ask(secretOf(fmt.Sprint(i-1)), codes.OK)
				newest.Store(secretOf(fmt.Sprint(i)))
				more()
				r.disconnect(t)
				more()
			}
			ended.Store(true)
			clients.Wait()
			if t.Failed() {
				t.Logf("the log:\n%s", r.log)
			}
			ask(secretOf("1"), codes.Unauthenticated) // more than four secrets ago
			if text := r.log.String(); strings.Contains(text, "canary") || strings.Contains(text, "....") {
				t.Errorf("a secret is in the log:\n%s", text)
			}
		})
	}
}

// TestSecretsKeepTheLastGood writes what cannot be used into each file. The last good secret
// stays, and log, metrics and /readyz say so until a good one is written.
func TestSecretsKeepTheLastGood(t *testing.T) {
	t.Parallel()
	r := startRotation(t, true, false)
	conn := r.dial(insecure.NewCredentials())
	good := func(secret string) {
		t.Helper()
		header := map[string]string{"authorization": "Bearer " + signedWith(t, secretOf(secret), time.Now().Add(time.Hour), "")}
		if got, err := r.check(conn, "/user", header); got != codes.OK || err != nil {
			t.Errorf("a good request: %v, %v", got, err)
		}
	}
	for _, c := range []struct {
		file      *secretPath
		bad, good string
	}{
		{r.jwt, "", secretOf("1")},
		{r.jwt, "too-short-canary", secretOf("0")},
		{r.jwt, "-----BEGIN PUBLIC KEY-----\ncanarycanarycanarycanary\n", secretOf("0")},
		{r.directory, "", r.databaseURL("canary-0")},
		{r.directory, "mysql://nothing", r.databaseURL("canary-0")},
		{r.directory, r.databaseURL("canary-0") + "&prepared_statement_cache_size=0", r.databaseURL("canary-0")},
		{r.sessions, "redis://canary:canary:canary", r.redisURL("canary-0")},
		{r.sessions, "memory://", r.redisURL("canary-0")},
		{r.sessions, r.redisURL("canary-0") + " ", r.redisURL("canary-0") + "\n"},
		{r.jwt, secretOf("1") + "\t\n", secretOf("0")},
	} {
		c.file.write(t, 0, c.bad)
		clitest.Eventually(t, "the failure of "+c.file.Key, func() bool {
			code, text := r.readyz()
			return code == 200 && strings.HasPrefix(text, "ready\nsecret "+c.file.Key+": the reload at ")
		})
		if want := fmt.Sprintf(`{secret=%q} 1`, c.file.Key); strings.Contains(r.scrape().Of("warder_secret_last_reload_successful"), want) {
			t.Errorf("%s: the metric is that of a good reload", c.file.Key)
		}
		r.disconnect(t)
		good("0")
		c.file.write(t, 1, c.good)
		clitest.Eventually(t, "the good "+c.file.Key, func() bool { _, text := r.readyz(); return text == "ready" })
		good("0")
	}
	if err := os.Remove(r.jwt.Path); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(r.jwt.Path, 0o600); err != nil {
		t.Fatal(err)
	}
	clitest.Eventually(t, "the failure of a pipe", func() bool { return strings.Contains(r.log.String(), "is a pipe, a socket or a device") })
	good("0")
	r.hangup <- os.Interrupt
	clitest.Eventually(t, "a word about what has not changed", func() bool { return strings.Contains(r.log.String(), `"msg":"secret unchanged"`) })
	if text := r.log.String(); strings.Contains(text, "canary") || !strings.Contains(text, `"setting":"jwt.keys[0].secret_file","previous_accepted_until":"`) {
		t.Errorf("the log has a secret, or not how long the one before is accepted:\n%s", text)
	}
}
