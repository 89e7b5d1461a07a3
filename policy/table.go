package policy

import (
	"cmp"
	"slices"

	"warder/policy/pattern"
)

// written is the match of a route as it was written in the file, apart from the methods.
type written struct {
	hosts []string // one empty text for any host
	paths []string
}

// Hosts returns the host patterns of the route, which are its own or those of its file. It
// returns nil for any host. The caller may change them.
func (r *Route) Hosts() []string {
	if slices.Equal(r.written.hosts, []string{""}) {
		return nil
	}
	return slices.Clone(r.written.hosts)
}

// Paths returns the paths of the route as they are written. The caller may change them.
func (r *Route) Paths() []string { return slices.Clone(r.written.paths) }

// UsualMethods returns the methods that a route matches if it lists none.
func UsualMethods() []string { return slices.Clone(absentMethods) }

// An Entry is one line of the compiled table: a route with one of its hosts and one of its
// paths.
type Entry struct {
	Route   *Route
	Host    string          // "" for any
	Methods []string        // nil if none are listed; the caller must not change them
	Path    string          // as written
	Pattern pattern.Pattern // the path, compiled
}

// Table returns the compiled table, the most specific entry first: the first entry that matches
// a request wins it. HEAD is the exception: a route that lists HEAD wins over one that lists
// GET for the same path. Entries that match no common request are ordered by their text, so
// that the order of the file does not matter. The caller may change the table.
func (p *Policy) Table() []Entry { return slices.Clone(p.table()) }

func (p *Policy) sortedTable() []Entry {
	size := 0
	for _, r := range p.routes {
		size += len(r.written.paths) * len(r.written.hosts)
	}
	table := make([]Entry, 0, size)
	for _, r := range p.routes {
		for _, path := range r.written.paths {
			compiled, _ := pattern.Parse(path) // valid: it was parsed before
			for _, host := range r.written.hosts {
				table = append(table, Entry{Route: r, Host: host, Methods: r.Methods, Path: path, Pattern: compiled})
			}
		}
	}
	slices.SortStableFunc(table, func(a, b Entry) int {
		return cmp.Or(pattern.CompareHosts(a.Host, b.Host), a.Pattern.CompareSpecific(b.Pattern), cmp.Compare(unlisted(a), unlisted(b)), a.Pattern.Compare(b.Pattern))
	})
	return table
}

func unlisted(e Entry) int {
	if len(e.Methods) == 0 {
		return 1
	}
	return 0
}

// Takes reports whether the entry matches a request, which it reads like [Policy.Match].
func (e Entry) Takes(method, host string, path pattern.Path) bool {
	var buf [pattern.MaxHost]byte
	name, ok := pattern.CanonicalHost(host, &buf)
	return ok && e.Pattern.Matches(path) && pattern.HostMatches(e.Host, string(name)) && e.takesMethod(method)
}

// takesMethod reports whether the entry matches a method.
func (e Entry) takesMethod(method string) bool {
	if len(e.Methods) == 0 {
		return slices.Contains(absentMethods, method)
	}
	return slices.Contains(e.Methods, method) || method == "HEAD" && slices.Contains(e.Methods, "GET")
}
