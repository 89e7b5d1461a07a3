package policy

import (
	"slices"
	"strings"

	"warder/policy/condition"
	"warder/policy/pattern"
	"warder/policy/strict"
)

// A fileContent is the content of one file, after the checks that need no other file. Its tags
// and comments, and those of the types of its fields, are the one list of the keys of a
// policy. The reader, the JSON Schema and the reference are made from them.
type fileContent struct {
	// The version of this format: 1.
	Version versionOne `json:"version" jsonschema:"required" missing:"; write version: 1"`
	// The role that passes every role check. Absent: ADMIN. "" turns it off. Of several files one sets it.
	AdminRole *adminRole `json:"admin_role" jsonschema:"default=ADMIN,example=ADMIN,example="`
	// Lists of networks, by name: for client_ips.
	IPLists ipLists `json:"ip_lists"`
	// The hosts of every route of this file that names none. Absent: any host.
	Hosts []strict.String `json:"hosts" schema:"host" jsonschema:"minItems=1,uniqueItems=true,example=api.example.com"`
	// The client_ips of every route of this file that names none. Absent: any address.
	ClientIPs []strict.String `json:"client_ips" schema:"list" jsonschema:"minItems=1,uniqueItems=true,example=office"`
	// The cors of every route of this file that has none of its own.
	CORS *corsEntry `json:"cors"`
	// How denials are written for the routes of this file that have none of their own, and, if no other file has any, for requests that no route matches.
	Denials *denialsEntry `json:"denials"`
	// The routes. Of those that match, the most specific one wins, whatever the order; where none matches, nobody gets in.
	Routes []routeEntry `json:"routes" jsonschema:"required,minItems=1" missing:", and a policy without routes lets nobody in; write at least one" empty:", and a policy without routes lets nobody in; write at least one"`

	denials *Denials // compiled
}

// A routeEntry is a route: the requests that it is for, and who may pass. It has
// either allow or public: true.
type routeEntry struct {
	routeKeys

	field string
	at    strict.Position
}

// A routeKeys has the keys of a route.
type routeKeys struct {
	// The name of the route in logs, metrics and messages, unique in the policy: at most 128 lower-case letters, digits, dots, hyphens and underscores.
	ID identifier `json:"id" jsonschema:"required,example=asset-audit" missing:"; give the route a name such as asset-audit, which logs and metrics will use"`
	// The requests that the route is for: a group of hosts, methods and paths, or short "[METHOD[,METHOD] ]PATH".
	Match matchEntry `json:"match" jsonschema:"required" missing:"; write which requests the route is for, such as match: \"GET /api/v1/assets\""`
	// true opens the route: no credential is needed and none is looked at. It excludes allow.
	Public onlyTrue `json:"public"`
	// Who may pass: any one of these, each kind at most once.
	Allow *allowEntry `json:"allow"`
	// Names of ip_lists, networks and addresses that the client's address has to be in one of. Absent: any address, or the file's default, which [any] lifts.
	ClientIPs []strict.String `json:"client_ips" schema:"list" jsonschema:"minItems=1,uniqueItems=true,example=office"`
	// A CEL expression over request, params and principal that has to be true too: params.user_id == principal.user. At most 4096 bytes.
	When *condition.Source `json:"when"`
	// The mTLS names of Envoy's peer (source.principal) that may come; a * stands for the last segment of a URI's path. Absent: any.
	Principals []principalText `json:"principals" jsonschema:"minItems=1,uniqueItems=true,example=spiffe://cluster.local/ns/web/sa/*"`
	// Which browser applications may ask for a preflight and read a denial. Absent: the file's default, or none.
	CORS *corsEntry `json:"cors"`
	// How denials are written. Absent: as the file says, or as problem documents, to which {} goes back.
	Denials *denialsEntry `json:"denials"`
	// true: a token may be in the query parameter that jwt.sources in the configuration names, for clients that can send no header. A URL is kept in more places than a header is.
	TokenQuery onlyTrue `json:"token_query"`
	// true: an API key may be in the query parameter that api_key.sources in the configuration names.
	APIKeyQuery onlyTrue `json:"api_key_query"`
	// The spellings of a path that the route accepts although they have two readings: encoded_slash (%2F), encoded_percent (%25), semicolon.
	PathAllows []formText `json:"path_allows" jsonschema:"minItems=1,uniqueItems=true,example=encoded_slash"`
	// true: what the route decides is logged and counted, and a denial is not enforced. For the time in which the application still checks by itself.
	Shadow onlyTrue `json:"shadow"`
}

// A matchKeys is the long form of match.
type matchKeys struct {
	// Host names in lower case, without a port; "*.example.com" for any depth below a name. Absent: any host, or the file's default, which ["*"] lifts.
	Hosts []strict.String `json:"hosts" schema:"host" jsonschema:"minItems=1,uniqueItems=true,example=api.example.com"`
	// Methods in upper case. Absent: GET HEAD POST PUT PATCH DELETE OPTIONS. GET covers HEAD.
	Methods []strict.String `json:"methods" schema:"method" jsonschema:"minItems=1,uniqueItems=true,example=GET"`
	// Paths: literal segments, {name} for one segment, literals with parameters between them such as {id}.json, and ** at the end for everything below. A trailing slash makes no other path.
	Paths []strict.String `json:"paths" schema:"path" jsonschema:"required,minItems=1,uniqueItems=true,example=/api/v1/assets/{asset_id}" missing:"; write at least one, such as paths: [\"/api/v1/assets\"]" empty:", which matches nothing; write at least one, such as [\"/api/v1/assets\"]"`
}

// A matchEntry is match in one of its two forms.
type matchEntry struct{ matchKeys }

// An allowKeys is one kind of caller that may pass: {user: {…}}, {api_key: {…}} or {anonymous: {}}.
type allowKeys struct {
	// A signed-in user; {} for any.
	User *userKeys `json:"user"`
	// A valid API key; {} for any.
	APIKey *apiKeyKeys `json:"api_key"`
	// Everybody without a credential. One that is present and bad is refused all the same.
	Anonymous *emptyKeys `json:"anonymous"`
}

// A userKeys is what a signed-in user needs; {} is nothing more.
type userKeys struct {
	// Roles of which the user has at least one.
	Roles []roleName `json:"roles" jsonschema:"minItems=1,uniqueItems=true,example=CONTROL"`
	// Roles that the user has all of.
	AllRoles []roleName `json:"all_roles" jsonschema:"minItems=1,uniqueItems=true,example=CONTROL"`
}

// An apiKeyKeys is what an API key needs; {} is nothing more.
type apiKeyKeys struct {
	// Scopes that the key has all of.
	Scopes []scopeName `json:"scopes" jsonschema:"minItems=1,uniqueItems=true,example=assets:read"`
	// Scopes of which the key has at least one.
	AnyScopes []scopeName `json:"any_scopes" jsonschema:"minItems=1,uniqueItems=true,example=assets:read"`
}

// An emptyKeys is {}: there is nothing to say.
type emptyKeys struct{}

// An allowEntry is the list under allow, as one value.
type allowEntry struct {
	user      *UserRule
	apiKey    *APIKeyRule
	anonymous bool
}

type listEntry struct {
	name  strict.String
	value strict.Value
}

// The scalars of a file. Each type reads and checks its own values.
type (
	versionOne    int
	onlyTrue      bool
	identifier    strict.String
	adminRole     strict.String
	roleName      string
	scopeName     string
	formText      string
	principalText strict.String
	originText    strict.String
	ipLists       []listEntry
)

// ReadValue reads the version.
func (*versionOne) ReadValue(r *strict.Reader, field string, v strict.Value) {
	switch {
	case v.Kind == strict.Number && v.Text == "1":
	case v.Kind == strict.Text && v.Text == "1":
		r.Fail(v.At, field, "is the text \"1\"; write the number, as in version: 1")
	case v.Kind == strict.Number || v.Kind == strict.Text:
		r.Fail(v.At, field, "is %s; this warder reads version: 1", strict.Quote(v.Text))
	default:
		r.WrongKind(field, v, "1")
	}
}

// ReadValue reads true, in this spelling only. It refuses false, which is the default.
func (b *onlyTrue) ReadValue(r *strict.Reader, field string, v strict.Value) {
	switch {
	case v.Kind == strict.Bool && v.Text == "true":
		*b = true
	case v.Kind == strict.Bool:
		r.Fail(v.At, field, "is false, which is the default; leave it out")
	default:
		r.WrongKind(field, v, "true")
	}
}

// ReadValue reads the id of a route.
func (id *identifier) ReadValue(r *strict.Reader, field string, v strict.Value) {
	switch text, ok := r.Text(field, v, "asset-audit"); {
	case !ok:
	case !validIdentifier(text):
		r.Fail(v.At, field, "is %s; use lower-case letters, digits, dot, hyphen and underscore, at most %d of them", strict.Quote(text), maxIdentifier)
	default:
		*id = identifier{Text: text, At: v.At, Field: field}
	}
}

// ReadValue reads the admin role, which may be empty.
func (a *adminRole) ReadValue(r *strict.Reader, field string, v strict.Value) {
	text, ok := r.Text(field, v, `ADMIN, or "" for none`)
	switch {
	case !ok || text == "":
	case !ValidName(text):
		r.Fail(v.At, field, "%s", wrongName("role", text, "one role"))
	case text == "*":
		r.Fail(v.At, field, "is \"*\", which is no role; write the one role that passes every check")
	}
	*a = adminRole{Text: text, At: v.At, Field: field}
}

// ReadValue reads a role.
func (n *roleName) ReadValue(r *strict.Reader, field string, v strict.Value) {
	name := readName(r, field, v, "role", "CONTROL")
	if name == "*" {
		r.Fail(v.At, field, "is \"*\", which is any role in other products; write user: {} for any signed-in user, or the roles that are meant")
	}
	*n = roleName(name)
}

// ReadValue reads a scope.
func (n *scopeName) ReadValue(r *strict.Reader, field string, v strict.Value) {
	*n = scopeName(readName(r, field, v, "scope", `"assets:read"`))
}

func readName(r *strict.Reader, field string, v strict.Value, what, example string) string {
	name, ok := r.Text(field, v, example)
	if ok && !ValidName(name) {
		r.Fail(v.At, field, "%s", wrongName(what, name, "each "+what+" as an item of the list"))
	}
	return name
}

// ReadValue reads the name of a spelling.
func (f *formText) ReadValue(r *strict.Reader, field string, v strict.Value) {
	text, ok := r.Text(field, v, "encoded_slash")
	known := pattern.FormNames()
	if ok && !slices.Contains(known, text) {
		r.Fail(v.At, field, "%s is unknown; %s", strict.Quote(text), strict.DidYouMean(text, known))
	}
	*f = formText(text)
}

func formsOf(names []formText) (forms pattern.Forms) {
	for _, n := range names {
		forms |= pattern.FormNamed(string(n))
	}
	return forms
}

// ReadValue reads the names of the ip_lists. Their networks are read when the policy is compiled.
func (l *ipLists) ReadValue(r *strict.Reader, field string, v strict.Value) {
	if v.Kind != strict.Group {
		r.WrongKind(field, v, "names with their networks, such as office: [203.0.113.0/24]")
		return
	}
	if len(v.Entries) == 0 {
		r.Fail(v.At, field, "has no list; leave it out, or write one such as office: [203.0.113.0/24]")
	}
	for _, e := range v.Entries {
		name := strict.String{Text: e.Key, At: e.At, Field: strict.Join(field, strict.KeyName(e.Key))}
		switch {
		case e.Key == "any" || e.Key == "*":
			r.Fail(e.At, name.Field, "is a reserved name: client_ips: [any] lifts a default; choose another name")
		case looksLikeNetwork(e.Key):
			r.Fail(e.At, name.Field, "is a network and not the name of a list; write a name such as office and the network after it, or the network under client_ips")
		case !validIdentifier(e.Key):
			r.Fail(e.At, name.Field, "is not a valid name for a list; use lower-case letters, digits, dot, hyphen and underscore, at most %d of them", maxIdentifier)
		}
		*l = append(*l, listEntry{name, e.Value})
	}
}

// ReadValue reads a route, and checks which of its keys go together.
func (e *routeEntry) ReadValue(r *strict.Reader, field string, v strict.Value) {
	e.field, e.at = field, v.At
	r.Read(field, v, &e.routeKeys)
	if v.Kind != strict.Group || v.Partial {
		return
	}
	public, isPublic := v.Get("public")
	_, allowed := v.Get("allow")
	when, conditioned := v.Get("when")
	switch {
	case isPublic && allowed:
		r.Fail(public.At, strict.Join(field, "public"), "excludes allow: a public route neither needs nor checks a credential; keep one of the two")
	case !isPublic && !allowed:
		r.Fail(v.At, strict.Join(field, "allow"), "is missing; write who may pass, such as allow: [{user: {}}], or public: true")
	}
	for _, query := range []struct {
		key, kind string
		set, kept bool
	}{
		{"token_query", "user", bool(e.TokenQuery), e.Allow != nil && e.Allow.user != nil},
		{"api_key_query", "api_key", bool(e.APIKeyQuery), e.Allow != nil && e.Allow.apiKey != nil},
	} {
		if given, _ := v.Get(query.key); query.set && !query.kept {
			r.Fail(given.At, strict.Join(field, query.key), "needs %s in allow, since no other kind of caller has that credential; add {%s: {}} or leave it out", query.kind, query.kind)
		}
	}
	if isPublic && conditioned {
		r.Fail(when.At, strict.Join(field, "when"), "cannot be combined with public, which checks nothing else; write allow: [{anonymous: {}}] for a condition on everybody")
	}
}

// ReadValue reads the long form, or the short one: [METHOD[,METHOD] ]PATH.
func (m *matchEntry) ReadValue(r *strict.Reader, field string, v strict.Value) {
	switch v.Kind {
	case strict.Text:
		m.short(r, field, v)
	case strict.Group:
		r.Read(field, v, &m.matchKeys)
		checkMethods(r, m.Methods)
	default:
		r.WrongKind(field, v, `a text such as "GET /api/v1/assets", or a group of the keys hosts, methods, paths`)
	}
}

func (m *matchEntry) short(r *strict.Reader, field string, v strict.Value) {
	methods, path, both := strings.Cut(v.Text, " ")
	if !both {
		methods, path = "", v.Text
	}
	if strings.TrimSpace(path) != path || strings.Contains(path, " ") || both && (methods == "" || path == "") {
		r.Fail(v.At, field, `is %s; write a path, or methods, one space and a path: "GET,POST /api/v1/assets"`, strict.Quote(v.Text))
		return
	}
	if both {
		m.Methods = []strict.String{}
		seen := map[string]bool{}
		for method := range strings.SplitSeq(methods, ",") {
			if seen[method] {
				r.Fail(v.At, field, "%s is listed twice; write it once", strict.Quote(method))
				continue
			}
			seen[method] = true
			m.Methods = append(m.Methods, strict.String{Text: method, At: v.At, Field: field})
		}
		checkMethods(r, m.Methods)
	}
	m.Paths = []strict.String{{Text: path, At: v.At, Field: field}}
}

func checkMethods(r *strict.Reader, methods []strict.String) {
	for _, m := range methods {
		upper := strings.ToUpper(m.Text)
		switch {
		case foreignMethod(upper) != "":
			r.Fail(m.At, m.Field, "%s %s", strict.Quote(m.Text), foreignMethod(upper))
		case !validMethod(upper):
			r.Fail(m.At, m.Field, "%s is not a method; write one such as GET", strict.Quote(m.Text))
		case upper != m.Text:
			r.Fail(m.At, m.Field, "%s is not in upper case, as methods are; write %s", strict.Quote(m.Text), upper)
		}
	}
}

// ReadValue reads the list of allow.
func (a *allowEntry) ReadValue(r *strict.Reader, field string, v strict.Value) {
	if v.Kind != strict.List {
		r.WrongKind(field, v, "a list such as [{user: {}}]")
		return
	}
	if len(v.Items) == 0 {
		r.Fail(v.At, field, "is an empty list, which lets nobody in; write who may pass, such as [{user: {}}]")
	}
	seen := map[string]bool{}
	for i, item := range v.Items {
		field := strict.Index(field, i)
		switch {
		case item.Kind == strict.Text && slices.Contains(strict.KeysOf[allowKeys](), item.Text):
			r.Fail(item.At, field, "is the text %s; write {%s: {}}", strict.Quote(item.Text), item.Text)
		case item.Kind != strict.Group:
			r.WrongKind(field, item, "one kind, such as {user: {}}")
		case len(item.Entries) != 1:
			r.Fail(item.At, field, "has %d keys; each item names one kind, as in [{user: {}}, {api_key: {}}]", len(item.Entries))
		case seen[item.Entries[0].Key]:
			r.Fail(item.Entries[0].Value.At, strict.Join(field, strict.KeyName(item.Entries[0].Key)), "is in allow twice; write one item for each kind, with everything that it needs")
		default:
			seen[item.Entries[0].Key] = true
			a.item(r, field, item)
		}
	}
}

func (a *allowEntry) item(r *strict.Reader, field string, v strict.Value) {
	var kind allowKeys
	r.Read(field, v, &kind)
	switch {
	case kind.User != nil:
		a.user = &UserRule{Roles: textsOf(kind.User.Roles), AllRoles: textsOf(kind.User.AllRoles)}
	case kind.APIKey != nil:
		a.apiKey = &APIKeyRule{Scopes: textsOf(kind.APIKey.Scopes), AnyScopes: textsOf(kind.APIKey.AnyScopes)}
	case kind.Anonymous != nil:
		a.anonymous = true
	}
}

func textsOf[T ~string](list []T) (texts []string) {
	for _, t := range list {
		texts = append(texts, string(t))
	}
	return texts
}

// ReadValue reads what a signed-in user needs.
func (u *userKeys) ReadValue(r *strict.Reader, field string, v strict.Value) {
	if v.Kind != strict.Group {
		r.WrongKind(field, v, "{} for any signed-in user, or a group of the keys roles, all_roles")
		return
	}
	type keys userKeys
	r.Read(field, v, (*keys)(u))
}

// ReadValue reads what an API key needs.
func (k *apiKeyKeys) ReadValue(r *strict.Reader, field string, v strict.Value) {
	if v.Kind != strict.Group {
		r.WrongKind(field, v, "{} for any valid key, or a group of the keys scopes, any_scopes")
		return
	}
	type keys apiKeyKeys
	r.Read(field, v, (*keys)(k))
}

// ReadValue reads {}.
func (*emptyKeys) ReadValue(r *strict.Reader, field string, v strict.Value) {
	if v.Kind != strict.Group || len(v.Entries) > 0 {
		r.Fail(v.At, field, "takes no keys; write {anonymous: {}}")
	}
}
