package policytest

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"warder/policy"
)

// maxFile bounds a mistake (the wrong file named), not a file of cases.
const maxFile = 16 << 20

// Load reads a file of cases. Every problem of it is in the error, a [policy.Problems]
// value.
func Load(path string) (*File, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, policy.Problems{{Position: policy.Position{File: path}, Message: err.Error()}}
	}
	return Parse(path, data)
}

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", bare(err))
	}
	if info.IsDir() {
		return nil, fmt.Errorf("is a folder; name files, as in %s", filepath.Join(path, "*.yaml"))
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", bare(err))
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("cannot be read: %w", bare(err))
	case len(data) > maxFile:
		return nil, fmt.Errorf("is larger than %d MiB; name a file of cases", maxFile>>20)
	case !utf8.Valid(data):
		return nil, fmt.Errorf("is not UTF-8; save it as UTF-8")
	}
	return data, nil
}

// Parse reads a file of cases from its text. path is its name in messages, and the
// place from which policy_file counts.
func Parse(path string, data []byte) (*File, error) {
	r := &reader{path: path, places: map[string]policy.Position{}}
	f := &File{Path: path, Name: strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)), places: r.places, source: data}
	root := r.document(data)
	if root == nil {
		return nil, r.err()
	}
	if other := policy.OtherFile("a file of cases", keysOf(root)); other != "" {
		return nil, policy.Problems{{Position: r.at(root), Message: other}}
	}
	cases, at := r.shape(root)
	if !r.clean("") || !r.decode("", root, f) {
		return nil, r.err()
	}
	if !r.given("cases") {
		r.report("", "has no cases; give at least one, as in cases: [{name: …, want: deny route_unmatched, request: GET /nowhere}]")
	}
	f.complete(r.report)
	var kept []int
	for i, node := range cases {
		c := new(Case)
		if r.clean(index("cases", at[i])) && r.decode(index("cases", at[i]), node, c) {
			f.Cases, kept = append(f.Cases, c), append(kept, at[i])
		}
	}
	f.completeCases(kept, r.report)
	if err := r.err(); err != nil {
		return nil, err
	}
	return f, nil
}

// A reader collects where the values of a file stand, and what is wrong with them.
type reader struct {
	path     string
	places   map[string]policy.Position
	problems policy.Problems
}

// report adds a problem of the value at field, or of what holds it when it is absent.
func (r *reader) report(field, format string, args ...any) {
	r.problems = append(r.problems, policy.Problem{Position: r.place(field), Field: field, Message: fmt.Sprintf(format, args...)})
}

func (r *reader) place(field string) policy.Position { return placeIn(r.places, r.path, field) }

func (f *File) place(field string) policy.Position { return placeIn(f.places, f.Path, field) }

func placeIn(places map[string]policy.Position, path, field string) policy.Position {
	for field != "" {
		if at, found := places[field]; found {
			return at
		}
		field = field[:max(0, strings.LastIndexAny(field, ".["))]
	}
	return policy.Position{File: path}
}

func (r *reader) given(field string) bool {
	_, given := r.places[field]
	return given
}

// clean reports whether nothing is wrong so far with what is at field and below; "" is
// the file without its cases.
func (r *reader) clean(field string) bool {
	return !slices.ContainsFunc(r.problems, func(p policy.Problem) bool {
		if field == "" {
			return !strings.HasPrefix(p.Field, "cases[")
		}
		rest, ok := strings.CutPrefix(p.Field, field)
		return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
	})
}

func (r *reader) err() error {
	if len(r.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(r.problems, func(a, b policy.Problem) int {
		if a.Position.Line != b.Position.Line {
			return a.Position.Line - b.Position.Line
		}
		return a.Position.Column - b.Position.Column
	})
	return slices.Compact(r.problems)
}

// document returns the one mapping that a file is; nil when it is none.
func (r *reader) document(data []byte) *ast.MappingNode {
	data, found := policy.PlainYAML(policy.File{Name: r.path, Data: data})
	if len(found) > 0 {
		r.problems = append(r.problems, found...)
		return nil
	}
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		r.broken("", err)
		return nil
	}
	var docs []ast.Node
	for _, doc := range file.Docs {
		if doc.Body != nil && doc.Body.Type() != ast.CommentType {
			docs = append(docs, doc.Body)
		}
	}
	switch {
	case len(docs) == 0:
		r.report("", "is empty; write a policy and cases")
		return nil
	case len(docs) > 1:
		r.problems = append(r.problems, policy.Problem{Position: r.at(docs[1]), Message: "a second YAML document; use one document"})
		return nil
	}
	a := aliases{r: r, anchors: map[string]ast.Node{}}
	root := mappingOf(a.resolve(docs[0]))
	if len(r.problems) > 0 {
		return nil
	}
	if root == nil {
		r.problems = append(r.problems, policy.Problem{Position: r.at(docs[0]), Message: "is no group of keys; write policy: and cases:"})
	}
	return root
}

func keysOf(root *ast.MappingNode) []string {
	keys := make([]string, len(root.Values))
	for i, v := range root.Values {
		keys[i] = v.Key.GetToken().Value
	}
	return keys
}

// mappingOf returns a mapping as one, also that of a single key; nil for other nodes.
func mappingOf(n ast.Node) *ast.MappingNode {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n
	case *ast.MappingValueNode:
		return ast.Mapping(n.GetToken(), false, n)
	}
	return nil
}

func (r *reader) at(n ast.Node) policy.Position {
	t := n.GetToken()
	if m := mappingOf(n); m != nil && !m.IsFlowStyle && len(m.Values) > 0 {
		t = m.Values[0].Key.GetToken()
	}
	if t == nil || t.Position == nil {
		return policy.Position{File: r.path}
	}
	return policy.Position{File: r.path, Line: t.Position.Line, Column: t.Position.Column}
}

// decode fills a value whose shape was looked at before.
func (r *reader) decode(field string, n ast.Node, into any) bool {
	err := yaml.NodeToValue(n, into, yaml.Strict(), yaml.CustomUnmarshaler(unmarshalPrefix))
	if err != nil {
		r.broken(field, err)
	}
	return err == nil
}

// broken reports what the library refused.
func (r *reader) broken(field string, err error) {
	p := policy.Problem{Position: r.place(field), Field: field, Message: "is not YAML: " + oneLine(err)}
	if e, ok := err.(yaml.Error); ok { //nolint:errorlint // the library wraps none
		p.Message = policy.NotYAML(e.GetMessage())
		if t := e.GetToken(); t != nil && t.Position != nil {
			p.Position.Line, p.Position.Column = t.Position.Line, t.Position.Column
		}
	}
	r.problems = append(r.problems, p)
}

func index(field string, i int) string { return field + "[" + strconv.Itoa(i) + "]" }

func join(field, key string) string {
	if field == "" {
		return key
	}
	return field + "." + key
}

// bare takes the path out of a file error: the message names the file already.
func bare(err error) error {
	if e, ok := err.(*os.PathError); ok { //nolint:errorlint // what the os package returns is it
		return e.Err
	}
	return err
}
