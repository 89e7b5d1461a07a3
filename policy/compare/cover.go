package compare

import (
	"fmt"
	"slices"

	"warder/policy"
	"warder/policy/pattern"
	"warder/policy/strict"
)

// An Operation is a method and a path of an application. The path is written as in a policy.
type Operation struct{ Method, Path string }

// A Coverage is how a policy fits the operations of an application.
type Coverage struct {
	// Missing are the indexes of operations that no route matches, except for paths that a
	// more specific route matches.
	Missing []int
	// Apart are operations whose requests are decided by more than one route.
	Apart []Apart
	// Idle are entries of the table that win no request to an operation.
	Idle []policy.Entry
}

// Apart is an operation whose requests are decided by several routes. One of them may be nil,
// for no route.
type Apart struct {
	Operation int
	Host      string // where; "" for any
	Routes    []*policy.Route
}

// Operations compares a policy with the operations of an application. A request that several
// operations match is one to the most specific of them.
func Operations(p *policy.Policy, operations []Operation) (Coverage, error) {
	table := p.Table()
	wanted := make([]policy.Entry, len(operations))
	for i, o := range operations {
		compiled, wrong := pattern.Parse(o.Path)
		if wrong != "" {
			return Coverage{}, fmt.Errorf("the path %s %s", strict.Quote(o.Path), wrong)
		}
		wanted[i] = policy.Entry{Methods: []string{o.Method}, Path: o.Path, Pattern: compiled}
	}
	cells, err := cut(true, table, wanted)
	if err != nil {
		return Coverage{}, err
	}
	c := &covering{policy: p, wanted: wanted, byMethod: map[string][]int{}, entries: map[*policy.Route][]policy.Entry{}, reached: map[reachedKey]bool{}}
	for _, e := range table {
		c.entries[e.Route] = append(c.entries[e.Route], e)
	}
	for i, o := range operations {
		c.byMethod[o.Method] = append(c.byMethod[o.Method], i)
	}
	for _, list := range c.byMethod {
		slices.SortStableFunc(list, func(a, b int) int { return wanted[a].Pattern.Compare(wanted[b].Pattern) })
	}
	c.answers = make([][]answer, len(operations))
	for _, at := range cells {
		c.look(at)
	}
	return c.coverage(table), nil
}

// A covering collects the routes that decide the requests to each operation.
type covering struct {
	policy   *policy.Policy
	entries  map[*policy.Route][]policy.Entry
	wanted   []policy.Entry
	byMethod map[string][]int // operations, the most specific first
	answers  [][]answer       // by operation
	reached  map[reachedKey]bool
}

// An answer is the route that decides one cell of an operation.
type answer struct {
	host  string
	whole bool // no parameter of the operation has a value that only a more specific pattern needs
	route *policy.Route
}

type reachedKey struct {
	route      *policy.Route
	host, path string
	method     string
}

func (c *covering) look(at cell) {
	for method, list := range c.byMethod {
		for _, i := range list {
			wanted := c.wanted[i].Pattern
			if !at.takenBy(wanted) {
				continue
			}
			route := winner(c.policy, method, at)
			c.answers[i] = append(c.answers[i], answer{at.host, isWhole(wanted, at), route})
			c.note(route, method, at)
			break // the others are less specific
		}
	}
}

// isWhole reports whether the cell has what is typical of each segment of a pattern: no literal
// or mixed segment of another pattern matches it that the segment does not need.
func isWhole(p pattern.Pattern, at cell) bool {
	for i, s := range p.Segments() {
		c := at.segments[i]
		switch {
		case s.IsLiteral():
			if !c.literal {
				return false
			}
		case s.IsParam():
			if c.literal || len(c.in) > 0 {
				return false
			}
		case c.literal || !c.holds(s.Typical(slices.Concat(c.in, c.out))):
			return false
		}
	}
	return true
}

// note records the entry of the table that wins the requests of a cell.
func (c *covering) note(r *policy.Route, method string, at cell) {
	if r == nil {
		return
	}
	for _, e := range c.entries[r] {
		if pattern.HostCovers(e.Host, at.host) && at.takenBy(e.Pattern) {
			c.reached[reachedKey{r, e.Host, e.Path, method}] = true
		}
	}
}

func (c *covering) coverage(table []policy.Entry) (found Coverage) {
	for i, answers := range c.answers {
		taken := map[string]bool{}
		for _, a := range answers {
			if a.whole && a.route != nil {
				taken[a.host] = true
			}
		}
		if len(taken) == 0 {
			found.Missing = append(found.Missing, i)
			continue
		}
		found.Apart = append(found.Apart, apart(i, answers, taken)...)
	}
	for _, e := range table {
		if e.Methods = c.idleMethods(e); len(e.Methods) > 0 {
			found.Idle = append(found.Idle, e)
		}
	}
	return found
}

// apart returns the hosts on which several routes decide the requests to one operation.
func apart(operation int, answers []answer, taken map[string]bool) (found []Apart) {
	for _, host := range hostsOf(answers) {
		var routes []*policy.Route
		for _, a := range answers {
			if a.host == host && !slices.Contains(routes, a.route) {
				routes = append(routes, a.route)
			}
		}
		if taken[host] && len(routes) > 1 {
			found = append(found, Apart{operation, host, routes})
		}
	}
	return found
}

func hostsOf(answers []answer) (hosts []string) {
	for _, a := range answers {
		if !slices.Contains(hosts, a.host) {
			hosts = append(hosts, a.host)
		}
	}
	return hosts
}

// idleMethods returns the listed methods of an entry that no operation uses. An entry without
// a list is idle, with all usual methods, if no operation uses it at all.
func (c *covering) idleMethods(e policy.Entry) (idle []string) {
	used := func(method string) bool { return c.reached[reachedKey{e.Route, e.Host, e.Path, method}] }
	if len(e.Methods) == 0 {
		if slices.ContainsFunc(policy.UsualMethods(), used) {
			return nil
		}
		return policy.UsualMethods()
	}
	for _, method := range e.Methods {
		if !used(method) && (method != "HEAD" || !used("GET")) {
			idle = append(idle, method)
		}
	}
	return idle
}
