package config

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"warder/cmd/warder/internal/clitest"
)

// spaces are what may stand around a secret, and what is said about it. "" accepts it.
var spaces = []struct{ before, after, want string }{
	{"", "", ""},
	{"", "\n", ""},
	{"", "\r\n", ""},
	{"", "\n\n", "has white space after it (a newline); remove it"},
	{"", "\r\n\r\n", "has white space after it (a carriage return, a newline); remove it"},
	{"", "\r", "has white space after it (a carriage return); remove it"},
	{"", "\n\r", "has white space after it (a newline, a carriage return); remove it"},
	{"", " ", "has white space after it (a space); remove it"},
	{"", " \t \n", "has white space after it (a space, a tab); remove it"},
	{" ", "", "has white space before it (a space); remove it"},
	{"\n", "", "has white space before it (a newline); remove it"},
	{"\t", "\t", "has white space before it (a tab) and after it (a tab); remove it"},
	{"", "\u00a0", "has white space after it (a no-break space); remove it"},
	{"\ufeff", "\n", "has white space before it (a byte order mark); remove it"},
	{"", "\u200b", "has white space after it (U+200B); remove it"},
	{"", "\u2028", "has white space after it (U+2028); remove it"},
}

// TestSpaceAroundSecrets tries white space around every secret, from each source.
func TestSpaceAroundSecrets(t *testing.T) {
	t.Parallel()
	// Each secret has a source: a variable of its own, a variable that the file names, the file
	// itself, or a file of its own.
	secrets := []struct {
		variable, key string // key is where the file has it, with %s for the value
		value         string
		got           func(*Settings) string
	}{
		{"WARDER_JWT_SECRET", "jwt: {keys: [{secret%s: %s}]}", clitest.Secret, func(s *Settings) string { return s.JWT.Keys[0].Secret.Reveal() }},
		{"REDIS_URL", "sessions: {redis_url%s: %s}", "redis://:canary@h:6379/0", func(s *Settings) string { return s.Sessions.RedisURL.Reveal() }},
		{"REDIS_URL", "sessions: {redis_url%s: %s}", "memory://", func(s *Settings) string { return s.Sessions.RedisURL.Reveal() }},
		{"DATABASE_URL", "directory: {database_url%s: %s}", "postgres://u:canary@h/app", func(s *Settings) string { return s.Directory.DatabaseURL.Reveal() }},
		{"", "sessions: {redis_url: 'redis://h', password%s: %s}", "canary", func(s *Settings) string { return s.Sessions.Password.Reveal() }},
		{"", "directory: {database_url: 'postgres://h/app', password%s: %s}", "canary", func(s *Settings) string { return s.Directory.Password.Reveal() }},
	}
	others := map[string]string{"WARDER_JWT_SECRET": clitest.Secret, "DATABASE_URL": "postgres://h/app"}
	for _, secret := range secrets {
		for _, space := range spaces {
			text := space.before + secret.value + space.after
			dir := t.TempDir()
			file := clitest.WriteFile(t, dir, "secret", text)
			quoted := fmt.Sprintf("%q", text)
			if strings.ContainsRune(text, '\ufeff') || strings.ContainsRune(text, '\u200b') || strings.ContainsRune(text, '\u2028') {
				quoted = "" // not written in YAML
			}
			for _, source := range []struct {
				name, config string
				env          []string
			}{
				{"variable", "", []string{secret.variable + "=" + text}},
				{"variable of the file", fmt.Sprintf(secret.key, "", "${S}"), []string{"S=" + text}},
				{"text", fmt.Sprintf(secret.key, "", quoted), nil},
				{"file", fmt.Sprintf(secret.key, "_file", file), nil},
				{"file of a variable", "", []string{secret.variable + "_FILE=" + file + "\n"}},
			} {
				isFile := strings.HasPrefix(source.name, "file")
				if source.config == "" && secret.variable == "" || secret.variable == "" && !isFile || source.name == "text" && quoted == "" {
					continue
				}
				env := source.env
				for name, value := range others {
					if !strings.HasPrefix(secret.variable, name) && !strings.Contains(secret.key, map[string]string{"WARDER_JWT_SECRET": "jwt", "DATABASE_URL": "directory"}[name]) {
						env = append(env, name+"="+value)
					}
				}
				path := ""
				if source.config != "" {
					path = clitest.WriteFile(t, dir, "warder.yaml", strings.ReplaceAll(source.config, "${S}", `"${S}"`)+"\n")
				}
				name := fmt.Sprintf("%s %s %q", secret.variable+secret.key, source.name, text)
				s, _, err := Read(path, clitest.Environment(env...)).Resolve()
				switch {
				case space.want == "" && err != nil:
					t.Errorf("%s: %v", name, err)
				case space.want == "" && secret.got(s) != secret.value:
					t.Errorf("%s: got %q", name, secret.got(s))
				case space.want != "" && (err == nil || !strings.Contains(err.Error(), space.want)):
					t.Errorf("%s: %v, want %s", name, err, space.want)
				case space.want != "" && (strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), clitest.Secret)):
					t.Errorf("%s: the error shows the secret: %v", name, err)
				case space.want != "" && isFile && !strings.Contains(err.Error(), file):
					t.Errorf("%s: the error does not name the file: %v", name, err)
				case space.want != "" && source.name == "variable" && !strings.HasPrefix(err.Error(), "environment: "+secret.variable+": has"):
					t.Errorf("%s: the error does not name the variable: %v", name, err)
				}
			}
		}
	}
}

// TestSpaceInsideURLs checks that a newline at the end of a variable is left out inside of a URL,
// and that other white space is an error.
func TestSpaceInsideURLs(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ password, want string }{
		{"canary", ""},
		{"canary\n", ""},
		{"canary\r\n", ""},
		{"canary\n\n", "sessions.redis_url: cannot be read: it contains white space"},
		{"canary ", "sessions.redis_url: cannot be read: it contains white space"},
		{"\tcanary", "sessions.redis_url: cannot be read: it contains white space"},
	} {
		path := clitest.WriteFile(t, t.TempDir(), "warder.yaml", "sessions: {redis_url: 'redis://:${P}@${H}:6379/${D}'}\n")
		s, _, err := Read(path, clitest.Environment("P="+tt.password, "H=h\n", "D=3\n", "WARDER_JWT_SECRET="+clitest.Secret, "DATABASE_URL=postgres://h/app")).Resolve()
		switch {
		case tt.want == "" && (err != nil || s.Sessions.RedisURL.Reveal() != "redis://:canary@h:6379/3"):
			t.Errorf("%q: %v", tt.password, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "canary")):
			t.Errorf("%q: %v, want %s", tt.password, err, tt.want)
		}
	}
}

// TestNewlineInVariables checks that a newline at the end of any variable of warder is left out.
func TestNewlineInVariables(t *testing.T) {
	t.Parallel()
	file := clitest.WriteFile(t, t.TempDir(), "jwt", clitest.Secret)
	s, _, err := Read("", clitest.Environment("WARDER_LISTEN_GRPC=unix:///run/w.sock\n", "WARDER_LISTEN_ADMIN=127.0.0.1:9\r\n", "WARDER_POLICY=/p.yaml\n",
		"WARDER_JWT_SECRET_FILE="+file+"\n", "DATABASE_URL=postgres://h/app\n", "WARDER_TRUSTED_PROXIES=10.0.0.0/8\n")).Resolve()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprintf("%v %v %v %v", s.Listen.GRPC, s.Listen.Admin, s.Policy, s.ClientIP.TrustedProxies), "unix:///run/w.sock 127.0.0.1:9 /p.yaml [10.0.0.0/8]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// FuzzCleanSecret checks that a cleaned secret has no white space around it, that nothing else is
// removed, and that no error shows a part of it.
func FuzzCleanSecret(f *testing.F) {
	for _, seed := range []string{"a\n", " a", "\ufeffa\r\n", "\xff\xfea\x00", "\n", "", "\x85a\xa0", "a b\nc"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		const canary = "canary"
		for _, text := range []string{text, canary + text, text + canary} {
			got, err := cleanSecret(text)
			if err != nil {
				if strings.Contains(err.Error(), canary) {
					t.Errorf("%q: %v", text, err)
				}
				continue
			}
			first, _ := utf8.DecodeRuneInString(got)
			last, _ := utf8.DecodeLastRuneInString(got)
			if got == "" || isInvisible(first) || isInvisible(last) || got != text && got+"\n" != text && got+"\r\n" != text {
				t.Errorf("%q became %q", text, got)
			}
		}
	})
}
