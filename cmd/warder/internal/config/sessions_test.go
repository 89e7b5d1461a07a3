package config

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"warder/authz/redis"
	"warder/cmd/warder/internal/clitest"
)

// TestSessionRules checks what each rule needs, what it takes of the other keys, and that the rule
// none is never had without being written.
func TestSessionRules(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	env := clitest.Environment("EMPTY=", "WARDER_JWT_SECRET="+clitest.Secret, "DATABASE_URL=postgres://127.0.0.1/app")
	for _, tt := range []struct {
		want     string // the error, or ""
		sessions string
		rule     SessionRule
		absent   *redis.Absent
		optional bool // a token need not be of a session
		warnings []string
	}{
		{"", `{}`, RulePresent, nil, false, nil},
		{"", `{rule: present}`, RulePresent, nil, false, nil},
		{"", `{key_template: "s:{user_id}:{jti}"}`, RulePresent, nil, false, nil},
		{"", `{rule: absent, key_template: "revoked:{jti}"}`, RuleAbsent, &redis.Absent{KeyTemplates: []string{"revoked:{jti}"}}, false, nil},
		{"", `{rule: absent, key_template: ["revoked:{user_id}"]}`, RuleAbsent, &redis.Absent{KeyTemplates: []string{"revoked:{user_id}"}}, true, nil},
		{
			"", `{rule: absent, key_template: ["revoked:{user_id}", "revoked:{user_id}:{jti}"], revoked_before_template: "b:{user_id}"}`, RuleAbsent,
			&redis.Absent{KeyTemplates: []string{"revoked:{user_id}", "revoked:{user_id}:{jti}"}, RevokedBefore: "b:{user_id}"}, false, nil,
		},
		{"", `{rule: absent, revoked_before_template: "b:{user_id}"}`, RuleAbsent, &redis.Absent{RevokedBefore: "b:{user_id}"}, true, nil},
		{"", `{rule: none}`, RuleNone, nil, true, []string{"sessions.rule: none: a token is accepted until it expires"}},
		{
			"", `{rule: none, redis_url: 'redis://h', key_template: "{jti}", consistency: tracked}`, RuleNone, nil, true,
			[]string{"sessions.rule: none", "sessions.redis_url: is not looked at", "sessions.key_template: is not looked at", "sessions.consistency: is not looked at"},
		},
		{"", `{redis_url: 'memory://', rule: absent}`, RuleAbsent, &redis.Absent{}, false, []string{"memory:// without directory.file has no revocations"}},
		{
			"", `{rule: absent, key_template: ["revoked:{jti}", "revoked:{user_id}"]}`, RuleAbsent, &redis.Absent{KeyTemplates: []string{"revoked:{jti}", "revoked:{user_id}"}}, false,
			[]string{`"revoked:{jti}" and "revoked:{user_id}" can be the same key`},
		},
		{
			"", `{rule: absent, key_template: "session:{user_id}:{jti}"}`, RuleAbsent, &redis.Absent{KeyTemplates: []string{"session:{user_id}:{jti}"}}, false,
			[]string{`is the key of a session that is alive with rule present`},
		},
		{`"r:{user_id}" and "r:{jti}" can be the same key`, `{rule: absent, key_template: "r:{jti}", revoked_before_template: "r:{user_id}"}`, "", nil, false, nil},
		{"sessions.revoked_before_template: is empty", `{rule: absent, key_template: "r:{jti}", revoked_before_template: ""}`, "", nil, false, nil},
		{"sessions.revoked_before_template: comes from a variable that is empty", `{rule: absent, key_template: "r:{jti}", revoked_before_template: "${EMPTY}"}`, "", nil, false, nil},
		{"sessions.key_template: \"revoked\" contains {user_id} 0 times", `{redis_url: 'memory://', rule: absent, key_template: revoked}`, "", nil, false, nil},
		{`sessions.rule: "maybe" is unknown; use present, absent or none`, `{rule: maybe}`, "", nil, false, nil},
		{`sessions.rule: is true or false`, `{rule: false}`, "", nil, false, nil},
		{`sessions.rule: has no value`, `{rule: }`, "", nil, false, nil},
		{"sessions.rule: is absent, and no key ends a session", `{rule: absent}`, "", nil, false, nil},
		{"sessions.rule: is absent, and no key ends a session", `{rule: absent, key_template: []}`, "", nil, false, nil},
		{"sessions.key_template: has 2 templates", `{key_template: ["{user_id}:{jti}", "revoked:{jti}"]}`, "", nil, false, nil},
		{"sessions.key_template: has 0 templates", `{key_template: []}`, "", nil, false, nil},
		{`"session:{jti}" contains {user_id} 0 times; it must occur once`, `{key_template: "session:{jti}"}`, "", nil, false, nil},
		{"sessions.revoked_before_template: is for sessions.rule: absent", `{revoked_before_template: "b:{user_id}"}`, "", nil, false, nil},
		{"sessions.revoked_before_template: \"b:{jti}\" is for all tokens of a user", `{rule: absent, revoked_before_template: "b:{jti}"}`, "", nil, false, nil},
		{"sessions.key_template: is true or false", `{rule: absent, key_template: true}`, "", nil, false, nil},
		{"sessions.key_template[0]: is a number", `{rule: absent, key_template: [1]}`, "", nil, false, nil},
	} {
		path := clitest.WriteFile(t, dir, "warder.yaml", "sessions: "+tt.sessions+"\n")
		s, warnings, err := Read(path, env).Resolve()
		if tt.want != "" {
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), path+":1:") {
				t.Errorf("%s:\n got %v\nwant %s", tt.sessions, err, tt.want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.sessions, err)
			continue
		}
		if s.Sessions.Rule != tt.rule || s.JWT.SessionOptional != tt.optional {
			t.Errorf("%s: rule %q, session optional %v; want %q, %v", tt.sessions, s.Sessions.Rule, s.JWT.SessionOptional, tt.rule, tt.optional)
		}
		if diff := cmp.Diff(tt.absent, s.Sessions.Absent); diff != "" {
			t.Errorf("%s: %s", tt.sessions, diff)
		}
		if got := s.Choices; (len(got) > 0) != (tt.rule == RuleNone) {
			t.Errorf("%s: choices %q", tt.sessions, got)
		}
		for _, want := range tt.warnings {
			if !strings.Contains(fmt.Sprint(warnings), want) {
				t.Errorf("%s: warnings %v, want %q", tt.sessions, warnings, want)
			}
		}
		if len(warnings) != len(tt.warnings) {
			t.Errorf("%s: warnings %v, want %d", tt.sessions, warnings, len(tt.warnings))
		}
	}
}

// TestRevocationsNobodyLooksAt refuses revocations in a file that sessions are not looked up in.
func TestRevocationsNobodyLooksAt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	clitest.WriteFile(t, dir, "directory.yaml", "{users: [], revocations: [{session_id: s1}]}")
	for _, tt := range []struct {
		ok       bool
		sessions string
	}{
		{true, `{rule: absent, redis_url: "memory://"}`},
		{false, `{rule: absent, key_template: "revoked:{jti}"}`},
		{false, `{}`},
		{false, `{redis_url: "memory://"}`},
		{false, `{rule: none}`},
	} {
		path := clitest.WriteFile(t, dir, "warder.yaml", "directory: {file: directory.yaml}\nsessions: "+tt.sessions+"\n")
		_, _, err := Read(path, clitest.Environment("WARDER_JWT_SECRET="+clitest.Secret)).Resolve()
		if tt.ok != (err == nil) || err != nil && !strings.Contains(err.Error(), "directory.file: has revocations, which are only looked at") {
			t.Errorf("%s: %v", tt.sessions, err)
		}
	}
}
