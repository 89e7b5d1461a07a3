package config

import (
	"strings"
	"testing"

	"warder/authz/mask"
	"warder/cmd/warder/internal/clitest"
)

// TestParts checks that a part of a configuration does not need the others, and that the URL of
// an operator replaces the one of the service together with its password.
func TestParts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	clitest.WriteFile(t, dir, "password", "canary-password")
	clitest.WriteFile(t, dir, "url", "redis://file:canary@h:1/0\n")
	path := clitest.WriteFile(t, dir, "warder.yaml", `jwt: {keys: [{secret: short}]}
sessions: {redis_url: "${REDIS}", password_file: password, key_template: "s:{user_id}:{jti}"}
directory:
  database_url: ${DATABASE}
  password_file: password
`)
	env := func(string) (string, bool) { return "", false }
	own := mask.New("redis://own:canary@h:1/0")
	for _, tt := range []struct {
		name     string
		override Override
		url, err string
	}{
		{"none", Override{}, "", "warder.yaml:2:23: sessions.redis_url: is empty"},
		{"a flag", Override{Name: "--redis-url", Value: own}, own.Reveal(), ""},
		{"a file", Override{Name: "--redis-url-file", File: dir + "/url"}, "redis://file:canary@h:1/0", ""},
		{"a bad flag", Override{Name: "--redis-url", Value: mask.New("http://canary@h")}, "", "command line: --redis-url: the scheme http:// is not known"},
		{"a bad variable", Override{Name: "WARDER_ADMIN_REDIS_URL", Value: mask.New("http://canary@h")}, "", "environment: WARDER_ADMIN_REDIS_URL: the scheme"},
		{"no file", Override{Name: "--redis-url-file", File: dir + "/none"}, "", "command line: --redis-url-file: " + dir + "/none cannot be read"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := ReadPart(path, env)
			if tt.override.IsSet() {
				c.UseRedisURL(tt.override)
			}
			s, err := c.ResolveSessions()
			switch {
			case tt.err == "" && (err != nil || s.RedisURL.Reveal() != tt.url || !s.Password.IsZero() || s.KeyTemplate != "s:{user_id}:{jti}"):
				t.Errorf("%+v, %v", s, err)
			case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "canary")):
				t.Errorf("%v, want %s", err, tt.err)
			}
			c.UseDatabaseURL(Override{Name: "--database-url", Value: mask.New("postgres://own@h/d")})
			if d, err := c.ResolveDirectory(); err != nil || d.DatabaseURL.Reveal() != "postgres://own@h/d" || !d.Password.IsZero() {
				t.Errorf("the database, after the sessions: %+v, %v", d, err)
			}
			if _, err := c.ResolveJWT(); err == nil || strings.Contains(err.Error(), "sessions") {
				t.Errorf("the keys: %v", err)
			}
		})
	}
	if got := ReadPart(path, env).Where("sessions.key_template"); !strings.HasSuffix(got, "warder.yaml:2:74") {
		t.Errorf("the template is at %s", got)
	}
	if got := ReadPart(path, env).Where("sessions.timeout"); got != "default" {
		t.Errorf("the timeout is at %s", got)
	}
}
