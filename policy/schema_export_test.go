package policy

import (
	"encoding/json"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"github.com/invopop/jsonschema"
)

// GenerateSchema makes the schema of the shapes and their comments, which it reads
// from the sources in this folder.
func GenerateSchema() (string, error) {
	r := &jsonschema.Reflector{
		Anonymous: true, ExpandedStruct: true, RequiredFromJSONSchemaTags: true,
		Namer:  func(t reflect.Type) string { return jsonschema.ToSnakeCase(strings.TrimSuffix(t.Name(), "Shape")) },
		Mapper: scalarSchema,
	}
	if err := r.AddGoComments("warder/policy", ".", jsonschema.WithFullComment()); err != nil {
		return "", err
	}
	goName := regexp.MustCompile(`^An? \w+Shape is `)
	for name, comment := range r.CommentMap {
		comment = strings.ReplaceAll(comment, "\n", " ")
		if begin := goName.FindString(comment); begin != "" {
			comment = strings.ToUpper(comment[len(begin):len(begin)+1]) + comment[len(begin)+1:]
		}
		r.CommentMap[name] = comment
	}
	s := r.Reflect(FileShape{})
	s.Title = "warder route policy"
	long := r.Reflect(MatchShape{})
	long.Version, long.Definitions = "", nil
	s.Definitions["match"] = long
	out, err := json.MarshalIndent(s, "", "  ")
	// What encoding/json escapes for pages of HTML is easier to read as it is.
	return strings.NewReplacer(`\u0026`, "&", `\u003c`, "<", `\u003e`, ">").Replace(string(out)) + "\n", err
}

const (
	identifierWord = `[a-z0-9._-]{1,128}`
	identifierHint = "Use lower-case letters, digits, dot, hyphen and underscore, at most 128 of them."
	pathHint       = "A path begins with /, {name} stands for a whole segment, ** comes last, and there is no query."
)

// Pieces of the patterns. They mean the same to ECMA-262, which editors use, and to
// Go: no classes such as \s, no look-ahead.
const (
	control    = `\x00-\x1f\x7f-\x9f`
	nameWord   = `[^ ,` + control + `](?:[^,` + control + `]*[^ ,` + control + `])?`
	label      = `[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?`
	hostWord   = label + `(?:\.` + label + `)*`
	ipv6Host   = `\[[0-9a-f:.]+\]`
	methodByte = "[A-Z0-9!#$%&'*+.^_`|~-]"
	methodWord = `(?:` + "[A-Z0-9!#$%&'+.^_`|~-]" + methodByte + `*|\*` + methodByte + `+)` // all but "*"
	escape     = `%(?:[34689A-Fa-f][0-9A-Fa-f]|2[0-9A-DFa-df]|5[0-9ABD-Fabd-f]|7[0-9A-Ea-e])`
	dot        = `(?:\.|%2[Ee])`
	noDot      = `(?:[!"$&-)+,0->@-\[\]-z|~-]|` + escape + `)`
	firstByte  = `(?:[!"$&-)+,0-9;->@-\[\]-z|~-]|` + escape + `)` // no colon
	pathByte   = `(?:` + dot + `|` + noDot + `)`
	literal    = `(?:` + firstByte + `|` + dot + `(?:` + noDot + `|` + dot + pathByte + `))` + pathByte + `*`
	variable   = `[A-Za-z_][A-Za-z0-9_]*`
	segment    = `/(?:\{` + variable + `\}|` + literal + `)`
	pathWord   = `(?:/|(?:` + segment + `)+/?|(?:` + segment + `)*/\*\*)`
	octet      = `(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])`
	bits       = `(?:/(?:0|[1-9][0-9]{0,2}))?`
	network    = `(?:` + octet + `(?:\.` + octet + `){3}|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)` + bits
)

// patternText is the schema of a text. Editors show hint in the place of the pattern
// (patternErrorMessage, which is theirs: JSON Schema has no word for it).
func patternText(pattern, hint string) *jsonschema.Schema {
	return &jsonschema.Schema{Type: "string", Pattern: "^(?:" + pattern + ")$", Extras: map[string]any{"patternErrorMessage": hint}}
}

// scalarSchema is the schema of a type that is no struct, or whose struct says nothing.
func scalarSchema(t reflect.Type) *jsonschema.Schema {
	switch t {
	case reflect.TypeFor[versionOne]():
		return &jsonschema.Schema{Type: "integer", Const: 1}
	case reflect.TypeFor[onlyTrue]():
		return &jsonschema.Schema{Type: "boolean", Const: true}
	case reflect.TypeFor[identifier](), reflect.TypeFor[listName]():
		return patternText(identifierWord, identifierHint)
	case reflect.TypeFor[listOrNetwork]():
		return patternText(identifierWord+`|`+network, "Write the name of an ip_list, a network such as 203.0.113.0/24 or an address such as 203.0.113.7.")
	case reflect.TypeFor[roleOrNone]():
		return patternText(`|`+nameWord, `Write one role, without comma and without space at its ends, or "" for none.`)
	case reflect.TypeFor[nameText]():
		return patternText(nameWord, "Write one name, without comma and without space at its ends.")
	case reflect.TypeFor[hostText]():
		return patternText(`\*|(?:\*\.)?`+hostWord+`|`+ipv6Host, `Write a host name in lower case without scheme, port and path, as in api.example.com, or "*.example.com" for any depth below it.`)
	case reflect.TypeFor[methodText]():
		return patternText(methodWord, "Write a method in upper case, such as GET.")
	case reflect.TypeFor[pathText]():
		return patternText(pathWord, pathHint)
	case reflect.TypeFor[formText]():
		s := &jsonschema.Schema{Type: "string"}
		for _, f := range formNames {
			s.Enum = append(s.Enum, f.name)
		}
		return s
	case reflect.TypeFor[principalText]():
		return patternText(`[^ *`+control+`](?:[^*`+control+`]*[^ *`+control+`])?|`+
			`[^ *?#`+control+`][^*?#`+control+`]*://[^*?#/`+control+`](?:[^*?#`+control+`]*[^*?#/`+control+`])?/\*`,
			"Write a principal as it stands in the certificate; a * may only be the whole last segment of a URI's path, as in spiffe://cluster.local/ns/web/sa/*.")
	case reflect.TypeFor[originText]():
		return patternText(`https?://(?:`+hostWord+`|`+ipv6Host+`)(?::[1-9][0-9]{0,4})?`, "Write an origin in lower case, without path and without the default port, such as https://app.example.com.")
	case reflect.TypeFor[map[listName]networkList]():
		return networkLists()
	case reflect.TypeFor[matchValue]():
		return matches()
	}
	return nil
}

func networkLists() *jsonschema.Schema {
	network := patternText(network+`|\$\{`+variable+`\}`, "Write a network such as 203.0.113.0/24, an address such as 203.0.113.7, or ${VAR}.")
	list := &jsonschema.Schema{
		Type: "array", MinItems: new(uint64(1)), Items: network,
		Description: "Networks, addresses, and ${VAR} for those of a variable.",
	}
	one := patternText(`\$\{`+variable+`\}`, "Write a list such as [203.0.113.0/24], or ${VAR} for one from the environment.")
	one.Description = "A variable that holds networks, separated by commas or spaces."
	names := patternText(identifierWord, identifierHint)
	reserved := jsonschema.NewProperties()
	reserved.Set("any", jsonschema.FalseSchema) // client_ips: [any] lifts a default
	return &jsonschema.Schema{
		Type: "object", MinProperties: new(uint64(1)), PropertyNames: names, Properties: reserved,
		AdditionalProperties: &jsonschema.Schema{OneOf: []*jsonschema.Schema{list, one}},
	}
}

func matches() *jsonschema.Schema {
	short := patternText(`(?:`+methodWord+`(?:,`+methodWord+`)* )?`+pathWord, `Write a path, or methods, one space and a path: "GET,POST /api/v1/assets". `+pathHint)
	short.Examples = []any{"GET /api/v1/assets"}
	return &jsonschema.Schema{OneOf: []*jsonschema.Schema{short, {Ref: "#/$defs/match"}}}
}

// JSONSchemaExtend says what of a route goes with what.
func (RouteShape) JSONSchemaExtend(s *jsonschema.Schema) {
	s.If = &jsonschema.Schema{Required: []string{"public"}}
	s.Then = &jsonschema.Schema{Properties: jsonschema.NewProperties()}
	s.Then.Properties.Set("allow", jsonschema.FalseSchema)
	s.Else = &jsonschema.Schema{Required: []string{"allow"}}
}

// JSONSchemaExtend says that an item is one kind.
func (AllowShape) JSONSchemaExtend(s *jsonschema.Schema) {
	s.MinProperties, s.MaxProperties = new(uint64(1)), new(uint64(1))
}

// Tree is a file as a reader of JSON has it; ok is false for one that is no YAML, or
// none that is read here.
func Tree(data []byte) (tree any, ok bool) {
	v, problems := parseYAML(File{Name: "policy.yaml", Data: data})
	return treeOf(v), len(problems) == 0
}

func treeOf(v value) any {
	switch v.kind {
	case boolean:
		return strings.EqualFold(v.text, "true")
	case number:
		if n, err := strconv.ParseInt(v.text, 0, 64); err == nil {
			return n
		}
		if n, err := strconv.ParseFloat(v.text, 64); err == nil {
			return n
		}
		return v.text
	case text:
		return v.text
	case mapping:
		tree := map[string]any{}
		for _, e := range v.entries {
			tree[e.key] = treeOf(e.value)
		}
		return tree
	case list:
		tree := []any{}
		for _, item := range v.items {
			tree = append(tree, treeOf(item))
		}
		return tree
	case broken, null:
	}
	return nil
}
