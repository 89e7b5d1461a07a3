package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"warder/authz/authztest"
	"warder/authz/memory"
	"warder/cmd/warder/internal/cli"
	"warder/cmd/warder/internal/clitest"
	"warder/policy"
)

// The tests here check that the examples in the pages work exactly as shown. The first line
// of a YAML block is a comment that names its kind, and the kind selects the test. Console
// blocks are run.

// TestExamplesInYAML checks that each YAML block is valid for the kind that it names.
func TestExamplesInYAML(t *testing.T) {
	t.Parallel()
	count := map[string]int{}
	for _, p := range clitest.Pages(t) {
		for _, b := range p.Blocks(t) {
			at := fmt.Sprintf("%s:%d: %s", p.Name, b.Line, b.Name)
			file := clitest.WriteFile(t, t.TempDir(), "block.yaml", b.Text)
			_, body, _ := strings.Cut(b.Text, "\n")
			first, _, _ := strings.Cut(body, ":")
			kind := first
			var err error
			switch {
			case b.Language == "json":
				kind = "json"
				if !json.Valid([]byte(b.Text)) {
					err = fmt.Errorf("it is no JSON")
				}
			case b.Language != "yaml":
				continue
			case b.Name == "mistake.yaml": // the console below it shows what is wrong
				kind = "mistake"
			case strings.HasPrefix(b.Name, "envoy/"):
				kind = "envoy"
				err = partOf(string(clitest.ReadFile(t, filepath.Join(module, b.Name))), body)
			case first == "version":
				_, err = policy.Load(file, func(name string) (string, bool) { return "192.0.2.0/24 198.51.100.7", name == "PARTNER_NETWORKS" })
			case first == "policy_file", strings.HasSuffix(b.Name, "_test.yaml"):
				// TestExamplesInConsole runs it.
			case first == "groups":
				err = yaml.Unmarshal([]byte(body), new(any)) // k8s/monitoring tests them
			case strings.HasPrefix(b.Name, "users_query:"), strings.HasPrefix(b.Name, "api_keys_query:"):
				// postgres.TestExamples runs them.
			case first == "users":
				_, err = memory.Load(file, time.Now)
			case strings.HasSuffix(b.Name, " of envoy.yaml"):
				kind = "envoy"
				err = yaml.Unmarshal([]byte(body), new(map[string]any)) // envoy.TestBoundedWebsocket uses them
			case strings.HasPrefix(b.Name, "templates/"):
				// A template of Helm. The test of the chart renders the same lines.
			case strings.HasSuffix(b.Name, ".yaml"):
				kind = "configuration"
				err = newExamples(t, p).validate(t, b)
			default:
				err = fmt.Errorf("its first line does not say what it is, as # policy.yaml does")
			}
			if err != nil {
				t.Errorf("%s: %v", at, err)
			}
			count[kind]++
		}
	}
	for kind, least := range map[string]int{"version": 8, "configuration": 5, "policy_file": 1, "groups": 1, "users": 1, "envoy": 4, "json": 4} {
		if count[kind] < least {
			t.Errorf("%d examples that are %s, want %d: this tests too little", count[kind], kind, least)
		}
	}
}

// partOf returns an error unless the file has each line of the example, in the same order.
func partOf(file, example string) error {
	for line := range strings.Lines(example) {
		line = strings.TrimSpace(line)
		_, rest, found := strings.Cut(file, line+"\n")
		if !found {
			return fmt.Errorf("the file has no line %q there", line)
		}
		file = rest
	}
	return nil
}

// TestExamplesInConsole runs the commands of each console block, with the files that the
// page shows and stand-ins for other programs. Where the page shows output, the command
// must print the same.
func TestExamplesInConsole(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("there is no shell")
	}
	lines := 0
	for _, p := range clitest.Pages(t) {
		t.Run(p.Name, func(t *testing.T) {
			c := newExamples(t, p)
			for _, b := range p.Blocks(t) {
				if b.Language == "console" {
					lines += c.run(t, b)
				}
			}
		})
	}
	if lines < 40 {
		t.Errorf("%d lines were run: this tests too little", lines)
	}
}

// An examples runs the console blocks of one page.
type examples struct {
	dir, admin string
}

// Stand-ins for the other programs that pages use.
var standIns = map[string]string{
	"git":       `cat policy.yaml`,
	"curl":      `cat openapi.json`,
	"celery":    `echo password=hunter2`,
	"redis-cli": `exit 0`,
	"jq":        `cat >/dev/null`,
	"crane":     `exit 0`,
	"db-token":  `echo password`,
	"kubectl": `case "$1" in get) echo '{"data":{"password":"x"}}';; esac
while [ $# -gt 0 ]; do case "$1" in -f|-k) [ -e "$MODULE/$2" ] || exit 1;; esac; shift; done`,
	"helm": `[ "$1" != install ] || [ -e "$MODULE/$3/Chart.yaml" ]`,
}

// newExamples creates the folder in which the commands of a page run.
func newExamples(t *testing.T, p clitest.Page) *examples {
	t.Helper()
	c := &examples{dir: t.TempDir(), admin: authztest.FreeAddress(t)}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(c.dir, ".bin")
	for _, folder := range []string{bin, filepath.Join(c.dir, "etc"), filepath.Join(c.dir, "secrets")} {
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, body := range standIns {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+body+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(program, filepath.Join(bin, "warder")); err != nil {
		t.Fatal(err)
	}
	some := "version: 1\nroutes:\n  - {id: all, match: \"/**\", public: true}\n"
	clitest.WriteFile(t, c.dir, "policy.yaml", some)
	clitest.WriteFile(t, c.dir, "warder.yaml", "client_ip: {trusted_proxies: [10.0.0.0/8]}\n")
	clitest.WriteFile(t, c.dir, "openapi.json", `{"openapi": "3.1.0", "info": {"title": "a", "version": "1"}, "paths": {"/orders": {"get": {"responses": {}}}}}`)
	clitest.WriteFile(t, c.dir, "etc/policy.yaml", some)
	for _, key := range []string{"jwt-new", "jwt-old", "jwt-secret", "redis-password", "sentinel-password", "database-password"} {
		clitest.WriteFile(t, c.dir, "secrets/"+key, clitest.Secret+key)
	}
	authority := clitest.NewAuthority(t, "redis")
	clientCert, clientKey := authority.Issue(t, "warder", time.Now().Add(time.Hour))
	for key, text := range map[string][]byte{"redis-ca.crt": authority.PEM, "redis-client.crt": clientCert, "redis-client.key": clientKey} {
		clitest.WriteFile(t, c.dir, "secrets/"+key, string(text))
	}
	clitest.WriteFile(t, c.dir, "secrets/redis-url", "redis://redis:6379/0")
	clitest.WriteFile(t, c.dir, "secrets/jwt-public.pem", publicPEM)
	clitest.WriteFile(t, c.dir, "secrets/jwks.json", `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`)
	clitest.WriteFile(t, c.dir, "secrets/database-url", "postgres://warder@db/app")
	moved := strings.NewReplacer("/etc/warder/", filepath.Join(c.dir, "etc")+"/", "/run/secrets/", filepath.Join(c.dir, "secrets")+"/")
	for _, b := range p.Blocks(t) {
		if regexp.MustCompile(`^[a-z_-]+\.yaml$`).MatchString(b.Name) {
			clitest.WriteFile(t, c.dir, b.Name, moved.Replace(b.Text))
		}
	}
	if strings.Contains(p.Text, "http://127.0.0.1:9192 ") {
		c.serve(t, program)
	}
	return c
}

// publicPEM is a public key.
const publicPEM = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n"

// validate checks a configuration with warder validate. The environment sets what the block
// leaves out.
func (c *examples) validate(t *testing.T, b clitest.Block) error {
	t.Helper()
	validate := exec.CommandContext(t.Context(), filepath.Join(c.dir, ".bin", "warder"), "validate", "-c", b.Name)
	validate.Dir, validate.Env = c.dir, append(c.environ(), "WARDER_POLICY=policy.yaml")
	for key, variable := range map[string]string{"jwt:": "WARDER_JWT_SECRET=" + clitest.Secret, "directory: {file:": "DATABASE_URL=postgres://warder@db/app"} {
		if !strings.Contains(b.Text, key) {
			validate.Env = append(validate.Env, variable)
		}
	}
	if out, err := validate.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// environ returns the environment of the commands of a page.
func (c *examples) environ() []string {
	return append(os.Environ(), asProgram+"=1", "MODULE="+must(filepath.Abs(module)), "JWT_SECRET="+clitest.Secret,
		"PARTNER_NETWORKS=192.0.2.0/24", "PATH="+filepath.Join(c.dir, ".bin")+string(filepath.ListSeparator)+os.Getenv("PATH"))
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// serve runs warder serve with the policy of the page, for commands that query it.
func (c *examples) serve(t *testing.T, program string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	serving := exec.CommandContext(ctx, program, "serve", "-c", clitest.WriteFile(t, c.dir, "serving.yaml", "sessions: {redis_url: \"memory://\"}\ndirectory: {file: "+clitest.WriteFile(t, c.dir, "nobody.yaml", "users: []\n")+"}\n"), "-p", "policy.yaml")
	serving.Dir = c.dir
	serving.Env = append(c.environ(), "WARDER_JWT_SECRET="+clitest.Secret, "WARDER_LISTEN_ADMIN="+c.admin, "WARDER_LISTEN_GRPC=127.0.0.1:0")
	var log bytes.Buffer
	serving.Stderr = &log
	if err := serving.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = serving.Wait()
	})
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		health := exec.CommandContext(t.Context(), program, "health", "--url", "http://"+c.admin+"/readyz")
		health.Env = c.environ()
		if health.Run() == nil {
			return
		}
		if time.Now().After(deadline) {
			cancel()
			_ = serving.Wait()
			t.Fatalf("the warder of the page is not ready: %s", &log)
		}
	}
}

// run runs the commands of a block and returns their number.
func (c *examples) run(t *testing.T, b clitest.Block) (lines int) {
	t.Helper()
	settings := ""
	for _, part := range regexp.MustCompile(`(?m)^\$ `).Split(b.Text, -1)[1:] {
		command, want, _ := strings.Cut(part, "\n")
		lines++
		switch {
		case strings.HasPrefix(command, "make "):
			target := strings.Fields(command)[1]
			if !bytes.Contains(clitest.ReadFile(t, filepath.Join(module, "Makefile")), []byte("\n"+target+":")) {
				t.Errorf("line %d: %s: make has no such target", b.Line, command)
			}
			continue
		case regexp.MustCompile(`^(export )?[A-Za-z_]+=\S+`).MatchString(command):
			settings += command + "\n"
			continue
		case regexp.MustCompile(`^warder (serve|demo|key|session|user|doctor)\b`).MatchString(command):
			// It would not end, or needs stores. With --help, wrong flags are still an error.
			line, _, _ := strings.Cut(command, " #")
			command = line + " --help"
		}
		command = strings.ReplaceAll(command, "127.0.0.1:9192", c.admin)
		shell := exec.CommandContext(t.Context(), "sh", "-c", settings+command)
		shell.Dir, shell.Env = c.dir, c.environ()
		out, err := shell.CombinedOutput()
		if err != nil && (!strings.Contains(command, "# exit 1") || shell.ProcessState.ExitCode() != cli.ExitFailure) {
			t.Errorf("line %d: $ %s\n%v\n%s", b.Line, command, err, out)
			continue
		}
		if want = strings.TrimSpace(want); want == "" {
			continue
		}
		pattern := strings.ReplaceAll(regexp.QuoteMeta(want), "…", `(?s:.*)`)
		if !regexp.MustCompile(`^` + pattern + `$`).MatchString(strings.TrimSpace(string(out))) {
			t.Errorf("line %d: $ %s\nprints\n%s\nand the page says\n%s", b.Line, command, out, want)
		}
	}
	return lines
}
