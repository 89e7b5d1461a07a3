package authz

import (
	"errors"
	"iter"
	"net/url"
	"slices"
	"strings"

	"warder/authz/token"
	"warder/policy"
)

// A SourceReader finds the credentials of requests in the places that [Sources] lists. It is
// immutable.
type SourceReader struct {
	headers   []headerSource
	cookies   []Source // of tokens
	protocols []Source // of tokens
	queries   []querySource
}

// A headerSource is a header field and the kinds of credentials that it may contain.
type headerSource struct {
	name    string // in lower case
	schemes []schemeSource
}

// A schemeSource is the kind of credential that follows a scheme.
type schemeSource struct {
	scheme string // "" if the whole value is the credential
	method AuthMethod
}

// A querySource is a query parameter and the kind of credential that it contains.
type querySource struct {
	name   string
	method AuthMethod
}

// NewSourceReader returns a reader of the sources, or an error with all problems that
// [Sources.Check] finds.
func NewSourceReader(s Sources) (*SourceReader, error) {
	if err := errors.Join(s.Check()...); err != nil {
		return nil, err
	}
	r := new(SourceReader)
	tokens, apiKeys := s.All()
	for _, source := range tokens {
		r.add(source, MethodSession)
	}
	for _, source := range apiKeys {
		r.add(source, MethodAPIKey)
	}
	return r, nil
}

func (r *SourceReader) add(s Source, method AuthMethod) {
	switch {
	case s.Cookie != "":
		r.cookies = append(r.cookies, s)
	case s.WebSocketProtocol != "":
		r.protocols = append(r.protocols, s)
	case s.Query != "":
		r.queries = append(r.queries, querySource{s.Query, method})
	default:
		name, kind := strings.ToLower(s.Header), schemeSource{s.Scheme, method}
		i := slices.IndexFunc(r.headers, func(h headerSource) bool { return h.name == name })
		if i < 0 {
			i, r.headers = len(r.headers), append(r.headers, headerSource{name: name})
		}
		r.headers[i].schemes = append(r.headers[i].schemes, kind)
	}
}

// Headers returns the names of the header fields that contain nothing but a credential, in
// lower case. They do not include authorization, which Envoy and applications read too.
func (r *SourceReader) Headers() []string {
	var names []string
	for _, h := range r.headers {
		if h.name != fieldAuthorization {
			names = append(names, h.name)
		}
	}
	return names
}

// A credential is what a request presents to authenticate. The zero credential is none.
type credential struct {
	method AuthMethod // MethodSession for a token, MethodAPIKey for an API key
	text   string
	count  int // the number of credentials; text is one of them
	// malformed says why text is not a credential of its method, although the client meant one.
	malformed token.Detail
	// unread says why a credential was not read.
	unread token.Detail
	// seen has all texts, read or not, if it is not nil.
	seen []string
}

// add adds a credential.
func (c *credential) add(method AuthMethod, text string, malformed token.Detail) {
	c.count++
	c.method, c.text, c.malformed = method, text, malformed
	c.see(text)
}

// refusal returns the reason for refusing a malformed credential.
func (c *credential) refusal() Reason {
	if c.method == MethodAPIKey {
		return ReasonAPIKeyMalformed
	}
	return ReasonTokenMalformed
}

func (c *credential) see(text string) {
	if c.seen != nil {
		c.seen = append(c.seen, text)
	}
}

// find returns the credential of a request, of the kinds that the route accepts. Other kinds are
// not looked at.
func (r *SourceReader) find(route *policy.Route, in *Request) (found credential) {
	r.search(route, in, &found)
	return found
}

func (r *SourceReader) search(route *policy.Route, in *Request, found *credential) {
	for i := range r.headers {
		r.headers[i].search(route, in, found)
	}
	if route.User != nil && len(r.cookies) > 0 {
		r.searchCookies(route, in, found)
	}
	if route.User != nil && len(r.protocols) > 0 && isHandshake(in) {
		r.searchProtocols(in, found)
	}
	if (route.TokenQuery || route.APIKeyQuery) && len(r.queries) > 0 {
		r.searchQuery(route, in, found)
	}
}

// accepts reports whether the route accepts a kind of credential.
func accepts(route *policy.Route, method AuthMethod) bool {
	if method == MethodAPIKey {
		return route.APIKey != nil
	}
	return route.User != nil
}

// search adds the credentials in the header field. A value without a scheme of a credential that
// the route accepts is a malformed token if the field may contain a token.
func (h *headerSource) search(route *policy.Route, in *Request, found *credential) {
	takesTokens, takesAny := false, false
	for _, kind := range h.schemes {
		if accepts(route, kind.method) {
			takesAny = true
			takesTokens = takesTokens || kind.method == MethodSession
		}
	}
	if !takesAny {
		return
	}
	for i := range in.Headers {
		if in.Headers[i].Name != h.name {
			continue
		}
		value := in.Headers[i].Value
		method, text, matches := h.read(route, value)
		switch {
		case matches:
			found.add(method, text, token.Detail{})
		case takesTokens:
			found.add(MethodSession, afterWord(value), schemeMissing())
		default:
			continue
		}
		if joined(value) {
			found.count++
		}
	}
}

// joined reports whether a proxy may have joined two header fields into one value
// (RFC 9110 section 5.3). Neither a token nor an API key can contain a comma.
func joined(value string) bool { return strings.Contains(value, ",") }

// read returns the credential in a value, if it has one that the route accepts.
func (h *headerSource) read(route *policy.Route, value string) (method AuthMethod, text string, matches bool) {
	for _, kind := range h.schemes {
		if !accepts(route, kind.method) {
			continue
		}
		if text, matches = afterScheme(kind.scheme, value); matches {
			return kind.method, text, true
		}
	}
	return MethodNone, "", false
}

// afterScheme returns the credential in "Bearer <token>" (RFC 6750 section 2.1). The scheme is
// matched in any case (RFC 9110 section 11.1), followed by one or more spaces.
func afterScheme(scheme, value string) (string, bool) {
	if scheme == "" {
		return value, true
	}
	word, text, found := strings.Cut(value, " ")
	if !found || !strings.EqualFold(word, scheme) {
		return "", false
	}
	return strings.TrimLeft(text, " "), true
}

// afterWord returns the part of a value that follows a scheme, if there is one.
func afterWord(value string) string {
	if _, text, found := strings.Cut(value, " "); found {
		return strings.TrimLeft(text, " ")
	}
	return value
}

// schemeMissing is the detail of a value that begins with no scheme of a token.
func schemeMissing() token.Detail { return token.NewDetail("scheme not Bearer") }

// searchCookies adds the tokens in cookies, if no other site can have caused the request.
func (r *SourceReader) searchCookies(route *policy.Route, in *Request, found *credential) {
	own := sameSite(route, in)
	for name, value := range cookies(in.Headers) {
		for i := range r.cookies {
			source := &r.cookies[i]
			switch text, matches := afterScheme(source.Scheme, value); {
			case name != source.Cookie:
			case !own:
				found.unread = token.NewDetail("cookie not read: the request may be of another site")
				found.see(afterWord(value))
			case matches:
				found.add(MethodSession, text, token.Detail{})
			default:
				found.add(MethodSession, afterWord(value), schemeMissing())
			}
		}
	}
}

// cookies yields the names and values of all cookies (RFC 6265 section 4.2.1), in order. The
// quotes around a value are left out.
func cookies(headers Headers) iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for pair := range headers.Items(fieldCookie, ";") {
			name, value, found := strings.Cut(pair, "=")
			if n := len(value); n > 1 && value[0] == '"' && value[n-1] == '"' {
				value = value[1 : n-1]
			}
			if found && !yield(name, value) {
				return
			}
		}
	}
}

// searchProtocols adds the tokens among the subprotocols of a WebSocket handshake.
func (r *SourceReader) searchProtocols(in *Request, found *credential) {
	announced := false // the previous item announces a token
	for item := range in.Headers.Items(fieldProtocol, ",") {
		if announced {
			found.add(MethodSession, item, token.Detail{})
			announced = false
			continue
		}
		for i := range r.protocols {
			name := r.protocols[i].WebSocketProtocol
			switch text, prefixed := strings.CutPrefix(item, name); {
			case r.protocols[i].isPrefix() && prefixed:
				found.add(MethodSession, text, token.Detail{})
			case item == name:
				announced = true
			}
		}
	}
	if announced {
		found.add(MethodSession, "", token.NewDetail("subprotocol without a token"))
	}
}

// searchQuery adds the credentials in the query parameters that the route names.
func (r *SourceReader) searchQuery(route *policy.Route, in *Request, found *credential) {
	for name, value := range parameters(in.Path) {
		for _, source := range r.queries {
			if source.name != name || source.method == MethodSession && !route.TokenQuery || source.method == MethodAPIKey && !route.APIKeyQuery {
				continue
			}
			if text, err := url.QueryUnescape(value); err != nil {
				found.add(source.method, value, token.NewDetail("query parameter not decodable"))
			} else {
				found.add(source.method, text, token.Detail{})
			}
		}
	}
}

// parameters yields the decoded names and the encoded values of the query parameters. A name
// that cannot be decoded is none that a source has.
func parameters(path string) iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		_, query, _ := strings.Cut(path, "?")
		query, _, _ = strings.Cut(query, "#")
		for pair := range strings.SplitSeq(query, "&") {
			name, value, _ := strings.Cut(pair, "=")
			if decoded, err := url.QueryUnescape(name); err == nil && !yield(decoded, value) {
				return
			}
		}
	}
}

// inQuery reports whether the query of a request names a source, whether or not its route reads
// it: a client may have sent its credential to the wrong route.
func (r *SourceReader) inQuery(in *Request) bool {
	if len(r.queries) == 0 {
		return false
	}
	for name := range parameters(in.Path) {
		if slices.ContainsFunc(r.queries, func(s querySource) bool { return s.name == name }) {
			return true
		}
	}
	return false
}

// Credentials returns every text in the request that may be a credential, whatever route
// matches, so that logs can mask it.
func (r *SourceReader) Credentials(in *Request) []string {
	every := &policy.Route{User: &policy.UserRule{}, APIKey: &policy.APIKeyRule{}, TokenQuery: true, APIKeyQuery: true}
	all := credential{seen: []string{}}
	r.search(every, in, &all)
	for _, text := range all.seen { // each of those that a proxy has joined
		if !joined(text) {
			continue
		}
		for part := range strings.SplitSeq(text, ",") {
			if part = trimSpace(part); part != "" {
				all.see(afterWord(part))
			}
		}
	}
	if !slices.ContainsFunc(r.headers, func(h headerSource) bool { return h.name == fieldAuthorization }) {
		for i := range in.Headers {
			if in.Headers[i].Name == fieldAuthorization {
				all.see(afterWord(in.Headers[i].Value))
			}
		}
	}
	return all.seen
}
