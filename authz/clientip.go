package authz

import (
	"net/netip"
	"strings"

	"warder/policy"
)

// A ClientIPSource names where the client's address is read.
type ClientIPSource string

const (
	// SourceTrustedProxies walks X-Forwarded-For from the right, beginning with
	// the connection's peer, and stops at the first address that is no trusted proxy.
	SourceTrustedProxies ClientIPSource = "trusted_proxies"
	// SourceTrustedHops counts X-Forwarded-For entries from the right as Envoy's
	// xff_num_trusted_hops does.
	SourceTrustedHops ClientIPSource = "xff_num_trusted_hops"
	// SourceHeader reads one header that Envoy itself overwrites.
	SourceHeader ClientIPSource = "header"
	// SourcePeer takes the connection's peer.
	SourcePeer ClientIPSource = "peer"
	// SourceLeftmostForwardedFor takes the first X-Forwarded-For value. Any client
	// can forge it: it stands here for applications that do so today.
	SourceLeftmostForwardedFor ClientIPSource = "leftmost_forwarded_for"
)

// ClientIPConfig says where the client's address is read. Only the fields of the
// chosen source are looked at; the zero source is SourceTrustedProxies.
type ClientIPConfig struct {
	Source         ClientIPSource
	TrustedProxies []netip.Prefix
	TrustedHops    int    // as Envoy's xff_num_trusted_hops, 0 or more
	Header         string // for SourceHeader
}

// maxTrustedHops bounds a configuration mistake, not a network.
const maxTrustedHops = 64

// A ClientIPResolver finds the client's address of a request. The zero resolver
// takes the connection's peer, since it trusts nobody.
type ClientIPResolver struct {
	config ClientIPConfig
}

// NewClientIPResolver checks the configuration.
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
			return ClientIPResolver{}, Misconfigured("client_ip.trusted_proxies", "an entry is no network; write one such as 10.0.0.0/8")
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

// Resolve returns the client's address, unmapped from 4-in-6, or the zero Addr
// when it cannot be known. peer is the connection's peer, zero when it has no address.
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

// walk goes from the connection towards the client while it is among proxies that
// are known to write the truth, and believes nothing to the left of the first
// address that is not: whoever that is could have written it.
func (r ClientIPResolver) walk(peer netip.Addr, h Headers) netip.Addr {
	client := peer
	hops := newHops(h)
	for r.trusts(client) {
		value, more := hops.next()
		if !more {
			return client // all are trusted: the left-most
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

// countHops follows Envoy: with use_remote_address, Envoy has appended its own peer
// before it asks, so that n trusted hops means the entry n+1 from the right,
// counted with the appended one; fewer entries than that leave the peer.
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
	value, count := h.First("x-forwarded-for")
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

// hops yields the X-Forwarded-For entries from the right, over all values.
type hops struct {
	headers Headers
	field   int    // the fields before this one are still to come
	rest    string // what is left of the current field
	open    bool
}

func newHops(h Headers) *hops { return &hops{headers: h, field: len(h)} }

func (s *hops) next() (string, bool) {
	for !s.open {
		s.field--
		if s.field < 0 {
			return "", false
		}
		if s.headers[s.field].Name == "x-forwarded-for" {
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

// parseAddress reads an address, or ip:port without its port. What cannot be
// read, and an address with a zone, is unknown.
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

// plain unmaps 4-in-6 and refuses zones: a zone is this machine's word for one of
// its links and says nothing about a client.
func plain(addr netip.Addr) netip.Addr {
	if addr.Zone() != "" {
		return netip.Addr{}
	}
	return addr.Unmap()
}
