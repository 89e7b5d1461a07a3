package envoy

import (
	"slices"
	"strings"

	"warder/authz"
)

// withheld are the credentials that are removed from header fields which contain other things
// too. The zero value removes none.
type withheld struct {
	schemes   []string // of API keys in Authorization
	cookies   []string
	protocols []authz.Source
}

// The header fields that a response may set to what is left without the credentials.
const (
	fieldCookie   = "cookie"
	fieldProtocol = "sec-websocket-protocol"
)

// addAll adds the cookies and subprotocols among sources.
func (w *withheld) addAll(sources []authz.Source) {
	for _, s := range sources {
		switch {
		case s.Cookie != "":
			w.cookies = append(w.cookies, s.Cookie)
		case s.WebSocketProtocol != "":
			w.protocols = append(w.protocols, s)
		}
	}
}

// left returns the fields of a request that contain a credential, each with what is left of it
// without the credential: "" for nothing.
func (w *withheld) left(request authz.Headers) (fields []setHeader) {
	if len(w.schemes) > 0 && slices.ContainsFunc(request, w.isAPIKey) {
		fields = append(fields, setHeader{"authorization", ""})
	}
	if rest, changed := w.cookiesLeft(request); changed {
		fields = append(fields, setHeader{fieldCookie, rest})
	}
	if rest, changed := w.protocolsLeft(request); changed {
		fields = append(fields, setHeader{fieldProtocol, rest})
	}
	return fields
}

// isAPIKey reports whether a field is an Authorization with the scheme of API keys.
func (w *withheld) isAPIKey(h authz.Header) bool {
	if h.Name != "authorization" {
		return false
	}
	scheme, _, _ := strings.Cut(h.Value, " ")
	return slices.ContainsFunc(w.schemes, func(s string) bool { return strings.EqualFold(s, scheme) })
}

// rewrite adds the fields of which something is left to the headers to set. A field that is
// removed as a whole, as strip_headers can demand, is not set. Both lists are sorted by name.
func rewrite(set []setHeader, remove []string, left []setHeader) []setHeader {
	for _, h := range left {
		if _, removed := slices.BinarySearch(remove, h.name); removed {
			continue
		}
		i, _ := slices.BinarySearchFunc(set, h.name, func(have setHeader, name string) int { return strings.Compare(have.name, name) })
		set = slices.Insert(set, i, h)
	}
	return set
}

// cookiesLeft returns the cookies of a request without those to remove, and whether there was one
// to remove. Cookies whose value Envoy would change are left out too.
func (w *withheld) cookiesLeft(request authz.Headers) (rest string, changed bool) {
	if len(w.cookies) == 0 {
		return "", false
	}
	var kept []string
	for pair := range request.Items(fieldCookie, ";") {
		if pair == "" {
			continue
		}
		name, _, _ := strings.Cut(pair, "=")
		if slices.Contains(w.cookies, strings.TrimSpace(name)) {
			changed = true
		} else if safeValue(pair) {
			kept = append(kept, pair)
		}
	}
	return strings.Join(kept, "; "), changed
}

// protocolsLeft returns the subprotocols of a request without tokens, and whether there was a
// token. The name that announces a token stays, because the upstream has to confirm one of the
// subprotocols that the client offers (RFC 6455 section 4.2.2).
func (w *withheld) protocolsLeft(request authz.Headers) (rest string, changed bool) {
	if len(w.protocols) == 0 {
		return "", false
	}
	var kept []string
	announced := false
	for item := range request.Items(fieldProtocol, ",") {
		switch {
		case item == "":
			continue
		case announced, slices.ContainsFunc(w.protocols, func(s authz.Source) bool { return s.Contains(item) }):
			announced, changed = false, true
			continue
		case slices.ContainsFunc(w.protocols, func(s authz.Source) bool { return s.WebSocketProtocol == item }):
			announced = true
		}
		if safeValue(item) {
			kept = append(kept, item)
		}
	}
	return strings.Join(kept, ", "), changed
}

// rewrites reports whether a response may set the field to what is left of it.
func (w *withheld) rewrites(name string) bool {
	return name == fieldCookie && len(w.cookies) > 0 || name == fieldProtocol && len(w.protocols) > 0
}
