package policytest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"warder/authz"
	"warder/authz/memory"
	"warder/policy"
	"warder/policy/strict"
)

// rule returns config.sessions.rule.
func (f *File) rule() string { return cmp.Or(f.Config.Sessions.Rule, rulePresent) }

// completeSessions checks config.sessions. The templates are checked by the depths that use them.
func (f *File) completeSessions(report func(field, format string, args ...any)) {
	s := f.Config.Sessions
	switch f.rule() {
	case rulePresent, ruleNone:
		if len(s.KeyTemplate) > 0 || s.RevokedBefore != "" {
			report("config.sessions", "has templates, which are for rule: absent here; leave them out")
		}
	case ruleAbsent:
	default:
		report("config.sessions.rule", "%q is unknown; use present, absent or none", s.Rule)
	}
}

// checkSessions checks the lists of sessions and revocations against the rule, which is known when
// the file is opened: the caller may have set the configuration.
func (f *File) checkSessions() error {
	var found policy.Problems
	report := func(field, format string, args ...any) {
		found = append(found, policy.Problem{Position: f.read.Near(field), Field: field, Message: fmt.Sprintf(format, args...)})
	}
	if _, given := f.read.Place("sessions"); given && f.rule() != rulePresent { // as_user adds some too
		report("sessions", "has no effect with sessions.rule: %s; leave it out", f.rule())
	}
	if len(f.Revocations) > 0 && f.rule() != ruleAbsent {
		report("revocations", "has no effect with sessions.rule: %s; leave it out", f.rule())
	}
	for i, r := range f.Revocations {
		if f.HasTemplates() && f.RevocationTemplate(r) == "" {
			report(strict.Index("revocations", i), "fits no template of sessions; add one with the same ids")
		}
	}
	return found.Err()
}

// completeRevocations checks the revocations by themselves.
func (f *File) completeRevocations(report func(field, format string, args ...any)) {
	for i, r := range f.Revocations {
		at := strict.Index("revocations", i)
		_, isTime := timeFrom(time.Time{}, r.Before)
		switch {
		case r.Before != "" && !isTime:
			report(at+".issued_before", "%q is not a time; write a relative one such as +1h or -30d, or one such as 2026-01-31T12:00:00Z", r.Before)
		case r.Before != "" && (r.User == "" || r.Session != ""):
			report(at, "is for all tokens of a user; give issued_before and user, and no session")
		case r.User == "" && r.Session == "":
			report(at, "names nothing; give session, user or both")
		}
	}
}

// HasTemplates reports whether the file has templates of the keys that end sessions. Without them
// each kind of revocation is possible.
func (f *File) HasTemplates() bool {
	return len(f.Config.Sessions.KeyTemplate) > 0 || f.Config.Sessions.RevokedBefore != ""
}

// RevocationTemplate returns the template of the key of a revocation, or "" if there is none.
func (f *File) RevocationTemplate(r Revocation) string {
	if r.Before != "" {
		return f.Config.Sessions.RevokedBefore
	}
	for _, t := range f.Config.Sessions.KeyTemplate {
		if strings.Contains(t, "{user_id}") == (r.User != "") && strings.Contains(t, "{jti}") == (r.Session != "") {
			return t
		}
	}
	return ""
}

// Time returns the time of a revocation that has one.
func (r Revocation) Time(now time.Time) time.Time {
	at, _ := timeFrom(now, r.Before)
	return at
}

// sessionOptional reports whether a token need not be of a session.
func (f *File) sessionOptional() bool {
	switch f.rule() {
	case ruleNone:
		return true
	case ruleAbsent:
		return f.HasTemplates() && !slices.ContainsFunc(f.Config.Sessions.KeyTemplate, func(t string) bool { return strings.Contains(t, "{jti}") })
	}
	return false
}

// sessions puts the sessions or revocations of the file into the store, and returns the part of it
// that follows the rule.
func (f *File) sessions(store *memory.Store, now time.Time) authz.Sessions {
	switch f.rule() {
	case ruleNone:
		return authz.NoSessions{}
	case ruleAbsent:
		for _, r := range f.Revocations {
			if r.Before != "" {
				store.Revocations().RevokeIssued(r.User, r.Time(now))
			} else {
				store.Revocations().Revoke(r.User, r.Session)
			}
		}
		return store.Revocations()
	}
	for _, s := range f.Sessions {
		store.PutSession(s.User, s.Session, 0)
	}
	return store
}
