package pattern

import (
	"cmp"
	"net/netip"
	"strings"

	"warder/policy/strict"
)

// MaxHost is the maximum length in bytes of a host name without its trailing dot (RFC 1035
// section 2.3.4).
const MaxHost = 253

// ValidHost reports whether a request may name this host: a name, an IPv4 address or an
// IPv6 address in brackets, with or without a port (RFC 9110 section 7.2, RFC 3986 section
// 3.2.2). The labels of a name are 1 to 63 letters, digits, hyphens and underscores, and one
// dot may follow the name. The empty host is valid; it is that of a request without one.
//
//	api.example.com  API.example.com.:443  127.0.0.1  [::1]:8080
//	not user@api.example.com  a,b  a:80:80  a..  a:x  ::1  [a]  256.0.0.1  [fe80::1%25eth0]
func ValidHost(host string) bool {
	var buf [MaxHost]byte
	_, ok := CanonicalHost(host, &buf)
	return ok
}

// CanonicalHost returns the host in the form in which policies write it: in lower case,
// without port and trailing dot, and an IPv6 address in its shortest form. The result is
// stored in buf, so that it costs no allocation. ok is false if [ValidHost] refuses the host.
func CanonicalHost(host string, buf *[MaxHost]byte) (name []byte, ok bool) {
	if host == "" {
		return nil, true
	}
	if host[0] == '[' {
		return canonicalIPv6(host, buf)
	}
	if colon := strings.IndexByte(host, ':'); colon >= 0 {
		if !isPort(host[colon+1:]) {
			return nil, false
		}
		host = host[:colon]
	}
	host = strings.TrimSuffix(host, ".")
	if host == "" || len(host) > MaxHost {
		return nil, false
	}
	label := 0 // where the label begins
	for i := range len(host) {
		c := host[i]
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		case c == '.' && i > label && i-label <= maxLabel:
			label = i + 1
		default:
			return nil, false
		}
		buf[i] = c
	}
	if n := len(host) - label; n == 0 || n > maxLabel {
		return nil, false
	}
	// No top-level domain is a number (RFC 1123 section 2.1). A name that ends with one is an
	// IPv4 address, or some resolver reads it as one.
	if isNumber(string(buf[label:len(host)])) {
		if _, err := netip.ParseAddr(host); err != nil {
			return nil, false
		}
	}
	return buf[:len(host)], true
}

// maxLabel is the maximum length in bytes of a label of a host name (RFC 1035 section 2.3.4).
const maxLabel = 63

// canonicalIPv6 implements CanonicalHost for an address in brackets.
func canonicalIPv6(host string, buf *[MaxHost]byte) (name []byte, ok bool) {
	text, port, closed := strings.Cut(host[1:], "]")
	if !closed || port != "" && (port[0] != ':' || !isPort(port[1:])) {
		return nil, false
	}
	addr, err := netip.ParseAddr(text)
	if err != nil || !addr.Is6() || addr.Zone() != "" {
		return nil, false
	}
	return append(addr.AppendTo(append(buf[:0], '[')), ']'), true
}

// isPort reports whether s may follow the colon after a host: a number up to 65535, or
// nothing (RFC 3986 section 3.2.3).
func isPort(s string) bool {
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
		if n = 10*n + int(s[i]-'0'); n > 65535 {
			return false
		}
	}
	return true
}

// isNumber reports whether a lower-case label is a decimal or hexadecimal number, as in the
// spellings of IPv4 addresses that inet_aton accepts.
func isNumber(label string) bool {
	digits, hex := strings.CutPrefix(label, "0x")
	for i := range len(digits) {
		c := digits[i]
		if (c < '0' || c > '9') && (!hex || c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// WithoutPort returns the host without its port. An IPv6 address keeps its brackets.
func WithoutPort(host string) string {
	colon := strings.LastIndexByte(host, ':')
	if colon < 0 || strings.LastIndexByte(host, ']') > colon {
		return host
	}
	for i := colon + 1; i < len(host); i++ {
		if host[i] < '0' || host[i] > '9' {
			return host
		}
	}
	return host[:colon]
}

// WrongHost says what is wrong with a host pattern of a policy, and what would be right. It
// returns "" for a valid pattern.
func WrongHost(host string) string {
	name := strings.TrimPrefix(host, "*.")
	lower := strings.ToLower(host)
	switch {
	case host == "":
		return "is empty; write a name such as api.example.com"
	case host == "_":
		return `is any host in other products; write ["*"] for any host, or leave it out`
	case strings.ContainsAny(host, "(){}^$|\\+") || strings.HasPrefix(host, ".*"):
		return `is a pattern of other products; write a name, "*.example.com" for any depth below it, or ["*"] for any host`
	case strings.HasPrefix(host, ".") && len(host) > 1:
		return "begins with a dot; write " + strict.Quote("*"+lower) + " for any depth below it, and the name itself as another host"
	case strings.Contains(host, "://"):
		return "has a scheme; write only the name, as in api.example.com"
	case strings.Contains(host, "/"):
		return "has a path; write only the name, as in api.example.com"
	case lower != host:
		return "is not in lower case; write " + strict.Quote(lower)
	case strings.HasPrefix(host, "["):
		addr, err := netip.ParseAddr(strings.TrimSuffix(host[1:], "]"))
		if err != nil || !strings.HasSuffix(host, "]") || !addr.Is6() || addr.Zone() != "" || "["+addr.String()+"]" != host {
			return "is not an IPv6 address in brackets; write one such as [::1], without a port"
		}
		return ""
	case strings.Count(host, ":") > 1:
		return "has more than one colon; write an IPv6 address in brackets, such as [::1], and no port"
	case strings.Contains(host, ":"):
		return "has a port, which is ignored in matching; write " + strict.Quote(WithoutPort(host))
	case name == "":
		return `has nothing after *.; write "*.example.com" for any depth below it, or ["*"] for any host`
	case strings.HasSuffix(host, "."):
		return "ends with a dot; write " + strict.Quote(strings.TrimSuffix(host, "."))
	case strings.Contains(name, "*"):
		return `has a * that is not its first label; write a name, "*.example.com" for any depth below it, or ["*"] for any host`
	case len(host) > MaxHost:
		return "is longer than any host name"
	}
	for label := range strings.SplitSeq(name, ".") {
		if !validLabel(label) {
			return "is not a host name; labels are letters, digits and hyphens, and international names are written in their xn-- form"
		}
	}
	if last := name[strings.LastIndexByte(name, '.')+1:]; isNumber(last) {
		if _, err := netip.ParseAddr(host); err != nil {
			return "ends with a number and is not an IPv4 address; write a name such as api.example.com or an address such as 192.0.2.1"
		}
	}
	return ""
}

func validLabel(label string) bool {
	if label == "" || len(label) > maxLabel || label[0] == '-' || label[len(label)-1] == '-' {
		return false
	}
	for i := range len(label) {
		c := label[i]
		if ('a' > c || c > 'z') && ('0' > c || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// CompareHosts orders host patterns by how specific they are: exact names first, then
// wildcards, the longest first, then any host, which is the empty pattern. Patterns that are
// equally specific are ordered by their text.
func CompareHosts(a, b string) int {
	if c := cmp.Compare(hostRank(a), hostRank(b)); c != 0 {
		return c
	}
	if hostRank(a) == rankWildcard {
		if c := cmp.Compare(len(b), len(a)); c != 0 {
			return c
		}
	}
	return cmp.Compare(a, b)
}

const (
	rankExact = iota
	rankWildcard
	rankAny
)

func hostRank(host string) int {
	switch {
	case host == "":
		return rankAny
	case strings.HasPrefix(host, "*."):
		return rankWildcard
	}
	return rankExact
}

// HostMatches reports whether a host pattern matches a host in canonical form.
func HostMatches(pattern, name string) bool {
	if suffix, wildcard := strings.CutPrefix(pattern, "*"); wildcard {
		return len(name) > len(suffix) && strings.HasSuffix(name, suffix)
	}
	return pattern == "" || pattern == name
}

// HostCovers reports whether a host pattern matches every host that another one matches.
func HostCovers(pattern, other string) bool {
	suffix, wildcard := strings.CutPrefix(pattern, "*")
	return pattern == "" || pattern == other || wildcard && strings.HasSuffix(other, suffix)
}

// ExampleHost returns the n-th example of a host that a host pattern matches.
func ExampleHost(pattern string, n int) string {
	below, wildcard := strings.CutPrefix(pattern, "*.")
	switch {
	case wildcard:
		return numbered("a", n) + "." + below
	case pattern != "":
		return pattern
	case n == 0:
		return "example.com"
	}
	return numbered("host", n) // one label: no wildcard matches it
}
