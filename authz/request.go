package authz

import (
	"net/netip"

	"warder/policy"
)

// A Header is one field of a request. The name is in lower case.
type Header struct{ Name, Value string }

// Headers are the fields of a request in the order in which they came. A name
// may stand there more than once.
type Headers []Header

// Values returns the values of the named field, in order. The name is in lower case.
func (h Headers) Values(name string) []string {
	var values []string
	for i := range h {
		if h[i].Name == name {
			values = append(values, h[i].Value)
		}
	}
	return values
}

// Attributes are the parts of a request as the proxy gives them.
type Attributes struct {
	Method   string
	Host     string // as sent: case, port and trailing dot are the policy's to fold
	Path     string // with its query
	Headers  Headers
	ClientIP netip.Addr // resolved, see [ClientIPResolver]; zero when unknown
	ID       string     // x-request-id
}

// A Request is what is decided: attributes with the path in canonical form.
// [NewRequest] is the only way to one that can be allowed.
type Request struct {
	Attributes
	path    policy.Path
	pathErr error
}

// NewRequest reads the path once. A path without a canonical form is kept as the
// request's own refusal, so that the decision can still be logged whole.
func NewRequest(a Attributes) *Request {
	path, err := policy.ParsePath(a.Path)
	return &Request{Attributes: a, path: path, pathErr: err}
}

// Path returns the path as it was sent, without its query; "" when it is
// ambiguous.
func (r *Request) CanonicalPath() policy.Path { return r.path }
