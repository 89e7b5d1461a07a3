package policy

import (
	"cmp"
	"slices"
	"strings"

	"warder/policy/strict"
)

// written is what a route was compiled from: the matcher has it taken apart.
type written struct {
	hosts   []string // one empty text for any
	methods []string // nil: none listed
	paths   []string
}

func writtenOf(e routeEntry, hosts []string) written {
	return written{hosts: hosts, methods: texts(e.Match.Methods), paths: texts(e.Match.Paths)}
}

func texts(list []strict.String) []string {
	if len(list) == 0 {
		return nil
	}
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = s.Text
	}
	return out
}

// Hosts returns the host patterns of the route, its own or those of its file; none
// for any host. The caller may change them.
func (r *Route) Hosts() []string {
	if slices.Equal(r.written.hosts, []string{""}) {
		return nil
	}
	return slices.Clone(r.written.hosts)
}

// Paths returns the paths of the route as they are written. The caller may change them.
func (r *Route) Paths() []string { return slices.Clone(r.written.paths) }

// UsualMethods returns the methods that a route takes which lists none.
func UsualMethods() []string { return slices.Clone(absentMethods) }

// An Entry is one line of the compiled table: a route under one of its hosts and
// one of its paths.
type Entry struct {
	Route   *Route
	Host    string   // "" for any
	Methods []string // nil when none is listed; the caller must not change them
	Path    string   // as written

	pattern pattern
}

// Table returns the compiled table in the order in which a request meets it: the
// first entry that takes a request is the one that wins it. (But HEAD: it looks for
// a route that lists HEAD before it takes one that lists GET for the same path.)
// Entries that no request meets both are in the order of their names, so that the
// order of the file changes nothing. The caller may change it.
func (p *Policy) Table() []Entry { return slices.Clone(p.table) }

func (p *Policy) sortedTable() []Entry {
	var table []Entry
	for _, r := range p.routes {
		for _, path := range r.written.paths {
			pattern, _ := parsePattern(path) // it was compiled before
			for _, host := range r.written.hosts {
				table = append(table, Entry{Route: r, Host: host, Methods: r.written.methods, Path: path, pattern: pattern})
			}
		}
	}
	slices.SortStableFunc(table, func(a, b Entry) int {
		return cmp.Or(compareHosts(a.Host, b.Host), comparePatterns(a.pattern, b.pattern), cmp.Compare(unlisted(a), unlisted(b)))
	})
	return table
}

func unlisted(e Entry) int {
	if len(e.Methods) == 0 {
		return 1
	}
	return 0
}

// compareHosts puts exact hosts first, then wildcards, the longest first, then any.
func compareHosts(a, b string) int {
	if rank := cmp.Compare(hostRank(a), hostRank(b)); rank != 0 {
		return rank
	}
	if hostRank(a) == rankWildcard {
		if length := cmp.Compare(len(b), len(a)); length != 0 {
			return length
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

// comparePatterns compares segment by segment: a literal, {name}, the end, **.
func comparePatterns(a, b pattern) int {
	for i := 0; ; i++ {
		x, y := kindAt(a, i), kindAt(b, i)
		switch {
		case x != y:
			return cmp.Compare(x, y)
		case x == kindEnd || x == kindRest:
			return 0
		case x == kindLiteral:
			if c := cmp.Compare(a.segments[i].text, b.segments[i].text); c != 0 {
				return c
			}
		}
	}
}

const (
	kindLiteral = iota
	kindParam
	kindEnd
	kindRest
)

func kindAt(p pattern, i int) int {
	switch {
	case i < len(p.segments) && p.segments[i].param:
		return kindParam
	case i < len(p.segments):
		return kindLiteral
	case p.rest:
		return kindRest
	}
	return kindEnd
}

// Takes reports whether the entry is for a request, as [Policy.Match] would read it.
func (e Entry) Takes(method, host string, path Path) bool {
	var buf [maxHost]byte
	name, ok := foldHost(host, &buf)
	_, whole := e.pattern.shared(path.segments)
	return ok && path.raw != "" && whole && e.takesHost(string(name)) && e.takesMethod(method)
}

// takesHost reports whether the entry is for a host that was folded.
func (e Entry) takesHost(name string) bool {
	if suffix, wildcard := strings.CutPrefix(e.Host, "*"); wildcard {
		return len(name) > len(suffix) && strings.HasSuffix(name, suffix)
	}
	return e.Host == "" || e.Host == name
}

// takesMethod reports whether the entry is for a method.
func (e Entry) takesMethod(method string) bool {
	if len(e.Methods) == 0 {
		return slices.Contains(absentMethods, method)
	}
	return slices.Contains(e.Methods, method) || method == "HEAD" && slices.Contains(e.Methods, "GET")
}

// shared returns how many segments from the left fit, and whether the whole path
// does.
func (p pattern) shared(segments []string) (n int, whole bool) {
	for n < len(p.segments) && n < len(segments) && (p.segments[n].param || p.segments[n].text == segments[n]) {
		n++
	}
	return n, n == len(p.segments) && (p.rest || n == len(segments))
}
