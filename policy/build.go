package policy

import (
	"cmp"
	"slices"
	"strings"

	"warder/policy/pattern"
)

// A builder adds routes to a matcher. It knows what only loading needs.
type builder struct {
	matcher
	mixedAt     map[mixedStep]nodeID
	methodNames []string // by number
}

// A mixedStep leads from a node to its child by a mixed segment.
type mixedStep struct {
	from nodeID
	key  string // of the segment
}

func newBuilder() *builder {
	b := &builder{mixedAt: map[mixedStep]nodeID{}, methodNames: []string{""}}
	b.matcher = matcher{
		exact: map[string]nodeID{}, wildcard: map[string]nodeID{}, literal: map[step]nodeID{}, methods: map[string]methodID{},
		nodes: make([]node, 1), mixed: make([][]mixed, 1), places: make([]place, 1), listings: make([]listing, 1), patterns: make([]pattern.Pattern, 1),
	}
	for _, method := range absentMethods {
		b.method(method)
	}
	return b
}

// add adds a route under one host, one path and all of its methods. If another route has the
// same place, add returns it and the method; the method is "" for routes without a list.
func (b *builder) add(route routeID, host string, p pattern.Pattern, listed []string) (other routeID, method string) {
	at := b.place(b.nodeFor(host, p), p)
	if len(listed) == 0 {
		if other = b.places[at].absent; other == 0 {
			b.places[at].absent = route
		}
		return other, ""
	}
	for _, method := range listed {
		number := b.method(method)
		if other = b.listed(at, number); other != 0 {
			return other, method
		}
		b.places[at].listed = push[listingID](&b.listings, listing{method: number, route: route, next: b.places[at].listed})
	}
	return 0, ""
}

// nodeFor returns the node of a pattern in the tree of a host. It creates what does not exist.
func (b *builder) nodeFor(host string, p pattern.Pattern) nodeID {
	id := b.root(host)
	for _, s := range p.Segments() {
		switch {
		case s.IsMixed():
			id = b.mixedChild(id, s)
		case s.IsLiteral():
			id = b.literalChild(id, s.Text)
		default:
			if b.nodes[id].param == 0 {
				child := push[nodeID](&b.nodes, node{})
				b.nodes[id].param = child
			}
			id = b.nodes[id].param
		}
	}
	return id
}

// root returns the root of the tree for a host pattern, which it creates if it does not exist;
// "" is any host.
func (b *builder) root(host string) nodeID {
	if host == "" {
		if b.any == 0 {
			b.any = push[nodeID](&b.nodes, node{})
		}
		return b.any
	}
	hosts := b.exact
	if name, ok := strings.CutPrefix(host, "*."); ok {
		hosts, host = b.wildcard, name
	}
	id, exists := hosts[host]
	if !exists {
		id = push[nodeID](&b.nodes, node{})
		hosts[host] = id
	}
	return id
}

// literalChild returns the child of a node by a literal segment, which it creates if it does
// not exist.
func (b *builder) literalChild(from nodeID, text string) nodeID {
	at := step{from, text}
	child, exists := b.literal[at]
	if !exists {
		child = push[nodeID](&b.nodes, node{})
		b.literal[at] = child
		b.nodes[from].literals = true
	}
	return child
}

// mixedChild returns the child of a node by a mixed segment, which it creates if it does not
// exist.
func (b *builder) mixedChild(from nodeID, s pattern.Segment) nodeID {
	at := mixedStep{from, s.Key()}
	if child, exists := b.mixedAt[at]; exists {
		return child
	}
	child := push[nodeID](&b.nodes, node{})
	b.mixedAt[at] = child
	if b.nodes[from].mixed == 0 {
		b.nodes[from].mixed = push[mixedID](&b.mixed, []mixed(nil))
	}
	list := &b.mixed[b.nodes[from].mixed]
	literals := s.Literals()
	i, exists := slices.BinarySearchFunc(*list, literals, func(m mixed, literals int) int { return cmp.Compare(literals, m.literals) })
	if !exists {
		*list = slices.Insert(*list, i, mixed{literals: literals})
	}
	(*list)[i].add(mixedChild{s, child})
	return child
}

// place returns the place of a pattern that leads to a node. It creates the place if it does
// not exist.
func (b *builder) place(id nodeID, p pattern.Pattern) placeID {
	at := &b.nodes[id].end
	if p.Rest() {
		at = &b.nodes[id].rest
	}
	if *at == 0 {
		var kept patternID
		if p.HasMixed() {
			kept = push[patternID](&b.patterns, p)
		}
		*at = push[placeID](&b.places, place{pattern: kept})
	}
	return *at
}

// method returns the number of a method.
func (b *builder) method(name string) methodID {
	number, known := b.methods[name]
	if !known {
		number = push[methodID](&b.methodNames, name)
		b.methods[name] = number
	}
	return number
}

// push appends an element and returns its index. A policy has fewer elements than an index has
// values: they would not fit into memory.
func push[ID ~uint32, T any](list *[]T, element T) ID {
	*list = append(*list, element)
	return ID(len(*list) - 1)
}
