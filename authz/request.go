package authz

import (
	"net/netip"

	"warder/policy/pattern"
)

// A Header is one field of a request. The name is in lower case.
type Header struct{ Name, Value string }

// Headers are the fields of a request in the order in which they came. A name
// may stand there more than once.
type Headers []Header

// First returns the value of the first field of a name and how many fields have the name,
// which is in lower case.
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

// FoldHeader is [pattern.FoldHeader], for packages that do not import policies.
func FoldHeader(name string) string { return pattern.FoldHeader(name) }

// Attributes are the parts of a request as the proxy gives them.
type Attributes struct {
	Method   string
	Host     string // as sent: case, port and trailing dot are the policy's to fold
	Path     string // with its query
	Headers  Headers
	ClientIP netip.Addr // resolved, see [ClientIPResolver]; zero when unknown
	ID       string     // x-request-id
	// Principal is the name in the certificate that the proxy has verified of the
	// other end of the connection; "" when there is none.
	Principal string
	// RouteChosen says that the proxy's own configuration has chosen the policy's
	// route, by its id. Nothing that a client sends may set it.
	RouteChosen bool
	RouteID     string
}

// A Request is what is decided: attributes with the path in canonical form.
// [NewRequest] is the only way to one that can be allowed.
type Request struct {
	Attributes
	path    pattern.Path
	pathErr error
	hostOK  bool
}

// NewRequest reads the path and the host once. A path without a canonical form and a
// host that is none are kept as the request's own refusal, so that the decision can still
// be logged whole.
func NewRequest(a Attributes) *Request {
	path, err := pattern.ParsePath(a.Path)
	return &Request{Attributes: a, path: path, pathErr: err, hostOK: pattern.ValidHost(a.Host)}
}

// ParsedPath returns the path as it was read when the request was made. It is the zero Path if
// the path has no canonical form.
func (r *Request) ParsedPath() pattern.Path { return r.path }
