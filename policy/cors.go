package policy

import (
	"strconv"
	"strings"

	"warder/policy/pattern"
	"warder/policy/strict"
)

// An OriginSet is the list of origins whose scripts may send preflights and read denials. The
// nil set is empty.
type OriginSet struct {
	origins []string
	listed  map[string]struct{}
}

// Contains reports whether the set contains an origin, which is compared byte for byte.
func (s *OriginSet) Contains(origin string) bool {
	if s == nil {
		return false
	}
	_, listed := s.listed[origin]
	return listed
}

// Origins returns the origins as written.
func (s *OriginSet) Origins() []string { return s.origins }

// Preflight returns the route that a CORS preflight is about, or nil if the OPTIONS request is
// to be decided like any other: no route matches the requested method, the origin is not
// listed, or a route lists OPTIONS itself.
func (p *Policy) Preflight(origin, requested, host string, path pattern.Path) *Route {
	route := p.Match(requested, host, path)
	if route == nil || !route.Preflights(origin, requested) {
		return nil
	}
	if own := p.Match(methodOptions, host, path); own != nil && own.lists(methodOptions) {
		return nil
	}
	return route
}

// Preflights reports whether a CORS preflight may be about the route: the origin is listed, and
// the route matches the requested method and does not list OPTIONS itself.
func (r *Route) Preflights(origin, requested string) bool {
	return r.Origins.Contains(origin) && r.Takes(requested) && !r.lists(methodOptions)
}

const methodOptions = "OPTIONS"

const exampleOrigin = "https://app.example.com"

// A corsEntry is the list of browser applications of other origins.
type corsEntry struct {
	// Origins as browsers send them: scheme, host and, unless it is the default, port. Each is written out.
	AllowOrigins []originText `json:"allow_origins" jsonschema:"required,minItems=1,uniqueItems=true,example=https://app.example.com" missing:"; write the origins of your browser applications, such as allow_origins: [https://app.example.com]"`
}

// ReadValue reads an origin.
func (o *originText) ReadValue(r *strict.Reader, field string, v strict.Value) {
	text, ok := r.Text(field, v, exampleOrigin)
	if wrong := wrongOrigin(text); ok && wrong != "" {
		r.Fail(v.At, field, "%s %s", strict.Quote(text), wrong)
	}
	*o = originText{Text: text, At: v.At, Field: field}
}

// newOriginSet returns the set of a list.
func newOriginSet(list []string) *OriginSet {
	set := &OriginSet{origins: list, listed: map[string]struct{}{}}
	for _, origin := range list {
		set.listed[origin] = struct{}{}
	}
	return set
}

// wrongOrigin says why a text is not an origin as browsers send it, or why it must not be
// listed. It returns "" for a valid origin.
func wrongOrigin(s string) string {
	lower := strings.ToLower(s)
	scheme, rest, schemed := strings.Cut(lower, "://")
	switch {
	case s == "":
		return "is empty; write an origin such as " + exampleOrigin
	case s == "*":
		return "would let every site send requests as its visitors; list each origin, such as " + exampleOrigin
	case strings.Contains(s, "*"):
		return `has a "*", which is not a wildcard here; list each origin, such as ` + exampleOrigin
	case lower == "null":
		return "is the origin of every sandboxed page; write an origin such as " + exampleOrigin
	case !schemed && wrongOrigin("https://"+lower) == "":
		return "has no scheme; write " + strict.Quote("https://"+lower)
	case !schemed:
		return "is not an origin; write a scheme and a host, such as " + exampleOrigin
	case scheme != "https" && scheme != "http":
		return "has a scheme that is not http or https; write an origin such as " + exampleOrigin
	}
	authority, _, _ := strings.Cut(rest, "/")
	host := pattern.WithoutPort(authority)
	port := strings.TrimPrefix(authority[len(host):], ":")
	plain := scheme + "://" + host
	switch {
	case authority+"/" == rest:
		return "ends with a slash, which no origin does; write " + strict.Quote(scheme+"://"+authority)
	case authority != rest:
		return "has a path, which no origin has; write " + strict.Quote(scheme+"://"+authority)
	case port == "443" && scheme == "https", port == "80" && scheme == "http":
		return "has the default port of its scheme, which browsers leave out; write " + strict.Quote(plain)
	case host != authority && !validPort(port):
		return "has an invalid port; write a number from 1 to 65535 as in " + exampleOrigin + ":8443, or no port"
	case strings.Contains(host, ":") && host[0] != '[':
		return "has more than one colon; write an IPv6 address in brackets, as in http://[::1]:3000"
	}
	if wrong := pattern.WrongHost(host); wrong != "" {
		return "has a host that " + wrong
	}
	if s != lower {
		return "is not in lower case, as browsers send it; write " + strict.Quote(lower)
	}
	return ""
}

func validPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0 && strconv.FormatUint(n, 10) == s
}
