package pattern

import (
	"regexp"
	"strings"

	"warder/policy/strict"
)

// foreign says what a segment of a path means in other products, if it is written in their
// words, and what to write instead. It returns "" for a segment that is none of these. A text
// is refused if it is hardly ever meant literally; it can still be written, percent-encoded.
func foreign(s string) string {
	if !strings.ContainsAny(s, "*:<>{}[]()^|$#+.\\`\"") || isParam(s) {
		return ""
	}
	quoted := strict.Quote(s)
	switch {
	case s == "*":
		return "has a segment *; write {name} for one segment, or ** at the end for everything below"
	case nextParam.MatchString(s):
		return "has " + quoted + ", which is a parameter in other products; write {" + ParamNameLike(strings.Trim(s, "[]")) + "}, or %5B and %5D for brackets"
	case everything.MatchString(s):
		return "has " + quoted + ", which is everything below in other products; write ** as the last segment"
	case strings.HasPrefix(s, "*") && ValidParam(s[1:]):
		return "has " + quoted + ", which is everything below in other products; write ** as the last segment for that, {" + s[1:] + "} for one segment, or %2A for a literal *"
	case strings.HasPrefix(s, ":"):
		return "has a segment " + quoted + "; write " + strict.Quote(withBraces(s)) + " for a parameter, or %3A for a literal colon at its beginning"
	case strings.ContainsAny(s, "<>"):
		return angled(s)
	case strings.Contains(s, "${"), strings.Contains(s, "#{"):
		return "has " + quoted + ", which another program was to fill in; write " + strict.Quote(strings.NewReplacer("${", "{", "#{", "{").Replace(s)) + " for a parameter, or %24 for a literal $, %23 for a literal #"
	case typedParam.MatchString(s):
		return wrongParam(s, typedParam.FindStringSubmatch(s)[1], true)
	case strings.Contains(s, "{{") || strings.Contains(s, "}}"):
		return "has " + quoted + "; a parameter has one brace on each side, as in " + strict.Quote(strings.NewReplacer("{{", "{", "}}", "}").Replace(s))
	case strings.ContainsAny(outsideBraces(s), "[]^|`\"") || regularExpression.MatchString(outsideBraces(s)):
		return "has " + quoted + ", and a path is not a regular expression; write {name} for a parameter, one path for each literal, or the character percent-encoded, as in %5B"
	case strings.Contains(outsideBraces(s), "*"):
		return starInside(s)
	}
	return ""
}

// isParam reports whether the segment is {name}.
func isParam(s string) bool {
	return len(s) > 2 && s[0] == '{' && s[len(s)-1] == '}' && ValidParam(s[1:len(s)-1])
}

var (
	methodAndPath     = regexp.MustCompile(`^((?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS)(?:,[A-Z,]+)?)[:|\t]?(/.*)$`)
	everything        = regexp.MustCompile(`^(?:\(?\.[*+]\)?|\[+\.\.\.\w+\]+|:\w+[*+]|<path:\w+>)$`)
	nextParam         = regexp.MustCompile(`^\[+\w+\]+$`)
	expressParam      = regexp.MustCompile(`:(\w+)(\([^)]*\))?`)
	angledParam       = regexp.MustCompile(`<(?:[^<>]*:)?\s*(\w+)\s*>`)
	typedParam        = regexp.MustCompile(`\{(\w+:.*?)(?:\}|$)`)
	braces            = regexp.MustCompile(`\{[^{}]*\}`)
	regularExpression = regexp.MustCompile(`\(\.\+|\\[dwsDWS]|\$$|[\])]\+`)
)

// outsideBraces returns the segment without its parameters.
func outsideBraces(s string) string { return braces.ReplaceAllString(s, "{}") }

// withBraces returns a segment like :from-:to with the parameters of a policy.
func withBraces(s string) string {
	text := expressParam.ReplaceAllString(s, "{$1}")
	if !validSegment(text) {
		return "{" + ParamNameLike(s[1:]) + "}"
	}
	return text
}

func angled(s string) string {
	text := angledParam.ReplaceAllString(s, "{$1}")
	switch {
	case !validSegment(text):
		text = "{name}"
	}
	return "has " + strict.Quote(s) + "; write " + strict.Quote(text) + " for a parameter, or %3C and %3E for literal angle brackets"
}

func starInside(s string) string {
	text := strings.Replace(s, "*", "{name}", 1)
	if !validSegment(text) {
		text = "{name}"
	}
	return "has a * inside the segment " + strict.Quote(s) + "; write a parameter, as in " + strict.Quote(text) + ", or a literal * as %2A"
}

// validSegment reports whether a message may advise to write a segment.
func validSegment(s string) bool {
	if strings.ContainsAny(s, "/?<>*") || strings.HasPrefix(s, ":") {
		return false
	}
	_, _, wrong := readSegment(s)
	return wrong == ""
}

// foreignPath says what a whole path means in other products, like [foreign].
func foreignPath(text string) string {
	switch {
	case strings.Contains(text, "://"):
		return "is a URL; write its path alone, and its host under hosts"
	case strings.Contains(text, "(?"), text[0] != '/' && strings.HasPrefix(strings.TrimLeft(withoutSpaces(text), "~=*"), "^"):
		return "is a regular expression, which no path of a policy is; write the path itself, with {name} for one segment and ** at the end for everything below"
	case text == "*" || text == "**":
		return `does not begin with /; write "/**" for every path`
	case methodAndPath.MatchString(text):
		m := methodAndPath.FindStringSubmatch(text)
		return "begins with a method; write " + strict.Quote(m[1]+" "+m[2])
	case text[0] != '/':
		return "does not begin with /; write " + strict.Quote("/"+text)
	}
	return ""
}

func before(s, sep string) string {
	s, _, _ = strings.Cut(s, sep)
	return s
}

// wrongParam says what is wrong with a parameter in a segment. name is the text after its
// brace, up to the closing one if it is closed.
func wrongParam(s, name string, closed bool) string {
	quoted := strict.Quote(s)
	base, kind, typed := strings.Cut(name, ":")
	plain := ParamNameLike(strings.Trim(withoutSpaces(before(before(base, "="), "?")), "*+.!~&"))
	switch {
	case !closed && strings.Contains(name, "="):
		return "has " + quoted + "; a parameter stands for one segment or a part of one, write {" + ParamNameLike(before(name, "=")) + "}"
	case !closed:
		return "has a { without a } after it in " + quoted + "; a parameter is written {name}, and a literal { as %7B"
	case name == "":
		return "has a parameter without a name; write one such as {id}"
	case name == "$":
		return "has {$}, which is the end of the path in other products; leave it out: a path without ** ends where it ends"
	case typed && (kind == "path" || strings.Contains(kind, ".*") || strings.Contains(kind, ".+") || strings.Contains(kind, "**")),
		!typed && (strings.ContainsAny(name[:1]+name[len(name)-1:], "*+") || strings.HasSuffix(name, "...")):
		return "has " + quoted + ", which is everything below in other products; write ** as the last segment for that, or {" + plain + "} for one segment"
	case typed:
		return "has " + quoted + "; parameters have no type here, write {" + plain + "}"
	case strings.ContainsAny(name, "?="):
		return "has " + quoted + "; a parameter is never absent here: write {" + plain + "}, and a second path without it"
	}
	return "has " + quoted + "; a parameter is a letter or _ and then letters, digits and _, as in {" + ParamNameLike(name) + "}"
}

func withoutSpaces(s string) string { return strings.Join(strings.Fields(s), "") }
