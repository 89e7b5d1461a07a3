package policy

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// A fileReader turns the values of one file into routes and lists. What is wrong is
// noted, and reading goes on, so that everything wrong is found at once.
type fileReader struct {
	file     string
	lines    []string // of the file, for places inside a text
	problems Problems
	keys     map[reflect.Type][]string // of the shapes that were met
}

// A fileContent is what one file says, checked as far as the file alone tells.
type fileContent struct {
	adminRole *stringAt
	lists     []listEntry
	hosts     []stringAt // nil: none given
	clientIPs []stringAt // nil: none given
	origins   *OriginSet // nil: none given
	routes    []routeEntry
}

type stringAt struct {
	text  string
	at    Position
	field string
}

type listEntry struct {
	name  stringAt
	value value
}

type routeEntry struct {
	field string
	at    Position
	id    stringAt
	match matchEntry

	public    bool
	publicAt  Position
	shadow    bool
	allow     *allowEntry
	clientIPs []stringAt // nil: the file's default
	allows    Forms

	principals *PrincipalSet // nil: none given
	origins    *OriginSet    // nil: the file's default
	when       *whenEntry    // nil: none given
}

type matchEntry struct {
	hosts   []stringAt // nil: the file's default
	methods []stringAt // nil: absent
	paths   []stringAt
}

type allowEntry struct {
	user      *UserRule
	apiKey    *APIKeyRule
	anonymous bool
}

func (r *fileReader) fail(at Position, field, format string, args ...any) {
	r.problems = append(r.problems, Problem{at, field, fmt.Sprintf(format, args...)})
}

// A keyReader reads the value of one key.
type keyReader func(field string, v value)

// group reads a mapping whose keys are all known: they have a field in the shape and
// a reader here.
func (r *fileReader) group(field string, v value, shape any, keys map[string]keyReader) {
	order := r.keysOf(shape)
	if v.kind != mapping {
		r.wrongKind(field, v, "a group of the keys "+strings.Join(order, ", "))
		return
	}
	for _, e := range v.entries {
		read, known := keys[e.key]
		if !known || !slices.Contains(order, e.key) {
			r.fail(e.at, join(field, keyName(e.key)), "%s", r.unknownKey(e.key, shape, order))
			continue
		}
		read(join(field, e.key), e.value)
	}
}

func (r *fileReader) wrongKind(field string, v value, want string) {
	switch v.kind {
	case broken:
	case null:
		r.fail(v.at, field, "has no value; write %s", want)
	case text:
		r.fail(v.at, field, "is the text %s; write %s", quote(v.text), want)
	case boolean, number:
		r.fail(v.at, field, "is %s (%s); write %s", v.kind, v.text, want)
	default:
		r.fail(v.at, field, "is %s; write %s", v.kind, want)
	}
}

// text reads a text. Numbers and truth values are not taken for one.
func (r *fileReader) text(field string, v value, example string) (stringAt, bool) {
	if v.kind == text {
		return stringAt{v.text, v.at, field}, true
	}
	if v.kind == number || v.kind == boolean {
		r.fail(v.at, field, "is %s, not a text; put it in quotes: %q", v.kind, v.text)
		return stringAt{}, false
	}
	if v.kind == mapping && len(v.entries) == 1 && v.entries[0].value.items == nil && v.entries[0].value.text != "" {
		// [assets:read] is a text to some readers of YAML and a key with a value to others.
		r.fail(v.at, field, "has a colon outside quotes, which makes it a key with a value; put it in quotes: %s", quote(v.entries[0].key+":"+v.entries[0].value.text))
		return stringAt{}, false
	}
	r.wrongKind(field, v, "a text such as "+example)
	return stringAt{}, false
}

// texts reads a list of at least one text, none twice. The result is not nil even
// when there is something wrong with it.
func (r *fileReader) texts(field string, v value, example string) []stringAt {
	out := []stringAt{}
	switch {
	case v.kind == text:
		r.fail(v.at, field, "is a text where a list is wanted; write [%s]", quote(v.text))
		return out
	case v.kind != list:
		r.wrongKind(field, v, "a list such as ["+example+"]")
		return out
	case len(v.items) == 0:
		r.fail(v.at, field, "is an empty list, which does not mean everything; leave the key out or write a list such as [%s]", example)
		return out
	}
	seen := map[string]bool{}
	for i, item := range v.items {
		s, ok := r.text(index(field, i), item, example)
		if !ok {
			continue
		}
		if seen[s.text] {
			r.fail(s.at, s.field, "%s stands here twice; write it once", quote(s.text))
			continue
		}
		seen[s.text] = true
		out = append(out, s)
	}
	return out
}

// content reads the top of a file.
func (r *fileReader) content(v value) (c fileContent) {
	if r.otherFile(v) {
		return c
	}
	versioned, routed := false, false
	r.group("", v, FileShape{}, map[string]keyReader{
		"version": func(field string, v value) {
			versioned = true
			if v.kind != number || v.text != "1" {
				r.wrongVersion(field, v)
			}
		},
		"admin_role": func(field string, v value) {
			s, ok := r.text(field, v, `ADMIN, or "" for none`)
			if ok && s.text != "" && !ValidName(s.text) {
				r.fail(s.at, field, "%s", wrongName("role", s.text, "one role"))
			}
			if ok {
				c.adminRole = &s
			}
		},
		"ip_lists":   func(field string, v value) { c.lists = r.lists(field, v) },
		"hosts":      func(field string, v value) { c.hosts = r.texts(field, v, "api.example.com") },
		"client_ips": func(field string, v value) { c.clientIPs = r.texts(field, v, "office") },
		"cors":       func(field string, v value) { c.origins = r.cors(field, v) },
		"routes": func(field string, v value) {
			routed = true
			c.routes = r.routes(field, v)
		},
	})
	if v.kind == mapping && !versioned {
		r.fail(v.at, "version", "is missing; write version: 1")
	}
	if v.kind == mapping && !routed {
		r.fail(v.at, "routes", "is missing, and a policy without routes lets nobody in; write at least one")
	}
	return c
}

func (r *fileReader) wrongVersion(field string, v value) {
	if v.kind == text && v.text == "1" {
		r.fail(v.at, field, "is the text \"1\"; write the number, as in version: 1")
		return
	}
	if v.kind == number || v.kind == text {
		r.fail(v.at, field, "is %s; this warder reads version: 1", quote(v.text))
		return
	}
	r.wrongKind(field, v, "1")
}

func (r *fileReader) lists(field string, v value) (lists []listEntry) {
	if v.kind != mapping {
		r.wrongKind(field, v, "names with their networks, such as office: [203.0.113.0/24]")
		return nil
	}
	if len(v.entries) == 0 {
		r.fail(v.at, field, "names no list; leave it out, or write one such as office: [203.0.113.0/24]")
	}
	for _, e := range v.entries {
		name := stringAt{e.key, e.at, join(field, keyName(e.key))}
		switch {
		case e.key == "any" || e.key == "*":
			r.fail(e.at, name.field, "is a reserved name: client_ips: [any] lifts a default; choose another name")
		case looksLikeNetwork(e.key):
			r.fail(e.at, name.field, "is a network and no name of a list; write a name such as office and the network behind it, or the network under client_ips")
		case !validIdentifier(e.key):
			r.fail(e.at, name.field, "is no name of a list; use lower-case letters, digits, dot, hyphen and underscore, at most %d of them", maxIdentifier)
		}
		lists = append(lists, listEntry{name, e.value})
	}
	return lists
}

func (r *fileReader) routes(field string, v value) (routes []routeEntry) {
	if v.kind != list {
		r.wrongKind(field, v, "a list of routes")
		return nil
	}
	if len(v.items) == 0 {
		r.fail(v.at, field, "is an empty list, and a policy without routes lets nobody in; write at least one")
	}
	for i, item := range v.items {
		if entry, ok := r.route(index(field, i), item); ok {
			routes = append(routes, entry) // with what is wrong in it: its paths are looked at too
		}
	}
	return routes
}

func (r *fileReader) route(field string, v value) (e routeEntry, ok bool) {
	e.field, e.at = field, v.at
	matched, identified, public, allowed := false, false, false, false
	var conditioned Position // zero: there is no when
	r.group(field, v, RouteShape{}, map[string]keyReader{
		"id": func(field string, v value) {
			identified = true
			if id, ok := r.text(field, v, "asset-audit"); ok && !validIdentifier(id.text) {
				r.fail(v.at, field, "is %s; use lower-case letters, digits, dot, hyphen and underscore, at most %d of them", quote(id.text), maxIdentifier)
			} else if ok {
				e.id = id
			}
		},
		"match": func(field string, v value) { matched, e.match = true, r.match(field, v) },
		"public": func(field string, v value) {
			public, e.publicAt = true, v.at
			e.public = r.onlyTrue(field, v, "is false, which opens nothing; leave it out and write allow")
		},
		"allow":       func(field string, v value) { allowed, e.allow = true, r.allow(field, v) },
		"client_ips":  func(field string, v value) { e.clientIPs = r.texts(field, v, "office") },
		"when":        func(field string, v value) { conditioned, e.when = v.at, r.when(field, v) },
		"principals":  func(field string, v value) { e.principals = r.principals(field, v) },
		"cors":        func(field string, v value) { e.origins = r.cors(field, v) },
		"path_allows": func(field string, v value) { e.allows = r.forms(field, v) },
		"shadow": func(field string, v value) {
			e.shadow = r.onlyTrue(field, v, "is false, which is what every route is without it; leave it out")
		},
	})
	if v.kind != mapping {
		return e, false
	}
	if !identified {
		r.fail(v.at, join(field, "id"), "is missing; give the route a name such as asset-audit, which logs and metrics will use")
	}
	if !matched {
		r.fail(v.at, join(field, "match"), `is missing; write which requests the route is for, such as match: "GET /api/v1/assets"`)
	}
	switch {
	case public && allowed:
		r.fail(e.publicAt, join(field, "public"), "excludes allow: public needs no credential and looks at none; keep one of the two")
	case !public && !allowed:
		r.fail(v.at, join(field, "allow"), "is missing; write who may pass, such as allow: [{user: {}}], or public: true")
	}
	if public && conditioned != (Position{}) {
		r.fail(conditioned, join(field, "when"), "has no place beside public, which looks at nothing more; write allow: [{anonymous: {}}] for a condition on everybody")
	}
	return e, true
}

// onlyTrue reads a word that opens something, so that it has one spelling: true. A
// false is refused with what to write for it.
func (r *fileReader) onlyTrue(field string, v value, whenFalse string) bool {
	switch {
	case v.kind == boolean && v.text == "true":
		return true
	case v.kind == boolean && strings.EqualFold(v.text, "false"):
		r.fail(v.at, field, "%s", whenFalse)
	default:
		r.wrongKind(field, v, "true")
	}
	return false
}

// match reads the long form, or the short one: [METHOD[,METHOD] ]PATH.
func (r *fileReader) match(field string, v value) (m matchEntry) {
	if v.kind == text {
		return r.shortMatch(field, v)
	}
	if v.kind != mapping {
		r.wrongKind(field, v, `a text such as "GET /api/v1/assets", or a group of the keys hosts, methods, paths`)
		return m
	}
	pathed := false
	r.group(field, v, MatchShape{}, map[string]keyReader{
		"hosts":   func(field string, v value) { m.hosts = r.texts(field, v, "api.example.com") },
		"methods": func(field string, v value) { m.methods = r.methods(r.texts(field, v, "GET")) },
		"paths": func(field string, v value) {
			pathed = true
			if v.kind == list && len(v.items) == 0 {
				r.fail(v.at, field, `is an empty list, which matches nothing; write at least one, such as ["/api/v1/assets"]`)
				return
			}
			m.paths = r.texts(field, v, `"/api/v1/assets/{asset_id}"`)
		},
	})
	if !pathed {
		r.fail(v.at, join(field, "paths"), `is missing; write at least one, such as paths: ["/api/v1/assets"]`)
	}
	return m
}

func (r *fileReader) shortMatch(field string, v value) (m matchEntry) {
	methods, path, both := strings.Cut(v.text, " ")
	if !both {
		methods, path = "", v.text
	}
	if strings.TrimSpace(path) != path || strings.Contains(path, " ") || both && (methods == "" || path == "") {
		r.fail(v.at, field, `is %s; write a path, or methods, one space and a path: "GET,POST /api/v1/assets"`, quote(v.text))
		return m
	}
	if both {
		m.methods = []stringAt{}
		seen := map[string]bool{}
		for method := range strings.SplitSeq(methods, ",") {
			if seen[method] {
				r.fail(v.at, field, "%s stands here twice; write it once", quote(method))
				continue
			}
			seen[method] = true
			m.methods = append(m.methods, stringAt{method, v.at, field})
		}
		m.methods = r.methods(m.methods)
	}
	m.paths = []stringAt{{path, v.at, field}}
	return m
}

func (r *fileReader) methods(in []stringAt) []stringAt {
	for _, m := range in {
		upper := strings.ToUpper(m.text)
		switch {
		case !validMethod(upper):
			r.fail(m.at, m.field, "%s is no method; write one such as GET", quote(m.text))
		case upper != m.text:
			r.fail(m.at, m.field, "%s is not in upper case, as methods are; write %s", quote(m.text), upper)
		}
	}
	return in
}

func (r *fileReader) allow(field string, v value) *allowEntry {
	a := new(allowEntry)
	if v.kind != list {
		r.wrongKind(field, v, "a list such as [{user: {}}]")
		return a
	}
	if len(v.items) == 0 {
		r.fail(v.at, field, "is an empty list, which lets nobody in; write who may pass, such as [{user: {}}]")
	}
	seen := map[string]bool{}
	once := func(name string, read keyReader) keyReader {
		return func(field string, v value) {
			if seen[name] {
				r.fail(v.at, field, "stands in allow twice; each kind has one item, with everything that it needs")
				return
			}
			seen[name] = true
			read(field, v)
		}
	}
	for i, item := range v.items {
		field := index(field, i)
		if item.kind == text && (item.text == "user" || item.text == "api_key" || item.text == "anonymous") {
			r.fail(item.at, field, "is the text %s; write {%s: {}}", quote(item.text), item.text)
			continue
		}
		if item.kind != mapping {
			r.wrongKind(field, item, "one kind, such as {user: {}}")
			continue
		}
		if len(item.entries) != 1 {
			r.fail(item.at, field, "has %d keys; each item names one kind, as in [{user: {}}, {api_key: {}}]", len(item.entries))
			continue
		}
		r.group(field, item, AllowShape{}, map[string]keyReader{
			"user":    once("user", func(field string, v value) { a.user = r.user(field, v) }),
			"api_key": once("api_key", func(field string, v value) { a.apiKey = r.apiKey(field, v) }),
			"anonymous": once("anonymous", func(field string, v value) {
				a.anonymous = true
				if v.kind != mapping || len(v.entries) > 0 {
					r.fail(v.at, field, "takes nothing; write {anonymous: {}}")
				}
			}),
		})
	}
	return a
}

func (r *fileReader) user(field string, v value) *UserRule {
	rule := new(UserRule)
	if v.kind != mapping {
		r.wrongKind(field, v, "{} for any signed-in user, or a group of the keys roles, all_roles")
		return rule
	}
	r.group(field, v, UserShape{}, map[string]keyReader{
		"roles":     func(field string, v value) { rule.Roles = r.names(field, v, "role", "CONTROL") },
		"all_roles": func(field string, v value) { rule.AllRoles = r.names(field, v, "role", "CONTROL") },
	})
	return rule
}

func (r *fileReader) apiKey(field string, v value) *APIKeyRule {
	rule := new(APIKeyRule)
	if v.kind != mapping {
		r.wrongKind(field, v, "{} for any valid key, or a group of the keys scopes, any_scopes")
		return rule
	}
	r.group(field, v, APIKeyShape{}, map[string]keyReader{
		"scopes":     func(field string, v value) { rule.Scopes = r.names(field, v, "scope", `"assets:read"`) },
		"any_scopes": func(field string, v value) { rule.AnyScopes = r.names(field, v, "scope", `"assets:read"`) },
	})
	return rule
}

// names reads roles or scopes.
func (r *fileReader) names(field string, v value, what, example string) (names []string) {
	for _, s := range r.texts(field, v, example) {
		if !ValidName(s.text) {
			r.fail(s.at, s.field, "%s", wrongName(what, s.text, "each "+what+" as an item of the list"))
		}
		names = append(names, s.text)
	}
	return names
}

func (r *fileReader) forms(field string, v value) (forms Forms) {
	for _, s := range r.texts(field, v, "encoded_slash") {
		known := make([]string, len(formNames))
		found := false
		for i, n := range formNames {
			known[i] = n.name
			if n.name == s.text {
				forms |= n.form
				found = true
			}
		}
		if !found {
			r.fail(s.at, s.field, "%s is unknown; %s", quote(s.text), didYouMean(s.text, known))
		}
	}
	return forms
}

func join(field, key string) string {
	if field == "" {
		return key
	}
	return field + "." + key
}

func index(field string, i int) string { return field + "[" + strconv.Itoa(i) + "]" }

// keyName writes a key of the file as part of a field; one that is no plain word is
// quoted.
func keyName(key string) string {
	if validParam(key) || validIdentifier(key) {
		return key
	}
	return quote(key)
}
