package policy

import (
	"fmt"
	"slices"

	"warder/policy/pattern"
	"warder/policy/strict"
)

// WrongPath says why a policy cannot hold a path; "" when it can without path_allows.
func WrongPath(path string) string {
	p, wrong := pattern.Parse(path)
	if wrong == "" && p.Forms() != 0 {
		return fmt.Sprintf("is written with what a route refuses unless it says path_allows: [%s]", p.Forms())
	}
	return wrong
}

// SamePaths returns a text that is the same for paths that match the same requests.
func SamePaths(path string) string {
	p, _ := pattern.Parse(path)
	return p.Key()
}

// An Operation is a method and a path, as a policy writes it, that an application answers.
type Operation struct{ Method, Path string }

// A Coverage is how a policy and the operations of an application fit.
type Coverage struct {
	// Missing are operations that no route takes, but for those of their paths that a
	// more specific route takes: by their places in the list.
	Missing []int
	// Apart are operations that more than one answer of the policy is for.
	Apart []Apart
	// Idle are entries of the table that take no request to any operation.
	Idle []Entry
}

// Apart is an operation of which routes take parts; nil stands for no route.
type Apart struct {
	Operation int
	Host      string // where; "" for any
	Routes    []*Route
}

// Cover holds a policy against operations. Where operations overlap, the more specific
// one is meant.
func (p *Policy) Cover(operations []Operation) (Coverage, error) {
	table := p.Table()
	wanted := make([]Entry, len(operations))
	for i, o := range operations {
		compiled, wrong := pattern.Parse(o.Path)
		if wrong != "" {
			return Coverage{}, fmt.Errorf("the path %s %s", strict.Quote(o.Path), wrong)
		}
		wanted[i] = Entry{Methods: []string{o.Method}, Path: o.Path, Pattern: compiled}
	}
	cells, err := cut(true, table, wanted)
	if err != nil {
		return Coverage{}, err
	}
	c := &covering{policy: p, wanted: wanted, byMethod: map[string][]int{}, reached: map[reachedKey]bool{}}
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

// A covering gathers which routes the requests to each operation go to.
type covering struct {
	policy   *Policy
	wanted   []Entry
	byMethod map[string][]int // operations, the most specific first
	answers  [][]answer       // by operation
	reached  map[reachedKey]bool
}

// An answer is the route of one cell of an operation.
type answer struct {
	host  string
	whole bool // the cell is where all of the operation's parameters are no literal of any path
	route *Route
}

type reachedKey struct {
	route      *Route
	host, path string
	method     string
}

func (c *covering) look(at cell) {
	for method, list := range c.byMethod {
		for _, i := range list {
			wanted := c.wanted[i].Pattern
			if !takesCell(wanted, at) {
				continue
			}
			route := c.policy.winner(method, at)
			c.answers[i] = append(c.answers[i], answer{at.host, isWhole(wanted, at), route})
			c.note(route, method, at)
			break // the others are less specific
		}
	}
}

// isWhole reports whether the cell is free where the pattern is.
func isWhole(p pattern.Pattern, at cell) bool {
	for i, s := range p.Segments() {
		if s.Param != at.segments[i].Param {
			return false
		}
	}
	return true
}

// note keeps which entries of the table the request goes to.
func (c *covering) note(r *Route, method string, at cell) {
	if r == nil {
		return
	}
	for _, host := range r.written.hosts {
		for _, path := range r.written.paths {
			compiled, _ := pattern.Parse(path)
			if pattern.HostCovers(host, at.host) && takesCell(compiled, at) {
				c.reached[reachedKey{r, host, path, method}] = true
			}
		}
	}
}

func (c *covering) coverage(table []Entry) (found Coverage) {
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

// apart finds hosts on which the requests to one operation go several ways.
func apart(operation int, answers []answer, taken map[string]bool) (found []Apart) {
	for _, host := range hostsOf(answers) {
		var routes []*Route
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

// idleMethods returns the methods of an entry that no operation uses: those that it lists,
// or all where it lists none and no operation is there at all.
func (c *covering) idleMethods(e Entry) (idle []string) {
	used := func(method string) bool { return c.reached[reachedKey{e.Route, e.Host, e.Path, method}] }
	if len(e.Methods) == 0 {
		if slices.ContainsFunc(absentMethods, used) {
			return nil
		}
		return absentMethods
	}
	for _, method := range e.Methods {
		if !used(method) && (method != "HEAD" || !used("GET")) {
			idle = append(idle, method)
		}
	}
	return idle
}
