package openapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"warder/cmd/warder/internal/cli"
)

// maxSteps bounds how many members of mappings are looked at. Aliases and merge keys of YAML
// can make a short document stand for a practically endless one.
const maxSteps = 2 << 20

// A source is the text of a document, in JSON or YAML. Its values are taken apart only where
// they are read, so that what is not read costs no more than its syntax.
type source struct {
	json  []byte // nil for YAML
	root  value
	steps int
	found map[string]value             // what references lead to, by JSON pointer
	index map[place]map[string][]value // the members of mappings that references lead through
}

// A value is a value of a document, in one of the two notations. The zero value stands for
// a member that is absent.
type value struct {
	node       *yaml.Node
	start, end int // in the JSON text
}

// A place is the identity of a mapping.
type place struct {
	node  *yaml.Node
	start int
}

// A member is a key of a mapping and its value.
type member struct {
	key   string
	value value
}

type valueKind int

const (
	kindAbsent valueKind = iota
	kindNull
	kindScalar
	kindGroup
	kindList
)

var errTooLong = errors.New("expands through its aliases, merge keys and references to more than warder reads")

// newSource checks the syntax of a document.
func newSource(data []byte) (*source, error) {
	s := &source{found: map[string]value{}, index: map[place]map[string][]value{}}
	data = bytes.TrimPrefix(data, []byte("\uFEFF"))
	if !jsonBegins.Match(data) {
		return s, s.readYAML(data)
	}
	var whole json.RawMessage
	if err := json.Unmarshal(data, &whole); err != nil {
		return nil, wrongJSON(data, err)
	}
	s.json = data
	start := skipSpace(data, 0)
	s.root = value{start: start, end: skipValue(data, start)}
	return s, nil
}

// jsonBegins matches the beginning of an object in JSON. YAML can begin with a brace too, but
// then hardly anybody quotes the first key.
var jsonBegins = regexp.MustCompile(`^[ \t\r\n]*\{[ \t\r\n]*(?:["}]|$)`)

func wrongJSON(data []byte, err error) error {
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		before := data[:min(max(int(syntax.Offset)-1, 0), len(data))]
		line := 1 + bytes.Count(before, []byte("\n"))
		column := len(before) - bytes.LastIndexByte(before, '\n')
		return fmt.Errorf("line %d, column %d: %w", line, column, syntax)
	}
	return err
}

func (s *source) readYAML(data []byte) error {
	loader, err := yaml.NewLoader(bytes.NewReader(data))
	if err != nil {
		return wrongYAML(err)
	}
	var root *yaml.Node
	for {
		next := new(yaml.Node)
		err := loader.Load(next)
		switch {
		case errors.Is(err, io.EOF):
			if root == nil {
				return errors.New("has nothing in it")
			}
			s.root = value{node: root}
			return nil
		case err != nil:
			return wrongYAML(err)
		case len(next.Content) == 0 || isNull(next.Content[0]):
		case root != nil:
			return fmt.Errorf("line %d: begins a second document; name a file with one", next.Content[0].Line)
		default:
			root = next.Content[0]
		}
	}
}

func wrongYAML(err error) error {
	if e, ok := errors.AsType[*yaml.LoadError](err); ok {
		return fmt.Errorf("line %d, column %d: %s", e.Mark.Line, e.Mark.Column, cli.OneLine(e.Message, 200))
	}
	return errors.New(cli.OneLine(err.Error(), 200))
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// line returns where a value begins.
func (s *source) line(v value) int {
	if v.node != nil {
		return v.node.Line
	}
	return 1 + bytes.Count(s.json[:v.start], []byte("\n"))
}

// wrong returns an error about a value. where names it in the document.
func (s *source) wrong(v value, where, format string, args ...any) error {
	return fmt.Errorf("line %d: %s %s", s.line(v), where, fmt.Sprintf(format, args...))
}

// plain returns the value that an alias stands for.
func (v value) plain() value {
	for n := 0; v.node != nil && v.node.Kind == yaml.AliasNode && n < maxSteps; n++ {
		v.node = v.node.Alias
	}
	return v
}

func (s *source) kind(v value) valueKind {
	v = v.plain()
	if v.node != nil {
		switch {
		case v.node.Kind == yaml.MappingNode:
			return kindGroup
		case v.node.Kind == yaml.SequenceNode:
			return kindList
		case isNull(v.node):
			return kindNull
		}
		return kindScalar
	}
	if v.end == 0 {
		return kindAbsent
	}
	switch s.json[v.start] {
	case '{':
		return kindGroup
	case '[':
		return kindList
	case 'n':
		return kindNull
	}
	return kindScalar
}

// text returns a string, number or boolean as it is written, and "" for any other value.
func (s *source) text(v value) string {
	if s.kind(v) != kindScalar {
		return ""
	}
	if v = v.plain(); v.node != nil {
		return v.node.Value
	}
	raw := s.json[v.start:v.end]
	if raw[0] != '"' {
		return string(raw)
	}
	return unquote(raw)
}

// unquote returns the text of a JSON string.
func unquote(raw []byte) (text string) {
	if inner := raw[1 : len(raw)-1]; bytes.IndexByte(inner, '\\') < 0 && utf8.Valid(inner) {
		return string(inner)
	}
	if err := json.Unmarshal(raw, &text); err != nil {
		return "" // the syntax was checked before
	}
	return text
}

// isString reports whether a value is a string and not a number or a boolean.
func (s *source) isString(v value) bool {
	if s.kind(v) != kindScalar {
		return false
	}
	if v = v.plain(); v.node != nil {
		return v.node.ShortTag() == "!!str"
	}
	return s.json[v.start] == '"'
}

// isTrue reports whether a value is true.
func (s *source) isTrue(v value) bool { return !s.isString(v) && s.text(v) == "true" }

// members returns the members of a mapping in their order, with those that it merges (<<) at
// the end. A key that is not a scalar is left out. Any other value has no members.
func (s *source) members(v value) ([]member, error) {
	v = v.plain()
	switch {
	case s.kind(v) != kindGroup:
		return nil, nil
	case v.node != nil:
		return s.mapping(v.node, map[*yaml.Node]bool{})
	}
	var all []member
	for i := skipSpace(s.json, v.start+1); s.json[i] != '}'; {
		key := i
		i = skipValue(s.json, i)
		name := unquote(s.json[key:i])
		start := skipSpace(s.json, skipSpace(s.json, i)+1) // after the colon
		i = skipValue(s.json, start)
		all = append(all, member{name, value{start: start, end: i}})
		if i = skipSpace(s.json, i); s.json[i] == ',' {
			i = skipSpace(s.json, i+1)
		}
	}
	return all, s.step(len(all))
}

func (s *source) step(n int) error {
	if s.steps += n + 1; s.steps > maxSteps {
		return errTooLong
	}
	return nil
}

// mapping returns the members of a mapping of YAML. within holds the mappings that are being
// merged, since one can merge itself.
func (s *source) mapping(n *yaml.Node, within map[*yaml.Node]bool) (all []member, err error) {
	if err := s.step(len(n.Content) / 2); err != nil || within[n] {
		return nil, err
	}
	within[n] = true
	defer delete(within, n)
	var merged []value
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, content := value{node: n.Content[i]}.plain().node, value{node: n.Content[i+1]}.plain()
		switch {
		case key.Kind != yaml.ScalarNode:
		case key.Tag == "!!merge" || key.Value == "<<" && key.Style == 0:
			merged = append(merged, content)
			if content.node.Kind == yaml.SequenceNode {
				merged = append(merged[:len(merged)-1], items(content.node)...)
			}
		default:
			all = append(all, member{key.Value, content})
		}
	}
	if len(merged) == 0 {
		return all, nil
	}
	known := map[string]bool{}
	for _, m := range all {
		known[m.key] = true
	}
	for _, from := range merged {
		if from.node.Kind != yaml.MappingNode {
			continue
		}
		others, err := s.mapping(from.node, within)
		if err != nil {
			return nil, err
		}
		for _, m := range others {
			if !known[m.key] {
				known[m.key] = true
				all = append(all, m)
			}
		}
	}
	return all, nil
}

func items(n *yaml.Node) (all []value) {
	for _, item := range n.Content {
		all = append(all, value{node: item}.plain())
	}
	return all
}

// items returns the items of a list. Any other value has none.
func (s *source) items(v value) (all []value, err error) {
	v = v.plain()
	switch {
	case s.kind(v) != kindList:
		return nil, nil
	case v.node != nil:
		all = items(v.node)
		return all, s.step(len(all))
	}
	for i := skipSpace(s.json, v.start+1); s.json[i] != ']'; {
		end := skipValue(s.json, i)
		all = append(all, value{start: i, end: end})
		if i = skipSpace(s.json, end); s.json[i] == ',' {
			i = skipSpace(s.json, i+1)
		}
	}
	return all, s.step(len(all))
}

// get returns the member of a mapping that has a key. Readers differ on which of several
// members of the same key counts, so that this is an error.
func (s *source) get(members []member, where, key string) (found value, err error) {
	for _, m := range members {
		if m.key != key {
			continue
		}
		if s.kind(found) != kindAbsent {
			return found, s.twice(m.value, found, where, key)
		}
		found = m.value
	}
	return found, nil
}

func (s *source) twice(second, first value, where, key string) error {
	return s.wrong(second, where, "has %s twice, the first on line %d; readers differ on which one counts, so keep one", key, s.line(first))
}

// first returns the first member of a mapping that has a key. It is for texts that only
// describe.
func first(members []member, key string) value {
	for _, m := range members {
		if m.key == key {
			return m.value
		}
	}
	return value{}
}

// pointed returns what a JSON pointer (RFC 6901) leads to in the document. found is false if
// it leads to nothing.
func (s *source) pointed(pointer string) (v value, found bool, err error) {
	if v, known := s.found[pointer]; known {
		return v, s.kind(v) != kindAbsent, nil
	}
	v, unescape := s.root, strings.NewReplacer("~1", "/", "~0", "~")
	for rest := pointer; rest != ""; {
		var token string
		token, rest, _ = strings.Cut(rest[1:], "/")
		if rest != "" {
			rest = "/" + rest
		}
		members, err := s.indexed(v.plain())
		if err != nil {
			return value{}, false, err
		}
		key := unescape.Replace(token)
		switch all := members[key]; len(all) {
		case 0:
			v = value{}
		case 1:
			v = all[0]
		default:
			return value{}, false, s.twice(all[1], all[0], "the reference #"+cli.OneLine(pointer, 100), cli.OneLine(key, 60))
		}
	}
	s.found[pointer] = v
	return v, s.kind(v) != kindAbsent, nil
}

func (s *source) indexed(v value) (map[string][]value, error) {
	at := place{v.node, v.start}
	if index, known := s.index[at]; known {
		return index, nil
	}
	members, err := s.members(v)
	if err != nil {
		return nil, err
	}
	index := make(map[string][]value, len(members))
	for _, m := range members {
		index[m.key] = append(index[m.key], m.value)
	}
	s.index[at] = index
	return index, nil
}

// skipSpace and skipValue walk over JSON that is known to be valid.
func skipSpace(data []byte, i int) int {
	for i < len(data) && (data[i] == ' ' || data[i] == '\n' || data[i] == '\t' || data[i] == '\r') {
		i++
	}
	return i
}

// skipValue returns where the value ends that begins at i.
func skipValue(data []byte, i int) int {
	for depth := 0; i < len(data); {
		switch data[i] {
		case '"':
			for i++; data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
			i++
		case '{', '[':
			depth++
			i++
		case '}', ']':
			depth--
			i++
		case ',', ':', ' ', '\n', '\t', '\r':
			i++
			continue
		default: // a number, true, false or null
			for i < len(data) && bytes.IndexByte([]byte(",:]} \n\t\r"), data[i]) < 0 {
				i++
			}
		}
		if depth == 0 {
			return i
		}
	}
	return i
}
