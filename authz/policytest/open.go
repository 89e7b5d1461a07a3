package policytest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"warder/authz"
	"warder/authz/memory"
	"warder/authz/token"
	"warder/policy"
)

// An Opened file is what its cases run on: the engine that it describes, on stores in
// memory and with a clock that stands at the time of the case.
type Opened struct {
	Policy *policy.Policy
	Engine *authz.Engine

	start, now time.Time
}

// HasPolicy reports whether the file names a policy of its own, and where.
func (f *File) HasPolicy() (at policy.Position, field string, has bool) {
	switch {
	case f.Policy != "":
		return f.read.Near("policy"), "policy", true
	case f.PolicyFile != "":
		return f.read.Near("policy_file"), "policy_file", true
	}
	return policy.Position{File: f.Path}, "", false
}

// HasConfig reports where the file has a configuration of its own, if it has one.
func (f *File) HasConfig() (at policy.Position, has bool) {
	return f.read.Place("config")
}

// SetConfig gives the file a configuration from elsewhere.
func (f *File) SetConfig(c Config) error {
	var problems []error
	f.Config = &c
	f.completeConfig(func(field, format string, args ...any) {
		problems = append(problems, fmt.Errorf("%s: %s", strings.TrimPrefix(field, "config."), fmt.Sprintf(format, args...)))
	})
	return errors.Join(problems...)
}

// PolicyPath returns the path of the policy that the file names, "" when it is a text
// or none.
func (f *File) PolicyPath() string {
	if f.PolicyFile == "" || filepath.IsAbs(f.PolicyFile) {
		return f.PolicyFile
	}
	return filepath.Join(filepath.Dir(f.Path), f.PolicyFile)
}

// LoadPolicy loads the policy of the file. env looks up its variables.
func (f *File) LoadPolicy(env func(string) (string, bool)) (*policy.Policy, error) {
	if path := f.PolicyPath(); path != "" {
		if _, err := os.Stat(path); err != nil {
			return nil, policy.Problems{{
				Position: f.read.Near("policy_file"), Field: "policy_file",
				Message: fmt.Sprintf("%s cannot be read: %v; the path counts from the folder of this file", path, bare(err)),
			}}
		}
		return policy.Load(path, env)
	}
	return policy.Parse([]policy.File{{Name: f.Path, Data: f.policyText()}}, env)
}

// policyText returns the policy with empty lines before it, and indented as it stands in
// the file, so that its places are those of the file.
func (f *File) policyText() []byte {
	lines := bytes.Split(f.source, []byte("\n"))
	key := f.read.Near("policy").Line // of the | in a block
	first, _, _ := strings.Cut(f.Policy, "\n")
	if key == 0 || key >= len(lines) || strings.TrimSpace(first) == "" {
		return []byte(f.Policy)
	}
	indent, _, found := strings.Cut(string(lines[key]), first)
	if !found || strings.TrimSpace(indent) != "" {
		return []byte(f.Policy)
	}
	var b bytes.Buffer
	b.WriteString(strings.Repeat("\n", key))
	for line := range strings.Lines(f.Policy) {
		if strings.TrimSpace(line) != "" {
			b.WriteString(indent)
		}
		b.WriteString(line)
	}
	return b.Bytes()
}

// Open makes the engine of the file on a policy. now is the time unless the file says it.
func (f *File) Open(routes *policy.Policy, now time.Time) (*Opened, error) {
	if fixed, ok := parseTime(f.Now); ok {
		now = fixed
	}
	o := &Opened{Policy: routes, start: now, now: now}
	store := memory.New(o.clock)
	for _, u := range f.Users {
		store.PutUser(u.ID, u.User())
	}
	for _, k := range f.APIKeys {
		store.PutAPIKey(k.Hash(), k.APIKey(now))
	}
	for _, s := range f.Sessions {
		store.PutSession(s.User, s.Session, 0)
	}
	tokens, err := token.NewVerifier(f.TokenConfig())
	if err != nil {
		return nil, err
	}
	o.Engine, err = authz.NewEngine(authz.Config{
		Policy: routes, Tokens: tokens, Sessions: store, Users: store, APIKeys: store,
		APIKeyHeader: f.Config.APIKey.Header, Now: o.clock,
		IdentityHeaders: f.Config.Identity.Headers,
	})
	return o, err
}

func (o *Opened) clock() time.Time { return o.now }

// Build makes the request of a case, and turns the clock to its time.
func (o *Opened) Build(c *Case) (Request, error) {
	o.now = o.start
	if at, ok := parseTime(c.Now); ok {
		o.now = at
	}
	return c.Build(o.now)
}
