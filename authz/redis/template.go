package redis

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"warder/authz"
)

// DefaultKeyTemplate is the template of a session's key when none is configured.
const DefaultKeyTemplate = "session:{user_id}:{jti}"

const (
	userPlaceholder    = "{user_id}"
	sessionPlaceholder = "{jti}"
)

// A template is a compiled template of keys.
type template struct {
	before, between, after string
	first, second          part
	timed                  bool // the value of the key is a time
}

// A part is what a template puts into a key.
type part uint8

const (
	noPart part = iota
	userPart
	sessionPart
)

// parseTemplate compiles the template of the key of a session. Two different sessions must never
// have the same key. This holds if each placeholder occurs once and the text between them contains
// a byte that no id can contain.
func parseTemplate(text string) (template, error) {
	for _, placeholder := range []string{userPlaceholder, sessionPlaceholder} {
		if n := strings.Count(text, placeholder); n != 1 {
			return template{}, fmt.Errorf("%q contains %s %d times; it must occur once, as in %q", text, placeholder, n, DefaultKeyTemplate)
		}
	}
	return compile(text)
}

// parseRevocation compiles the template of a key that ends sessions. It may be for all sessions of a
// user or for all with an id.
func parseRevocation(text string) (template, error) {
	users, sessions := strings.Count(text, userPlaceholder), strings.Count(text, sessionPlaceholder)
	if users > 1 || sessions > 1 || users+sessions == 0 {
		return template{}, fmt.Errorf(`%q contains %s %d times and %s %d times; use each at most once, and at least one, as in "revoked:{jti}"`,
			text, userPlaceholder, users, sessionPlaceholder, sessions)
	}
	return compile(text)
}

// parseRevokedBefore compiles the template of a key with the time up to which the tokens of a user
// are revoked.
func parseRevokedBefore(text string) (template, error) {
	if strings.Count(text, userPlaceholder) != 1 || strings.Contains(text, sessionPlaceholder) {
		return template{}, fmt.Errorf(`%q is for all tokens of a user; use %s once and no %s, as in "revoked_before:{user_id}"`, text, userPlaceholder, sessionPlaceholder)
	}
	t, err := compile(text)
	t.timed = true
	return t, err
}

// compile compiles a template in which each placeholder occurs at most once.
func compile(text string) (template, error) {
	// Braces around a placeholder are part of the key: a Redis Cluster has all keys with the same text
	// between braces in one place.
	rest := strings.NewReplacer("{"+userPlaceholder+"}", "", userPlaceholder, "", "{"+sessionPlaceholder+"}", "", sessionPlaceholder, "").Replace(text)
	if strings.ContainsAny(rest, "{}") {
		return template{}, fmt.Errorf("%q contains braces other than %s and %s, and braces around them for a cluster ({%s}); leave them out",
			text, userPlaceholder, sessionPlaceholder, userPlaceholder)
	}
	if len(text) > maxTemplate {
		return template{}, errors.New("is longer than 512 bytes; shorten it")
	}
	var t template
	user, session := strings.Index(text, userPlaceholder), strings.Index(text, sessionPlaceholder)
	first, second := userPlaceholder, sessionPlaceholder
	t.first, t.second = userPart, sessionPart
	if user < 0 || session >= 0 && session < user {
		first, second = second, first
		t.first, t.second = t.second, t.first
	}
	t.before, t.after, _ = strings.Cut(text, first)
	if user < 0 || session < 0 {
		t.second = noPart
		return t, nil
	}
	t.between, t.after, _ = strings.Cut(t.after, second)
	if authz.ValidID(t.between) || t.between == "" {
		return template{}, fmt.Errorf("%q has no separator between %s and %s that ids cannot contain, so two sessions could have the same key; put a colon there, as in %q",
			text, first, second, DefaultKeyTemplate)
	}
	return t, nil
}

const maxTemplate = 512

// key returns the key. An id that the template does not use may be "".
func (t template) key(userID, sessionID string) string {
	first, second := userID, sessionID
	if t.first == sessionPart {
		first, second = second, first
	}
	if t.second == noPart {
		second = ""
	}
	return t.before + first + t.between + second + t.after
}

// usesSession reports whether the key depends on the id of the session.
func (t template) usesSession() bool { return t.first == sessionPart || t.second == sessionPart }

// A step of a template is a byte of its text, or any bytes of an id.
type step struct {
	id      bool
	literal byte
}

func (t template) steps() (all []step) {
	text := func(s string) {
		for i := range len(s) {
			all = append(all, step{literal: s[i]})
		}
	}
	text(t.before)
	all = append(all, step{id: true})
	text(t.between)
	if t.second != noPart {
		all = append(all, step{id: true})
	}
	text(t.after)
	return all
}

// overlaps reports whether a key may be one of both templates. It follows all ways to read one key
// by both.
func (t template) overlaps(other template) bool {
	a, b := t.steps(), other.steps()
	type place struct {
		i, j     int
		inA, inB bool // at least one byte of the id at i, or at j, has been read
	}
	seen := map[place]bool{}
	todo := []place{{}}
	for len(todo) > 0 {
		at := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if seen[at] {
			continue
		}
		seen[at] = true
		if at.i == len(a) && at.j == len(b) {
			return true
		}
		if at.inA { // the id ends here
			todo = append(todo, place{at.i + 1, at.j, false, at.inB})
		}
		if at.inB {
			todo = append(todo, place{at.i, at.j + 1, at.inA, false})
		}
		if at.i == len(a) || at.j == len(b) {
			continue
		}
		x, y := a[at.i], b[at.j]
		switch {
		case x.id && y.id:
			todo = append(todo, place{at.i, at.j, true, true})
		case x.id && authz.ValidID(string(rune(y.literal))):
			todo = append(todo, place{at.i, at.j + 1, true, false})
		case y.id && authz.ValidID(string(rune(x.literal))):
			todo = append(todo, place{at.i + 1, at.j, false, true})
		case !x.id && !y.id && x.literal == y.literal:
			todo = append(todo, place{at.i + 1, at.j + 1, false, false})
		}
	}
	return false
}

// of returns what a check asks about the session.
func (t template) of(session authz.Session) subject {
	return subject{t.key(session.UserID, session.ID), t.timed}
}

// prefixes returns the beginnings of all keys of the templates, of which none begins with another:
// Redis refuses to track overlapping prefixes. It returns none if a key may begin with anything.
func prefixes(templates []template) (all []string) {
	for _, t := range templates {
		if t.before == "" {
			return nil
		}
		all = append(all, t.before)
	}
	slices.Sort(all) // what begins with a prefix comes after it
	kept := all[:1]
	for _, prefix := range all[1:] {
		if !strings.HasPrefix(prefix, kept[len(kept)-1]) {
			kept = append(kept, prefix)
		}
	}
	return kept
}
