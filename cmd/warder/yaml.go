package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"warder/policy"
)

// maxConfigSize bounds a mistake (the wrong file named), not a configuration.
const maxConfigSize = 1 << 20

// A yamlKind is what a value of a file is.
type yamlKind uint8

const (
	yamlBroken yamlKind = iota // it was reported; nothing more is to be said about it
	yamlNull
	yamlString
	yamlBool
	yamlNumber
	yamlMap
	yamlList
)

func (k yamlKind) String() string {
	return [...]string{"broken", "empty", "a text", "true or false", "a number", "a group of keys", "a list"}[k]
}

// A yamlValue is a value with its place. Variables are already filled in.
type yamlValue struct {
	place   problem // with an empty message
	kind    yamlKind
	text    string // scalars: as written, or with its variables filled in
	fromEnv bool   // the text holds a variable's value, so that its kind is what it reads as
	entries []yamlEntry
	items   []yamlValue
}

func (v yamlValue) isScalar() bool {
	return v.kind == yamlString || v.kind == yamlBool || v.kind == yamlNumber
}

type yamlEntry struct {
	key   string
	place problem
	value yamlValue
}

// A yamlReader turns the strict subset of YAML that warder reads into values:
// one document, no aliases, anchors, tags or merge keys, no key twice.
type yamlReader struct {
	file     string
	env      lookupEnv
	problems problems
}

// lookupEnv is os.LookupEnv or a stand-in.
type lookupEnv func(name string) (value string, set bool)

// readYAML reads a file. The value is usable, if not complete, even when there
// are problems, so that one run can report as many as possible.
func readYAML(path string, env lookupEnv) (yamlValue, problems) {
	data, err := readBounded(path, maxConfigSize)
	if err != nil {
		return yamlValue{}, problems{{File: path, Message: err.Error()}}
	}
	return parseYAML(path, data, env)
}

// readBounded reads a whole file that must be small.
func readBounded(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, bare(err)
	case info.IsDir():
		return nil, errors.New("is a folder; name a file")
	case info.Size() > limit:
		return nil, fmt.Errorf("is larger than %d KiB; name the right file", limit>>10)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, bare(err)
	}
	return data, nil
}

// bare takes the path out of a file error: the message names the file already.
func bare(err error) error {
	if pathError, ok := errors.AsType[*os.PathError](err); ok {
		return fmt.Errorf("cannot be read: %w", pathError.Err)
	}
	return err
}

func parseYAML(name string, data []byte, env lookupEnv) (yamlValue, problems) {
	r := &yamlReader{file: name, env: env}
	data, found := policy.PlainYAML(policy.File{Name: name, Data: data})
	r.problems = fromPolicy(found)
	if data == nil {
		return yamlValue{}, r.problems
	}
	file, err := parser.ParseBytes(policy.HideColons(data), 0, parser.AllowDuplicateMapKey())
	if err != nil {
		r.syntax(err, data)
		return yamlValue{}, r.problems
	}
	var docs []*ast.DocumentNode
	for _, doc := range file.Docs {
		if doc.Body != nil && doc.Body.Type() != ast.CommentType {
			docs = append(docs, doc)
		}
	}
	switch {
	case len(docs) == 0:
		return yamlValue{place: problem{File: name}, kind: yamlMap}, r.problems
	case len(docs) > 1:
		r.report(r.at(startOf(docs[1].Body)), "a second YAML document; use one document")
	}
	return r.value(docs[0].Body), r.problems
}

// syntax reports what the parser refused, without the source text that its
// message would show: a secret may stand there.
func (r *yamlReader) syntax(err error, data []byte) {
	place := problem{File: r.file}
	message := "is not YAML"
	if yamlError, ok := errors.AsType[yaml.Error](err); ok {
		place = r.at(yamlError.GetToken())
		message = policy.NotYAML(yamlError.GetMessage())
	}
	if lines := strings.Split(string(data), "\n"); 0 < place.Line && place.Line <= len(lines) && strings.Contains(lines[place.Line-1], "${") {
		message += `; between { } a variable has to stand in quotes, as in "${VAR}"`
	}
	r.report(place, message)
}

func (r *yamlReader) report(place problem, message string) {
	place.Message = message
	r.problems = append(r.problems, place)
}

func (r *yamlReader) at(t *token.Token) problem {
	if t == nil || t.Position == nil {
		return problem{File: r.file}
	}
	return problem{File: r.file, Line: t.Position.Line, Column: t.Position.Column}
}

func (r *yamlReader) value(n ast.Node) yamlValue {
	v := yamlValue{place: r.at(startOf(n))}
	switch n := n.(type) {
	case *ast.NullNode:
		v.kind = yamlNull
	case *ast.BoolNode:
		v.kind, v.text = yamlBool, n.GetToken().Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		v.kind, v.text = yamlNumber, n.GetToken().Value
	case *ast.StringNode:
		r.fill(&v, policy.ShowColons(n.Value))
	case *ast.LiteralNode:
		r.fill(&v, policy.ShowColons(n.Value.Value))
	case *ast.MappingNode:
		v.kind = yamlMap
		v.entries = r.entries(n.Values)
	case *ast.MappingValueNode:
		v.kind = yamlMap
		v.entries = r.entries([]*ast.MappingValueNode{n})
	case *ast.SequenceNode:
		v.kind = yamlList
		for _, item := range n.Values {
			v.items = append(v.items, r.value(item))
		}
	case *ast.AnchorNode, *ast.AliasNode:
		r.report(v.place, "anchors and aliases (& and *) are not read; write the value out")
	case *ast.TagNode:
		r.report(v.place, "tags (!) are not read; leave it out")
	default:
		r.report(v.place, "is not read here; use plain keys and values")
	}
	return v
}

// startOf is the first token of a node: that of a mapping is its first colon.
func startOf(n ast.Node) *token.Token {
	switch n := n.(type) {
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return n.Values[0].Key.GetToken()
		}
	case *ast.MappingValueNode:
		return n.Key.GetToken()
	}
	return n.GetToken()
}

func (r *yamlReader) entries(nodes []*ast.MappingValueNode) []yamlEntry {
	seen := make(map[string]problem, len(nodes))
	entries := make([]yamlEntry, 0, len(nodes))
	for _, n := range nodes {
		place := r.at(n.Key.GetToken())
		var key string
		switch k := n.Key.(type) {
		case *ast.StringNode:
			key = k.Value
		case *ast.MergeKeyNode:
			r.report(place, "merge keys (<<) are not read; write the keys out")
			continue
		default:
			r.report(place, "is not a key; use a plain word")
			continue
		}
		if first, twice := seen[key]; twice {
			r.report(place, fmt.Sprintf("%s stands here again; it is already at line %d", key, first.Line))
			continue
		}
		seen[key] = place
		entries = append(entries, yamlEntry{key: key, place: place, value: r.value(n.Value)})
	}
	return entries
}

// fill puts the text of a scalar into v, with each ${VAR} and ${VAR:-default}
// replaced; $${ stands for ${ itself. Any other $ is kept: queries are full of them.
func (r *yamlReader) fill(v *yamlValue, text string) {
	v.kind = yamlString
	var b strings.Builder
	for {
		before, after, found := strings.Cut(text, "${")
		if !found {
			b.WriteString(text)
			break
		}
		if escaped, ok := strings.CutSuffix(before, "$"); ok {
			b.WriteString(escaped + "${")
			text = after
			continue
		}
		b.WriteString(before)
		expression, rest, closed := strings.Cut(after, "}")
		if !closed {
			r.report(v.place, "${ is not closed; write ${VAR}, or $${ for the two characters themselves")
			v.kind = yamlBroken
			break
		}
		value, ok := r.variable(v.place, expression)
		if !ok {
			v.kind = yamlBroken
		}
		b.WriteString(value)
		v.fromEnv = true
		text = rest
	}
	v.text = b.String()
}

func (r *yamlReader) variable(place problem, expression string) (value string, ok bool) {
	name, fallback, hasFallback := strings.Cut(expression, ":-")
	if !validVariable(name) {
		// The expression may be part of a secret that merely looks like one.
		r.report(place, "${…} holds no name of a variable; write ${VAR} or ${VAR:-default}, or $${ for the two characters themselves")
		return "", false
	}
	value, set := r.env(name)
	switch {
	case hasFallback && value == "":
		return fallback, true
	case !set:
		r.report(place, fmt.Sprintf("${%s} is not set in the environment; set it, or write ${%s:-default}", name, name))
	}
	return value, set
}

func validVariable(name string) bool {
	for i := range len(name) {
		c := name[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}
