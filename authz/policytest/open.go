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

// An Opened file has the engine for its cases, with in-memory stores and a clock that is set
// to the time of each case.
type Opened struct {
	Policy *policy.Policy
	Engine *authz.Engine

	start, now time.Time
}

// HasPolicy reports whether the file has a policy, and its position and key.
func (f *File) HasPolicy() (at policy.Position, field string, has bool) {
	switch {
	case f.Policy != "":
		return f.read.Near("policy"), "policy", true
	case f.PolicyFile != "":
		return f.read.Near("policy_file"), "policy_file", true
	}
	return policy.Position{File: f.Path}, "", false
}

// HasConfig reports whether the file has a configuration, and its position.
func (f *File) HasConfig() (at policy.Position, has bool) {
	return f.read.Place("config")
}

// SetConfig replaces the configuration of the file.
func (f *File) SetConfig(c Config) error {
	var problems []error
	f.Config = &c
	f.completeConfig(func(field, format string, args ...any) {
		problems = append(problems, fmt.Errorf("%s: %s", strings.TrimPrefix(field, "config."), fmt.Sprintf(format, args...)))
	})
	return errors.Join(problems...)
}

// PolicyPath returns the path of the file's policy, or "" if policy_file is not given.
func (f *File) PolicyPath() string {
	if f.PolicyFile == "" || filepath.IsAbs(f.PolicyFile) {
		return f.PolicyFile
	}
	return filepath.Join(filepath.Dir(f.Path), f.PolicyFile)
}

// LoadPolicy loads the policy of the file. env looks up environment variables.
func (f *File) LoadPolicy(env func(string) (string, bool)) (*policy.Policy, error) {
	if path := f.PolicyPath(); path != "" {
		if _, err := os.Stat(path); err != nil {
			return nil, policy.Problems{{
				Position: f.read.Near("policy_file"), Field: "policy_file",
				Message: fmt.Sprintf("%s cannot be read: %v; the path is relative to the folder of this file", path, bare(err)),
			}}
		}
		return policy.Load(path, env)
	}
	return policy.Parse([]policy.File{{Name: f.Path, Data: f.policyText()}}, env)
}

// policyText returns the policy with leading empty lines and with its indentation in the
// file, so that its positions are those in the file.
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

// Open returns the engine of the file with a policy. now is the time unless the file sets it.
func (f *File) Open(routes *policy.Policy, now time.Time) (*Opened, error) {
	if fixed, ok := parseTime(f.Now); ok {
		now = fixed
	}
	o := &Opened{Policy: routes, start: now, now: now}
	store := memory.New(o.clock)
	for _, u := range f.Users {
		store.PutUser(u.ID, u.User(f.UserAttributes()))
	}
	for _, k := range f.APIKeys {
		store.PutAPIKey(k.Hash(), k.APIKey(now, f.APIKeyAttributes()))
	}
	if err := f.checkSessions(); err != nil {
		return nil, err
	}
	sessions := f.sessions(store, now)
	tokens, err := token.NewVerifier(f.TokenConfig())
	if err != nil {
		return nil, err
	}
	var users authz.Users = store
	if !f.OwnersKnown() {
		users = authz.NoUsers{}
	}
	o.Engine, err = authz.NewEngine(authz.Config{
		Policy: routes, Tokens: tokens, Sessions: sessions, Users: users, APIKeys: store, UsersInTokens: f.UsersInTokens(),
		Sources: f.Sources(), Now: o.clock,
		IdentityHeaders: f.Config.Identity.Headers, AttributeHeaders: f.Config.Identity.Attributes,
	})
	return o, err
}

func (o *Opened) clock() time.Time { return o.now }

// Build builds the request of a case and sets the clock to its time.
func (o *Opened) Build(c *Case) (Request, error) {
	o.now = o.start
	if at, ok := parseTime(c.Now); ok {
		o.now = at
	}
	return c.Build(o.now)
}
