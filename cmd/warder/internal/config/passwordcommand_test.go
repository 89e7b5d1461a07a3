package config

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"warder/authz/mask"
	"warder/cmd/warder/internal/clitest"
)

// shell returns a command that runs a script of the shell, with the arguments. A program that was
// just written cannot always be run: golang.org/issue/22315.
func shell(script string, args ...string) *PasswordCommand {
	return &PasswordCommand{program: "/bin/sh", args: append([]string{"-c", script, "sh"}, args...), timeout: time.Minute}
}

// TestPasswordCommandRuns checks what counts as a password, and that an error says what is wrong
// and shows neither a password nor an argument.
func TestPasswordCommandRuns(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ want, text string }{
		{"", `echo "$1"`},
		{"", `printf "$1"`},
		{"", `printf "$1\r\n"; echo noise >&2`},
		{"", `cat; echo "$1"`}, // standard input is empty
		{"has ended with exit status 7", "exit 7"},
		{"has ended with exit status 7; it says: no role: denied", `echo "no role:" >&2; echo denied >&2; exit 7`},
		{"has ended with exit status 1; it says: ***FILTERED*** failed", `echo "$1"; echo "$1 failed" >&2; exit 1`},
		{"has ended with exit status 1; it says: secret=***FILTERED***", `echo "secret=$1" >&2; exit 1`},
		{"(cut)", `i=0; while [ $i -lt 9999 ]; do echo "many words" >&2; i=$((i+1)); done; exit 1`},
		{"was ended: signal: terminated", "kill $$"},
		{"has printed nothing; it must print the password to its standard output", "true"},
		{"has printed nothing; it must print the password to its standard output; it says: asks for a login", "echo asks for a login >&2"},
		{"has printed nothing", "echo"},
		{"prints what is no password: it contains white space only (a space)", `echo " "`},
		{"prints what is no password: it has white space before it (a space)", `echo " $1"`},
		{"prints several lines or a control character", `echo "$1"; echo more`},
		{"prints several lines or a control character", `printf '%s\000x' "$1"`},
		{"prints more than 64 KiB; it must print the password alone", "while true; do echo canary; done"},
		{"has printed no password within 200ms and was ended", "sleep 60"},
		{"has printed no password within 200ms and was ended", "sleep 60 & sleep 60"},
		{"cannot be run: no such file or directory", ""},
	} {
		command := shell(c.text, "canary-$(id)")
		if strings.Contains(c.want, "within") {
			command.timeout = 200 * time.Millisecond
		}
		if c.text == "" {
			command.program = "/nowhere/program"
		}
		password, err := command.Run(t.Context())
		switch {
		case c.want == "" && (err != nil || password.Reveal() != "canary-$(id)"):
			t.Errorf("%s: %q, %v", c.text, password.Reveal(), err)
		case c.want == "":
		case err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), command.program+" "):
			t.Errorf("%s: %v, want %s", c.text, err, c.want)
		case strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "\n") || len(err.Error()) > 600:
			t.Errorf("%s: the error shows too much: %v", c.text, err)
		case password.Reveal() != "":
			t.Errorf("%s: there is an error and a password", c.text)
		}
	}
}

// TestPasswordCommandEndsWhatItStarted checks that no program is left when a run takes too long.
func TestPasswordCommandEndsWhatItStarted(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "pid")
	command := shell(`sleep 600 & echo $! >"$1.new"; mv "$1.new" "$1"; wait`, file)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { _, err := command.Run(ctx); ended <- err }()
	var pid int
	clitest.Eventually(t, "the program of the program", func() bool {
		data, err := os.ReadFile(file)
		pid, _ = strconv.Atoi(strings.TrimSpace(string(data)))
		return err == nil && pid > 0
	})
	cancel()
	if err := <-ended; err == nil {
		t.Error("an ended run has a password")
	}
	clitest.Eventually(t, "its end", func() bool {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		return syscall.Kill(pid, 0) != nil || err == nil && strings.Contains(string(stat), ") Z ") // nobody waits for it
	})
}

// TestPasswordCommandEnvironment checks that warder's own secrets are not passed on, and that the
// credentials of a cloud are.
func TestPasswordCommandEnvironment(t *testing.T) {
	t.Parallel()
	got := strings.Join(withoutSecrets([]string{
		"AWS_ROLE_ARN=a", "WARDER_JWT_SECRET=canary", "WARDER_JWT_SECRET_FILE=b", "REDIS_URL=canary", "DATABASE_URL=canary",
		"WARDER_ADMIN_DATABASE_URL=canary", "WARDER_POLICY=c", "PATH=d",
		"JWT_SECRET=canary-of-the-user", "JWT_SECRET_LINE=canary-of-the-user\n", "JWT_SECRET_EMPTY=",
	}, []mask.Secret{mask.New("canary-of-the-user"), mask.New("")}), " ")
	if want := "AWS_ROLE_ARN=a WARDER_JWT_SECRET_FILE=b WARDER_POLICY=c PATH=d JWT_SECRET_EMPTY="; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestPasswordCommandConfig checks the keys of both sections.
func TestPasswordCommandConfig(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	program := clitest.WriteFile(t, dir, "program", "#!/bin/sh\ntouch ran; echo canary\n")
	if err := os.Chmod(program, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ want, section string }{
		{"", "password_command: [" + program + ", --x]"},
		{"", "password_command: [./program, --x], password_lifetime: 15m"},
		{"", "password_command: [sub/program]"},
		{"", "password_command: [sh, -c, echo x]"},
		{"password_command: is empty; write the program and its arguments", "password_command: []"},
		{"password_command: is a text; write a list", "password_command: aws rds"},
		{`password_command: there is no program "sh -c id"; no shell splits a text into words`, "password_command: [sh -c id]"},
		{"password_command: there is no program warder-none in the folders of PATH", "password_command: [warder-none, a]"},
		{"/none cannot be run: no such file or directory", "password_command: [./none, a]"},
		{"/plain cannot be run: permission denied", "password_command: [./plain]"},
		{"password_command: is set together with password_file; keep one of the two", "password_command: [sh], password_file: plain"},
		{"password_lifetime: is 1s; use 10s to 24h0m0s, and less than a password is valid", "password_command: [sh], password_lifetime: 1s"},
		{"password_command: is set, and URL holds a password too; keep one of the two", "password_command: [sh], CANARY"},
	} {
		for _, s := range []struct{ key, urlKey, plain, secret string }{
			{"sessions", "redis_url", "redis://w@r/0", "redis://w:canary@r/0"},
			{"directory", "database_url", "postgres://w@d/app", "postgres://w:canary@d/app"},
		} {
			folder := t.TempDir()
			for _, name := range []string{"program", "sub"} {
				if err := os.Symlink(map[string]string{"program": program, "sub": dir}[name], filepath.Join(folder, name)); err != nil {
					t.Fatal(err)
				}
			}
			clitest.WriteFile(t, folder, "plain", "canary")
			url := s.plain
			section, withPassword := strings.CutSuffix(c.section, ", CANARY")
			if withPassword {
				url = s.secret
			}
			text := "jwt: {keys: [{secret: " + clitest.Secret + "}]}\n" + s.key + ": {" + s.urlKey + ": '" + url + "', " + section + "}\n"
			if s.key == "sessions" {
				text += "directory: {database_url: 'postgres://w@d/app'}\n"
			}
			settings, _, err := Read(clitest.WriteFile(t, folder, "warder.yaml", text), clitest.Environment()).Resolve()
			want := strings.ReplaceAll(c.want, "URL", s.urlKey)
			switch {
			case want != "" && (err == nil || strings.Count(err.Error(), "\n") > 0 || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary")):
				t.Errorf("%s: %s: %v, want %s", s.key, c.section, err, want)
			case want == "" && err != nil:
				t.Errorf("%s: %s: %v", s.key, c.section, err)
			case want == "":
				command := map[string]*PasswordCommand{"sessions": settings.Sessions.PasswordCommand, "directory": settings.Directory.PasswordCommand}[s.key]
				if command == nil || command.Key != s.key+".password_command" || command.timeout <= 0 {
					t.Errorf("%s: %s: %+v", s.key, c.section, command)
				}
			}
			if _, err := os.Stat(filepath.Join(dir, "ran")); err == nil {
				t.Fatal("reading the configuration runs the program")
			}
		}
	}
}

// TestLogIn checks that a command that connects once runs the program once.
func TestLogIn(t *testing.T) {
	t.Parallel()
	d := Directory{PasswordCommand: shell("echo canary")}
	if d, err := d.LogIn(t.Context()); err != nil || d.Postgres(nil).Password != "canary" {
		t.Errorf("%v, %v", d.Password, err)
	}
	s := Sessions{PasswordCommand: shell("exit 1")}
	s.PasswordCommand.Key = "sessions.password_command"
	if _, err := s.LogIn(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "sessions.password_command: ") {
		t.Error(err)
	}
	if s, err := (Sessions{Password: s.Password}).LogIn(t.Context()); err != nil || s.Password != d.Password {
		t.Error(err)
	}
}
