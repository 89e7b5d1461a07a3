package policy

import (
	"net/netip"
	"strings"
)

// maxHost bounds a host name (RFC 1035 section 2.3.4), in bytes.
const maxHost = 255

// foldHost returns the host in lower case without port and trailing dot, in buf.
// A host that is longer than any name is nobody's: ok is false, and only
// routes for any host can match it.
func foldHost(host string, buf *[maxHost]byte) (folded []byte, ok bool) {
	host = cutPort(host)
	host = strings.TrimSuffix(host, ".")
	if host == "" || len(host) > maxHost {
		return nil, false
	}
	for i := range len(host) {
		c := host[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		buf[i] = c
	}
	return buf[:len(host)], true
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
	}
	for label := range strings.SplitSeq(name, ".") {
		if !validLabel(label) {
			return "is no host name; labels are letters, digits and hyphens, and international names are written in their xn-- form"
		}
	}
	return ""
}

func validLabel(label string) bool {
	if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
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
