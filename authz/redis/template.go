package redis

import (
	"errors"
	"fmt"
	"strings"

	"warder/authz"
)

// DefaultKeyTemplate is the key of a session when none is configured.
const DefaultKeyTemplate = "session:{user_id}:{jti}"

const (
	userPlaceholder    = "{user_id}"
	sessionPlaceholder = "{jti}"
)

// A template makes the key of a session. It is compiled once, so that a request
// only joins five strings.
type template struct {
	before, between, after string
	sessionFirst           bool
}

// parseTemplate compiles a template. Two different sessions must never have one
// key: that holds when each placeholder stands there once and the text between
// them holds a byte that no id can.
func parseTemplate(text string) (template, error) {
	for _, placeholder := range []string{userPlaceholder, sessionPlaceholder} {
		if n := strings.Count(text, placeholder); n != 1 {
			return template{}, fmt.Errorf("%q holds %s %d times; it has to stand there once, as in %q", text, placeholder, n, DefaultKeyTemplate)
		}
	}
	if rest := strings.NewReplacer(userPlaceholder, "", sessionPlaceholder, "").Replace(text); strings.ContainsAny(rest, "{}") {
		return template{}, fmt.Errorf("%q holds braces other than %s and %s; leave them out", text, userPlaceholder, sessionPlaceholder)
	}
	var t template
	first, second := userPlaceholder, sessionPlaceholder
	if strings.Index(text, sessionPlaceholder) < strings.Index(text, userPlaceholder) {
		first, second, t.sessionFirst = second, first, true
	}
	t.before, t.between, _ = strings.Cut(text, first)
	t.between, t.after, _ = strings.Cut(t.between, second)
	if authz.ValidID(t.between) || t.between == "" {
		return template{}, fmt.Errorf("%q has no separator between %s and %s that ids cannot hold, so that two sessions could have one key; put a colon there, as in %q",
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
