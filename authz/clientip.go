package authz

import (
	"fmt"
	"net/netip"
	"strings"
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
