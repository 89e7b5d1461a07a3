package policy

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

const secondDocument = "is a second YAML document; a file holds one policy, and a folder may hold several files"

const (
	// maxFile bounds a policy file, in bytes. Ten thousand routes fit.
	maxFile = 4 << 20
	// maxDepth bounds how deep values stand in each other. The format needs seven.
	maxDepth = 64
)

// A kind is what a value of a file is.
type kind uint8

const (
	broken  kind = iota // reported already; nothing more is to be said about it
	null                // no value
	text                // a text
	boolean             // true or false
	number              // a number
	mapping             // a group of keys
	list                // a list
)

func (k kind) String() string {
	return [...]string{"broken", "empty", "a text", "true or false", "a number", "a group of keys", "a list"}[k]
}

// A value is a value of a file with its place.
type value struct {
	at      Position
	kind    kind
	text    string // scalars, as written
	entries []entry
	items   []value
}

type entry struct {
	key   string
	at    Position
	value value
}

// A yamlReader reads the subset of YAML that a policy may use: one document, no
// anchors, aliases, tags or merge keys, no key twice. Whatever could make a file
// say something else than it seems to is refused.
type yamlReader struct {
	file     string
	data     []byte
	problems Problems
}

// parseYAML reads a file. The value is usable as far as it goes when there are
// problems, so that all of them are found in one run.
func parseYAML(f File) (value, Problems) {
	r := &yamlReader{file: f.Name, data: f.Data}
	whole := Position{File: f.Name}
	data := bytes.TrimPrefix(f.Data, []byte("\uFEFF"))
	switch {
	case len(f.Data) > maxFile:
		r.report(whole, fmt.Sprintf("is larger than %d MiB; split it into a folder of files", maxFile>>20))
		return value{}, r.problems
	case !utf8.Valid(data):
		r.report(whole, "is not UTF-8; save it as UTF-8")
		return value{}, r.problems
	case bytes.IndexByte(data, 0) >= 0:
		r.report(whole, "holds a NUL byte; save it as UTF-8 text")
		return value{}, r.problems
	}
	if at := bytes.IndexFunc(data, unprintable); at >= 0 {
		line := 1 + bytes.Count(data[:at], []byte("\n"))
		r.report(Position{File: f.Name, Line: line}, "holds a character that is not seen and that YAML has no place for, or that ends the line for some readers only; take it out")
		return value{}, r.problems
	}
	// One line break for the three that YAML knows (5.4): the lexer counts a comment
	// that ends with two bytes as two lines.
	data = bytes.ReplaceAll(bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n")), []byte("\r"), []byte("\n"))
	tokens := lexer.Tokenize(string(hideColons(data)))
	if !r.plain(tokens) {
		return value{}, r.problems
	}
	file, err := parser.Parse(tokens, parser.Mode(0), parser.AllowDuplicateMapKey())
	if err != nil {
		r.syntax(err)
		return value{}, r.problems
	}
	var bodies []ast.Node
	for _, doc := range file.Docs {
		if doc.Body != nil && doc.Body.Type() != ast.CommentType {
			bodies = append(bodies, doc.Body)
		}
	}
	switch {
	case len(bodies) == 0:
		r.report(whole, "holds nothing; a policy has a version and routes")
		return value{}, r.problems
	case len(bodies) > 1 || len(file.Docs) > 1:
		second := file.Docs[1]
		at := r.position(second.Start)
		if second.Start == nil && second.Body != nil {
			at = r.position(startOf(second.Body))
		}
		r.report(at, secondDocument)
		return value{}, r.problems
	}
	return r.value(bodies[0]), r.problems
}

// plain looks at the tokens before they are parsed: for what is not read here, and
// for nesting that no policy has and that would only exhaust the parser.
func (r *yamlReader) plain(tokens token.Tokens) bool {
	depth, documents, ended := 0, 0, false
	for _, t := range tokens {
		wrong := ""
		if ended && t.Type != token.CommentType && t.Type != token.DocumentEndType {
			wrong = secondDocument
		}
		switch t.Type {
		case token.DocumentHeaderType:
			if documents++; documents > 1 { // the parser makes nothing of all that follows an empty first one
				wrong = secondDocument
			}
		case token.DocumentEndType:
			ended = true
		case token.AnchorType, token.AliasType:
			wrong = "anchors and aliases (& and *) are not read; write the value out, and quote a text that begins with * or &"
		case token.TagType:
			wrong = "tags (!) are not read; leave it out, and quote a text that begins with !"
		case token.MergeKeyType:
			wrong = "merge keys (<<) are not read; write the keys out"
		case token.DirectiveType:
			wrong = "directives (%) are not read; leave it out"
		case token.MappingKeyType:
			wrong = "keys that are marked with ? are not read; write key: value"
		case token.SequenceStartType, token.MappingStartType:
			depth++
		case token.SequenceEndType, token.MappingEndType:
			depth--
		case token.SequenceEntryType:
			if t.Position.Column > 16*maxDepth {
				depth = maxDepth + 1
			}
		default:
		}
		if t.Type != token.CommentType && strings.Contains(strings.TrimRightFunc(t.Origin, unicode.IsSpace), "\t") {
			wrong = "has a tab, which the parser leaves out of a word and takes for indentation; write spaces"
		}
		if depth > maxDepth {
			wrong = "is nested deeper than any policy; the format needs seven levels"
		}
		if wrong != "" {
			r.report(r.position(t), wrong)
			return false
		}
	}
	return true
}

// unprintable reports whether YAML lets a character stand nowhere (5.1), or has
// changed its mind on whether it ends a line, and with that a comment (5.4).
func unprintable(c rune) bool {
	switch c {
	case '\t', '\n', '\r':
		return false
	case '\u2028', '\u2029', '\uFEFF', standIn:
		return true
	}
	return unicode.IsControl(c)
}

// standIn stands for a colon of an IPv6 network while the parser reads, which takes
// 2001:db8::/32 in a list for a key with a value. A file that holds it is refused.
const standIn = '\uE000'

// hideColons replaces the colons of the IPv6 networks that are items of lists, without
// quotes. Columns stay as they are. [yamlReader.report] and [yamlReader.value] put the
// colons back.
func hideColons(data []byte) []byte {
	var out []byte
	done := 0
	for i := 0; i < len(data); {
		if !isNetworkByte(data[i]) {
			i++
			continue
		}
		start := i
		for i < len(data) && isNetworkByte(data[i]) {
			i++
		}
		if !bytes.ContainsRune(data[start:i], ':') || !endsItem(data[i:]) || !beginsItem(data[:start]) {
			continue
		}
		if _, wrong := parseNetwork(string(data[start:i])); wrong != "" {
			continue
		}
		out = append(out, data[done:start]...)
		out = append(out, bytes.ReplaceAll(data[start:i], []byte(":"), []byte(string(standIn)))...)
		done = i
	}
	return append(out, data[done:]...)
}

func isNetworkByte(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F' || c == ':' || c == '.' || c == '/'
}

// beginsItem reports whether an item of a list begins behind the text.
func beginsItem(before []byte) bool {
	trimmed := bytes.TrimRightFunc(before, unicode.IsSpace)
	if bytes.HasSuffix(trimmed, []byte("[")) || bytes.HasSuffix(trimmed, []byte(",")) {
		return true
	}
	line := before[bytes.LastIndexByte(before, '\n')+1:]
	return len(line) > 1 && line[len(line)-1] == ' ' && string(bytes.Trim(line, " ")) == "-"
}

// endsItem reports whether an item of a list ends in front of the text.
func endsItem(after []byte) bool {
	trimmed := bytes.TrimLeft(after, " ")
	return len(trimmed) == 0 || bytes.IndexByte([]byte(",]\n"), trimmed[0]) >= 0 || len(trimmed) < len(after) && trimmed[0] == '#'
}

func shown(s string) string { return strings.ReplaceAll(s, string(standIn), ":") }

// glued reports whether a colon stands between two words without a space: YAML
// takes {public:true} for a key with that name, the parser for a key and a value.
func glued(colon *token.Token) bool {
	before, after := colon.Prev, colon.Next
	if before == nil || after == nil || before.Type == token.DoubleQuoteType || before.Type == token.SingleQuoteType {
		return false
	}
	punctuation := []token.Type{token.MappingStartType, token.MappingEndType, token.SequenceStartType, token.SequenceEndType, token.CollectEntryType}
	return !slices.Contains(punctuation, after.Type) && after.Position.Line == colon.Position.Line && after.Position.Column == colon.Position.Column+1
}

// syntax reports what the parser refused.
func (r *yamlReader) syntax(err error) {
	at := Position{File: r.file}
	message := "is not YAML"
	if yamlError, ok := errors.AsType[yaml.Error](err); ok {
		at = r.position(yamlError.GetToken())
		message = NotYAML(yamlError.GetMessage())
		if r.conditionAt(at.Line) {
			message, _, _ = strings.Cut(message, ";")
			message += "; put the expression in single quotes, or on the line below when: |"
		}
	}
	r.report(at, message)
}

// NotYAML says what the parser refused, and what would be right where its own words leave
// that open.
func NotYAML(message string) string {
	message, _, _ = strings.Cut(message, ". map key-value")
	switch {
	case strings.Contains(message, "'\t'"):
		return "is not YAML: has a tab where a line begins; indent with spaces"
	case strings.HasPrefix(message, "value is not allowed"):
		message += "; let the keys of one group begin in one column, and no text follow a closing quote"
	case strings.HasPrefix(message, "mapping value is not allowed"):
		message += "; let the keys of one group begin in one column, and put a text with a colon in quotes"
	case message == "non-map value is specified", message == "unexpected key name":
		message += "; write key: value, with a space after the colon"
	}
	return "is not YAML: " + message
}

// conditionAt reports whether a line has a condition, whose quotation marks and colons
// are more than a plain text of YAML can hold.
func (r *yamlReader) conditionAt(line int) bool {
	lines := linesOf(r.data)
	return line > 0 && line <= len(lines) && strings.Contains(lines[line-1], "when:")
}

func (r *yamlReader) report(at Position, message string) {
	r.problems = append(r.problems, Problem{Position: at, Message: shown(message)})
}

func (r *yamlReader) position(t *token.Token) Position {
	if t == nil || t.Position == nil {
		return Position{File: r.file}
	}
	return Position{File: r.file, Line: t.Position.Line, Column: t.Position.Column}
}

func (r *yamlReader) value(n ast.Node) value {
	v := value{at: r.position(startOf(n))}
	switch n := n.(type) {
	case *ast.NullNode:
		v.kind = null
	case *ast.BoolNode:
		v.kind, v.text = boolean, n.GetToken().Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		v.kind, v.text = number, n.GetToken().Value
	case *ast.StringNode:
		v.kind, v.text = text, shown(n.Value)
	case *ast.LiteralNode:
		v.kind, v.text = text, shown(n.Value.Value)
	case *ast.MappingNode:
		v.kind, v.entries = mapping, r.entries(n.Values)
		for _, e := range n.Values {
			if n.IsFlowStyle && glued(e.Start) {
				r.report(r.position(e.Key.GetToken()), "has no space after its colon, which makes it one word to most readers; write key: value")
			}
		}
	case *ast.MappingValueNode:
		v.kind, v.entries = mapping, r.entries([]*ast.MappingValueNode{n})
	case *ast.SequenceNode:
		v.kind = list
		for _, item := range n.Values {
			v.items = append(v.items, r.value(item))
		}
	default:
		r.report(v.at, "is not read here; use plain keys and values")
	}
	return v
}

// startOf returns the first token of a node: that of a block mapping is its first
// colon.
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

func (r *yamlReader) entries(nodes []*ast.MappingValueNode) []entry {
	seen := make(map[string]Position, len(nodes))
	entries := make([]entry, 0, len(nodes))
	for _, n := range nodes {
		at := r.position(n.Key.GetToken())
		key, ok := n.Key.(*ast.StringNode)
		if !ok {
			r.report(at, "is not a key; keys are plain words, and any other text is quoted")
			continue
		}
		if first, twice := seen[key.Value]; twice {
			r.report(at, fmt.Sprintf("%s stands here again; it is already at line %d", keyName(key.Value), first.Line))
			continue
		}
		seen[key.Value] = at
		entries = append(entries, entry{key: shown(key.Value), at: at, value: r.value(n.Value)})
	}
	return entries
}
