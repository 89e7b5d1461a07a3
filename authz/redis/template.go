package redis

import (
	"errors"
	"fmt"
	"strings"

	"warder/authz"
)

// DefaultKeyTemplate is the template of a session's key when none is configured.
const DefaultKeyTemplate = "session:{user_id}:{jti}"

const (
	userPlaceholder    = "{user_id}"
	sessionPlaceholder = "{jti}"
)

// A template is a compiled key template.
type template struct {
	before, between, after string
	sessionFirst           bool
}

// parseTemplate compiles a template. Two different sessions must never have the same
// key. This holds if each placeholder occurs once and the text between them contains a
// byte that no id can contain.
func parseTemplate(text string) (template, error) {
	for _, placeholder := range []string{userPlaceholder, sessionPlaceholder} {
		if n := strings.Count(text, placeholder); n != 1 {
			return template{}, fmt.Errorf("%q contains %s %d times; it must occur once, as in %q", text, placeholder, n, DefaultKeyTemplate)
		}
	}
	// Braces around a placeholder are part of the key: a Redis Cluster has all keys with the same text
	// between braces in one place.
	rest := strings.NewReplacer("{"+userPlaceholder+"}", "", userPlaceholder, "", "{"+sessionPlaceholder+"}", "", sessionPlaceholder, "").Replace(text)
	if strings.ContainsAny(rest, "{}") {
		return template{}, fmt.Errorf("%q contains braces other than %s and %s, and braces around them for a cluster ({%s}); leave them out",
			text, userPlaceholder, sessionPlaceholder, userPlaceholder)
	}
	var t template
	first, second := userPlaceholder, sessionPlaceholder
	if strings.Index(text, sessionPlaceholder) < strings.Index(text, userPlaceholder) {
		first, second, t.sessionFirst = second, first, true
	}
	t.before, t.between, _ = strings.Cut(text, first)
	t.between, t.after, _ = strings.Cut(t.between, second)
	if authz.ValidID(t.between) || t.between == "" {
		return template{}, fmt.Errorf("%q has no separator between %s and %s that ids cannot contain, so two sessions could have the same key; put a colon there, as in %q",
			text, first, second, DefaultKeyTemplate)
	}
	if len(text) > maxTemplate {
		return template{}, errors.New("is longer than 512 bytes; shorten it")
	}
	return t, nil
}

const maxTemplate = 512

func (t template) key(userID, sessionID string) string {
	if t.sessionFirst {
		userID, sessionID = sessionID, userID
	}
	return t.before + userID + t.between + sessionID + t.after
}
