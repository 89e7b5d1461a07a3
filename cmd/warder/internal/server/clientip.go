package server

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"warder/authz"
	"warder/cmd/warder/internal/cli"
	"warder/policy"
)

// clientIPWarnings warns about lists of client addresses that contain private networks when no
// proxy is trusted. Without a trusted proxy, the client address is that of the peer that
// connected to Envoy. Behind a load balancer, that peer is the load balancer, on a private
// network. A list that contains that network then allows everybody.
func clientIPWarnings(p *policy.Policy, path string, c authz.ClientIPConfig) cli.Problems {
	if c.Source != "" && c.Source != authz.SourceTrustedProxies || len(c.TrustedProxies) > 0 {
		return nil
	}
	var lists, private []string
	var first policy.Position
	for _, r := range p.Routes() {
		if r.ClientIPs == nil {
			continue
		}
		if first == (policy.Position{}) {
			first = r.Position
		}
		lists = append(lists, r.ClientIPs.Names()...)
		for _, network := range r.ClientIPs.Prefixes() {
			if isPrivate(network) {
				private = append(private, network.String())
			}
		}
	}
	if first == (policy.Position{}) {
		return nil
	}
	message := "routes are open to the addresses of " + sortedWords(lists) + ", but client_ip.trusted_proxies is empty, so that the client is the peer of the connection to Envoy: " +
		"behind a load balancer, the load balancer; list your proxies (WARDER_TRUSTED_PROXIES), or set client_ip.source: peer when clients connect to Envoy directly"
	if len(private) > 0 {
		message += fmt.Sprintf("; with a private network in a list (%s) such a route may be open to everybody", sortedWords(private))
	}
	if first.File == "" {
		first.File = path
	}
	return cli.Problems{{Position: first, Field: "client_ips", Message: message}}
}

// isPrivate reports whether a network overlaps with the networks that no client on the
// internet has.
func isPrivate(network netip.Prefix) bool {
	return slices.ContainsFunc(privateNetworks, network.Overlaps) && network.Bits() > 0
}

var privateNetworks = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("fc00::/7"),
	netip.MustParsePrefix("fe80::/10"),
	netip.MustParsePrefix("::1/128"),
}

func sortedWords(words []string) string {
	words = slices.Clone(words)
	slices.Sort(words)
	return strings.Join(slices.Compact(words), ", ")
}
