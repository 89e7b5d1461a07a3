package config

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"warder/authz/mask"
	"warder/authz/redis"
	"warder/cmd/warder/internal/clitest"
)

// TestSecretFileIsRegular checks that a secret is never read from what may not end.
func TestSecretFileIsRegular(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	huge := filepath.Join(dir, "huge")
	if err := os.WriteFile(huge, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(huge, 1<<40); err != nil { // sparse
		t.Fatal(err)
	}
	for _, c := range []struct{ want, path string }{
		{"is a pipe, a socket or a device; name a regular file", pipe},
		{"is a pipe, a socket or a device; name a regular file", "/dev/zero"},
		{"is larger than 64 KiB; name the right file", huge},
		{"is a folder; name a file", dir},
		{"cannot be read: no such file or directory", filepath.Join(dir, "none")},
		{"is empty; write the secret into it", clitest.WriteFile(t, dir, "empty", "\n")},
		{"contains white space only (a space); give the secret", clitest.WriteFile(t, dir, "space", "  \n")},
		{"is in UTF-16; save it as UTF-8, or as ASCII", clitest.WriteFile(t, dir, "utf-16", "\xff\xfec\x00a\x00\n\x00")},
	} {
		if _, err := (SecretFile{Path: c.path}).Read(); err == nil || err.Error() != c.path+" "+c.want {
			t.Errorf("%s: %v, want %s", c.path, err, c.want)
		}
	}
	secret, err := SecretFile{Path: clitest.WriteFile(t, dir, "good", "canary\r\n")}.Read()
	if err != nil || secret.Reveal() != "canary" {
		t.Errorf("%q, %v", secret.Reveal(), err)
	}
}

// TestPasswordFile checks password_file of both stores.
func TestPasswordFile(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ want, redis, database, password string }{
		{"", "redis://w@r/0", "postgres://w@d/app", "canary"},
		{"sessions.password_file: is set, and redis_url holds a password too; keep one of the two", "redis://:canary@r/0", "postgres://w@d/app", "canary"},
		{"directory.password_file: is set, and database_url holds a password too; keep one of the two", "redis://r/0", "postgres://w:canary@d/app", "canary"},
		{"directory.password_file: is set, and database_url holds a password too; keep one of the two", "redis://r/0", "postgres://w@d/app?password=canary", "canary"},
		{"directory.password_file: FILE is empty; write the secret into it", "redis://r/0", "postgres://w@d/app", ""},
	} {
		dir := t.TempDir()
		file := clitest.WriteFile(t, dir, "password", c.password)
		path := clitest.WriteFile(t, dir, "warder.yaml", "jwt: {keys: [{secret: "+clitest.Secret+"}]}\n"+
			"sessions: {redis_url: '"+c.redis+"', password_file: password}\n"+
			"directory: {database_url: '"+c.database+"', password_file: password}\n")
		s, _, err := Read(path, clitest.Environment()).Resolve()
		switch {
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), strings.ReplaceAll(c.want, "FILE", file)) || strings.Contains(err.Error(), "canary")):
			t.Errorf("%s %s: %v, want %s", c.redis, c.database, err, c.want)
		case c.want == "" && err != nil:
			t.Error(err)
		case c.want == "":
			if got := s.Sessions.SecretFiles(); len(got) != 1 || got[0] != (SecretFile{Key: "sessions.password_file", Path: file}) {
				t.Errorf("files %v", got)
			}
			if s.Sessions.Redis(nil).Password != "canary" || s.Directory.Postgres(nil).Password != "canary" {
				t.Error("the password is not that of the file")
			}
		}
	}
}

// TestSentinelPasswordFile checks that the password of Sentinels is read from its file, and read
// again.
func TestSentinelPasswordFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := clitest.WriteFile(t, dir, "sentinel", "canary\n")
	path := clitest.WriteFile(t, dir, "warder.yaml", "jwt: {keys: [{secret: "+clitest.Secret+"}]}\ndirectory: {database_url: 'postgres://d/app'}\n"+
		"sessions: {redis_url: 'redis+sentinel://s/main', sentinel: {username: watcher, password_file: sentinel}}\n")
	s, _, err := Read(path, clitest.Environment()).Resolve()
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Sessions.SecretFiles(); len(got) != 1 || got[0] != (SecretFile{Key: "sessions.sentinel.password_file", Path: file}) {
		t.Errorf("files %v", got)
	}
	if got := s.Sessions.Redis(nil).Sentinel; got != (redis.Sentinel{Username: "watcher", Password: "canary"}) {
		t.Errorf("Sentinels %+v", got)
	}
	if got := s.Sessions.WithSecrets([]mask.Secret{mask.New("other")}).RedisSecrets(); got != (redis.Secrets{URL: "redis+sentinel://s/main", SentinelPassword: "other"}) {
		t.Errorf("other secrets %+v", got)
	}
}

func TestRelatedFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := clitest.WriteFile(t, dir, "ca.pem", string(clitest.NewAuthority(t, "ca").PEM))
	path := clitest.WriteFile(t, dir, "warder.yaml", "jwt: {keys: [{secret: "+clitest.Secret+"}]}\n"+
		"directory: {database_url: 'postgres://w:p@d/app?sslmode=verify-full&sslrootcert="+ca+"'}\n")
	s, _, err := Read(path, clitest.Environment()).Resolve()
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Directory.RelatedFiles(); len(got) != 1 || got[0] != (SecretFile{Key: "directory.database_url sslrootcert", Path: ca}) {
		t.Errorf("files %v", got)
	}
}
