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

// undecided is the role and the scope that nobody holds: it keeps a route closed until
// somebody has decided who may pass.
const undecided = "DECIDE"

// A skeleton is a policy that is to be filled in.
type skeleton struct {
	routes  []*skeletonRoute
	refused []Operation // that no route can take
	twice   []Operation // that another one has the requests of
}

type skeletonRoute struct {
	id      string
	path    string
	methods []string
	rule    skeletonRule
	names   []string // what the operations are called, for people
}

// A skeletonRule is what the document says of who may pass.
type skeletonRule struct {
	user   *policy.UserRule
	apiKey *policy.APIKeyRule
	decide []string // what it does not say
}

// key is the same for rules that let the same requests pass.
func (r skeletonRule) key() string {
	return fmt.Sprintf("%+v|%+v|%q", r.user, r.apiKey, r.decide)
}

func skeletonOf(a Application) skeleton {
	var s skeleton
	taken := map[string]*skeletonRoute{} // by method and requests
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

// closeContested closes routes that take requests to operations which may ask for more:
// what they let pass for one operation they would let pass for the other.
func (s skeleton) closeContested(a Application, taken map[string]*skeletonRoute) {
	for _, o := range slices.Concat(s.refused, s.twice) {
		r := taken[o.Method+" "+pattern.PathKey(o.Loose)]
		if o.Loose == "" || r == nil || o.path != "" && r.rule.key() == ruleOf(a, o.security).key() {
			continue
		}
		closed := skeletonRule{user: &policy.UserRule{Roles: []string{undecided}}, decide: r.rule.decide}
		closed.mark("requests to " + operationName(o) + " go here too, and the two may ask for other credentials")
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

// ruleOf reads security requirements. Each of them is enough; each may want several
// schemes at once.
func ruleOf(a Application, security openapi3.SecurityRequirements) skeletonRule {
	var r skeletonRule
	if len(security) == 0 {
		r.decide = append(r.decide, "the document asks for no credential here; public: true instead of allow lets everybody in")
	}
	for _, wanted := range security {
		switch len(wanted) {
		case 0:
			r.mark("the document asks for a credential or none; {anonymous: {}} in allow lets requests without one in")
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

// add reads one scheme that is enough alone.
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

// addUser opens a route to users with the listed roles, where the document says that they
// are roles. Which roles an application asks for elsewhere, it does not say.
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
		r.mark("the document lists " + cli.OneLine(strings.Join(listed, ", "), 120) + ": scopes of a token, which are no roles. Users with which roles?")
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

// idFor makes an id of what the application calls its operation, or of the path.
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

const maxID = 100 // leaves room for a number

var (
	notInID = regexp.MustCompile(`[^a-z0-9._]+`)
	notWord = regexp.MustCompile(`\W`)
)

// fastAPISuffix is what FastAPI puts behind the name of a function: path and method.
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
