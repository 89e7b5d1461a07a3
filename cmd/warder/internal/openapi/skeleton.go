package openapi

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"warder/cmd/warder/internal/cli"
	"warder/policy"
	"warder/policy/pattern"
)

// undecided is the name of a role and a scope that nobody holds. It keeps a route closed until
// somebody has decided who may pass.
const undecided = "DECIDE"

// A skeleton is a generated policy in which some rules are still to be decided.
type skeleton struct {
	routes  []*skeletonRoute
	refused []Operation // operations that have no route of their own
}

type skeletonRoute struct {
	id      string
	path    string
	shape   string // of the path, to compare it with others
	methods []string
	rule    skeletonRule
	names   []string // the names of the operations, for comments
	notes   []string // how the path differs from that of the document
	decide  []string // what is to be decided about the path
	first   Operation
	// contested counts the operations that closed the route.
	contested int
	line      int // where the route begins in the text
}

// A skeletonRule holds what the document says about who may pass.
type skeletonRule struct {
	user   *policy.UserRule
	apiKey *policy.APIKeyRule
	decide []string // what is left to decide
}

// key returns the same string for equal rules.
func (r skeletonRule) key() string {
	return fmt.Sprintf("%+v|%+v|%q", r.user, r.apiKey, r.decide)
}

func skeletonOf(a Application) skeleton {
	var s skeleton
	taken := map[string]*skeletonRoute{} // by method and the key of the path
	groups := map[string]*skeletonRoute{}
	contested := map[*skeletonRoute][]Operation{}
	for _, o := range a.Operations {
		if o.path == "" {
			s.refused = append(s.refused, o)
			continue
		}
		requests := pattern.PathKey(o.path)
		rule := ruleOf(a, o.security)
		key := requests + "\n" + rule.key()
		if r := taken[o.Method+" "+requests]; r != nil {
			// One request may be for either operation, so that both become one route.
			r.names = append(r.names, operationName(o)+": "+nameOfOperation(o))
			r.decideAlso(o)
			if rule.key() != r.rule.key() {
				contested[r] = append(contested[r], o)
			}
			continue
		}
		r := groups[key]
		if r == nil {
			r = &skeletonRoute{path: o.path, shape: o.shape, rule: rule, first: o}
			groups[key] = r
			s.routes = append(s.routes, r)
		}
		taken[o.Method+" "+requests] = r
		r.methods = append(r.methods, o.Method)
		r.names = append(r.names, o.Method+": "+nameOfOperation(o))
		for _, note := range o.notes {
			r.notes = appendNew(r.notes, note)
		}
		r.decideAlso(o)
	}
	s.closeContested(a)
	for r, others := range contested {
		for _, o := range others {
			r.close(o)
		}
	}
	ids := map[string]int{}
	for _, r := range s.routes {
		r.id = uniqueID(idFor(r, r.first), ids)
	}
	return s
}

// decideAlso adds what is to be decided about the path of an operation.
func (r *skeletonRoute) decideAlso(o Operation) {
	for _, what := range o.decide {
		r.decide = appendNew(r.decide, what)
	}
}

// close closes a route that also decides requests to another operation, which may require
// other credentials. It would allow for one operation what the document allows only for the
// other.
func (r *skeletonRoute) close(o Operation) {
	closed := skeletonRule{user: &policy.UserRule{Roles: []string{undecided}}, decide: r.rule.decide}
	if r.contested++; r.contested <= maxNamed {
		closed.mark("this route also decides requests to " + operationName(o) + ", and the two operations may ask for different credentials")
	} else {
		closed.mark("this route also decides requests to further operations, which may ask for different credentials")
	}
	r.rule = closed
}

// maxNamed bounds how many of them a route names.
const maxNamed = 8

// closeContested closes the routes that decide requests to an operation without a route of its
// own. A route that is more specific than the operation rightly decides them.
func (s *skeleton) closeContested(a Application) {
	byMethod := map[string][]*skeletonRoute{}
	patterns := map[*skeletonRoute]pattern.Pattern{}
	keys := map[*skeletonRoute]string{}
	for _, r := range s.routes {
		patterns[r], _ = pattern.Parse(r.path)
		keys[r] = r.rule.key()
		for _, method := range r.methods {
			byMethod[method] = append(byMethod[method], r)
		}
	}
	done := map[string]bool{}
	for _, o := range s.refused {
		if o.shape == "" {
			continue
		}
		rule := ruleOf(a, o.security).key()
		same := o.Method + " " + o.shape + "\n" + rule
		if done[same] {
			continue
		}
		done[same] = true
		loose, _ := pattern.Parse(o.Loose)
		routes := byMethod[o.Method]
		if o.Method == "HEAD" { // GET stands for HEAD
			routes = slices.Concat(routes, byMethod["GET"])
		}
		for _, r := range routes {
			if keys[r] == rule || !mayMatch(r.shape, o.shape) {
				continue
			}
			// How an operation compares is not known where its shape is no path of a policy. Then
			// only a route of literals is more specific.
			p := patterns[r]
			literal := len(p.Params()) == 0 && !p.Rest()
			if known := !o.open && o.Loose == o.shape; known && p.Compare(loose) >= 0 || !known && !literal {
				r.close(o)
			}
		}
	}
}

// withoutTies takes out the routes that do not load, such as one of two that could both win a
// request. load returns what is wrong with the skeleton.
func (s *skeleton) withoutTies(a Application, load func(text string) error) (text string, err error) {
	for range maxTies {
		text = s.yaml(a)
		if err = load(text); err == nil {
			return text, nil
		}
		problems, ok := errors.AsType[policy.Problems](err)
		if !ok {
			return "", err
		}
		wrong := map[*skeletonRoute]string{}
		for _, p := range problems {
			for i, r := range s.routes {
				if r.line <= p.Line && (i+1 == len(s.routes) || p.Line < s.routes[i+1].line) {
					wrong[r] = p.Message
				}
			}
		}
		if len(wrong) == 0 {
			return "", err
		}
		s.takeOut(a, wrong)
	}
	return "", err
}

// maxTies bounds how often routes are taken out of a skeleton.
const maxTies = 20

// takeOut moves the operations of routes to those that have no route of their own.
func (s *skeleton) takeOut(a Application, wrong map[*skeletonRoute]string) {
	paths := map[string]string{}
	for r, message := range wrong {
		for _, method := range r.methods {
			paths[method+" "+pattern.PathKey(r.path)] = message
		}
	}
	s.routes = slices.DeleteFunc(s.routes, func(r *skeletonRoute) bool { return wrong[r] != "" })
	for _, o := range a.Operations {
		if message, out := paths[o.Method+" "+pattern.PathKey(o.path)]; out && o.path != "" {
			o.Wrong, o.open = tieMessage(message), true
			s.refused = append(s.refused, o)
		}
	}
	s.closeContested(a)
}

// tieMessage returns the part of a message that does not depend on lines of the text.
func tieMessage(message string) string {
	if _, example, found := strings.Cut(message, "could both win "); found {
		example, _, _ = strings.Cut(example, ";")
		return "it and another route could both win " + cli.OneLine(example, 200)
	}
	return "its route does not load: " + cli.OneLine(message, 200)
}

func nameOfOperation(o Operation) string {
	for _, name := range []string{o.summary, o.ID} {
		if name = cli.OneLine(name, 80); name != "" {
			return name
		}
	}
	return "without a name"
}

// ruleOf returns the rule for a list of security requirements. Each requirement is enough
// alone, and each may require several schemes at once.
func ruleOf(a Application, security security) skeletonRule {
	var r skeletonRule
	switch {
	case security.wrong != "":
		r.user = &policy.UserRule{Roles: []string{undecided}}
		r.mark("it is not known who may pass: " + security.wrong)
		return r
	case len(security.ways) == 0:
		r.decide = append(r.decide, "the document asks for no credential here; public: true instead of allow lets everybody in")
	}
	for _, wanted := range security.ways {
		switch len(wanted) {
		case 0:
			r.mark("the document makes the credential optional; {anonymous: {}} in allow lets requests without one in")
		case 1:
			r.add(a, wanted[0])
		default:
			r.mark("the document asks for several credentials at once, and a request to warder carries one")
		}
	}
	if r.user == nil && r.apiKey == nil {
		r.user = &policy.UserRule{Roles: []string{undecided}}
	}
	return r
}

func (r *skeletonRule) mark(what string) {
	if !slices.Contains(r.decide, what) {
		r.decide = append(r.decide, what)
	}
}

// add adds the way in for a scheme that is enough alone.
func (r *skeletonRule) add(a Application, w wanted) {
	s := a.schemes[w.scheme]
	switch {
	case w.wrong:
		r.mark("what the document lists for the security scheme " + cli.OneLine(w.scheme, 60) + " is not a list of names")
	case s == scheme{}:
		r.mark("the document does not define the security scheme " + cli.OneLine(w.scheme, 60))
	case s.kind == "apiKey" && s.in == "header" && !strings.EqualFold(s.name, "authorization"):
		r.addKey(s.name, w.listed)
	case s.kind == "apiKey" && s.in != "header":
		r.mark("the document wants an API key in the " + cli.OneLine(s.in, 20) + ", and warder reads it from a header")
	case s.kind == "http" && strings.EqualFold(s.scheme, "bearer"):
		r.addUser(w.listed, a.roles)
	case s.kind == "oauth2", s.kind == "openIdConnect", s.kind == "apiKey":
		r.addUser(w.listed, false)
	default:
		r.mark(fmt.Sprintf("the document asks for %s, which warder does not check", cli.OneLine(strings.TrimSpace(s.kind+" "+s.scheme), 40)))
	}
}

// addUser allows users with the listed roles, if the document says that the listed names are
// roles. Otherwise the document does not say which roles the application requires, and the
// role is left to decide.
func (r *skeletonRule) addUser(listed []string, roles bool) {
	known := roles && len(listed) > 0 && allNames(listed)
	switch {
	case r.user != nil:
		r.user = &policy.UserRule{Roles: []string{undecided}}
		r.mark("the document has several ways in for users. Users with which roles?")
	case known:
		r.user = &policy.UserRule{AllRoles: slices.Clone(listed)}
		return
	default:
		r.user = &policy.UserRule{Roles: []string{undecided}}
	}
	if len(listed) > 0 {
		r.mark("the document lists scopes of a token, not roles: " + cli.OneLine(strings.Join(listed, ", "), 120) + ". Users with which roles?")
		return
	}
	r.mark("users with which roles? user: {} is any signed-in user")
}

func (r *skeletonRule) addKey(header string, listed []string) {
	if !strings.EqualFold(header, "X-API-Key") {
		r.mark("the key is in " + cli.OneLine(header, 60) + "; write api_key: {header: …} in warder.yaml")
	}
	before := r.apiKey
	switch {
	case !allNames(listed):
		r.mark("the document lists scopes that no key can hold")
		listed = nil
	case len(listed) == 0:
		r.mark("API keys with which scopes? api_key: {} is any valid key")
	}
	if len(listed) == 0 {
		listed = []string{undecided}
	}
	r.apiKey = &policy.APIKeyRule{Scopes: slices.Clone(listed)}
	if before != nil {
		r.apiKey.Scopes = []string{undecided}
		r.mark("the document has several ways in for API keys")
	}
}

func allNames(listed []string) bool {
	for i, name := range listed {
		if !policy.ValidName(name) || slices.Contains(listed[:i], name) || !printableName(name) {
			return false
		}
	}
	return true
}

func printableName(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsPrint(c) })
}

// idFor returns a route id made from the operation's id, or from the path.
func idFor(r *skeletonRoute, o Operation) string {
	name := o.path
	if len(r.methods) == 1 && o.ID != "" {
		name = strings.TrimSuffix(o.ID, fastAPISuffix(o))
	}
	id := strings.Trim(notInID.ReplaceAllString(strings.ToLower(name), "-"), "-._")
	id = strings.TrimRight(id[:min(len(id), maxID)], "-._")
	if id == "" {
		return "route"
	}
	return id
}

const maxID = 100 // leaves room for the number that uniqueID may add

var (
	notInID = regexp.MustCompile(`[^a-z0-9._]+`)
	notWord = regexp.MustCompile(`\W`)
)

// fastAPISuffix returns the path and method that FastAPI appends to a function's name.
func fastAPISuffix(o Operation) string {
	suffix := notWord.ReplaceAllString(o.Template, "_") + "_" + strings.ToLower(o.Method)
	if len(suffix) >= len(o.ID) {
		return ""
	}
	return suffix
}

// uniqueID returns an id that is not used yet. used holds how often each one was asked for.
func uniqueID(id string, used map[string]int) string {
	unique := id
	for used[unique] > 0 {
		used[id]++
		unique = id + "-" + strconv.Itoa(used[id])
	}
	used[unique]++
	return unique
}
