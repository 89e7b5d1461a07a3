package openapi

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"warder/cmd/warder/internal/cli"
	"warder/policy/pattern"
)

// A policyPath is a path of the document as a policy writes it.
type policyPath struct {
	path  string // "" if no path of a policy matches the same requests
	Loose string // path, or else a path that matches more requests; "" if there is none
	Wrong string // why path is empty

	// shape is like path, but a segment may hold literals and parameters where a policy does not
	// take that, and it ends with /** where the rest is not known. "" if no request has the path.
	shape string
	// open is true if it is not known how specific the path is, such as where the rest of the
	// shape is not known. Other paths that are more specific than the shape may then be less
	// specific than the path.
	open bool

	notes  []string // how the path differs from that of the document
	decide []string // what is to be decided about it
}

// A parameter is what the document says about a parameter of a path.
type parameter struct {
	slashes string // the member that says that the parameter may contain slashes
	pattern string // the regular expression of its schema
}

// maxTemplate bounds the length of a path. No request with a longer one gets far.
const maxTemplate = 8 << 10

// pathOf returns a path of the document in the notation of a policy, or says why there is
// none. Frameworks write parameters in several ways, and some of them leak into documents.
func pathOf(prefix, template string, parameters map[string]parameter) policyPath {
	w := pathWriter{parameters: maps.Clone(parameters), used: map[string]bool{}}
	switch {
	case !strings.HasPrefix(template, "/"):
		return policyPath{Wrong: "the path does not begin with /"}
	case len(template) > maxTemplate:
		return policyPath{Wrong: fmt.Sprintf("the path is longer than %d characters", maxTemplate)}
	}
	segments := splitPath(prefix + w.withoutQuery(template))
	segments = w.expand(segments)
	for i, s := range segments {
		last := i == len(segments)-1 || i == len(segments)-2 && segments[i+1] == ""
		if w.segment(s, last); w.rest {
			break
		}
	}
	return w.finish()
}

// A pathWriter writes the path of a policy, segment by segment.
type pathWriter struct {
	policyPath
	parameters map[string]parameter
	used       map[string]bool // names of parameters
	segments   []string
	rest       bool // the path ends with **
}

// withoutQuery returns a template without its query and fragment. A question mark that makes
// a parameter optional is no query.
func (w *pathWriter) withoutQuery(template string) string {
	depth := 0
	for i := range len(template) {
		switch c := template[i]; {
		case c == '{' || c == '(':
			depth++
		case c == '}' || c == ')':
			depth = max(depth-1, 0)
		case depth > 0 || c != '?' && c != '#':
		case c == '?' && isOptional(template, i):
		default:
			w.note("the document has " + cli.OneLine(template[i:], 60) + " in the path, which takes no part in matching")
			return template[:i]
		}
	}
	return template
}

// isOptional reports whether the question mark at i ends a parameter like :id?.
func isOptional(template string, i int) bool {
	begin := strings.LastIndexByte(template[:i], '/') + 1
	return begin < i && template[begin] == ':' && (i+1 == len(template) || template[i+1] == '/')
}

// splitPath splits a template at its slashes, except for those in braces and <>.
func splitPath(template string) (segments []string) {
	depth, begin := 0, 0
	for i := range len(template) {
		switch c := template[i]; {
		case c == '{' || c == '<':
			depth++
		case (c == '}' || c == '>') && depth > 0:
			depth--
		case c == '/' && depth == 0:
			segments = append(segments, template[begin:i])
			begin = i + 1
		}
	}
	if depth > 0 { // a brace that nothing closes
		return strings.Split(template, "/")[1:]
	}
	return append(segments, template[begin:])[1:]
}

var (
	// named is {name=shelves/*/books/*} of Google's HTTP annotations.
	named = regexp.MustCompile(`^\{([^{}=]*)=([^{}]*[*/][^{}]*)\}(.*)$`)
	// colons are the parameters of a segment of Express, such as :id or :from-:to.
	colons    = regexp.MustCompile(`:([A-Za-z_][A-Za-z0-9_]*)(\([^()]*\))?`)
	colon     = regexp.MustCompile(`^:([A-Za-z_][A-Za-z0-9_]*)(\([^()]*\))?([?*+]?)$`)
	bracketed = regexp.MustCompile(`^\[{1,2}(\.\.\.)?([A-Za-z_][A-Za-z0-9_]*)\]{1,2}$`)
	angled    = regexp.MustCompile(`^<(?:([A-Za-z_]+)(?:\(.*\))?:)?([A-Za-z_][A-Za-z0-9_]*)>$`)
	// fixedParts is a regular expression of literals and whole segments, such as
	// ^shelves/[^/]+$, which gateways of gRPC write for {name=shelves/*}.
	fixedParts = regexp.MustCompile(`^\^?((?:[A-Za-z0-9_-]+|\[\^/\]\+)(?:/(?:[A-Za-z0-9_-]+|\[\^/\]\+))+)\$?$`)
	// anything is a regular expression that takes every text.
	anything = regexp.MustCompile(`^\^?\(?(?:\?:)?(?:\.|\[\\s\\S\])(?:[*+]|\{[01],\})[?+]?\)?\$?$`)
	classes  = regexp.MustCompile(`\[[^\]]*\]`)
)

// expand replaces a parameter that stands for several segments of a known shape by those.
func (w *pathWriter) expand(segments []string) (all []string) {
	for _, s := range segments {
		if m := named.FindStringSubmatch(s); m != nil && (m[2] != "**" || m[3] != "") {
			w.note("{" + cli.OneLine(m[1], 60) + "} stands for " + cli.OneLine(m[2], 100))
			parts := strings.Split(m[2], "/")
			for i, part := range parts {
				switch part {
				case "*":
					part = "{" + m[1] + "}"
				case "**":
					part = "{" + m[1] + "=**}"
				}
				if i == len(parts)-1 {
					part += m[3]
				}
				all = append(all, part)
			}
			continue
		}
		name, rest, braced := strings.Cut(strings.TrimPrefix(s, "{"), "}")
		if m := fixedParts.FindStringSubmatch(w.parameters[name].pattern); m != nil && braced && len(s) == len(name)+len(rest)+2 {
			w.note("{" + cli.OneLine(name, 60) + "} stands for " + cli.OneLine(m[1], 100))
			delete(w.parameters, name) // what is left of it takes one segment
			parts := strings.Split(strings.ReplaceAll(m[1], "[^/]+", "\x00"), "/")
			for i, part := range parts {
				if part == "\x00" {
					part = "{" + name + "}"
				}
				if i == len(parts)-1 {
					part += rest
				}
				all = append(all, part)
			}
			continue
		}
		all = append(all, s)
	}
	return all
}

// segment writes a segment. The path ends there if w.rest is true then.
func (w *pathWriter) segment(s string, last bool) {
	switch {
	case wholeBrace(s):
		w.parameter(s[1:len(s)-1], s, last)
	case strings.ContainsAny(s, "{}"):
		w.mixed(s)
	case s == "*":
		w.decideOn("* is one segment here; write ** if it takes everything below")
		w.add("{" + w.name("any") + "}")
	case s == "**", strings.HasPrefix(s, "*") && pattern.ValidParam(s[1:]): // Spring; Express 5, Gin
		w.many(s, "", last)
	case strings.Contains(s, "(?"): // Django's regular expressions
		w.unknown(s)
	case colon.MatchString(s): // Express
		w.colon(s, last)
	case strings.HasPrefix(s, ":") && colons.MatchString(s) && colons.FindStringIndex(s)[0] == 0:
		w.note("the document writes " + cli.OneLine(s, 60) + " for parameters")
		w.mixed(colons.ReplaceAllString(s, "{$1}"))
	case angled.MatchString(s): // Flask
		w.angled(s, last)
	case bracketed.MatchString(s): // Next.js
		m := bracketed.FindStringSubmatch(s)
		if m[1] != "" {
			w.many(s, "", last)
			return
		}
		w.renamed(s, m[2])
	default:
		if strings.Contains(s, "*") {
			w.decideOn("the * in " + cli.OneLine(s, 60) + " is a literal here")
		}
		w.add(literalSegment(s))
	}
}

// colon writes a segment like :id, :id?, :path* or :id(\d+).
func (w *pathWriter) colon(s string, last bool) {
	m := colon.FindStringSubmatch(s)
	name, expression, suffix := m[1], strings.Trim(m[2], "()"), m[3]
	switch {
	case suffix == "*" || suffix == "+" || anything.MatchString(expression):
		w.many(s, "", last)
		return
	case mayTakeSlash(expression):
		w.unknown(s)
		return
	case suffix == "?":
		w.optional(s)
	}
	w.renamed(s, name)
}

// angled writes a segment like <id>, <int:id> or <path:file>.
func (w *pathWriter) angled(s string, last bool) {
	m := angled.FindStringSubmatch(s)
	switch {
	case m[1] == "path":
		w.many(s, "", last)
	case strings.Contains(s, "(") && mayTakeSlash(s):
		w.unknown(s)
	default:
		w.renamed(s, m[2])
	}
}

// renamed writes a parameter that the document writes in the notation of a framework.
func (w *pathWriter) renamed(s, name string) {
	name = "{" + w.name(name) + "}"
	w.note("the document writes " + cli.OneLine(s, 60) + " for " + name)
	w.add(name)
}

// wholeBrace reports whether a segment begins with a brace that its last one closes.
func wholeBrace(s string) bool { return len(s) > 0 && closing(s) == len(s) }

// closing returns where the braces end that a text begins with; 0 if it begins with none that
// are closed.
func closing(s string) int {
	depth := 0
	for i := range len(s) {
		switch s[i] {
		case '{':
			depth++
		case '}':
			depth--
		}
		if depth <= 0 {
			if s[i] == '}' && s[0] == '{' {
				return i + 1
			}
			return 0
		}
	}
	return 0
}

// A parameterKind is how many segments a parameter takes.
type parameterKind int

const (
	takesOne parameterKind = iota
	takesMany
	takesUnknown
	takesQuery // the parameter is a part of the query
)

// spelled reads the text between the braces of a parameter.
func spelled(text string) (name string, kind parameterKind, optional bool) {
	switch {
	case strings.HasPrefix(text, "*"): // ASP.NET: {*path}, {**path}, {*path:nonfile}
		name, _, _ = strings.Cut(strings.TrimLeft(text, "*"), ":")
		return strings.TrimSuffix(name, "?"), takesMany, false
	case strings.HasPrefix(text, "+"): // RFC 6570: {+path}
		return text[1:], takesMany, false
	case strings.HasPrefix(text, "?"), strings.HasPrefix(text, "&"), strings.HasPrefix(text, "#"): // RFC 6570: {?page,size}
		return text[1:], takesQuery, false
	case strings.HasPrefix(text, "/"), strings.HasPrefix(text, ";"), strings.HasPrefix(text, "."):
		return text, takesUnknown, false
	case strings.HasSuffix(text, "=**"): // Google: {name=**}
		return strings.TrimSuffix(text, "=**"), takesMany, false
	}
	name, kindText, typed := strings.Cut(text, ":")
	if !typed {
		name, _, optional = strings.Cut(text, "=") // ASP.NET: {action=Index}
		if cut, found := strings.CutSuffix(name, "?"); found {
			return cut, takesOne, true
		}
		if cut, found := strings.CutSuffix(name, "+"); found { // API Gateway, Smithy: {proxy+}
			return cut, takesMany, false
		}
		if cut, found := strings.CutSuffix(name, "*"); found { // hapi: {path*}
			return cut, takesMany, false
		}
		if cut, _, found := strings.Cut(name, "*"); found { // hapi: {path*2}
			return cut, takesUnknown, false
		}
		return name, takesOne, optional
	}
	kindText = strings.TrimSpace(kindText)
	name = strings.TrimSpace(name)
	switch {
	case kindText == "path", anything.MatchString(kindText): // Starlette; JAX-RS, gorilla/mux
		return name, takesMany, false
	case mayTakeSlash(kindText):
		return name, takesUnknown, false
	}
	return name, takesOne, strings.HasSuffix(kindText, "?") && !strings.ContainsAny(kindText, `\[.(`)
}

// mayTakeSlash reports whether a text with a slash may match a regular expression.
func mayTakeSlash(expression string) bool {
	for _, class := range classes.FindAllString(expression, -1) {
		negated := strings.HasPrefix(class, "[^")
		if negated != strings.Contains(class, "/") || strings.ContainsAny(class, `SDW`) && strings.Contains(class, `\`) {
			return true
		}
	}
	outside := classes.ReplaceAllString(expression, "")
	outside = strings.ReplaceAll(outside, `\.`, "")
	return strings.ContainsAny(outside, "./[") || strings.Contains(outside, `\S`) || strings.Contains(outside, `\D`) || strings.Contains(outside, `\W`)
}

// parameter writes a segment that is one parameter.
func (w *pathWriter) parameter(text, s string, last bool) {
	name, kind, optional := spelled(text)
	declared := w.declared(name, text)
	switch {
	case kind == takesMany:
		w.many(s, "", last)
	case kind == takesUnknown:
		w.unknown(s)
	case kind == takesQuery:
		w.note("the document has " + cli.OneLine(s, 60) + " in the path, which takes no part in matching")
	case declared.slashes != "":
		w.many(s, declared.slashes, last)
	case declared.takesSlash():
		w.many(s, "pattern: "+declared.pattern, last)
	default:
		if optional {
			w.optional(s)
		}
		w.add("{" + w.name(name) + "}")
	}
}

// declared returns what the document says about a parameter, which it names with or without
// what stands after its name in the path.
func (w *pathWriter) declared(name, text string) parameter {
	if p, found := w.parameters[name]; found {
		return p
	}
	return w.parameters[text]
}

// takesSlash reports whether the pattern of the parameter has a literal slash.
func (p parameter) takesSlash() bool {
	expression := strings.ReplaceAll(p.pattern, "(?:", "(")
	return !strings.Contains(expression, "(?") && strings.Contains(classes.ReplaceAllString(expression, ""), "/")
}

// mixed writes a segment of literals and parameters. Package pattern says whether a policy
// takes it.
func (w *pathWriter) mixed(s string) {
	var b strings.Builder
	for rest := s; rest != ""; {
		open := strings.IndexByte(rest, '{')
		if open < 0 {
			open = len(rest)
		}
		literal := rest[:open]
		if colon, found := strings.CutPrefix(literal, ":"); found && b.Len() > 0 {
			b.WriteByte(':') // only the first character of a segment must not be a colon
			literal = colon
		}
		b.WriteString(literalSegment(literal))
		rest = rest[open:]
		end := closing(rest)
		if end == 0 { // nothing closes the brace
			b.WriteString(literalSegment(rest))
			break
		}
		text := rest[1 : end-1]
		rest = rest[end:]
		name, kind, _ := spelled(text)
		declared := w.declared(name, text)
		switch {
		case kind == takesQuery:
			w.note("the document has {" + cli.OneLine(text, 60) + "} in the path, which takes no part in matching")
			continue
		case kind != takesOne || declared.slashes != "" || declared.takesSlash():
			w.unknown(s)
			return
		}
		b.WriteString("{" + w.name(name) + "}")
	}
	w.add(b.String())
}

// many writes a parameter that takes slashes. mark is what says so, if the parameter itself
// does not.
func (w *pathWriter) many(s, mark string, last bool) {
	what := cli.OneLine(s, 60)
	if mark != "" {
		what += " (" + cli.OneLine(mark, 60) + ")"
	}
	if !last {
		w.stop("the parameter " + what + " takes slashes before the end of the path, and ** can only be the last segment in a policy")
		return
	}
	w.rest = true
	above := cli.OneLine("/"+strings.Join(w.segments, "/"), 100)
	if s == "**" {
		w.decideOn("** takes everything below " + above + ", and " + above + " itself")
		return
	}
	w.decideOn("** stands for " + what + ", which takes slashes; it takes " + above + " itself too")
}

// unknown ends the path at a parameter of which it is not known how many segments it takes.
func (w *pathWriter) unknown(s string) {
	w.stop("it is not known how many segments " + cli.OneLine(s, 60) + " takes; write ** as the last segment if the same callers may pass to all paths below")
}

// stop ends the path where it cannot be written further.
func (w *pathWriter) stop(why string) {
	w.Wrong, w.open, w.rest = why, true, true
}

func (w *pathWriter) optional(s string) {
	w.decideOn(cli.OneLine(s, 60) + " is optional in the document; the path without it needs a route of its own")
}

func (w *pathWriter) add(segment string)   { w.segments = append(w.segments, segment) }
func (w *pathWriter) note(what string)     { w.notes = appendNew(w.notes, what) }
func (w *pathWriter) decideOn(what string) { w.decide = appendNew(w.decide, what) }

func appendNew(list []string, what string) []string {
	if slices.Contains(list, what) {
		return list
	}
	return append(list, what)
}

// finish returns the path, if a policy takes it.
func (w *pathWriter) finish() policyPath {
	segments := slices.Clone(w.segments)
	if w.rest {
		segments = append(segments, "**")
	}
	w.shape = "/" + strings.Join(segments, "/")
	if w.Wrong == "" {
		wrong := pattern.WrongPath(w.shape)
		if wrong == "" {
			w.path, w.Loose = w.shape, w.shape
			return w.policyPath
		}
		w.Wrong = "the path " + cli.OneLine(wrong, 200)
	}
	for i, s := range segments {
		if whole := wholeBrace(s) && pattern.ValidParam(s[1:len(s)-1]); strings.ContainsAny(s, "{}") && !whole {
			segments[i] = "{" + w.name("part") + "}"
		}
	}
	w.Loose = "/" + strings.Join(segments, "/")
	if pattern.WrongPath(w.Loose) != "" {
		w.Loose, w.shape = "", ""
	}
	return w.policyPath
}

// name returns a name that is valid in a policy and not yet used in the path.
func (w *pathWriter) name(s string) string {
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
	for base, n := name, 2; w.used[name]; n++ {
		name = fmt.Sprintf("%s_%d", base, n)
	}
	w.used[name] = true
	return name
}

// literalSegment escapes the characters that a path in a policy may not contain, or that have
// a special meaning in it.
func literalSegment(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte("#?*<>[]^`|\"", c) >= 0 || c == ':' && i == 0 ||
			c == '$' && i == len(s)-1 || c == '+' && i > 0 && strings.IndexByte(".)", s[i-1]) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}
