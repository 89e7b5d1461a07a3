package policy

import (
	"fmt"
	"net/netip"
	"strings"

	"warder/policy/pattern"
	"warder/policy/strict"
)

// prefixes reads the networks of an ip_list: a list of addresses, networks and ${VAR}, or a
// single ${VAR}.
func prefixes(r *strict.Reader, l listEntry, env func(string) (string, bool)) (prefixes []netip.Prefix) {
	items := l.value.Items
	field := l.name.Field
	switch {
	case l.value.Kind == strict.Text && isVariable(l.value.Text):
		return fromEnvironment(r, strict.String{Text: l.value.Text, At: l.value.At, Field: field}, env)
	case l.value.Kind == strict.Text:
		r.Fail(l.value.At, field, "is a text, but must be a list; write [%s], or ${VAR} for one from the environment", l.value.Text)
		return nil
	case l.value.Kind != strict.List:
		r.WrongKind(field, l.value, "a list of networks such as [203.0.113.0/24]")
		return nil
	case len(items) == 0:
		r.Fail(l.value.At, field, "is an empty list, which matches nobody; write networks such as [203.0.113.0/24]")
		return nil
	}
	for i, item := range items {
		text, ok := r.Text(strict.Index(field, i), item, "203.0.113.0/24")
		if !ok {
			continue
		}
		s := strict.String{Text: text, At: item.At, Field: strict.Index(field, i)}
		if isVariable(text) {
			prefixes = append(prefixes, fromEnvironment(r, s, env)...)
			continue
		}
		prefix, wrong := parseNetwork(s.Text)
		if wrong != "" {
			r.Fail(s.At, s.Field, "%s %s", strict.Quote(s.Text), wrong)
			continue
		}
		prefixes = append(prefixes, prefix)
	}
	return prefixes
}

// everyAddress returns the kind of address, IPv4 or IPv6, of which the networks together
// contain every address, or "".
func everyAddress(networks []netip.Prefix) string {
	switch {
	case CoversAll(networks, netip.PrefixFrom(netip.IPv4Unspecified(), 0)):
		return "IPv4"
	case CoversAll(networks, netip.PrefixFrom(netip.IPv6Unspecified(), 0)):
		return "IPv6"
	}
	return ""
}

// CoversAll reports whether the networks together contain every address of another network.
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
	if len(inside) < 2 { // a single network that is smaller than all
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

// fromEnvironment reads networks, separated by commas or white space, from a variable.
func fromEnvironment(r *strict.Reader, s strict.String, env func(string) (string, bool)) (prefixes []netip.Prefix) {
	name := s.Text[2 : len(s.Text)-1]
	if !pattern.ValidParam(name) {
		r.Fail(s.At, s.Field, "%s does not name a variable; write ${NAME} with letters, digits and underscores", strict.Quote(s.Text))
		return nil
	}
	content, set := "", false
	if env != nil {
		content, set = env(name)
	}
	if !set {
		r.Fail(s.At, s.Field, "${%s} is not set in the environment; set it to networks, separated by commas", name)
		return nil
	}
	words := strings.FieldsFunc(content, func(c rune) bool { return c == ',' || c == ' ' || c == '\t' || c == '\n' || c == '\r' })
	if len(words) == 0 {
		r.Fail(s.At, s.Field, "${%s} is empty in the environment, which does not mean everybody; set it to networks, separated by commas", name)
	}
	for _, word := range words {
		prefix, wrong := parseNetwork(word)
		if wrong != "" {
			r.Fail(s.At, s.Field, "${%s} has %s, which %s", name, strict.Quote(word), wrong)
			continue
		}
		prefixes = append(prefixes, prefix)
	}
	return prefixes
}

// parseNetwork reads a network, or an address as a network of one. wrong says what is wrong
// with it; it is "" for a valid one.
func parseNetwork(s string) (_ netip.Prefix, wrong string) {
	if s == "0.0.0.0" || s == "::" {
		return netip.Prefix{}, "is one address, which no client has; write [any] under client_ips for any address, or the network that is meant"
	}
	const example = "; write a network such as 203.0.113.0/24 or an address such as 203.0.113.7"
	if !strings.Contains(s, "/") {
		addr, err := netip.ParseAddr(s)
		switch {
		case err != nil:
			return netip.Prefix{}, "is neither an address nor a network" + example
		case addr.Zone() != "":
			return netip.Prefix{}, "has a zone, which does not identify a client; write the address alone"
		case addr.Is4In6():
			return netip.Prefix{}, fmt.Sprintf("is an IPv4 address in IPv6 notation; write %s", addr.Unmap())
		}
		return netip.PrefixFrom(addr, addr.BitLen()), ""
	}
	prefix, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return netip.Prefix{}, "is not a network" + example
	case prefix.Addr().Is4In6():
		return netip.Prefix{}, "is an IPv4 network in IPv6 notation; write it as IPv4"
	case prefix != prefix.Masked():
		return netip.Prefix{}, fmt.Sprintf("has host bits set; write %s for the network, or %s for the one address", prefix.Masked(), prefix.Addr())
	}
	return prefix, ""
}
