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

// remove returns the names of the fields of a request of which nothing is left.
func (w *withheld) remove(request authz.Headers) (names []string) {
	if len(w.schemes) > 0 && slices.ContainsFunc(request, w.isAPIKey) {
		names = append(names, "authorization")
	}
	if rest, changed := w.cookiesLeft(request); changed && rest == "" {
		names = append(names, fieldCookie)
	}
	if rest, changed := w.protocolsLeft(request); changed && rest == "" {
		names = append(names, fieldProtocol)
	}
	return names
}

// isAPIKey reports whether a field is an Authorization with the scheme of API keys.
func (w *withheld) isAPIKey(h authz.Header) bool {
	if h.Name != "authorization" {
		return false
	}
	scheme, _, _ := strings.Cut(h.Value, " ")
	return slices.ContainsFunc(w.schemes, func(s string) bool { return strings.EqualFold(s, scheme) })
}

// rewrite adds what is left of the other fields to the headers to set. A field that is removed
// as a whole, as strip_headers can demand, is not set. Both lists are sorted by name.
func (w *withheld) rewrite(set []setHeader, remove []string, request authz.Headers) []setHeader {
	if rest, changed := w.cookiesLeft(request); changed && rest != "" {
		set = insert(set, remove, setHeader{fieldCookie, rest})
	}
	if rest, changed := w.protocolsLeft(request); changed && rest != "" {
		set = insert(set, remove, setHeader{fieldProtocol, rest})
	}
	return set
}

func insert(set []setHeader, remove []string, h setHeader) []setHeader {
	if _, removed := slices.BinarySearch(remove, h.name); removed {
		return set
	}
	i, _ := slices.BinarySearchFunc(set, h.name, func(have setHeader, name string) int { return strings.Compare(have.name, name) })
	return slices.Insert(set, i, h)
}

// cookiesLeft returns the cookies of a request without those to remove, and whether there was one
// to remove. Cookies whose value Envoy would change are left out too.
func (w *withheld) cookiesLeft(request authz.Headers) (rest string, changed bool) {
	if len(w.cookies) == 0 {
		return "", false
	}
	var kept []string
	for pair := range items(request, fieldCookie, ";") {
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
	for item := range items(request, fieldProtocol, ",") {
		switch {
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

// items yields the parts of all fields with a name, without white space around them and without
// empty ones.
func items(request authz.Headers, name, separator string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for i := range request {
			if request[i].Name != name {
				continue
			}
			for item := range strings.SplitSeq(request[i].Value, separator) {
				if item = strings.Trim(item, " \t"); item != "" && !yield(item) {
					return
				}
			}
		}
	}
}

// rewrites reports whether a response may set the field to what is left of it.
func (w *withheld) rewrites(name string) bool {
	return name == fieldCookie && len(w.cookies) > 0 || name == fieldProtocol && len(w.protocols) > 0
}
