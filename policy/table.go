package policy

import (
	"cmp"
	"slices"

	"warder/policy/pattern"
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
	Host    string          // "" for any
	Methods []string        // nil when none is listed; the caller must not change them
	Path    string          // as written
	Pattern pattern.Pattern // the path, compiled
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
			compiled, _ := pattern.Parse(path) // it was compiled before
			for _, host := range r.written.hosts {
				table = append(table, Entry{Route: r, Host: host, Methods: r.written.methods, Path: path, Pattern: compiled})
			}
		}
	}
	slices.SortStableFunc(table, func(a, b Entry) int {
		return cmp.Or(pattern.CompareHosts(a.Host, b.Host), a.Pattern.Compare(b.Pattern), cmp.Compare(unlisted(a), unlisted(b)))
	})
	return table
}

func unlisted(e Entry) int {
	if len(e.Methods) == 0 {
		return 1
	}
	return 0
}

// Takes reports whether the entry is for a request, as [Policy.Match] would read it.
func (e Entry) Takes(method, host string, path pattern.Path) bool {
	var buf [pattern.MaxHost]byte
	name, ok := pattern.CanonicalHost(host, &buf)
	return ok && e.Pattern.Matches(path) && pattern.HostMatches(e.Host, string(name)) && e.takesMethod(method)
}

// takesMethod reports whether the entry is for a method.
func (e Entry) takesMethod(method string) bool {
	if len(e.Methods) == 0 {
		return slices.Contains(absentMethods, method)
	}
	return slices.Contains(e.Methods, method) || method == "HEAD" && slices.Contains(e.Methods, "GET")
}
