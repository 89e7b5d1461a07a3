package policy

import (
	"cmp"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"

	"github.com/invopop/jsonschema"

	"warder/policy/condition"
	"warder/policy/pattern"
	"warder/policy/strict"
	"warder/policy/strict/stricttest"
)

// GenerateSchema makes the schema of the types of a file and their comments, which it reads
// from the sources in this folder.
func GenerateSchema() (string, error) {
	r := &jsonschema.Reflector{
		Anonymous: true, ExpandedStruct: true, RequiredFromJSONSchemaTags: true,
		Namer:  func(t reflect.Type) string { return jsonschema.ToSnakeCase(shortName(t.Name())) },
		Mapper: scalarSchema,
	}
	var err error
	if r.CommentMap, err = comments("warder/policy"); err != nil {
		return "", err
	}
	stricttest.Describe(r.CommentMap, regexp.MustCompile(`^An? \w+(Keys|Entry) is `))
	s := r.Reflect(fileContent{})
	s.Title = "warder route policy"
	s.Description = "A route policy of warder: which request needs what."
	for _, part := range []any{matchKeys{}, allowKeys{}} {
		long := r.Reflect(part)
		maps.Copy(s.Definitions, long.Definitions)
		long.Version, long.Definitions = "", nil
		s.Definitions[shortName(reflect.TypeOf(part).Name())] = long
	}
	markTexts(s, reflect.TypeFor[fileContent]())
	markTexts(s.Definitions["route"], reflect.TypeFor[routeKeys]())
	markTexts(s.Definitions["match"], reflect.TypeFor[matchKeys]())
	return stricttest.Marshal(s)
}

// comments returns those of the types in this folder and of their fields, by name.
func comments(path string) (map[string]string, error) {
	found := map[string]string{}
	sources, err := filepath.Glob("*.go")
	if err != nil {
		return nil, err
	}
	for _, source := range sources {
		file, err := parser.ParseFile(token.NewFileSet(), source, nil, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		for _, d := range file.Decls {
			group, ok := d.(*ast.GenDecl)
			if !ok || group.Tok != token.TYPE {
				continue
			}
			for _, s := range group.Specs {
				t := s.(*ast.TypeSpec)
				name := path + "." + t.Name.Name
				found[name] = strings.TrimSpace(cmp.Or(t.Doc, group.Doc).Text())
				fields, ok := t.Type.(*ast.StructType)
				if !ok {
					continue
				}
				for _, f := range fields.Fields.List {
					for _, n := range f.Names {
						found[name+"."+n.Name] = strings.TrimSpace(f.Doc.Text())
					}
				}
			}
		}
	}
	return found, nil
}

func shortName(typeName string) string {
	return strings.TrimSuffix(strings.TrimSuffix(typeName, "Keys"), "Entry")
}

// markTexts gives the texts of a struct the schemas that their tags name.
func markTexts(s *jsonschema.Schema, t reflect.Type) {
	for f := range t.Fields() {
		if name := f.Tag.Get("schema"); name != "" {
			key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			property, _ := s.Properties.Get(key)
			examples := property.Items.Examples
			property.Items = textSchemas[name]()
			property.Items.Examples = examples
		}
	}
}

// textSchemas are the schemas of texts that are checked when all of a policy is there.
var textSchemas = map[string]func() *jsonschema.Schema{
	"list": func() *jsonschema.Schema {
		return patternText(identifierWord+`|`+network, "Write the name of an ip_list, a network such as 203.0.113.0/24 or an address such as 203.0.113.7.")
	},
	"host": func() *jsonschema.Schema {
		return patternText(`\*|(?:\*\.)?`+hostWord+`|`+ipv6Host, `Write a host name in lower case without scheme, port and path, as in api.example.com, or "*.example.com" for any depth below it.`)
	},
	"method": func() *jsonschema.Schema {
		return patternText(methodWord, "Write a method in upper case, such as GET.")
	},
	"path": func() *jsonschema.Schema { return patternText(pathWord, pathHint) },
}

const (
	identifierWord = `[a-z0-9._-]{1,128}`
	identifierHint = "Use lower-case letters, digits, dot, hyphen and underscore, at most 128 of them."
	pathHint       = "A path begins with /, {name} stands for a segment or a part of one, ** comes last, and there is no query."
)

// Pieces of the patterns. They mean the same to ECMA-262, which editors use, and to
// Go: no classes such as \s, no look-ahead.
const (
	control    = `\x00-\x1f\x7f-\x9f`
	nameWord   = `[^ ,` + control + `](?:[^,` + control + `]*[^ ,` + control + `])?`
	label      = `[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?`
	hostWord   = label + `(?:\.` + label + `)*`
	ipv6Host   = `\[[0-9a-f:.]+\]`
	methodByte = "[A-Z0-9_-]"
	methodWord = methodByte + `+`
	escape     = `%(?:[34689A-Fa-f][0-9A-Fa-f]|2[0-9A-DFa-df]|5[0-9ABD-Fabd-f]|7[0-9A-Ea-e])`
	dot        = `(?:\.|%2[Ee])`
	noDot      = `(?:[!$&-)+,0-;=@-Z_a-z~-]|` + escape + `)`
	firstByte  = `(?:[!$&-)+,0-9;=@-Z_a-z~-]|` + escape + `)` // no colon
	pathByte   = `(?:` + dot + `|` + noDot + `)`
	literal    = `(?:` + firstByte + `|` + dot + `(?:` + noDot + `|` + dot + pathByte + `))` + pathByte + `*`
	variable   = `[A-Za-z_][A-Za-z0-9_]*`
	mixedWord  = `(?:(?:` + firstByte + `|` + dot + `)` + pathByte + `*)?\{` + variable + `\}(?:` + pathByte + `+\{` + variable + `\})*` + pathByte + `*`
	segment    = `/(?:` + mixedWord + `|` + literal + `)`
	pathWord   = `(?:/|(?:` + segment + `)+/?|(?:` + segment + `)*/\*\*)`
	// A path or URL without its query, and a query.
	loginPath = `(?:/(?:[!$-.0-;=@-Z\[\]_a-z~][!$-;=@-Z\[\]_a-z~]*)?|https?://[!$-.0-;=A-Z\[\]_a-z~]+(?:/[!$-;=@-Z\[\]_a-z~]*)?)`
	loginByte = `[!$-;=?-Z\[\]_a-z~]*`
	loginWord = loginPath + `(?:\?` + loginByte + `(?:\{return_to\}` + loginByte + `)?)?`
	octet     = `(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])`
	bits      = `(?:/(?:0|[1-9][0-9]{0,2}))?`
	network   = `(?:` + octet + `(?:\.` + octet + `){3}|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)` + bits
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
	case reflect.TypeFor[strict.String]():
		return &jsonschema.Schema{Type: "string"}
	case reflect.TypeFor[identifier]():
		return patternText(identifierWord, identifierHint)
	case reflect.TypeFor[adminRole]():
		return patternText(`|`+nameWord, `Write one role, without comma and without space at its ends, or "" for none.`)
	case reflect.TypeFor[roleName](), reflect.TypeFor[scopeName]():
		return patternText(nameWord, "Write one name, without comma and without space at its ends.")
	case reflect.TypeFor[formText]():
		s := &jsonschema.Schema{Type: "string"}
		for _, name := range pattern.FormNames() {
			s.Enum = append(s.Enum, name)
		}
		return s
	case reflect.TypeFor[principalText]():
		return patternText(`[^ *`+control+`](?:[^*`+control+`]*[^ *`+control+`])?|`+
			`[^ *?#`+control+`][^*?#`+control+`]*://[^*?#/`+control+`](?:[^*?#`+control+`]*[^*?#/`+control+`])?/\*`,
			"Write a principal as it stands in the certificate; a * may only be the whole last segment of a URI's path, as in spiffe://cluster.local/ns/web/sa/*.")
	case reflect.TypeFor[originText]():
		return patternText(`https?://(?:`+hostWord+`|`+ipv6Host+`)(?::[1-9][0-9]{0,4})?`, "Write an origin in lower case, without path and without the default port, such as https://app.example.com.")
	case reflect.TypeFor[loginText]():
		s := patternText(loginWord, `Write a path or an https URL, with {return_to} once in its query, as in "/login?next={return_to}".`)
		s.MaxLength = new(uint64(maxTarget))
		return s
	case reflect.TypeFor[bodyText]():
		return &jsonschema.Schema{Type: "string", MinLength: new(uint64(1)), MaxLength: new(uint64(maxBody))}
	case reflect.TypeFor[statusNumber]():
		s := &jsonschema.Schema{Type: "integer"}
		for _, status := range deniedStatuses {
			s.Enum = append(s.Enum, status)
		}
		return s
	case reflect.TypeFor[ipLists]():
		return networkLists()
	case reflect.TypeFor[matchEntry]():
		return matches()
	case reflect.TypeFor[allowEntry]():
		return &jsonschema.Schema{Type: "array", MinItems: new(uint64(1)), MaxItems: new(uint64(3)), Items: &jsonschema.Schema{Ref: "#/$defs/allow"}}
	case reflect.TypeFor[condition.Source]():
		return &jsonschema.Schema{Type: "string", MinLength: new(uint64(1)), MaxLength: new(uint64(condition.MaxText))}
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
func (routeEntry) JSONSchemaExtend(s *jsonschema.Schema) {
	s.If = &jsonschema.Schema{Required: []string{"public"}}
	s.Then = &jsonschema.Schema{Properties: jsonschema.NewProperties()}
	s.Then.Properties.Set("allow", jsonschema.FalseSchema)
	s.Else = &jsonschema.Schema{Required: []string{"allow"}}
}

// JSONSchemaExtend says that an item is one kind.
func (allowKeys) JSONSchemaExtend(s *jsonschema.Schema) {
	s.MinProperties, s.MaxProperties = new(uint64(1)), new(uint64(1))
}

// Tree is a file as a reader of JSON has it; ok is false for one that is no YAML, or
// none that is read here.
func Tree(data []byte) (tree any, ok bool) {
	v, problems := strict.Parse(File{Name: "policy.yaml", Data: data}, fileLimits)
	return stricttest.Tree(v), len(problems) == 0
}
