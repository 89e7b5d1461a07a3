package policy

import (
	"net/netip"
	"strconv"
	"strings"
)

const (
	// maxHost bounds a host name without its trailing dot (RFC 1035 section 2.3.4), in
	// bytes. An address is shorter.
	maxHost = 253
	// maxLabel bounds each label of a name.
	maxLabel = 63
)

// ValidHost reports whether the host of a request has one reading: host [":" port] of RFC
// 9110 section 7.2. A host is one of
//
//	a name    labels of 1 to 63 letters, digits, '-' and '_', 253 bytes in all, and at
//	          most one dot after it; the last label is not a number (127.1, 0x7f.1)
//	an IPv4   four decimal numbers without leading zeros
//	an IPv6   in brackets, without a zone
//
// and a port is empty or one to five digits, from 1 to 65535. The empty host is none. Other texts
// are what URLs and lists make of a host (user@a, a/b, a,b), what only some readers take
// for an address, or no host at all: the application behind may read another host in
// them than the policy does.
func ValidHost(host string) bool {
	var buf [maxHost]byte
	_, ok := foldHost(host, &buf)
	return ok
}

// foldHost returns the host of a request in the one form that hosts are compared in: in
// lower case, without port and trailing dot, an IPv6 address as RFC 5952 writes it. It
// is made in buf. ok is false when [ValidHost] is.
func foldHost(text string, buf *[maxHost]byte) (folded []byte, ok bool) {
	host := cutPort(text)
	if port := text[len(host):]; len(port) > len(":65535") || len(port) > 1 && !isPort(port[1:]) {
		return nil, false
	}
	if strings.HasPrefix(host, "[") {
		return foldIPv6(host, buf)
	}
	name := strings.TrimSuffix(host, ".")
	if len(name) > maxHost || !validName(name) {
		return nil, false
	}
	if endsInNumber(name) {
		if _, err := netip.ParseAddr(name); err != nil || name != host {
			return nil, false
		}
	}
	for i := range len(name) {
		c := name[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		buf[i] = c
	}
	return buf[:len(name)], true
}

func foldIPv6(host string, buf *[maxHost]byte) (folded []byte, ok bool) {
	inner, closed := strings.CutSuffix(host[1:], "]")
	addr, err := netip.ParseAddr(inner)
	if !closed || err != nil || !addr.Is6() || addr.Zone() != "" {
		return nil, false
	}
	folded = append(buf[:0], '[')
	return append(addr.AppendTo(folded), ']'), true
}

// cutPort takes ":8080" off a host, and leaves an IPv6 address in its brackets.
func cutPort(host string) string {
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

// isPort reports whether digits are a port that a server can have.
func isPort(digits string) bool {
	n, err := strconv.ParseUint(digits, 10, 16)
	return err == nil && n > 0
}

// validName reports whether a name is made of labels, without a dot after it.
func validName(name string) bool {
	for label := range strings.SplitSeq(name, ".") {
		if !validLabel(label) {
			return false
		}
	}
	return true
}

func validLabel(label string) bool {
	for i := range len(label) {
		c := label[i]
		if ('a' > c || c > 'z') && ('A' > c || c > 'Z') && ('0' > c || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return label != "" && len(label) <= maxLabel
}

// endsInNumber reports whether the last label of a name is decimal, octal or hexadecimal
// digits: browsers and the C library take such a name for an IPv4 address, short ones
// (127.1) and large numbers (2130706433) too (the ends-in-a-number checker of the WHATWG
// URL standard).
func endsInNumber(name string) bool {
	label := name[strings.LastIndexByte(name, '.')+1:]
	digits := "0123456789"
	if len(label) >= 2 && label[0] == '0' && label[1]|0x20 == 'x' {
		label, digits = label[2:], "0123456789abcdefABCDEF"
	}
	return strings.Trim(label, digits) == ""
}

// checkHost says what is wrong with a host pattern; "" when nothing is.
func checkHost(host string) string {
	name := strings.TrimPrefix(host, "*.")
	lower := strings.ToLower(host)
	switch {
	case host == "":
		return "is empty; write a name such as api.example.com"
	case strings.Contains(host, "://"):
		return "has a scheme; write only the name, as in api.example.com"
	case strings.Contains(host, "/"):
		return "has a path; write only the name, as in api.example.com"
	case lower != host:
		return "is not in lower case; write " + quote(lower)
	case strings.HasPrefix(host, "["):
		addr, err := netip.ParseAddr(strings.TrimSuffix(host[1:], "]"))
		if err != nil || !strings.HasSuffix(host, "]") || !addr.Is6() || addr.Zone() != "" || "["+addr.String()+"]" != host {
			return "is no IPv6 address in brackets; write one such as [::1], without a port"
		}
		return ""
	case strings.Count(host, ":") > 1:
		return "has more than one colon; write an IPv6 address in brackets, such as [::1], and no port"
	case strings.Contains(host, ":"):
		return "has a port, which takes no part in matching; write " + quote(cutPort(host))
	case name == "":
		return `has nothing after *.; write "*.example.com" for any depth below it, or ["*"] for any host`
	case strings.HasSuffix(host, "."):
		return "ends with a dot; write " + quote(strings.TrimSuffix(host, "."))
	case strings.Contains(name, "*"):
		return `has a * elsewhere than as its first label; write a name, "*.example.com" for any depth below it, or ["*"] for any host`
	case len(host) > maxHost:
		return "is longer than any host name"
	case !validName(name) || hasOuterHyphen(name):
		return "is no host name; labels are letters, digits and hyphens, and international names are written in their xn-- form"
	case endsInNumber(name) && (name != host || !ValidHost(host)):
		return "ends in a number and is no IPv4 address, so that no request for it is accepted; write an address such as 192.0.2.7, or a name"
	}
	return ""
}

// hasOuterHyphen reports whether a label begins or ends with a hyphen: requests may, but a
// policy that says so has probably lost the rest of the name.
func hasOuterHyphen(name string) bool {
	name = "." + name + "."
	return strings.Contains(name, ".-") || strings.Contains(name, "-.")
}
