package config

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode"

	"warder/authz"
	"warder/authz/mask"
	"warder/cmd/warder/internal/cli"
)

const (
	// commandTime bounds one run of a program. It is more than a metadata service of a cloud
	// takes.
	commandTime = 10 * time.Second
	// maxCommandStderr is how much of what a program prints to its standard error is read, and
	// shownStderr how much of that an error shows, in bytes.
	maxCommandStderr, shownStderr = mask.MaxRead, 300

	minPasswordLifetime, maxPasswordLifetime = 10 * time.Second, 24 * time.Hour
	// The tokens of clouds are valid for a quarter of an hour or more.
	defaultPasswordLifetime = 10 * time.Minute
)

// A PasswordCommand is a program that prints the password of a store, which changes often.
type PasswordCommand struct {
	Key      string        // the key of the configuration that names the program
	Lifetime time.Duration // how long a password is used before the program is run again
	program  string        // its path
	args     []string
	timeout  time.Duration
	// hidden are warder's own secrets, which the program must not get, whatever the variables are
	// called that hold them.
	hidden []mask.Secret
}

// Run runs the program and returns the password that it prints. There is no shell. The program
// gets the environment without the variables that hold warder's own secrets, and nothing on its
// standard input. The error names the program, and never contains its arguments or what it prints
// to its standard output; what it prints to its standard error is masked and truncated.
func (c *PasswordCommand) Run(ctx context.Context) (mask.Secret, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.program, c.args...)
	stdout, stderr := &boundedOutput{limit: maxSecretFile, full: cancel}, &boundedOutput{limit: maxCommandStderr}
	cmd.Stdout, cmd.Stderr, cmd.Env = stdout, stderr, withoutSecrets(os.Environ(), c.hidden)
	// The programs that it started end with it, and hold none of its pipes open.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	failed := func(format string, args ...any) (mask.Secret, error) {
		text := fmt.Sprintf("%s "+format, append([]any{c.program}, args...)...)
		if said := stderr.shown(stdout.text()); said != "" {
			text += "; it says: " + said
		}
		return mask.Secret{}, errors.New(text)
	}
	exit, exited := errors.AsType[*exec.ExitError](err)
	switch {
	case stdout.over:
		return failed("prints more than %d KiB; it must print the password alone", maxSecretFile>>10)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return failed("has printed no password within %v and was ended", c.timeout)
	case ctx.Err() != nil:
		return mask.Secret{}, ctx.Err()
	case exited && exit.ExitCode() >= 0:
		return failed("has ended with exit status %d", exit.ExitCode())
	case exited:
		return failed("was ended: %v", exit)
	case errors.Is(err, exec.ErrWaitDelay):
		return failed("has ended, and a program that it started keeps its output open")
	case err != nil:
		return failed("cannot be run: %v", bareError(err))
	}
	password, err := cleanSecret(stdout.text())
	switch {
	case errors.Is(err, errEmptySecret):
		return failed("has printed nothing; it must print the password to its standard output")
	case err != nil:
		return failed("prints what is no password: it %v", err)
	case strings.ContainsFunc(password, unicode.IsControl):
		return failed("prints several lines or a control character; it must print the password alone, on one line")
	}
	return mask.New(password), nil
}

// bareError returns the reason of an error without the path, which the message has already.
func bareError(err error) error {
	if path, ok := errors.AsType[*os.PathError](err); ok {
		return path.Err
	}
	return err
}

// withoutSecrets leaves out the variables that hold warder's own secrets: those with a name of
// warder's, and those that the configuration refers to under a name of the user's.
func withoutSecrets(environment []string, secrets []mask.Secret) []string {
	return slices.DeleteFunc(slices.Clone(environment), func(entry string) bool {
		name, value, _ := strings.Cut(entry, "=")
		if value != "" && slices.ContainsFunc(secrets, func(s mask.Secret) bool { return s.Reveal() == withoutNewline(value) }) {
			return true
		}
		return slices.ContainsFunc(Variables, func(v Variable) bool {
			return v.Name == name && isSecretVariable(name) && !strings.HasSuffix(name, "_FILE")
		}) || strings.HasPrefix(name, "WARDER_ADMIN_") && !strings.HasSuffix(name, "_FILE")
	})
}

// A boundedOutput keeps the beginning of what a program prints. The rest is lost.
type boundedOutput struct {
	limit int
	full  func() // called when there is more; may be nil
	kept  bytes.Buffer
	over  bool
}

func (o *boundedOutput) Write(p []byte) (int, error) {
	o.kept.Write(p[:min(len(p), o.limit-o.kept.Len())])
	if o.over = o.over || o.kept.Len() == o.limit; o.over && o.full != nil {
		o.full()
	}
	return len(p), nil
}

func (o *boundedOutput) text() string { return o.kept.String() }

// shown returns the text on one line, masked and truncated. What the program printed as the
// password is masked too.
func (o *boundedOutput) shown(printed string) string {
	excerpt := mask.Excerpt{Text: o.text(), Cut: o.over}
	for line := range strings.Lines(printed) {
		if line = strings.TrimSpace(line); line != "" {
			excerpt.Text = excerpt.Without(line)
		}
	}
	var masker mask.Masker
	lines := strings.FieldsFunc(masker.String(excerpt.Text), func(r rune) bool { return unicode.IsControl(r) })
	return excerpt.Shown(strings.TrimSpace(strings.ToValidUTF8(strings.Join(lines, " "), "?")), shownStderr)
}

// passwordCommand reads password_command and password_lifetime of a section. If there is no
// command, or a problem was reported, it returns nil.
func (c *Config) passwordCommand(section string, argv []string, lifetime time.Duration) *PasswordCommand {
	r, field := c.reader, section+".password_command"
	reported := slices.ContainsFunc(r.Problems, func(p cli.Problem) bool { return p.Field == field })
	switch {
	case reported:
		return nil
	case len(argv) == 0:
		if r.given(field) {
			r.fail(field, "is empty; write the program and its arguments, or leave it out")
		} else if r.given(section + ".password_lifetime") {
			r.warn(section+".password_lifetime", "has no effect without password_command; leave it out")
		}
		return nil
	case r.given(section + ".password_file"):
		r.fail(field, "is set together with password_file; keep one of the two")
		return nil
	case lifetime < minPasswordLifetime || lifetime > maxPasswordLifetime:
		r.fail(section+".password_lifetime", "is %v; use %v to %v, and less than a password is valid", lifetime, minPasswordLifetime, maxPasswordLifetime)
		return nil
	}
	program := argv[0]
	path, err := exec.LookPath(program)
	switch {
	case err != nil && len(argv) == 1 && strings.ContainsAny(program, " \t"):
		r.fail(field, "there is no program %q; no shell splits a text into words, so write each as an item: [program, argument]", program)
		return nil
	case errors.Is(err, exec.ErrNotFound):
		r.fail(field, "there is no program %s in the folders of PATH; write its whole path. The image of warder has no other program: mount one, or write the password into a file (password_file)", program)
		return nil
	case err != nil:
		r.fail(field, "%s cannot be run: %v", program, bareError(errors.Unwrap(err)))
		return nil
	}
	return &PasswordCommand{Key: field, Lifetime: lifetime, program: path, args: argv[1:], timeout: commandTime, hidden: c.ownSecrets()}
}

// ownSecrets returns the secrets that the configuration holds itself.
func (c *Config) ownSecrets() []mask.Secret {
	texts := []secretText{c.Sessions.RedisURL, c.Directory.DatabaseURL}
	for _, k := range c.JWT.Keys {
		texts = append(texts, k.Secret)
	}
	for _, issuer := range c.JWT.Issuers {
		for _, k := range issuer.Keys {
			texts = append(texts, k.Secret)
		}
	}
	var secrets []mask.Secret
	for _, text := range texts {
		if text.given {
			secrets = append(secrets, text.value)
		}
	}
	return secrets
}

// anyPassword stands for the password of a command while the other settings are validated.
const anyPassword = "password"

// naming returns an error of a store with password_command for the key of its password.
func (c *PasswordCommand) naming(err error) error {
	if c == nil {
		return err
	}
	var all []error
	for _, e := range authz.ConfigErrors(err) {
		if section, found := strings.CutSuffix(e.Field, ".password_file"); found && section+".password_command" == c.Key {
			e = &authz.ConfigError{Field: c.Key, Problem: e.Problem}
		}
		all = append(all, e)
	}
	return errors.Join(all...)
}

// WithPassword returns the settings with the password that a command has printed.
func (s Sessions) WithPassword(password mask.Secret) Sessions {
	s.Password = password
	return s
}

// WithPassword returns the settings with the password that a command has printed.
func (d Directory) WithPassword(password mask.Secret) Directory {
	d.Password = password
	return d
}

// LogIn runs the program of password_command, if there is one, and returns the settings with its
// password. It is for a command that connects once.
func (s Sessions) LogIn(ctx context.Context) (Sessions, error) {
	password, err := logIn(ctx, s.PasswordCommand, s.Password)
	return s.WithPassword(password), err
}

// LogIn is like [Sessions.LogIn].
func (d Directory) LogIn(ctx context.Context) (Directory, error) {
	password, err := logIn(ctx, d.PasswordCommand, d.Password)
	return d.WithPassword(password), err
}

func logIn(ctx context.Context, c *PasswordCommand, otherwise mask.Secret) (mask.Secret, error) {
	if c == nil {
		return otherwise, nil
	}
	password, err := c.Run(ctx)
	if err != nil {
		return mask.Secret{}, fmt.Errorf("%s: %w", c.Key, err)
	}
	return password, nil
}
