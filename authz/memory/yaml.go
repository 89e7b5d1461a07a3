package memory

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"warder/policy"
)

// A value is a node with its place.
type value struct {
	node         ast.Node
	line, column int // from 1
}

// A reader reads the strict subset of YAML of a directory file, and keeps going
// after a problem so that one run reports as many as possible.
type reader struct {
	file     string
	problems []problem
}

type problem struct {
	line, column int
	text         string
}

// err joins the problems in the order of the file.
func (r *reader) err() error {
	slices.SortStableFunc(r.problems, func(a, b problem) int {
		return cmp.Or(cmp.Compare(a.line, b.line), cmp.Compare(a.column, b.column))
	})
	lines := make([]string, len(r.problems))
	for i, p := range r.problems {
		lines[i] = fmt.Sprintf("%s:%d:%d: %s", r.file, p.line, p.column, p.text)
	}
	return errors.New(strings.Join(lines, "\n"))
}

func (r *reader) at(n ast.Node) *value {
	v := &value{node: n, line: 1, column: 1}
	// A mapping's own token is its first colon; its place is its first key.
	if m, ok := n.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		n = m.Values[0].Key
	}
	if m, ok := n.(*ast.MappingValueNode); ok {
		n = m.Key
	}
	if t := n.GetToken(); t != nil && t.Position != nil {
		v.line, v.column = t.Position.Line, t.Position.Column
	}
	return v
}

func (r *reader) report(v *value, field, message string) {
	if field != "" {
		message = field + ": " + message
	}
	r.problems = append(r.problems, problem{v.line, v.column, message})
}

// document returns the one document of the file, which must be a group of keys.
func (r *reader) document(data []byte) (*value, error) {
	data, found := policy.PlainYAML(policy.File{Name: r.file, Data: data})
	if len(found) > 0 {
		return nil, found
	}
	file, err := parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, r.syntax(err)
	}
	docs := slices.DeleteFunc(file.Docs, func(d *ast.DocumentNode) bool {
		return d.Body == nil || d.Body.Type() == ast.CommentType
	})
	switch len(docs) {
	case 0:
		return nil, fmt.Errorf("%s: is empty; write users, api_keys or sessions", r.file)
	case 1:
		return r.at(docs[0].Body), nil
	default:
		r.report(r.at(docs[1].Body), "", "a second YAML document; use one document")
		return nil, r.err()
	}
}

// syntax reports what the parser refused without the source text that its message
// would show: a secret may stand there by mistake.
func (r *reader) syntax(err error) error {
	yamlError, ok := errors.AsType[yaml.Error](err)
	if !ok {
		return fmt.Errorf("%s: is not YAML", r.file)
	}
	var t *token.Token
	if t = yamlError.GetToken(); t == nil || t.Position == nil {
		return fmt.Errorf("%s: is not YAML: %s", r.file, yamlError.GetMessage())
	}
	return fmt.Errorf("%s:%d:%d: is not YAML: %s", r.file, t.Position.Line, t.Position.Column, yamlError.GetMessage())
}

// fields returns the values of a group of keys by name, each of which is one of
// known and there once. It is nil when v is no group of keys.
func (r *reader) fields(v *value, field string, known ...string) map[string]*value {
	var pairs []*ast.MappingValueNode
	switch n := v.node.(type) {
	case *ast.MappingNode:
		pairs = n.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{n}
	default:
		r.report(v, field, fmt.Sprintf("is %s; write keys and values: %s", kind(v.node), strings.Join(known, ", ")))
		return nil
	}
	found := make(map[string]*value, len(pairs))
	for _, pair := range pairs {
		key := r.at(pair.Key)
		name, ok := pair.Key.(*ast.StringNode)
		switch {
		case !ok:
			r.report(key, field, "is no plain key; use "+strings.Join(known, ", "))
		case !slices.Contains(known, name.Value):
			r.report(key, field, fmt.Sprintf("%q is unknown; use %s", name.Value, strings.Join(known, ", ")))
		case found[name.Value] != nil:
			r.report(key, field, fmt.Sprintf("%s stands here again; it is already at line %d", name.Value, found[name.Value].line))
		default:
			found[name.Value] = r.at(pair.Value)
		}
	}
	return found
}

// list returns the items of a list; nil is an absent one.
func (r *reader) list(v *value, field string) []*value {
	if v == nil {
		return nil
	}
	sequence, ok := v.node.(*ast.SequenceNode)
	if !ok {
		r.report(v, field, fmt.Sprintf("is %s; write a list", kind(v.node)))
		return nil
	}
	items := make([]*value, len(sequence.Values))
	for i, n := range sequence.Values {
		items[i] = r.at(n)
	}
	return items
}

func (r *reader) text(v *value, field string) (string, bool) {
	switch n := v.node.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	}
	r.report(v, field, fmt.Sprintf("is %s; write a text, in quotes where it looks like something else", kind(v.node)))
	return "", false
}

func (r *reader) boolean(v *value, field string) bool {
	b, ok := v.node.(*ast.BoolNode)
	if !ok {
		r.report(v, field, fmt.Sprintf("is %s; write true or false", kind(v.node)))
		return false
	}
	return b.Value
}

func kind(n ast.Node) string {
	return cmp.Or(map[ast.NodeType]string{
		ast.NullType: "empty", ast.StringType: "a text", ast.LiteralType: "a text", ast.BoolType: "true or false",
		ast.IntegerType: "a number", ast.FloatType: "a number", ast.MappingType: "a group of keys",
		ast.MappingValueType: "a group of keys", ast.SequenceType: "a list", ast.AliasType: "an alias",
		ast.AnchorType: "an anchor", ast.TagType: "a tag",
	}[n.Type()], "something else")
}
