package policy

import (
	"fmt"
	"net/netip"
	"strings"
)

// prefixes reads the networks of an ip_list: a list of addresses, networks and
// ${VAR}, or one ${VAR} alone.
func (r *fileReader) prefixes(l listEntry, env func(string) (string, bool)) (prefixes []netip.Prefix) {
	items := l.value.items
	field := l.name.field
	switch {
	case l.value.kind == text && isVariable(l.value.text):
		return r.fromEnvironment(stringAt{l.value.text, l.value.at, field}, env)
	case l.value.kind == text:
		r.fail(l.value.at, field, "is a text where a list is wanted; write [%s], or ${VAR} for one from the environment", l.value.text)
		return nil
	case l.value.kind != list:
		r.wrongKind(field, l.value, "a list of networks such as [203.0.113.0/24]")
		return nil
	case len(items) == 0:
		r.fail(l.value.at, field, "is an empty list, which nobody is in; write networks such as [203.0.113.0/24]")
		return nil
	}
	for i, item := range items {
		s, ok := r.text(index(field, i), item, "203.0.113.0/24")
		if !ok {
			continue
		}
		if isVariable(s.text) {
			prefixes = append(prefixes, r.fromEnvironment(s, env)...)
			continue
		}
		prefix, wrong := parseNetwork(s.text)
		if wrong != "" {
			r.fail(s.at, s.field, "%s %s", quote(s.text), wrong)
			continue
		}
		prefixes = append(prefixes, prefix)
	}
	return prefixes
}

// everyAddress names the kind of address, IPv4 or IPv6, of which the networks together
// hold every one; "" when there is none.
func everyAddress(networks []netip.Prefix) string {
	switch {
	case CoversAll(networks, netip.PrefixFrom(netip.IPv4Unspecified(), 0)):
		return "IPv4"
	case CoversAll(networks, netip.PrefixFrom(netip.IPv6Unspecified(), 0)):
		return "IPv6"
	}
	return ""
}

// CoversAll reports whether every address of a network is in one of the others.
func CoversAll(networks []netip.Prefix, all netip.Prefix) bool {
	var inside []netip.Prefix
	for _, n := range networks {
		switch {
		case !n.Overlaps(all):
		case n.Bits() <= all.Bits():
			return true
		default:
			inside = append(inside, n)
		}
	}
	if len(inside) < 2 { // no single network in it is all of it
		return false
	}
	low := netip.PrefixFrom(all.Addr(), all.Bits()+1)
	high := all.Addr().AsSlice()
	high[all.Bits()/8] |= 0x80 >> (all.Bits() % 8)
	start, _ := netip.AddrFromSlice(high)
	return CoversAll(inside, low) && CoversAll(inside, netip.PrefixFrom(start, all.Bits()+1))
}

func isVariable(s string) bool {
	return strings.HasPrefix(s, "${") && strings.HasSuffix(s, "}")
}

// fromEnvironment reads networks from a variable, separated by commas or spaces.
func (r *fileReader) fromEnvironment(s stringAt, env func(string) (string, bool)) (prefixes []netip.Prefix) {
	name := s.text[2 : len(s.text)-1]
	if !validParam(name) {
		r.fail(s.at, s.field, "%s names no variable; write ${NAME} with letters, digits and underscores", quote(s.text))
		return nil
	}
	content, set := "", false
	if env != nil {
		content, set = env(name)
	}
	if !set {
		r.fail(s.at, s.field, "${%s} is not set in the environment; set it to networks, separated by commas", name)
		return nil
	}
	words := strings.FieldsFunc(content, func(c rune) bool { return c == ',' || c == ' ' || c == '\t' || c == '\n' || c == '\r' })
	if len(words) == 0 {
		r.fail(s.at, s.field, "${%s} is empty in the environment, which does not mean everybody; set it to networks, separated by commas", name)
	}
	for _, word := range words {
		prefix, wrong := parseNetwork(word)
		if wrong != "" {
			r.fail(s.at, s.field, "${%s} has %s, which %s", name, quote(word), wrong)
			continue
		}
		prefixes = append(prefixes, prefix)
	}
	return prefixes
}

// parseNetwork reads a network, or an address as a network of one. wrong says what
// is wrong with it; "" when nothing is.
func parseNetwork(s string) (_ netip.Prefix, wrong string) {
	const example = "; write a network such as 203.0.113.0/24 or an address such as 203.0.113.7"
	if !strings.Contains(s, "/") {
		addr, err := netip.ParseAddr(s)
		switch {
		case err != nil:
			return netip.Prefix{}, "is no address and no network" + example
		case addr.Zone() != "":
			return netip.Prefix{}, "has a zone, which says nothing about a client; write the address alone"
		case addr.Is4In6():
			return netip.Prefix{}, fmt.Sprintf("is an IPv4 address in IPv6 notation; write %s", addr.Unmap())
		}
		return netip.PrefixFrom(addr, addr.BitLen()), ""
	}
	prefix, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return netip.Prefix{}, "is no network" + example
	case prefix.Addr().Is4In6():
		return netip.Prefix{}, "is an IPv4 network in IPv6 notation; write it as IPv4"
	case prefix != prefix.Masked():
		return netip.Prefix{}, fmt.Sprintf("has host bits set; write %s for the network, or %s for the one address", prefix.Masked(), prefix.Addr())
	}
	return prefix, ""
}
