package config

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"warder/authz/mask"
	"warder/cmd/warder/internal/cli"
	"warder/cmd/warder/internal/clitest"
)

// TestBadConfig checks that each testdata/*.bad.yaml reports exactly the messages at its end,
// in order.
func TestBadConfig(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.bad.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no bad configurations found: %v", err)
	}
	env := clitest.Environment("SECRET="+clitest.Secret, "EMPTY=", "SHORT=canary-short", "DSN=postgres://warder:canary-dsn@127.0.0.1/app")
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for line := range strings.Lines(string(data)) {
				if message, ok := strings.CutPrefix(line, "# want: "); ok {
					want = append(want, strings.ReplaceAll(strings.TrimSpace(message), "DIR", "testdata"))
				}
			}
			_, _, err = Read(path, env).Resolve()
			if err == nil {
				t.Fatal("no error")
			}
			var got []string
			for _, p := range cli.ProblemsOf("", err) {
				got = append(got, strings.TrimPrefix(p.String(), path+":"))
			}
			compareLines(t, got, want)
			if strings.Contains(err.Error(), "canary") {
				t.Errorf("a secret is in the messages:\n%v", err)
			}
		})
	}
}

func compareLines(t *testing.T, got, want []string) {
	t.Helper()
	missing := map[string]int{}
	for _, w := range want {
		missing[w]++
	}
	for _, g := range got {
		if missing[g] == 0 {
			t.Errorf("unexpected: %s", g)
			continue
		}
		missing[g]--
	}
	for _, w := range want {
		if missing[w] > 0 {
			missing[w]--
			t.Errorf("missing:    %s", w)
		}
	}
}

// TestConfigSources checks the precedence of the file and the environment.
func TestConfigSources(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	clitest.WriteFile(t, dir, "jwt", clitest.Secret+"\n")
	clitest.WriteFile(t, dir, "jwt-windows", clitest.Secret+"\r\n")
	clitest.WriteFile(t, dir, "redis", "redis://from-file:6379\n")
	minimal := []string{"WARDER_JWT_SECRET=" + clitest.Secret, "DATABASE_URL=postgres://127.0.0.1/app"}
	for _, c := range []struct {
		name string
		file string
		env  []string
		got  func(*Settings) any
		want any
	}{
		{"three variables are enough", "", minimal,
			func(s *Settings) any { return s.JWT.Keys[0].Secret.Reveal() + s.JWT.Keys[0].Algorithm }, clitest.Secret + "HS256"},
		{"the default Redis", "", minimal, func(s *Settings) any { return s.Sessions.RedisURL.Reveal() }, defaultRedisURL},
		{"the default policy", "", minimal, func(s *Settings) any { return s.Policy }, "/etc/warder/policy.yaml"},
		{"the default addresses", "", minimal, func(s *Settings) any { return s.Listen.GRPC.String() + " " + s.Listen.Admin.String() }, "127.0.0.1:9191 127.0.0.1:9192"},
		{"an empty file", "# nothing\n", minimal, func(s *Settings) any { return s.Deadline }, 200 * time.Millisecond},
		{"the file's value", "deadline: 300ms", minimal, func(s *Settings) any { return s.Deadline }, 300 * time.Millisecond},
		{"a variable in the file", "jwt: {issuer: 'a-${X}-b-${Y:-y}-$${Z}-$1'}", append(minimal, "X=x"),
			func(s *Settings) any { return s.JWT.Issuer }, "a-x-b-y-${Z}-$1"},
		{"a default where the variable is empty", "jwt: {issuer: '${X:-y}'}", append(minimal, "X="), func(s *Settings) any { return s.JWT.Issuer }, "y"},
		{"a variable for a number and a word", "client_ip: {source: xff_num_trusted_hops, xff_num_trusted_hops: '${N}'}", append(minimal, "N=2"),
			func(s *Settings) any { return s.ClientIP.TrustedHops }, 2},
		{"a variable for a list", "client_ip: {trusted_proxies: '${N}'}", append(minimal, "N=10.0.0.0/8, 192.0.2.1"),
			func(s *Settings) any { return fmt.Sprint(s.ClientIP.TrustedProxies) }, "[10.0.0.0/8 192.0.2.1/32]"},
		{"environment over file", "listen: {grpc: '127.0.0.1:1', admin: '127.0.0.1:2'}", append(minimal, "WARDER_LISTEN_GRPC=unix:///run/w.sock"),
			func(s *Settings) any { return s.Listen.GRPC.String() + " " + s.Listen.Admin.String() }, "unix:///run/w.sock 127.0.0.1:2"},
		{"an empty variable is none", "policy: /p.yaml", append(minimal, "WARDER_POLICY="), func(s *Settings) any { return s.Policy }, "/p.yaml"},
		{"trusted proxies of the environment", "client_ip: {trusted_proxies: [10.0.0.0/8]}", append(minimal, "WARDER_TRUSTED_PROXIES=192.0.2.0/24,2001:db8::/32"),
			func(s *Settings) any { return fmt.Sprint(s.ClientIP.TrustedProxies) }, "[192.0.2.0/24 2001:db8::/32]"},
		{"a path in the file is relative to it", "policy: rules/p.yaml", minimal, func(s *Settings) any { return s.Policy }, "DIR/rules/p.yaml"},
		{"a path in the environment is not", "", append(minimal, "WARDER_POLICY=p.yaml"), func(s *Settings) any { return s.Policy }, "p.yaml"},
		{"a secret file", "jwt: {keys: [{secret_file: jwt}]}", minimal[1:], func(s *Settings) any { return s.JWT.Keys[0].Secret.Reveal() }, clitest.Secret},
		{"a secret file of Windows", "jwt: {keys: [{secret_file: jwt-windows}]}", minimal[1:], func(s *Settings) any { return s.JWT.Keys[0].Secret.Reveal() }, clitest.Secret},
		{"a secret file of the environment", "", append(minimal[1:], "WARDER_JWT_SECRET_FILE=DIR/jwt"), func(s *Settings) any { return s.JWT.Keys[0].Secret.Reveal() }, clitest.Secret},
		{"a secret of the environment keeps the key's algorithm and kid", "jwt: {keys: [{kid: k, algorithm: HS512, secret_file: gone}]}",
			[]string{"WARDER_JWT_SECRET=" + clitest.Secret + clitest.Secret, minimal[1]}, func(s *Settings) any { return s.JWT.Keys[0].ID + s.JWT.Keys[0].Algorithm }, "kHS512"},
		{"REDIS_URL over redis_url_file", "sessions: {redis_url_file: redis}", append(minimal, "REDIS_URL=redis://from-env:6379"),
			func(s *Settings) any { return s.Sessions.RedisURL.Reveal() }, "redis://from-env:6379"},
		{"REDIS_URL_FILE", "", append(minimal, "REDIS_URL_FILE=DIR/redis"), func(s *Settings) any { return s.Sessions.RedisURL.Reveal() }, "redis://from-file:6379"},
		{"strict is the default", "", minimal, func(s *Settings) any { return s.Sessions.Tracked }, false},
		{"strict", "sessions: {consistency: strict}", minimal, func(s *Settings) any { return s.Sessions.Tracked }, false},
		{"tracked", "sessions: {consistency: tracked}", minimal, func(s *Settings) any { return s.Sessions.Tracked }, true},
		{"plaintext elsewhere, accepted", "listen: {grpc: '0.0.0.0:9191', plaintext: true}", minimal, func(s *Settings) any { return s.Listen.GRPC.String() }, "0.0.0.0:9191"},
		{"IPv6 loopback", "listen: {grpc: '[::1]:9191'}", minimal, func(s *Settings) any { return s.Listen.GRPC.String() }, "[::1]:9191"},
		{"localhost", "listen: {grpc: 'localhost:9191'}", minimal, func(s *Settings) any { return s.Listen.GRPC.String() }, "localhost:9191"},
		{"the admin listener may be anywhere", "listen: {admin: '0.0.0.0:9192'}", minimal, func(s *Settings) any { return s.Listen.Admin.String() }, "0.0.0.0:9192"},
		{"a mode as YAML's number", "listen: {socket_mode: 0600}", minimal, func(s *Settings) any { return s.Listen.SocketMode.String() }, "-rw-------"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var env []string // the cases share theirs
			for _, word := range c.env {
				env = append(env, strings.ReplaceAll(word, "DIR", dir))
			}
			s, _, err := Read(clitest.WriteFile(t, dir, strings.ReplaceAll(c.name, " ", "-")+".yaml", c.file), clitest.Environment(env...)).Resolve()
			if err != nil {
				t.Fatal(err)
			}
			want := c.want
			if text, ok := want.(string); ok {
				want = strings.ReplaceAll(text, "DIR", dir)
			}
			if got := c.got(s); got != want {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

// TestSeveralServers checks that a URL of several servers is understood, or refused at its own
// place.
func TestSeveralServers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ url, want string }{
		{"redis://:canary@one:6379/0", ""},
		{"rediss://user:ca,nary@one:6379/0?pool_size=4", ""},
		{"unix:///run/redis,1/cluster.sock", ""},
		{"redis+sentinel://:canary@a:26379/main/0", ""},
		{"redis://:canary@a:26379/0?master_name=main", ""},
		{"redis+sentinel://:canary@a:26379/can!ary/0", "cannot be read: it has no valid name of the primary that the Sentinels watch: write it after the hosts, as in redis+sentinel://host:26379/mymaster/0"},
		{"rediss-cluster://a:6379", ""},
		{"redis://:canary@a:6379,b:6379,c:6379/0", "names several hosts, and not what they are; write redis+sentinel://host:26379,host:26379/NAME/0 for Sentinels, " +
			"redis+cluster://host:6379,host:6379 for a cluster, or only the primary otherwise"},
	} {
		for _, consistency := range []string{"strict", "tracked"} {
			env := clitest.Environment("WARDER_JWT_SECRET="+clitest.Secret, "DATABASE_URL=postgres://127.0.0.1/app", "REDIS_URL="+tt.url)
			path := clitest.WriteFile(t, t.TempDir(), "warder.yaml", "sessions:\n  consistency: "+consistency+"\n")
			_, _, err := Read(path, env).Resolve()
			if tt.want == "" {
				if err != nil {
					t.Errorf("%s: %v", tt.url, err)
				}
				continue
			}
			if want := "environment: REDIS_URL: " + tt.want; err == nil || err.Error() != want {
				t.Errorf("%s: %v\nwant %s", tt.url, err, want)
			}
		}
	}
}

// TestURLParameters checks that one warning names all parameters without an effect.
func TestURLParameters(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ url, want string }{
		{"rediss://:canary@h/0?ssl_cert_reqs=none&socket_timeout=5&health_check_interval=30&max_connections=10",
			"environment: REDIS_URL: the URL has parameters without an effect, because warder decides these things itself: health_check_interval, socket_timeout, ssl_cert_reqs; " +
				"the server's certificate is verified all the same (ssl_cert_reqs)"},
		{"rediss://:canary@h/0?skip_verify=true", "environment: REDIS_URL: skip_verify accepts the certificate of anybody, who can then answer for Redis and say that any session lives; " +
			"name the authority with sessions.tls.ca_file instead"},
		{"rediss://:canary@h/0?ssl_cert_reqs=required&db=0", ""},
	} {
		env := clitest.Environment("WARDER_JWT_SECRET="+clitest.Secret, "DATABASE_URL=postgres://127.0.0.1/app", "REDIS_URL="+tt.url)
		_, warnings, err := Read("", env).Resolve()
		if got := fmt.Sprint(warnings); err != nil || got != tt.want {
			t.Errorf("%s:\n got %s, %v\nwant %s", tt.url, got, err, tt.want)
		}
	}
}

// TestSessionsTLS checks that the files of sessions.tls are found and checked.
func TestSessionsTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := clitest.NewAuthority(t, "ca")
	caFile := clitest.WriteFile(t, dir, "ca.pem", string(ca.PEM))
	env := clitest.Environment("WARDER_JWT_SECRET="+clitest.Secret, "DATABASE_URL=postgres://127.0.0.1/app")
	for _, tt := range []struct{ sessions, wantWarning, wantError string }{
		{"{redis_url: 'rediss://h', tls: {ca_file: ca.pem, server_name: redis.internal}}", "", ""},
		{"{redis_url: 'redis://h', tls: {ca_file: ca.pem}}", "", "sessions.tls: is set, and redis_url does not use TLS; write rediss:// there, or leave it out"},
		{"{redis_url: 'rediss://h', tls: {ca_file: none.pem}}", "", "sessions.tls.ca_file: " + dir + "/none.pem cannot be read: no such file or directory"},
		{"{redis_url: 'rediss://h', tls: {cert_file: ca.pem}}", "", "sessions.tls: needs both cert_file and key_file"},
		{"{redis_url: 'memory://', tls: {ca_file: ca.pem}}", "sessions.tls: is not looked at, because sessions are in memory", ""},
	} {
		path := clitest.WriteFile(t, dir, "warder.yaml", "sessions: "+tt.sessions+"\n")
		s, warnings, err := Read(path, env).Resolve()
		if tt.wantError != "" {
			if err == nil || !strings.Contains(err.Error(), tt.wantError) || !strings.HasPrefix(err.Error(), path+":1:") {
				t.Errorf("%s:\n got %v\nwant %s", tt.sessions, err, tt.wantError)
			}
			continue
		}
		if err != nil || !strings.Contains(fmt.Sprint(warnings), tt.wantWarning) {
			t.Errorf("%s: %v, %v", tt.sessions, warnings, err)
		} else if want := []SecretFile{{Key: "sessions.tls.ca_file", Path: caFile}}; tt.wantWarning == "" && !slices.Equal(s.Sessions.RelatedFiles(), want) {
			t.Errorf("files %v, want %v", s.Sessions.RelatedFiles(), want)
		}
	}
}

// TestTrackedInMemory checks the message that sessions in memory need no tracking.
func TestTrackedInMemory(t *testing.T) {
	t.Parallel()
	env := clitest.Environment("WARDER_JWT_SECRET="+clitest.Secret, "DATABASE_URL=postgres://127.0.0.1/app", "REDIS_URL=memory://")
	path := clitest.WriteFile(t, t.TempDir(), "warder.yaml", "sessions:\n  consistency: tracked\n")
	_, warnings, err := Read(path, env).Resolve()
	if err != nil || !strings.Contains(fmt.Sprint(warnings), "sessions.consistency: tracked changes nothing for sessions in memory") {
		t.Errorf("warnings %v, error %v", warnings, err)
	}
}

// TestKeepKeys checks which keys log.keep_keys takes out, and what is said about each.
func TestKeepKeys(t *testing.T) {
	t.Parallel()
	env := clitest.Environment("WARDER_JWT_SECRET="+clitest.Secret, "DATABASE_URL=postgres://127.0.0.1/app", "REDIS_URL=memory://")
	for _, test := range []struct{ wantError, wantWarning, log string }{
		{"", `3:15: log.keep_keys[0]: the values of "session_id" are not masked, also where they are secrets`, `keep_keys: [session_id]`},
		{"", `log.keep_keys[0]: the values of "code" are not masked`, `keep_keys: [code]`},
		{"", `log.keep_keys[0]: "page" is not a sensitive key, so that its values are not masked anyway; leave it out`, `keep_keys: [page]`},
		{`log.keep_keys[0]: kept key 1 is "password", but the values of password are always masked`, "", `keep_keys: [password]`},
		{`log.keep_keys[0]: kept key 1 is "DB-PassWord", but the values of password are always masked`, "", `keep_keys: [DB-PassWord]`},
		{`log.keep_keys[1]: kept key 1 is "proxy_authorization", but the values of authorization are always masked`, "", `keep_keys: [token, proxy_authorization]`},
		{`log.keep_keys[0]: kept key 1 is "Set-Cookie", but the values of cookie are always masked`, "", `keep_keys: [Set-Cookie]`},
		{`log.keep_keys[0]: kept key 1 is "secrets", but the values of secret are always masked`, "", `keep_keys: [secrets]`},
		{`log.keep_keys[0]: kept key 1 is "a=b", but a key cannot contain '='`, "", `keep_keys: ["a=b"]`},
		{`log.keep_keys: kept key 1 is "IBAN", which is also sensitive key 1; list it once`, "", `{sensitive_keys: [iban], keep_keys: [IBAN]}`},
	} {
		path := clitest.WriteFile(t, t.TempDir(), "warder.yaml", "deadline: 200ms\nlog:\n  "+test.log+"\n")
		s, warnings, err := Read(path, env).Resolve()
		if test.wantError != "" {
			if err == nil || !strings.Contains(err.Error(), test.wantError) {
				t.Errorf("%s: error %v, want …%s…", test.log, err, test.wantError)
			}
			continue
		}
		if err != nil || !strings.Contains(fmt.Sprint(warnings), test.wantWarning) {
			t.Errorf("%s: warnings %v, error %v; want …%s…", test.log, warnings, err, test.wantWarning)
			continue
		}
		if in := "session_id=abc /x?code=abcdef user_session_id=abc"; s.Log.Mask.String(in) == (*mask.Masker)(nil).String(in) && !strings.Contains(test.log, "page") {
			t.Errorf("%s changes nothing: %s", test.log, s.Log.Mask.String(in))
		}
	}
}

// TestBadEnvironment checks the problems that are reported without any file.
func TestBadEnvironment(t *testing.T) {
	t.Parallel()
	jwt, database := "WARDER_JWT_SECRET="+clitest.Secret, "DATABASE_URL=postgres://127.0.0.1/app"
	for _, c := range []struct {
		want string
		file string
		env  []string
	}{
		{"jwt.keys: missing; set WARDER_JWT_SECRET_FILE or WARDER_JWT_SECRET", "", []string{database}},
		{"directory: missing; set DATABASE_URL", "", []string{jwt}},
		{"environment: WARDER_JWT_SECRET: is set but empty", "", []string{"WARDER_JWT_SECRET=", database}},
		{"environment: REDIS_URL: is set but empty", "", []string{jwt, database, "REDIS_URL="}},
		{"environment: REDIS_URL: is given twice", "", []string{jwt, database, "REDIS_URL=redis://x", "REDIS_URL_FILE=/x"}},
		{"environment: WARDER_JWT_SECRET_FILE: /nowhere/jwt cannot be read: no such file or directory", "", []string{"WARDER_JWT_SECRET_FILE=/nowhere/jwt", database}},
		{"environment: WARDER_LISTEN_GRPC: 0.0.0.0:9191 takes tokens", "", []string{jwt, database, "WARDER_LISTEN_GRPC=0.0.0.0:9191"}},
		{"environment: WARDER_LISTEN_GRPC: :9191 takes tokens", "", []string{jwt, database, "WARDER_LISTEN_GRPC=:9191"}},
		{"environment: WARDER_LISTEN_GRPC: \"example.com:9191\" is not an address to listen on", "", []string{jwt, database, "WARDER_LISTEN_GRPC=example.com:9191"}},
		{"environment: WARDER_LISTEN_ADMIN: is also the address of listen.grpc", "", []string{jwt, database, "WARDER_LISTEN_ADMIN=127.0.0.1:9191"}},
		{"environment: WARDER_TRUSTED_PROXIES: \"proxy\" (entry 1) is not a network", "", []string{jwt, database, "WARDER_TRUSTED_PROXIES=proxy"}},
		{"environment: WARDER_TRUSTED_PROXIES: 0.0.0.0/0 trusts every address", "", []string{jwt, database, "WARDER_TRUSTED_PROXIES=0.0.0.0/0"}},
		{"environment: WARDER_TRUSTED_PROXIES: ::/0 trusts every address", "", []string{jwt, database, "WARDER_TRUSTED_PROXIES=::/0"}},
		{"environment: WARDER_TRUSTED_PROXIES: together the networks trust every IPv4 address", "", []string{jwt, database, "WARDER_TRUSTED_PROXIES=0.0.0.0/1,128.0.0.0/1"}},
		{"environment: WARDER_TRUSTED_PROXIES: together the networks trust every IPv6 address", "", []string{jwt, database, "WARDER_TRUSTED_PROXIES=::/1,10.0.0.0/8,8000::/1"}},
		{"environment: WARDER_JWT_SECRET: is set, but jwt.keys lists 2 keys", "jwt: {keys: [{kid: a, secret_file: a}, {kid: b, secret_file: b}]}", []string{jwt, database}},
		{"directory.file: is set together with the variable DATABASE_URL", "directory: {file: d.yaml}", []string{jwt, database}},
	} {
		t.Run(c.want, func(t *testing.T) {
			t.Parallel()
			path := ""
			if c.file != "" {
				path = clitest.WriteFile(t, t.TempDir(), "warder.yaml", c.file)
			}
			_, _, err := Read(path, clitest.Environment(c.env...)).Resolve()
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v\nwant one with %s", err, c.want)
			}
		})
	}
}

// TestProxiesThatCoverEverything checks that networks that together contain every address are
// refused like 0.0.0.0/0, and that a list with a gap is accepted.
func TestProxiesThatCoverEverything(t *testing.T) {
	t.Parallel()
	env := clitest.Environment("WARDER_JWT_SECRET="+clitest.Secret, "DATABASE_URL=postgres://127.0.0.1/app", "HALF=0.0.0.0/1")
	for _, c := range []struct{ list, kind string }{
		{`[0.0.0.0/1, 128.0.0.0/1]`, "IPv4"},
		{`["::/1", "8000::/1"]`, "IPv6"},
		{`[192.0.0.0/2, 0.0.0.0/1, 128.0.0.0/2]`, "IPv4"},
		{`["c000::/2", "8000::/2", "::/1", 10.0.0.0/8]`, "IPv6"},
		{`[10.0.0.0/8, 0.0.0.0/1, 192.168.0.0/16, 128.0.0.0/1]`, "IPv4"},
		{`["${HALF}", 128.0.0.0/1]`, "IPv4"},
		{`["::/1", 128.0.0.0/1, "8000::/1", 0.0.0.0/1]`, "IPv4"},
		{`[0.0.0.0/1, 128.0.0.0/2]`, ""},
		{`[0.0.0.0/1, "8000::/1"]`, ""},
		{`["::/1", "8000::/2", "c000::/3"]`, ""},
	} {
		path := clitest.WriteFile(t, t.TempDir(), "warder.yaml", "client_ip:\n  trusted_proxies: "+c.list+"\n")
		_, _, err := Read(path, env).Resolve()
		want := path + ":2:20: client_ip.trusted_proxies: together the networks trust every " + c.kind +
			" address, so that each client could choose its own; list the networks of your proxies"
		switch {
		case c.kind == "" && err != nil:
			t.Errorf("%s: %v", c.list, err)
		case c.kind != "" && (err == nil || err.Error() != want):
			t.Errorf("%s: %v\nwant %s", c.list, err, want)
		}
	}
}

// TestDeadlineOfEnvoy checks the warning for deadlines of 500ms and more, with which Envoy
// answers before warder does.
func TestDeadlineOfEnvoy(t *testing.T) {
	t.Parallel()
	env := clitest.Environment("WARDER_JWT_SECRET="+clitest.Secret, "DATABASE_URL=postgres://127.0.0.1/app")
	for deadline, warned := range map[string]bool{"200ms": false, "499ms": false, "500ms": true, "501ms": true, "10s": true} {
		path := clitest.WriteFile(t, t.TempDir(), "warder.yaml", "deadline: "+deadline+"\n")
		_, warnings, err := Read(path, env).Resolve()
		if err != nil {
			t.Errorf("%s: %v", deadline, err)
			continue
		}
		want := path + ":1:11: deadline: is " + deadline + ", and Envoy gives the whole check 500ms in the configurations that warder ships: " +
			"Envoy answers before warder does; lower it, or raise the timeout of ext_authz above it"
		switch {
		case !warned && len(warnings) > 0:
			t.Errorf("%s: warnings %v", deadline, warnings)
		case warned && (len(warnings) != 1 || warnings[0].String() != want):
			t.Errorf("%s: warnings %v\nwant %s", deadline, warnings, want)
		}
	}
}

// TestConfigNeverPrintsASecret prints what was read and resolved in every way
// that somebody may try.
func TestConfigNeverPrintsASecret(t *testing.T) {
	t.Parallel()
	path := clitest.WriteFile(t, t.TempDir(), "warder.yaml", "jwt: {keys: [{secret: "+clitest.Secret+"}]}\n")
	c := Read(path, clitest.Environment("REDIS_URL=redis://:canary-redis@127.0.0.1:6379", "DATABASE_URL=postgres://warder:canary-dsn@127.0.0.1/app"))
	s, warnings, err := c.Resolve()
	if err != nil {
		t.Fatal(err)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0].String(), "the file contains the secret itself") {
		t.Errorf("warnings %v, want one about the secret in the file", warnings)
	}
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb+" "+verb+" "+verb+"\n", c, *c, s)
		fmt.Fprintf(&out, verb+" "+verb+" "+verb+"\n", *s, s.JWT.Keys, warnings)
	}
	if err := cli.WriteJSON(&out, s); err != nil {
		t.Fatal(err)
	}
	for _, handler := range []slog.Handler{slog.NewJSONHandler(&out, nil), slog.NewTextHandler(&out, nil)} {
		slog.New(mask.NewHandler(handler, s.Log.Mask)).Info("all", "config", c, "settings", s, "value", *s)
	}
	for _, form := range []string{"canary", "63616e617279" /* hex */, "Y2FuYXJ5" /* base64 */, "99 97 110 97 114 121"} {
		if strings.Contains(out.String(), form) {
			t.Errorf("a secret is printed, as %s", form)
		}
	}
}
