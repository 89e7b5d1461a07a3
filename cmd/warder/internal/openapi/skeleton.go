package openapi

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/getkin/kin-openapi/openapi3"

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
	refused []Operation // operations that no route can match
	twice   []Operation // operations that match the same requests as an earlier one
}

type skeletonRoute struct {
	id      string
	path    string
	methods []string
	rule    skeletonRule
	names   []string // the names of the operations, for comments
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
	first := map[*skeletonRoute]Operation{}
	for _, o := range a.Operations {
		requests := pattern.PathKey(o.path)
		switch {
		case o.path == "":
			s.refused = append(s.refused, o)
			continue
		case taken[o.Method+" "+requests] != nil:
			s.twice = append(s.twice, o)
			continue
		}
		rule := ruleOf(a, o.security)
		key := requests + "\n" + rule.key()
		r := groups[key]
		if r == nil {
			r = &skeletonRoute{path: o.path, rule: rule}
			groups[key], first[r] = r, o
			s.routes = append(s.routes, r)
		}
		taken[o.Method+" "+requests] = r
		r.methods = append(r.methods, o.Method)
		r.names = append(r.names, o.Method+": "+nameOfOperation(o))
	}
	s.closeContested(a, taken)
	ids := map[string]bool{}
	for _, r := range s.routes {
		r.id = uniqueID(idFor(r, first[r]), ids)
	}
	return s
}

// closeContested closes routes that also match requests to another operation, if that
// operation may require other credentials. Such a route would allow for one operation what
// the document allows only for the other.
func (s skeleton) closeContested(a Application, taken map[string]*skeletonRoute) {
	for _, o := range slices.Concat(s.refused, s.twice) {
		r := taken[o.Method+" "+pattern.PathKey(o.Loose)]
		if o.Loose == "" || r == nil || o.path != "" && r.rule.key() == ruleOf(a, o.security).key() {
			continue
		}
		closed := skeletonRule{user: &policy.UserRule{Roles: []string{undecided}}, decide: r.rule.decide}
		closed.mark("this route also decides requests to " + operationName(o) + ", and the two operations may ask for different credentials")
		r.rule = closed
	}
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
func ruleOf(a Application, security openapi3.SecurityRequirements) skeletonRule {
	var r skeletonRule
	if len(security) == 0 {
		r.decide = append(r.decide, "the document asks for no credential here; public: true instead of allow lets everybody in")
	}
	for _, wanted := range security {
		switch len(wanted) {
		case 0:
			r.mark("the document makes the credential optional; {anonymous: {}} in allow lets requests without one in")
		case 1:
			for name, listed := range wanted {
				r.add(a, name, listed)
			}
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
func (r *skeletonRule) add(a Application, name string, listed []string) {
	var scheme *openapi3.SecurityScheme
	if ref := a.schemes[name]; ref != nil {
		scheme = ref.Value
	}
	switch {
	case scheme == nil:
		r.mark("the document does not define the security scheme " + cli.OneLine(name, 60))
	case scheme.Type == "apiKey" && scheme.In == "header" && !strings.EqualFold(scheme.Name, "authorization"):
		r.addKey(scheme.Name, listed)
	case scheme.Type == "apiKey" && scheme.In != "header":
		r.mark("the document wants an API key in the " + cli.OneLine(scheme.In, 20) + ", and warder reads it from a header")
	case scheme.Type == "http" && strings.EqualFold(scheme.Scheme, "bearer"):
		r.addUser(listed, a.roles)
	case scheme.Type == "oauth2", scheme.Type == "openIdConnect", scheme.Type == "apiKey":
		r.addUser(listed, false)
	default:
		r.mark(fmt.Sprintf("the document asks for %s, which warder does not check", cli.OneLine(strings.TrimSpace(scheme.Type+" "+scheme.Scheme), 40)))
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

func uniqueID(id string, used map[string]bool) string {
	unique := id
	for n := 2; used[unique]; n++ {
		unique = id + "-" + strconv.Itoa(n)
	}
	used[unique] = true
	return unique
}
