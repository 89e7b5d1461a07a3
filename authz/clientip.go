package authz

import (
	"net/netip"
	"strings"

	"warder/policy"
)

// A ClientIPSource names where the client's address is taken from.
type ClientIPSource string

const (
	// SourceTrustedProxies walks from the connection's peer through X-Forwarded-For,
	// right to left, and takes the first address that is not a trusted proxy.
	SourceTrustedProxies ClientIPSource = "trusted_proxies"
	// SourceTrustedHops counts X-Forwarded-For entries from the right, like Envoy's
	// xff_num_trusted_hops.
	SourceTrustedHops ClientIPSource = "xff_num_trusted_hops"
	// SourceHeader reads one header, which Envoy must overwrite.
	SourceHeader ClientIPSource = "header"
	// SourcePeer uses the address of the connection's peer.
	SourcePeer ClientIPSource = "peer"
	// SourceLeftmostForwardedFor uses the leftmost X-Forwarded-For entry, which any
	// client can forge. It exists for compatibility with applications that do the same.
	SourceLeftmostForwardedFor ClientIPSource = "leftmost_forwarded_for"
)

// ClientIPConfig says where the client's address is taken from. Every field must be
// valid; only those of Source are used. An empty Source means SourceTrustedProxies.
type ClientIPConfig struct {
	Source         ClientIPSource
	TrustedProxies []netip.Prefix
	TrustedHops    int    // Envoy's xff_num_trusted_hops, from 0 to 64
	Header         string // for SourceHeader, in any case
}

// maxTrustedHops is more than any real network has. It catches configuration mistakes.
const maxTrustedHops = 64

const xForwardedFor = "x-forwarded-for"

// A ClientIPResolver resolves the client's address of a request. The zero resolver
// trusts no proxy and returns the connection's peer.
type ClientIPResolver struct {
	config ClientIPConfig
}

// NewClientIPResolver returns a resolver. The error is a [*ConfigError].
func NewClientIPResolver(c ClientIPConfig) (ClientIPResolver, error) {
	switch c.Source {
	case "":
		c.Source = SourceTrustedProxies
	case SourceTrustedProxies, SourceTrustedHops, SourceHeader, SourcePeer, SourceLeftmostForwardedFor:
	default:
		return ClientIPResolver{}, Misconfigured("client_ip.source", "%q is unknown; use %s, %s, %s, %s or %s", string(c.Source),
			SourceTrustedProxies, SourceTrustedHops, SourceHeader, SourcePeer, SourceLeftmostForwardedFor)
	}
	for _, p := range c.TrustedProxies {
		switch {
		case !p.IsValid():
			return ClientIPResolver{}, Misconfigured("client_ip.trusted_proxies", "an entry is not a network; write one such as 10.0.0.0/8")
		case p.Bits() == 0:
			return ClientIPResolver{}, Misconfigured("client_ip.trusted_proxies", "%s trusts every address, so that each client could choose its own; list the networks of your proxies", p)
		case p != p.Masked():
			return ClientIPResolver{}, Misconfigured("client_ip.trusted_proxies", "%s has host bits set; write %s", p, p.Masked())
		case p.Addr().Is4In6():
			return ClientIPResolver{}, Misconfigured("client_ip.trusted_proxies", "%s is an IPv4 network in IPv6 notation; write it as IPv4", p)
		}
	}
	for _, every := range []struct {
		kind string
		all  netip.Prefix
	}{{"IPv4", netip.PrefixFrom(netip.IPv4Unspecified(), 0)}, {"IPv6", netip.PrefixFrom(netip.IPv6Unspecified(), 0)}} {
		if policy.CoversAll(c.TrustedProxies, every.all) {
			return ClientIPResolver{}, Misconfigured("client_ip.trusted_proxies", "together the networks trust every %s address, so that each client could choose its own; list the networks of your proxies", every.kind)
		}
	}
	if c.TrustedHops < 0 || c.TrustedHops > maxTrustedHops {
		return ClientIPResolver{}, Misconfigured("client_ip.xff_num_trusted_hops", "%d is out of range; use 0 to %d", c.TrustedHops, maxTrustedHops)
	}
	if c.Source == SourceHeader && c.Header == "" {
		return ClientIPResolver{}, Misconfigured("client_ip.header", "missing; source: header needs the name of a header that Envoy overwrites")
	}
	c.Header = strings.ToLower(c.Header)
	return ClientIPResolver{config: c}, nil
}

// Resolve returns the client's address, or the zero Addr when it is unknown. An
// IPv4-mapped IPv6 address is returned as IPv4. peer is the address of the connection's
// peer, or the zero Addr when it has none.
func (r ClientIPResolver) Resolve(peer netip.Addr, h Headers) netip.Addr {
	peer = plain(peer)
	switch r.config.Source {
	case SourcePeer:
		return peer
	case SourceHeader:
		return onlyAddress(h.First(r.config.Header))
	case SourceLeftmostForwardedFor:
		return leftmost(peer, h)
	case SourceTrustedHops:
		return r.countHops(peer, h)
	default:
		return r.walk(peer, h)
	}
}

// walk goes from the connection's peer towards the client as long as each address is a
// trusted proxy. It ignores everything left of the first untrusted address, which that
// address's owner could have forged.
func (r ClientIPResolver) walk(peer netip.Addr, h Headers) netip.Addr {
	client := peer
	hops := newHops(h)
	for r.trusts(client) {
		value, more := hops.next()
		if !more {
			return client // every address is a trusted proxy
		}
		client = parseAddress(value)
	}
	return client
}

func (r ClientIPResolver) trusts(addr netip.Addr) bool {
	for _, p := range r.config.TrustedProxies {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// countHops follows Envoy. With use_remote_address, Envoy appends its own peer before it
// calls warder, so n trusted hops select entry n+1 from the right, counting the appended
// one. With fewer entries the result is the peer.
func (r ClientIPResolver) countHops(peer netip.Addr, h Headers) netip.Addr {
	hops := newHops(h)
	for range r.config.TrustedHops {
		if _, more := hops.next(); !more {
			return peer
		}
	}
	value, more := hops.next()
	if !more {
		return peer
	}
	return parseAddress(value)
}

func leftmost(peer netip.Addr, h Headers) netip.Addr {
	value, count := h.First(xForwardedFor)
	if count == 0 {
		return peer
	}
	first, _, _ := strings.Cut(value, ",")
	return parseAddress(first)
}

func onlyAddress(value string, count int) netip.Addr {
	if count != 1 {
		return netip.Addr{}
	}
	return parseAddress(value)
}

// hops iterates over the entries of all X-Forwarded-For fields from right to left.
type hops struct {
	headers Headers
	field   int    // index of the current field; those before it are still unread
	rest    string // the unread part of the current field
	open    bool
}

func newHops(h Headers) *hops { return &hops{headers: h, field: len(h)} }

func (s *hops) next() (string, bool) {
	for !s.open {
		s.field--
		if s.field < 0 {
			return "", false
		}
		if s.headers[s.field].Name == xForwardedFor {
			s.rest, s.open = s.headers[s.field].Value, true
		}
	}
	comma := strings.LastIndexByte(s.rest, ',')
	if comma < 0 {
		s.open = false
		return s.rest, true
	}
	entry := s.rest[comma+1:]
	s.rest = s.rest[:comma]
	return entry, true
}

// parseAddress parses an address or ip:port, of which it ignores the port. It returns
// the zero Addr for anything else and for an address with a zone.
func parseAddress(s string) netip.Addr {
	s = strings.Trim(s, " \t")
	if addr, err := netip.ParseAddr(s); err == nil {
		return plain(addr)
	}
	if bare, ok := strings.CutPrefix(s, "["); ok {
		if bare, ok = strings.CutSuffix(bare, "]"); ok {
			addr, err := netip.ParseAddr(bare)
			if err == nil && addr.Is6() {
				return plain(addr)
			}
			return netip.Addr{}
		}
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return plain(ap.Addr())
	}
	return netip.Addr{}
}

// plain converts an IPv4-mapped IPv6 address to IPv4. An address with a zone becomes the
// zero Addr: a zone names a network interface of one host and does not identify a client.
func plain(addr netip.Addr) netip.Addr {
	if addr.Zone() != "" {
		return netip.Addr{}
	}
	return addr.Unmap()
}
