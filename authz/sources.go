package authz

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"warder/policy/pattern"
)

// A Source is a place in a request where a credential may be. Exactly one of Header, Cookie,
// Query and WebSocketProtocol is set.
type Source struct {
	// Header is the name of a header field.
	Header string
	// Cookie is the name of a cookie (RFC 6265). It is read only if no other site can have
	// caused the request.
	Cookie string
	// Query is the name of a query parameter. It is read only on routes that say so.
	Query string
	// WebSocketProtocol is the subprotocol that announces the credential, which is the next
	// item of Sec-WebSocket-Protocol. If it ends with a dot, it is the prefix of the item that
	// contains the credential. It is read only in a WebSocket handshake (RFC 6455).
	WebSocketProtocol string

	// Scheme is the word before the credential in a header or cookie, such as Bearer. It is
	// matched in any case. If it is empty, the whole value is the credential. A token in
	// Authorization always has a scheme, which is Bearer by default.
	Scheme string
}

// Sources are the places where requests carry credentials.
type Sources struct {
	// Tokens are the sources of tokens; nil means Authorization: Bearer.
	Tokens []Source
	// APIKeys are the sources of API keys; nil means the header APIKeyHeader.
	APIKeys []Source
	// APIKeyHeader is the header field that carries an API key; "" means [DefaultAPIKeyHeader].
	APIKeyHeader string
}

// DefaultAPIKeyHeader is the header field that carries an API key unless the configuration
// names another.
const DefaultAPIKeyHeader = "x-api-key"

const (
	fieldAuthorization = "authorization"
	fieldCookie        = "cookie"
	fieldProtocol      = "sec-websocket-protocol"
)

// All returns the sources of tokens and of API keys, with their defaults.
func (s Sources) All() (tokens, apiKeys []Source) {
	tokens, apiKeys = slices.Clone(s.Tokens), s.APIKeys
	if tokens == nil {
		tokens = []Source{{Header: "Authorization"}}
	}
	for i := range tokens {
		if strings.EqualFold(tokens[i].Header, fieldAuthorization) {
			tokens[i].Scheme = cmp.Or(tokens[i].Scheme, "Bearer")
		}
	}
	if apiKeys == nil {
		apiKeys = []Source{{Header: cmp.Or(s.APIKeyHeader, DefaultAPIKeyHeader)}}
	}
	return tokens, apiKeys
}

// Carry returns what a client adds to a request to send the credential: header fields, or a
// query parameter.
func (s Source) Carry(credential string) (fields Headers, query string) {
	value := credential
	if s.Scheme != "" {
		value = s.Scheme + " " + credential
	}
	switch {
	case s.Cookie != "":
		return Headers{{fieldCookie, s.Cookie + "=" + value}}, ""
	case s.Query != "":
		return nil, url.QueryEscape(s.Query) + "=" + url.QueryEscape(credential)
	case s.WebSocketProtocol != "":
		between := ", "
		if s.isPrefix() {
			between = ""
		}
		return Headers{{"connection", "Upgrade"}, {"upgrade", "websocket"}, {fieldProtocol, s.WebSocketProtocol + between + credential}}, ""
	}
	return Headers{{strings.ToLower(s.Header), value}}, ""
}

// AddQuery returns the path with one more query parameter.
func AddQuery(path, parameter string) string {
	if strings.Contains(path, "?") {
		return path + "&" + parameter
	}
	return path + "?" + parameter
}

// Contains reports whether an item of Sec-WebSocket-Protocol contains the credential itself.
func (s Source) Contains(item string) bool {
	return s.isPrefix() && strings.HasPrefix(item, s.WebSocketProtocol)
}

// isPrefix reports whether the item that begins with the WebSocketProtocol has the credential.
func (s Source) isPrefix() bool { return strings.HasSuffix(s.WebSocketProtocol, ".") }

// String describes the source, as in "the cookie access_token".
func (s Source) String() string {
	switch {
	case s.Cookie != "":
		return "the cookie " + s.Cookie
	case s.Query != "":
		return "the query parameter " + s.Query
	case s.WebSocketProtocol != "":
		return "the WebSocket subprotocol " + s.WebSocketProtocol
	case s.Scheme != "":
		return "the header " + s.Header + " with the scheme " + s.Scheme
	}
	return "the header " + s.Header
}

// Check returns the problems of the sources as [*ConfigError]. Package envoy checks the names of
// headers further, because it knows the headers that proxies write.
func (s Sources) Check() []error {
	var problems []error
	fail := func(field, format string, args ...any) {
		problems = append(problems, Misconfigured(field, format, args...))
	}
	if s.APIKeys != nil && s.APIKeyHeader != "" {
		fail("api_key.header", "is set together with api_key.sources; list {header: %s} there and leave it out", s.APIKeyHeader)
	}
	tokens, apiKeys := s.All()
	taken := map[string]string{}
	for _, kind := range []struct {
		key     string
		field   func(int) string
		sources []Source
		wrong   func(Source) string
	}{
		{"jwt.sources", s.TokenField, tokens, Source.wrongForToken},
		{"api_key.sources", s.APIKeyField, apiKeys, Source.wrongForAPIKey},
	} {
		if len(kind.sources) == 0 {
			fail(kind.key, "is empty, so that no credential could be sent; list a source such as {header: X-API-Key}, or leave it out for the default")
		}
		for i, source := range kind.sources {
			field := kind.field(i)
			if why := kind.wrong(source); why != "" {
				fail(field, "%s", why)
				continue
			}
			place := source.place()
			if other := taken[place]; other != "" {
				fail(field, "%s is read by %s too; list each place once", source, other)
			}
			taken[place] = field
		}
	}
	for i, source := range tokens {
		other := slices.IndexFunc(tokens, func(other Source) bool { return other != source && other.Contains(source.WebSocketProtocol) })
		if other >= 0 {
			fail(s.TokenField(i), "%s begins as that of %s, so both would read one token; use names that begin differently", source, s.TokenField(other))
		}
	}
	for place, field := range taken {
		header, scheme, _ := strings.Cut(place, " ")
		if raw := taken[header+" "]; strings.HasPrefix(header, "header:") && scheme != "" && raw != "" {
			fail(field, "is in the header that %s reads as a whole; give both a scheme, or another header", raw)
		}
	}
	return problems
}

// TokenField returns the key of the configuration for a source of tokens.
func (s Sources) TokenField(i int) string { return fmt.Sprintf("jwt.sources[%d]", i) }

// APIKeyField returns the key of the configuration for a source of API keys.
func (s Sources) APIKeyField(i int) string {
	if s.APIKeys == nil {
		return "api_key.header"
	}
	return fmt.Sprintf("api_key.sources[%d]", i)
}

// place returns a text that is the same for two sources that could read the same credential.
func (s Source) place() string {
	switch {
	case s.Cookie != "":
		return "cookie:" + s.Cookie
	case s.Query != "":
		return "query:" + s.Query
	case s.WebSocketProtocol != "":
		return "protocol:" + s.WebSocketProtocol
	}
	return "header:" + FoldHeader(s.Header) + " " + strings.ToLower(s.Scheme)
}

const sourceKinds = "header, cookie, query or websocket_protocol"

// wrongForToken returns why no token can come from the source, or "".
func (s Source) wrongForToken() string { return s.wrong(sourceKinds) }

// wrongForAPIKey returns why no API key can come from the source, or "".
func (s Source) wrongForAPIKey() string {
	switch {
	case s.Cookie != "" || s.WebSocketProtocol != "", strings.EqualFold(s.Header, fieldCookie), strings.EqualFold(s.Header, fieldProtocol):
		return "an API key is read from a header of its own or from the query; use one of these"
	case strings.EqualFold(s.Header, fieldAuthorization) && s.Scheme == "":
		return `"authorization" has a meaning of its own in HTTP; use a header of its own such as x-api-key, or tell API keys from tokens with api_key.sources: [{header: Authorization, scheme: ApiKey}]`
	}
	return s.wrong("header or query")
}

func (s Source) wrong(kinds string) string {
	given := 0
	for _, name := range []string{s.Header, s.Cookie, s.Query, s.WebSocketProtocol} {
		if name != "" {
			given++
		}
	}
	switch {
	case given != 1:
		return fmt.Sprintf("names %d places; write one of %s in each item, such as {header: Authorization}", given, kinds)
	case strings.EqualFold(s.Header, fieldCookie):
		return "reads all cookies as one credential; write {cookie: NAME}"
	case strings.EqualFold(s.Header, fieldProtocol):
		return "reads all subprotocols as one credential; write {websocket_protocol: NAME}"
	case s.Scheme != "" && s.Header == "" && s.Cookie == "":
		return "has a scheme, which only the value of a header or cookie can begin with; leave it out"
	case s.Scheme != "" && !pattern.IsToken(s.Scheme):
		return fmt.Sprintf("the scheme %q is not one word such as Bearer", s.Scheme)
	}
	if s.Query != "" {
		return wrongParameter(s.Query)
	}
	for _, name := range []string{s.Cookie, s.WebSocketProtocol} {
		if name != "" && !pattern.IsToken(name) {
			return fmt.Sprintf("%q is not a name (RFC 9110 section 5.6.2); use letters, digits and hyphens", name)
		}
	}
	return ""
}

// wrongParameter returns why a name is not that of a query parameter, or "". Names that a client
// has to escape are refused, because proxies and frameworks read escapes differently.
func wrongParameter(name string) string {
	if url.QueryEscape(name) != name {
		return fmt.Sprintf("%q is not a plain name of a query parameter; use letters, digits, hyphens and underscores", name)
	}
	return ""
}
