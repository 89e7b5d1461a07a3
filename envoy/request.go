package envoy

import (
	"net/netip"
	"slices"
	"strings"

	"warder/authz"
)

// A load is the size of a request's header fields as Envoy counts it. Envoy limits both
// numbers. Pseudo-headers count as fields, and bytes counts names and values.
type load struct{ fields, bytes int }

func (l *load) add(name, value string) {
	l.fields++
	l.bytes += len(name) + len(value)
}

// requestFrom converts a CheckRequest to a request. The result readable is false if the
// CheckRequest cannot be read in exactly one way. The request, which is never nil, then holds
// only what is known for the log.
func (s *Server) requestFrom(in *CheckRequest) (r *authz.Request, carries load, readable bool) {
	a := authz.Attributes{Method: in.method, Host: in.host, Path: in.path}
	if !in.readable || !in.hasHTTP || in.size > s.maxBytes {
		return authz.NewRequest(a), carries, false
	}
	headers, carries, readable := headersFrom(in)
	// Envoy refuses HTTP/1.1 without Host, and passes on an empty one.
	if !readable || a.Method == "" || a.Host == "" && !s.hostless {
		return authz.NewRequest(a), carries, false
	}
	a.Headers = headers
	a.ID = requestID(headers, in.id)
	a.Principal = in.principal
	a.RouteChosen, a.RouteID = in.chosen, in.route
	a.ClientIP = s.clientIP.Resolve(peerOf(in.peer), headers)
	return authz.NewRequest(a), carries, true
}

// peerOf returns the address of the connection's peer, or the zero Addr if it has none, as on a
// unix socket.
func peerOf(text string) netip.Addr {
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}
	}
	return addr
}

// headersFrom returns the header fields without pseudo-headers, with names in lower case. Envoy
// fills in either headers or, with encode_raw_headers, header_map. If both are filled in, they
// have to agree.
func headersFrom(in *CheckRequest) (fields authz.Headers, carries load, readable bool) {
	joined, ok := joinedHeaders(in.joined)
	if !ok || in.odd {
		return nil, carries, false
	}
	raw := in.raw
	for i := range raw {
		raw[i].Name = lower(raw[i].Name)
	}
	all := joined
	if len(raw) > 0 {
		if len(joined) > 0 && !sameHeaders(joined, raw) {
			return nil, carries, false
		}
		all = raw
	}
	fields = all[:0]
	for _, h := range all {
		if !validHeader(h) || contradicts(in, h) {
			return nil, carries, false
		}
		carries.add(h.Name, h.Value)
		if h.Name[0] != ':' {
			fields = append(fields, h)
		}
	}
	return fields, carries, true
}

// joinedHeaders reads the form in which repeated fields are joined with commas. This form is a
// map, in which the last entry of a name counts. Names that differ only in case have no defined
// order, so a map with such names is refused.
func joinedHeaders(entries authz.Headers) (authz.Headers, bool) {
	slices.SortStableFunc(entries, func(a, b authz.Header) int { return strings.Compare(a.Name, b.Name) })
	headers := entries[:0]
	for i, h := range entries {
		if i+1 == len(entries) || entries[i+1].Name != h.Name {
			headers = append(headers, h)
		}
	}
	for i := range headers {
		headers[i].Name = lower(headers[i].Name)
	}
	slices.SortFunc(headers, func(a, b authz.Header) int { return strings.Compare(a.Name, b.Name) })
	for i := 1; i < len(headers); i++ {
		if headers[i].Name == headers[i-1].Name {
			return nil, false
		}
	}
	return headers, true
}

// sameHeaders reports whether raw becomes joined when the repeated fields are
// joined in order, as Envoy does it.
func sameHeaders(joined, raw authz.Headers) bool {
	values := make(map[string]string, len(joined))
	for _, h := range raw {
		if before, repeated := values[h.Name]; repeated {
			values[h.Name] = before + "," + h.Value
		} else {
			values[h.Name] = h.Value
		}
	}
	if len(values) != len(joined) {
		return false
	}
	for _, h := range joined {
		if value, found := values[h.Name]; !found || value != h.Value {
			return false
		}
	}
	return true
}

// validHeader reports whether a field is valid (RFC 9110 section 5). A field with an invalid
// name could not be removed before the request reaches the upstream. A line ending in a value
// could begin another field there.
func validHeader(h authz.Header) bool {
	return authz.IsToken(strings.TrimPrefix(h.Name, ":")) &&
		strings.IndexByte(h.Value, '\n') < 0 && strings.IndexByte(h.Value, '\r') < 0 && strings.IndexByte(h.Value, 0) < 0
}

// contradicts reports whether a field names a method, host or path that differs from the
// request line that is decided about.
func contradicts(in *CheckRequest, h authz.Header) bool {
	switch h.Name {
	case ":method":
		return h.Value != in.method
	case ":path":
		return h.Value != in.path
	case ":authority", "host":
		return h.Value != in.host
	}
	return false
}

// lower converts A to Z to lower case and nothing else. strings.ToLower also converts the
// Kelvin sign to k, and so would turn an invalid header name into a valid one.
func lower(s string) string {
	for i := range len(s) {
		if 'A' <= s[i] && s[i] <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if 'A' <= b[i] && b[i] <= 'Z' {
					b[i] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}

// maxIDLength bounds the length of a client's request_id in the logs.
const maxIDLength = 128

// requestID returns the x-request-id if there is exactly one and it is safe to log. Otherwise
// it returns Envoy's own ID of the stream, or "" if that is not safe either.
func requestID(h authz.Headers, stream string) string {
	if id, count := h.First("x-request-id"); count == 1 && saneID(id) {
		return id
	}
	if saneID(stream) {
		return stream
	}
	return ""
}

func saneID(id string) bool {
	for i := range len(id) {
		c := id[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~:/+=@", c) >= 0 {
			continue
		}
		return false
	}
	return id != "" && len(id) <= maxIDLength
}
