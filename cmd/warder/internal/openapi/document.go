package openapi

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"go.yaml.in/yaml/v4"

	"warder/cmd/warder/internal/cli"
	"warder/policy/pattern"
)

const (
	// maxOpenAPI bounds a document, in bytes.
	maxOpenAPI = 16 << 20
	// maxNesting bounds the nesting of its values. A reader that scans every level again
	// would take practically forever on a deeper document.
	maxNesting = 200
)

// An Application holds what an OpenAPI document says about an application.
type Application struct {
	name           string // of the document, for messages
	title, version string
	roles          bool // OpenAPI 3.1 or later: the names that a requirement lists for any scheme are roles
	schemes        openapi3.SecuritySchemes
	Operations     []Operation // by path and method
	prefixes       []string    // the base paths of its servers
}

// An Operation is one method of one path.
type Operation struct {
	ID, Method, Template string
	summary              string
	path                 string // in the notation of a policy; "" if no path of a policy matches the same requests
	Loose                string // path, or else a path that matches more requests; "" if there is none
	Wrong                string // why path is empty
	security             openapi3.SecurityRequirements
}

// Read reads a document from a file or standard input. It does not read other documents that
// the document refers to. The prefix is put before the paths; if it is nil, the base path of
// the document's servers is.
func Read(p cli.Process, file string, prefix *string) (Application, error) {
	name, data, err := openAPIBytes(p, file)
	if err == nil {
		var doc *openapi3.T
		if doc, err = parseOpenAPI(data); err == nil {
			a := applicationOf(doc, prefix)
			a.name = name
			return a, nil
		}
	}
	return Application{}, fmt.Errorf("%s: %w", name, err)
}

func openAPIBytes(p cli.Process, file string) (name string, data []byte, err error) {
	if file == cli.StandardInput {
		data, err = cli.ReadAll(p.Stdin, maxOpenAPI)
		return cli.InputName(file), data, err
	}
	f, err := os.Open(file)
	if err != nil {
		return file, nil, cli.Bare(err)
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return file, nil, errors.New("is a folder; name a file")
	}
	data, err = cli.ReadAll(f, maxOpenAPI)
	if err != nil {
		err = cli.Bare(err)
	}
	return file, data, err
}

func parseOpenAPI(data []byte) (*openapi3.T, error) {
	switch {
	case len(strings.TrimSpace(string(data))) == 0:
		return nil, errors.New("is empty; it should be an OpenAPI document, such as FastAPI's /openapi.json")
	case strings.HasPrefix(strings.TrimSpace(string(data)), "<"):
		return nil, errors.New("is a web page or XML; it should be an OpenAPI document, such as FastAPI's /openapi.json")
	case nestedTooDeep(data):
		return nil, fmt.Errorf("is nested deeper than %d levels", maxNesting)
	}
	doc, err := openapi3.NewLoader().LoadFromData(data)
	_, refers := errors.AsType[*openapi3.DisallowedExternalRefError](err)
	switch {
	case refers:
		return nil, errors.New("refers to other files ($ref), which are not read; bundle it into one document first")
	case err != nil:
		return nil, fmt.Errorf("is not a readable OpenAPI document: %s", unreadableBecause(data, err))
	}
	switch version := doc.OpenAPI; {
	case version == "" && doc.Extensions["swagger"] != nil:
		return nil, fmt.Errorf("is Swagger %s; convert it to OpenAPI 3 first, for example with swagger2openapi", cli.OneLine(fmt.Sprint(doc.Extensions["swagger"]), 10))
	case version == "":
		return nil, errors.New("has no OpenAPI version; it should begin like {\"openapi\": \"3.1.0\", …}")
	case !strings.HasPrefix(version, "3."):
		return nil, fmt.Errorf("is OpenAPI %s; this warder reads 3.0, 3.1 and 3.2", cli.OneLine(version, 20))
	case doc.Paths.Len() == 0:
		return nil, errors.New("has no paths, so that there is nothing to write a policy for")
	}
	return doc, nil
}

// unreadableBecause says where and why a document cannot be read. The library tries JSON and
// then YAML, and joins both errors.
func unreadableBecause(data []byte, err error) string {
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok && isJSON(data) {
		before := data[:min(int(syntax.Offset), len(data))]
		return fmt.Sprintf("line %d: %v", 1+bytes.Count(before, []byte("\n")), syntax)
	}
	if field, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && isJSON(data) {
		return fmt.Sprintf("%s is a %s, but OpenAPI requires another type there", cmp.Or(field.Field, "the document"), field.Value)
	}
	var root yaml.Node
	if yaml.Unmarshal(data, &root) == nil && len(root.Content) == 1 && root.Content[0].Kind != yaml.MappingNode {
		return fmt.Sprintf("line %d: an object is expected there", root.Content[0].Line)
	}
	if place, ok := errors.AsType[*yaml.LoadError](err); ok {
		return fmt.Sprintf("line %d: %s", place.Mark.Line, cli.OneLine(place.Message, 200))
	}
	return cli.OneLine(err.Error(), 200)
}

func isJSON(data []byte) bool { return bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) }

// nestedTooDeep counts the brackets of JSON. The YAML reader has its own limit.
func nestedTooDeep(data []byte) bool {
	depth, quoted := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			depth--
		}
		if depth > maxNesting {
			return true
		}
	}
	return false
}

func applicationOf(doc *openapi3.T, prefix *string) Application {
	a := Application{roles: doc.IsOpenAPI31OrLater()}
	if doc.Info != nil {
		a.title, a.version = doc.Info.Title, doc.Info.Version
	}
	if doc.Components != nil {
		a.schemes = doc.Components.SecuritySchemes
	}
	if prefix == nil {
		a.prefixes = basePaths(doc.Servers)
	}
	for _, template := range slices.Sorted(maps.Keys(doc.Paths.Map())) {
		item := doc.Paths.Value(template)
		if item == nil {
			continue
		}
		operations := item.Operations()
		for _, method := range slices.Sorted(maps.Keys(operations)) {
			o := operations[method]
			if o == nil {
				continue
			}
			found := Operation{ID: o.OperationID, Method: method, Template: template, summary: o.Summary, security: doc.Security}
			if o.Security != nil {
				found.security = *o.Security
			}
			before := prefixOf(prefix, doc, item, o)
			if found.path, found.Wrong = policyPath(before, template, false); found.path == "" {
				found.Loose, _ = policyPath(before, template, true)
			} else {
				found.Loose = found.path
			}
			if strings.ToUpper(method) != method || strings.ContainsAny(method, " ,\"'\\{}[]:/") {
				found.path, found.Loose, found.Wrong = "", "", "a policy cannot name this method"
			}
			a.Operations = append(a.Operations, found)
		}
	}
	return a
}

// prefixOf returns the prefix of an operation's path: the given prefix, or else the base path
// of the servers of the operation, of its path or of the document.
func prefixOf(prefix *string, doc *openapi3.T, item *openapi3.PathItem, o *openapi3.Operation) string {
	if prefix != nil {
		return *prefix
	}
	servers := doc.Servers
	switch {
	case o.Servers != nil && len(*o.Servers) > 0:
		servers = *o.Servers
	case len(item.Servers) > 0:
		servers = item.Servers
	}
	if paths := basePaths(servers); len(paths) > 0 {
		return paths[0]
	}
	return ""
}

// basePaths returns the base paths of servers without duplicates. A server without a base
// path has "".
func basePaths(servers openapi3.Servers) (paths []string) {
	for _, s := range servers {
		path, err := s.BasePath()
		if err != nil {
			path = "" // a URL relative to the document
		}
		if path = strings.TrimRight(path, "/"); !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
	}
	return paths
}

// policyPath returns a path of the document in the notation of a policy, or says why there is
// none. A loose path may match more requests: a parameter for a whole segment replaces one
// whose parts cannot be told apart, and ** replaces a parameter that may contain slashes.
func policyPath(prefix, template string, loose bool) (path, wrong string) {
	if !strings.HasPrefix(template, "/") {
		return "", "the path does not begin with /"
	}
	segments := strings.Split(prefix+template, "/")
	used := map[string]bool{}
	for i, s := range segments {
		switch name, inner := wholeParameter(s); {
		case inner && strings.HasSuffix(name, ":path") && loose && i == len(segments)-1:
			segments[i] = "**"
		case inner && strings.HasSuffix(name, ":path"):
			return "", "the parameter {" + cli.OneLine(name, 60) + "} takes slashes; write ** as the last segment if the same callers may pass to all paths below"
		case inner:
			name, _, _ = strings.Cut(name, ":")
			segments[i] = "{" + parameterName(name, used) + "}"
		case strings.ContainsAny(s, "{}"):
			mixed := mixedSegment(s, used)
			if wrong := pattern.WrongPath("/" + mixed); wrong != "" {
				if !loose {
					return "", "the path " + cli.OneLine(wrong, 200)
				}
				mixed = "{" + parameterName("part", used) + "}"
			}
			segments[i] = mixed
		default:
			segments[i] = literalSegment(s)
		}
	}
	path = strings.Join(segments, "/")
	if wrong := pattern.WrongPath(path); wrong != "" {
		return "", "the path " + cli.OneLine(wrong, 200)
	}
	return path, ""
}

// wholeParameter returns the text in the braces of a segment that is a single parameter.
func wholeParameter(s string) (name string, whole bool) {
	if len(s) < 2 || s[0] != '{' || s[len(s)-1] != '}' || strings.ContainsAny(s[1:len(s)-1], "{}") {
		return "", false
	}
	return s[1 : len(s)-1], true
}

// parameterName returns a name that is valid in a policy and not yet used in the path.
func parameterName(s string, used map[string]bool) string {
	name := strings.Map(func(r rune) rune {
		if r < 0x80 && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_') {
			return r
		}
		return '_'
	}, s)
	name = name[:min(len(name), 64)]
	if name == "" || name[0] >= '0' && name[0] <= '9' {
		name = "p" + name
	}
	for base, n := name, 2; used[name]; n++ {
		name = fmt.Sprintf("%s_%d", base, n)
	}
	used[name] = true
	return name
}

// mixedSegment returns a segment with parameters between literals in the notation of a policy.
func mixedSegment(s string, used map[string]bool) string {
	var b strings.Builder
	for i, part := range strings.SplitAfter(s, "}") {
		literal, name, open := strings.Cut(part, "{")
		literal = literalSegment(literal)
		if i > 0 && strings.HasPrefix(part, ":") {
			literal = ":" + strings.TrimPrefix(literal, "%3A") // it begins no segment
		}
		b.WriteString(literal)
		if name, closed := strings.CutSuffix(name, "}"); open && closed {
			name, _, _ = strings.Cut(name, ":")
			b.WriteString("{" + parameterName(name, used) + "}")
		} else if open {
			b.WriteString("{" + name)
		}
	}
	return b.String()
}

// literalSegment escapes the characters that a path in a policy may not contain, or that have
// a special meaning in it.
func literalSegment(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte("#*<>[]^`|\"", c) >= 0 || c == ':' && i == 0 ||
			c == '$' && i == len(s)-1 || c == '+' && i > 0 && strings.IndexByte(".)", s[i-1]) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}
