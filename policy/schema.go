package policy

import (
	_ "embed"
	"reflect"
	"strings"
)

// Schema is the JSON Schema of a policy file, for editors. It is made from the shapes
// below and their comments: go test ./policy -update writes it anew.
//
//go:embed policy.schema.json
var Schema string

// The shapes are the one list of the keys that a policy file may have. The reader
// takes them from here, and a key that it reads but that has no line here is unknown
// to it; a test finds the one that has a line and is not read.
//
// Their comments are what an editor shows.

// A FileShape is a route policy of warder: which request needs what.
type FileShape struct {
	// The version of this format: 1.
	Version versionOne `json:"version" jsonschema:"required"`
	// The role that passes every role check. Absent: ADMIN. "" turns it off. Of several files one sets it.
	AdminRole roleOrNone `json:"admin_role" jsonschema:"default=ADMIN,example=ADMIN,example="`
	// Lists of networks, by name: for client_ips.
	IPLists map[listName]networkList `json:"ip_lists"`
	// The hosts of every route of this file that names none. Absent: any host.
	Hosts []hostText `json:"hosts" jsonschema:"minItems=1,uniqueItems=true"`
	// The client_ips of every route of this file that names none. Absent: any address.
	ClientIPs []listOrNetwork `json:"client_ips" jsonschema:"minItems=1,uniqueItems=true"`
	// The cors of every route of this file that has none of its own.
	CORS CORSShape `json:"cors"`
	// The routes. Of those that match, the most specific one wins, whatever the order; where none matches, nobody gets in.
	Routes []RouteShape `json:"routes" jsonschema:"required,minItems=1"`
}

// A RouteShape is a route: the requests that it is for, and who may pass. It has
// either allow or public: true.
type RouteShape struct {
	// The name of the route in logs, metrics and messages, unique in the policy: at most 128 lower-case letters, digits, dots, hyphens and underscores.
	ID identifier `json:"id" jsonschema:"required,example=asset-audit"`
	// The requests that the route is for: a group of hosts, methods and paths, or short "[METHOD[,METHOD] ]PATH".
	Match matchValue `json:"match" jsonschema:"required"`
	// true opens the route: no credential is needed and none is looked at. It excludes allow.
	Public onlyTrue `json:"public"`
	// Who may pass: any one of these, each kind at most once.
	Allow []AllowShape `json:"allow" jsonschema:"minItems=1,maxItems=3"`
	// Names of ip_lists, networks and addresses that the client's address has to be in one of. Absent: any address, or the file's default, which [any] lifts.
	ClientIPs []listOrNetwork `json:"client_ips" jsonschema:"minItems=1,uniqueItems=true"`
	// A CEL expression over request, params and principal that has to be true too: params.user_id == principal.user. At most 4096 bytes.
	When string `json:"when" jsonschema:"minLength=1,maxLength=4096"`
	// The mTLS names of Envoy's peer (source.principal) that may come; a * stands for the last segment of a URI's path. Absent: any.
	Principals []principalText `json:"principals" jsonschema:"minItems=1,uniqueItems=true,example=spiffe://cluster.local/ns/web/sa/*"`
	// Which browser applications may ask for a preflight and read a denial. Absent: the file's default, or none.
	CORS CORSShape `json:"cors"`
	// The spellings of a path that the route accepts although they have two readings: encoded_slash (%2F), encoded_percent (%25), semicolon.
	PathAllows []formText `json:"path_allows" jsonschema:"minItems=1,uniqueItems=true"`
	// true: what the route decides is logged and counted, and a denial is not enforced. For the time in which the application still checks by itself.
	Shadow onlyTrue `json:"shadow"`
}

// A MatchShape is the long form of match.
type MatchShape struct {
	// Host names in lower case, without a port; "*.example.com" for any depth below a name. Absent: any host, or the file's default, which ["*"] lifts.
	Hosts []hostText `json:"hosts" jsonschema:"minItems=1,uniqueItems=true,example=api.example.com"`
	// Methods in upper case. Absent: GET HEAD POST PUT PATCH DELETE OPTIONS. GET covers HEAD.
	Methods []methodText `json:"methods" jsonschema:"minItems=1,uniqueItems=true,example=GET"`
	// Paths: literal segments, {name} for one segment, and ** at the end for everything below. A trailing slash makes no other path.
	Paths []pathText `json:"paths" jsonschema:"required,minItems=1,uniqueItems=true,example=/api/v1/assets/{asset_id}"`
}

// An AllowShape is one kind of caller that may pass: {user: {…}}, {api_key: {…}} or {anonymous: {}}.
type AllowShape struct {
	// A signed-in user; {} for any.
	User UserShape `json:"user"`
	// A valid API key; {} for any.
	APIKey APIKeyShape `json:"api_key"`
	// Everybody without a credential. One that is present and bad is refused all the same.
	Anonymous EmptyShape `json:"anonymous"`
}

// A UserShape is what a signed-in user needs; {} is nothing more.
type UserShape struct {
	// Roles of which the user has at least one.
	Roles []nameText `json:"roles" jsonschema:"minItems=1,uniqueItems=true,example=CONTROL"`
	// Roles that the user has all of.
	AllRoles []nameText `json:"all_roles" jsonschema:"minItems=1,uniqueItems=true,example=CONTROL"`
}

// An APIKeyShape is what an API key needs; {} is nothing more.
type APIKeyShape struct {
	// Scopes that the key has all of.
	Scopes []nameText `json:"scopes" jsonschema:"minItems=1,uniqueItems=true,example=assets:read"`
	// Scopes of which the key has at least one.
	AnyScopes []nameText `json:"any_scopes" jsonschema:"minItems=1,uniqueItems=true,example=assets:read"`
}

// An EmptyShape is {}: there is nothing to say.
type EmptyShape struct{}

// A CORSShape is the list of browser applications of other origins.
type CORSShape struct {
	// Origins as browsers send them: scheme, host and, unless it is the default, port. Each is written out.
	AllowOrigins []originText `json:"allow_origins" jsonschema:"required,minItems=1,uniqueItems=true,example=https://app.example.com"`
}

// The scalars of a file; the schema has a pattern for each.
type (
	versionOne    int
	onlyTrue      bool
	identifier    string
	listName      string
	listOrNetwork string
	roleOrNone    string
	nameText      string
	hostText      string
	methodText    string
	pathText      string
	formText      string
	principalText string
	originText    string
	networkList   struct{} // a list of networks or variables, or one variable
	matchValue    struct{} // a MatchShape or a text
)

// keysOf returns the keys of a shape, in its order.
func (r *fileReader) keysOf(shape any) []string {
	t := reflect.TypeOf(shape)
	if keys, known := r.keys[t]; known {
		return keys
	}
	keys := make([]string, t.NumField())
	for i := range keys {
		keys[i], _, _ = strings.Cut(t.Field(i).Tag.Get("json"), ",")
	}
	if r.keys == nil {
		r.keys = map[reflect.Type][]string{}
	}
	r.keys[t] = keys
	return keys
}
