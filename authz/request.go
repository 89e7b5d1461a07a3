package authz

import (
	"iter"
	"net/netip"
	"strings"

	"warder/policy/pattern"
)

// A Header is one header field of a request. Name is in lower case.
type Header struct{ Name, Value string }

// Headers are the header fields of a request in the order received. A name may
// occur more than once.
type Headers []Header

// First returns the value of the first field called name and the number of fields
// with that name. The name must be in lower case.
func (h Headers) First(name string) (value string, count int) {
	for i := range h {
		if h[i].Name == name {
			if count == 0 {
				value = h[i].Value
			}
			count++
		}
	}
	return value, count
}

// Items yields the parts between separators of the values of all fields called name, in order and
// without the white space around them (RFC 9110 section 5.6.3). A part may be empty. The name must
// be in lower case.
func (h Headers) Items(name, separator string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range h {
			if h[i].Name != name {
				continue
			}
			for item := range strings.SplitSeq(h[i].Value, separator) {
				if !yield(trimSpace(item)) {
					return
				}
			}
		}
	}
}

// trimSpace removes the white space of header fields (RFC 9110 section 5.6.3).
func trimSpace(s string) string { return strings.Trim(s, " \t") }

// HeaderNamespace is [pattern.HeaderNamespace], for packages that do not import policies.
const HeaderNamespace = pattern.HeaderNamespace

// FoldHeader is [pattern.FoldHeader], for packages that do not import policies.
func FoldHeader(name string) string { return pattern.FoldHeader(name) }

// IsToken is [pattern.IsToken], for packages that do not import policies.
func IsToken(s string) bool { return pattern.IsToken(s) }

// Attributes are the parts of a request as the proxy reports them.
type Attributes struct {
	Method   string
	Host     string // as sent; the policy normalizes case, port and trailing dot
	Path     string // including the query
	Headers  Headers
	ClientIP netip.Addr // from a [ClientIPResolver]; the zero Addr when unknown
	ID       string     // x-request-id
	// Principal is the name in the peer certificate that the proxy verified, or ""
	// when there is none.
	Principal string
	// RouteChosen reports that the proxy's own configuration selected the route
	// RouteID. It must never be set from anything that a client sends.
	RouteChosen bool
	RouteID     string
}

// A Request is a request to decide: its attributes and its path in canonical form.
// Only a Request made by [NewRequest] can be allowed.
type Request struct {
	Attributes
	path    pattern.Path
	pathErr error
	hostOK  bool
}

// NewRequest parses the path and the host. A path without a canonical form or an
// invalid host is not an error here: [Engine.Decide] denies the request, and the
// decision is logged like any other.
func NewRequest(a Attributes) *Request {
	path, err := pattern.ParsePath(a.Path)
	return &Request{Attributes: a, path: path, pathErr: err, hostOK: pattern.ValidHost(a.Host)}
}

// ParsedPath returns the path as it was read when the request was made. It is the zero Path if
// the path has no canonical form.
func (r *Request) ParsedPath() pattern.Path { return r.path }
