package strict

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// maxDepth bounds how deep values stand in each other. The deepest format, that of
// policy tests, needs nine levels.
const maxDepth = 64

// A File is the name, for messages, and the content of a file.
type File struct {
	Name string
	Data []byte
}

// Limits say what [Parse] takes.
type Limits struct {
	// Bytes is the size of a file at most, and TooLarge what to do about a larger one.
	Bytes    int
	TooLarge string
	// Aliases lets an alias (*name) stand for what an anchor (&name) before it names, so
	// that policy tests share what they have in common. An anchored value holds no alias.
	Aliases bool
	// Hint may add to the message about a line that is not YAML. It may be nil.
	Hint func(line string) string
}

// A Kind is what a value of a file is.
type Kind uint8

// The kinds of values. A Broken one was reported already; nothing more is to be said
// about it.
const (
	Broken Kind = iota
	Null        // no value
	Text
	Bool   // true or false
	Number // as written, which may be in one of several spellings; see [Value.Whole]
	Group  // keys with values
	List
)

// String returns the kind as it stands in a message.
func (k Kind) String() string {
	return [...]string{"broken", "empty", "a text", "true or false", "a number", "a group of keys", "a list"}[k]
}

// A Value is a value of a file with its place.
type Value struct {
	At      Position
	Kind    Kind
	Text    string // scalars, as written, without quotes
	Filled  bool   // the text holds a value of a variable, so that its kind is what it reads as
	Partial bool   // some keys of a group could not be read
	Entries []Entry
	Items   []Value
}

// An Entry is a key of a group and its value.
type Entry struct {
	Key   string
	At    Position
	Value Value
}

// Scalar reports whether the value is a text, a number, or true or false.
func (v Value) Scalar() bool { return v.Kind == Text || v.Kind == Bool || v.Kind == Number }

// Get returns the value of a key of a group.
func (v Value) Get(key string) (Value, bool) {
	for _, e := range v.Entries {
		if e.Key == key {
			return e.Value, true
		}
	}
	return Value{}, false
}

// Keys returns the keys of a group, in the order of the file.
func (v Value) Keys() []string {
	keys := make([]string, len(v.Entries))
	for i, e := range v.Entries {
		keys[i] = e.Key
	}
	return keys
}

// Parse reads a file of one document. A file with nothing in it is [Null]. The value is
// usable as far as it goes when there are problems, so that one run finds as many as possible.
func Parse(f File, limits Limits) (Value, Problems) {
	p := &parser{file: f.Name, limits: limits, anchors: map[*yaml.Node]Value{}}
	whole := Position{File: f.Name}
	data, wrong := plainText(f.Data, limits)
	if wrong.Message != "" {
		wrong.File = f.Name
		return Value{At: whole}, Problems{wrong}
	}
	p.lines = bytes.Split(data, []byte("\n"))
	root := p.document(data)
	switch {
	case len(p.problems) > 0 && (root == nil || root.Kind == yaml.ScalarNode):
		return Value{At: whole}, p.problems // more is hidden than is there
	case root == nil:
		return Value{At: whole, Kind: Null}, nil
	}
	return p.value(root, 0), p.problems
}

// plainText returns the text without a byte order mark and with one line break for the three
// that YAML knows (5.4), or what is wrong with it.
func plainText(data []byte, limits Limits) ([]byte, Problem) {
	if len(data) > limits.Bytes {
		size := fmt.Sprintf("%d MiB", limits.Bytes>>20)
		if limits.Bytes < 1<<20 {
			size = fmt.Sprintf("%d KiB", limits.Bytes>>10)
		}
		return nil, Problem{Message: "is larger than " + size + "; " + limits.TooLarge}
	}
	data = bytes.TrimPrefix(data, []byte("\uFEFF"))
	switch {
	case !utf8.Valid(data):
		return nil, Problem{Message: "is not UTF-8; save it as UTF-8"}
	case bytes.IndexByte(data, 0) >= 0:
		return nil, Problem{Message: "contains a NUL byte; save it as UTF-8 text"}
	}
	if bytes.IndexByte(data, '\r') >= 0 {
		data = bytes.ReplaceAll(bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n")), []byte("\r"), []byte("\n"))
	}
	if at := bytes.IndexFunc(data, unprintable); at >= 0 {
		line := 1 + bytes.Count(data[:at], []byte("\n"))
		return nil, Problem{Position: Position{Line: line}, Message: "contains an invisible character that YAML does not allow, or that only some parsers read as a line end; remove it"}
	}
	if len(data) > 0 && data[len(data)-1] != '\n' {
		data = append(slices.Clip(data), '\n') // readers differ on a last line without an end
	}
	return data, Problem{}
}

// unprintable reports whether YAML lets a character stand nowhere (5.1), or has
// changed its mind on whether it ends a line, and with that a comment (5.4).
func unprintable(c rune) bool {
	switch c {
	case '\t', '\n':
		return false
	case '\u2028', '\u2029', '\uFEFF':
		return true
	}
	return unicode.IsControl(c)
}

type parser struct {
	file     string
	limits   Limits
	lines    [][]byte
	problems Problems
	anchors  map[*yaml.Node]Value
	anchored bool // what is read stands below an anchor

	near       Position // the place of the last call of offset, and
	nearOffset int      // its answer
}

func (p *parser) report(at Position, format string, args ...any) {
	p.problems = append(p.problems, Problem{Position: at, Message: fmt.Sprintf(format, args...)})
}

func (p *parser) at(n *yaml.Node) Position { return Position{p.file, n.Line, n.Column} }

// document returns the one document of the file; nil when there is none that can be read.
func (p *parser) document(data []byte) *yaml.Node {
	for i, line := range p.lines {
		if bytes.HasPrefix(line, []byte("%")) {
			p.report(Position{p.file, i + 1, 1}, "directives (%%) are not supported; leave it out")
			return nil
		}
		if bytes.HasPrefix(line, []byte("...")) {
			p.report(Position{p.file, i + 1, 1}, "ends a YAML document before it begins; leave it out")
			return nil
		}
		if trimmed := bytes.TrimSpace(line); len(trimmed) > 0 && trimmed[0] != '#' {
			break
		}
	}
	loader, err := yaml.NewLoader(bytes.NewReader(data))
	if err != nil {
		p.syntax(err)
		return nil
	}
	var first *yaml.Node
	for {
		next := new(yaml.Node)
		err := loader.Load(next)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			p.syntax(err)
			return nil
		}
		if first != nil {
			p.report(p.at(next), "begins a second YAML document, which other parsers ignore; write one document per file")
			break
		}
		first = next
	}
	if first == nil || len(first.Content) == 0 {
		return nil
	}
	return first.Content[0]
}

// syntax reports what is not YAML. The text of the file is not shown: a secret may stand there.
func (p *parser) syntax(err error) {
	at, message := Position{File: p.file}, "is not YAML"
	if e, ok := errors.AsType[*yaml.LoadError](err); ok {
		message += ": " + e.Message
		at.Line, at.Column = e.Mark.Line, e.Mark.Column
	}
	if at.Line > len(p.lines) {
		at.Line, at.Column = len(p.lines), 0
	}
	if at.Line > 1 && len(bytes.TrimSpace(p.lines[at.Line-1])) == 0 && at.Line == len(p.lines) {
		at.Line, at.Column = at.Line-1, 0 // the end of the file
	}
	if at.Line > 0 {
		message += "; " + p.hint(at)
	}
	p.report(at, "%s", message)
}

// offset returns where in its line a place is, in bytes; the line's length when it has no
// such column. Nodes come in the order of the file, so most calls go on from the last one.
func (p *parser) offset(at Position) int {
	line := p.lines[at.Line-1]
	if at.Line != p.near.Line || at.Column < p.near.Column {
		p.near, p.nearOffset = Position{Line: at.Line, Column: 1}, 0
	}
	for p.near.Column < at.Column && p.nearOffset < len(line) {
		_, size := utf8.DecodeRune(line[p.nearOffset:])
		p.nearOffset += size
		p.near.Column++
	}
	return p.nearOffset
}

// byteAt returns the first byte of what is at a place, 0 when nothing is there.
func (p *parser) byteAt(at Position) byte {
	if at.Line < 1 || at.Line > len(p.lines) || at.Column < 1 {
		return 0
	}
	if i := p.offset(at); i < len(p.lines[at.Line-1]) {
		return p.lines[at.Line-1][i]
	}
	return 0
}

// glued is a key, or a word in its place, with a colon and no space behind it.
var glued = regexp.MustCompile(`(?:^|[\s{,\[])["']?[A-Za-z_][A-Za-z0-9_-]*["']?:(?:[^\s/]|/[^/])`)

// hint says what to do about a place that is not YAML, by what stands there.
func (p *parser) hint(at Position) string {
	line := string(p.lines[at.Line-1])
	here := p.byteAt(at)
	before := ""
	if at.Line > 1 {
		before = string(p.lines[at.Line-2])
	}
	own := ""
	if p.limits.Hint != nil {
		own = p.limits.Hint(line)
	}
	switch indent := line[:len(line)-len(strings.TrimLeft(line, " \t"))]; {
	case strings.Contains(indent, "\t"):
		return "indent with spaces, not with tabs"
	case here == '*' && !p.limits.Aliases:
		return noAliases
	case here == '*':
		return "an alias needs an anchor before it: write & and the name before a value above"
	case here != 0 && strings.IndexByte("*&!@`%|>", here) >= 0:
		return "put a text that begins with " + string(here) + " in quotes"
	case own != "":
		return own
	case glued.MatchString(line) || glued.MatchString(before):
		return "write a space after each colon, and put other texts with a colon in quotes"
	}
	return "check the indentation, brackets and quotes of this line and the one before"
}

const noAliases = "anchors and aliases (& and *) are not supported; write the value out, and quote a text that begins with * or &"

// value reads a node. What cannot be read is reported, and becomes [Broken].
func (p *parser) value(n *yaml.Node, depth int) Value {
	v := Value{At: p.at(n)}
	switch {
	case depth > maxDepth:
		p.report(v.At, "is nested too deeply for a file of warder")
		return v
	case n.Style&yaml.TaggedStyle != 0 || p.byteAt(v.At) == '!':
		p.report(v.At, "tags (!) are not supported; leave it out, and quote a text that begins with !")
		return v
	case n.Kind == yaml.AliasNode:
		return p.alias(n)
	case n.Anchor != "" && !p.limits.Aliases:
		p.report(v.At, noAliases)
		return v
	case n.Anchor != "":
		outer := p.anchored
		p.anchored = true
		defer func() { p.anchored, p.anchors[n] = outer, v }()
	}
	switch n.Kind {
	case yaml.ScalarNode:
		v.Kind, v.Text = p.scalar(n), n.Value
		plain := n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0
		switch {
		case v.Kind == Broken || !plain:
		case strings.Contains(n.Value, "\t"):
			p.report(v.At, "has a tab, which some parsers remove from a text; write spaces, or put the text in quotes")
			v.Kind = Broken
		case strings.HasPrefix(n.Value, "?"):
			p.report(v.At, "begins with ?, which marks a key for some parsers; put the text in quotes")
			v.Kind = Broken
		}
	case yaml.SequenceNode:
		v.Kind = List
		v.Items = make([]Value, len(n.Content))
		for i, item := range n.Content {
			v.Items[i] = p.value(item, depth+1)
			n.Content[i] = nil // a large file is never in memory as nodes and as values
		}
	case yaml.MappingNode:
		v.Kind = Group
		v.Entries, v.Partial = p.entries(n, depth)
	default:
		p.report(v.At, "is not supported here; use plain keys and values")
	}
	return v
}

func (p *parser) alias(n *yaml.Node) Value {
	at := p.at(n)
	switch {
	case !p.limits.Aliases:
		p.report(at, noAliases)
	case p.anchored:
		p.report(at, "an alias below an anchor is not supported; write the value out")
	default:
		return p.anchors[n.Alias] // the library refuses one without an anchor
	}
	return Value{At: at}
}

// scalar returns the kind of a scalar.
func (p *parser) scalar(n *yaml.Node) Kind {
	switch n.ShortTag() {
	case "!!null":
		return Null
	case "!!bool":
		if n.Value != "true" && n.Value != "false" {
			p.report(p.at(n), "is %s, which is a text for some parsers; write true or false, or put the text in quotes", n.Value)
			return Broken
		}
		return Bool
	case "!!int", "!!float":
		return Number
	}
	return Text
}

func (p *parser) entries(n *yaml.Node, depth int) (entries []Entry, partial bool) {
	entries = make([]Entry, 0, len(n.Content)/2)
	seen := seenKeys{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		at := p.at(key)
		text := key.Kind == yaml.ScalarNode && (key.ShortTag() == "!!str" || key.ShortTag() == "!!timestamp")
		switch line, twice := seen.line(entries, key.Value); {
		case p.marked(key) || n.Style&yaml.FlowStyle == 0 && n.Anchor == "" && (key.Column != n.Column || i == 0 && key.Line != n.Line):
			p.report(at, "keys that are marked with ? are not supported; write key: value")
		case key.Kind == yaml.ScalarNode && key.ShortTag() == "!!merge":
			p.report(at, "merge keys (<<) are not supported; write the keys out")
		case key.Anchor != "" || key.Kind == yaml.AliasNode || !text || key.Style == 0 && key.Value != "" && strings.ContainsAny(key.Value[:1], ":?") || key.Style&yaml.TaggedStyle != 0 || p.byteAt(at) == '!':
			p.report(at, "is not a key; keys are plain words, and any other text is quoted")
		case key.Style == 0 && value.Value == "" && value.ShortTag() == "!!null" &&
			(n.Style&yaml.FlowStyle != 0 && strings.Contains(key.Value, ":") || p.afterColon(p.at(value))):
			p.report(at, "has no space after its colon, which makes it one word; write key: value")
		case twice:
			p.report(at, "%s is repeated; it is already at line %d", KeyName(key.Value), line)
		default:
			entries = append(entries, Entry{key.Value, at, p.value(value, depth+1)})
		}
		n.Content[i], n.Content[i+1] = nil, nil
	}
	return entries, len(entries) < len(n.Content)/2
}

// seenKeys finds the keys of a group that are read already. Most groups are small, and are
// searched without it; it has the lines of those of a large one.
type seenKeys struct{ lines map[string]int }

// smallGroup is the largest number of keys that are searched one by one.
const smallGroup = 16

// line returns the line of a key, if it is one of the entries.
func (s *seenKeys) line(entries []Entry, key string) (line int, seen bool) {
	if len(entries) <= smallGroup {
		for _, e := range entries {
			if e.Key == key {
				return e.At.Line, true
			}
		}
		return 0, false
	}
	if s.lines == nil {
		s.lines = map[string]int{}
	}
	for _, e := range entries[len(s.lines):] {
		s.lines[e.Key] = e.At.Line
	}
	line, seen = s.lines[key]
	return line, seen
}

// marked reports whether a key stands behind a question mark on its line. Where the mark is on a
// line before it, a block of keys does not begin at the column of its keys.
func (p *parser) marked(key *yaml.Node) bool {
	if key.Line < 1 || key.Line > len(p.lines) {
		return false
	}
	line := p.lines[key.Line-1]
	i := p.offset(p.at(key))
	start := i
	for i > 0 && (line[i-1] == ' ' || line[i-1] == '\t') {
		i--
	}
	return i < start && i > 0 && line[i-1] == '?'
}

// afterColon reports whether something stands directly behind the colon at or before the place
// of a value that is empty.
func (p *parser) afterColon(at Position) bool {
	here := p.byteAt(at)
	if here == ':' { // the place of an empty value in [key: ]
		at.Column++
		here = p.byteAt(at)
	}
	i := p.nearOffset
	return here != 0 && here != ' ' && here != '\t' && i > 0 && p.lines[at.Line-1][i-1] == ':'
}

// KeyName writes a key of a file as part of a field; one that is no plain word is
// quoted.
func KeyName(key string) string {
	for i := range len(key) {
		c := key[i]
		if !isWordByte(c) {
			return Quote(key)
		}
	}
	if key == "" {
		return `""`
	}
	return key
}

// Lines returns the lines of a file as positions count them.
func Lines(data []byte) []string {
	text := strings.TrimPrefix(string(data), "\uFEFF")
	if strings.Contains(text, "\r") {
		text = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text)
	}
	return strings.Split(text, "\n")
}

func isWordByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-' || c == '.'
}
