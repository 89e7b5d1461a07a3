package condition

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"

	"warder/policy/pattern"
	"warder/policy/strict"
)

// The maps that an expression can read. They are read by name only, and never compared or
// passed to a function: {} != request.query would be true for a query that cannot be read.
const (
	mapNone       = ""
	mapParams     = "params"
	mapQuery      = "request.query"
	mapHeaders    = "request.headers"
	mapClaims     = "principal.claims"
	mapAttributes = "principal.attributes"
)

var roots = []string{"request", "params", "principal"}

// typeNames are the names of types, as in type(x) == string.
var typeNames = []string{"bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"}

// A checker walks through a parsed expression before its types are checked. It notes what the
// expression reads, and reports what would not mean what it seems to.
type checker struct {
	env       *cel.Env
	text      string
	info      *ast.SourceInfo
	condition *Condition
	reads     bool
	params    []paramUse
	problems  []problem
}

type paramUse struct {
	name   string
	offset int
}

// offsetOf returns the place of a node in characters.
func (c *checker) offsetOf(id int64) int {
	if at, known := c.info.GetOffsetRange(id); known {
		return int(at.Start)
	}
	return 0
}

func (c *checker) fail(offset int, format string, args ...any) {
	c.problems = append(c.problems, problem{offset, fmt.Sprintf(format, args...)})
}

// nameAfter returns the place of a name after its operator, a dot or a bracket.
func (c *checker) nameAfter(offset int) int {
	runes := []rune(c.text)
	for i := offset; i < len(runes); i++ {
		if runes[i] != '.' && runes[i] != '[' && runes[i] != ' ' && runes[i] != '\n' {
			return i
		}
	}
	return min(offset, utf8.RuneCountInString(c.text))
}

// nameFrom returns the place at which a name first occurs at or after an offset.
func (c *checker) nameFrom(offset int, name string) int {
	rest := string([]rune(c.text)[offset:])
	before, _, found := strings.Cut(rest, name)
	if !found {
		return offset
	}
	return offset + utf8.RuneCountInString(before)
}

// objectOf returns the type of request or principal, if e is one of these names and no macro
// has bound it to an item.
func objectOf(e ast.Expr, bound []string) *objectType {
	if e.Kind() != ast.IdentKind || slices.Contains(bound, e.AsIdent()) {
		return nil
	}
	switch e.AsIdent() {
	case "request":
		return requestType
	case "principal":
		return principalType
	}
	return nil
}

// mapOf returns which of the maps a node is, or mapNone.
func mapOf(e ast.Expr, bound []string) string {
	if e.Kind() == ast.IdentKind && e.AsIdent() == mapParams && !slices.Contains(bound, mapParams) {
		return mapParams
	}
	if e.Kind() != ast.SelectKind || e.AsSelect().IsTestOnly() {
		return mapNone
	}
	if t := objectOf(e.AsSelect().Operand(), bound); t != nil {
		switch name := t.name + "." + e.AsSelect().FieldName(); name {
		case mapQuery, mapHeaders, mapClaims, mapAttributes:
			return name
		}
	}
	return mapNone
}

// expr checks a node and all nodes below it. bound are the names that the macros around it
// have bound to items.
func (c *checker) expr(e ast.Expr, bound []string) {
	if m := mapOf(e, bound); m != mapNone {
		c.fail(c.start(e), `%s is read by name, as in %s, and not as a whole`, m, exampleOf[m])
		return
	}
	switch e.Kind() {
	case ast.IdentKind:
		c.ident(e, bound)
	case ast.SelectKind:
		c.selection(e, bound)
	case ast.CallKind:
		c.call(e, bound)
	case ast.ComprehensionKind:
		c.loop(e.AsComprehension(), bound)
	case ast.ListKind:
		for _, item := range e.AsList().Elements() {
			c.expr(item, bound)
		}
	case ast.MapKind:
		for _, entry := range e.AsMap().Entries() {
			c.expr(entry.AsMapEntry().Key(), bound)
			c.expr(entry.AsMapEntry().Value(), bound)
		}
	case ast.StructKind:
		c.fail(c.offsetOf(e.ID()), "constructs a value of a type; compare its fields one by one")
	case ast.LiteralKind, ast.UnspecifiedExprKind:
	}
}

var exampleOf = map[string]string{
	mapParams:  "params.user_id",
	mapQuery:   `request.query.page or "page" in request.query`,
	mapHeaders: `request.headers["x-tenant"] or "x-tenant" in request.headers`,
	mapClaims:  `principal.claims.tenant or has(principal.claims.tenant)`,

	mapAttributes: `principal.attributes.tenant or has(principal.attributes.tenant)`,
}

// start returns the place at which a node begins. A selection begins with its operand.
func (c *checker) start(e ast.Expr) int {
	for e.Kind() == ast.SelectKind {
		e = e.AsSelect().Operand()
	}
	return c.offsetOf(e.ID())
}

func (c *checker) ident(e ast.Expr, bound []string) {
	name := e.AsIdent()
	switch {
	case slices.Contains(bound, name), slices.Contains(typeNames, name):
	case slices.Contains(roots, name):
		c.reads = true
		c.fail(c.offsetOf(e.ID()), "%s is read by field, and not as a whole; use %s", name, strings.Join(prefixed(name, objectOf(e, bound).FieldNames()), ", "))
	default:
		at := c.offsetOf(e.ID())
		if runes := []rune(c.text); at > 0 && runes[at-1] == '-' {
			c.fail(at, `there is no %s; a name with a hyphen is written in brackets and quotes, as in request.headers["x-tenant"]`, strict.Quote(name))
			return
		}
		c.fail(at, "there is no %s; %s", strict.Quote(name), c.instead(name))
	}
}

// instead says what the author may have meant by an unknown name.
func (c *checker) instead(name string) string {
	switch strings.ToLower(name) {
	case "true", "false", "null":
		return "write " + strings.ToLower(name)
	}
	for _, t := range []*objectType{requestType, principalType} {
		if slices.Contains(t.FieldNames(), name) {
			return "did you mean " + t.name + "." + name + "?"
		}
	}
	switch name {
	case "user_id", "sub":
		return "did you mean principal.user, or params." + name + "?"
	case "ip":
		return "did you mean request.client_ip?"
	case "now":
		return "did you mean request.time?"
	}
	if near := strict.Nearest(name, roots); len(name) > 3 && near != "" {
		return "did you mean " + near + "?"
	}
	return "use " + strings.Join(roots, ", ") + ", and put texts in quotes"
}

func prefixed(name string, fields []string) []string {
	out := make([]string, len(fields))
	for i, f := range fields {
		out[i] = name + "." + f
	}
	return out
}

func (c *checker) selection(e ast.Expr, bound []string) {
	s := e.AsSelect()
	at := c.nameAfter(c.offsetOf(e.ID()))
	if s.IsTestOnly() { // its offset is that of has
		at = c.nameFrom(c.offsetOf(e.ID()), s.FieldName())
	}
	if m := mapOf(s.Operand(), bound); m != mapNone {
		c.named(m, s.FieldName(), at)
		return
	}
	t := objectOf(s.Operand(), bound)
	if t == nil {
		c.expr(s.Operand(), bound)
		return
	}
	c.reads = true
	switch m := t.name + "." + s.FieldName(); {
	case !known(t, s.FieldName()) && t == principalType:
		c.fail(at, "there is no %s.%s; %s", t.name, s.FieldName(), attributeLike(s.FieldName()))
	case !known(t, s.FieldName()):
		c.fail(at, "there is no %s.%s; %s", t.name, s.FieldName(), strict.DidYouMean(s.FieldName(), t.FieldNames()))
	case m == "principal.roles":
		c.condition.readsRoles = true
	case exampleOf[m] != "": // has(request.query), which is false for a query that cannot be read
		c.fail(at, "%s exists in every request; ask for a name in it, as in %s", m, exampleOf[m])
	}
}

func known(t *objectType, name string) bool {
	_, found := t.FindFieldType(name)
	return found
}

// named notes that the expression reads a name of a map.
func (c *checker) named(m, name string, at int) {
	c.reads = true
	switch m {
	case mapParams:
		c.params = append(c.params, paramUse{name, at})
	case mapHeaders:
		c.header(name, at)
	case mapAttributes:
		c.attribute(name, at)
	}
}

// header reports names of headers that no expression can see.
func (c *checker) header(name string, at int) {
	lower := strings.ToLower(name)
	switch folded := pattern.FoldHeader(name); {
	case strings.HasPrefix(folded, pattern.HeaderNamespace):
		c.fail(at, "%s is hidden, since a client could send it; read principal or request.client_ip", strict.Quote(name))
	case slices.Contains(hiddenFields, folded):
		c.fail(at, "%s is hidden, since policies hold no secrets; what a credential proves is in principal", strict.Quote(name))
	case strings.HasPrefix(name, ":"):
		c.fail(at, "%s is not a header here; read request.method, request.host or request.path", strict.Quote(name))
	case name == "":
		c.fail(at, `"" is not a header; write its name, such as "x-tenant"`)
	case lower != name:
		c.fail(at, "%s is not in lower case, as names of headers are; write %s", strict.Quote(name), strict.Quote(lower))
	}
}

func (c *checker) call(e ast.Expr, bound []string) {
	call := e.AsCall()
	args := call.Args()
	at := c.offsetOf(e.ID())
	switch name := call.FunctionName(); {
	case name == operators.Index && mapOf(args[0], bound) != mapNone:
		c.key(mapOf(args[0], bound), args[1], c.nameAfter(at), bound)
		return
	case name == operators.In && mapOf(args[1], bound) != mapNone:
		c.key(mapOf(args[1], bound), args[0], c.start(args[0]), bound)
		return
	case name == "size" && call.IsMemberFunction() && len(args) == 0 && mapOf(call.Target(), bound) != mapNone:
		c.whole(mapOf(call.Target(), bound), at)
		return
	case name == "size" && !call.IsMemberFunction() && len(args) == 1 && mapOf(args[0], bound) != mapNone:
		c.whole(mapOf(args[0], bound), at)
		return
	case name == "matches" && len(args) > 0:
		if last := args[len(args)-1]; !isText(last) {
			c.fail(c.start(last), `matches needs its pattern as a text in quotes, so that it is checked now and not with a request`)
			return
		} else if _, err := regexp.Compile(string(last.AsLiteral().(types.String))); err != nil {
			c.fail(c.start(last), "is not a valid pattern: %s; use the syntax of RE2", regexpProblem(err))
			return
		}
	case strings.HasPrefix(name, "get") && call.IsMemberFunction() && len(args) == 1:
		c.zone(args[0])
	}
	c.function(call, at)
	c.addresses(call, bound)
	if call.IsMemberFunction() && !c.qualified(call) {
		c.expr(call.Target(), bound)
	}
	for _, a := range args {
		c.expr(a, bound)
	}
}

// regexpProblem returns what is wrong with a regular expression, and which part of it.
func regexpProblem(err error) string {
	if e, ok := errors.AsType[*syntax.Error](err); ok {
		return e.Code.String() + ": " + strict.Quote(e.Expr)
	}
	return oneLine(err.Error())
}

// key notes that the expression reads a map by a key: a literal name, or the value of another
// expression.
func (c *checker) key(m string, key ast.Expr, at int, bound []string) {
	if isText(key) {
		c.named(m, string(key.AsLiteral().(types.String)), at)
		return
	}
	if m == mapAttributes {
		c.fail(at, `%s is read by a name that is known now and not with a request; write it as a text in quotes, such as principal.attributes["tenant"]`, m)
		return
	}
	c.reads = true
	c.expr(key, bound)
}

func isText(e ast.Expr) bool {
	if e.Kind() != ast.LiteralKind {
		return false
	}
	_, ok := e.AsLiteral().(types.String)
	return ok
}

// whole notes that the expression iterates over all names of a map.
func (c *checker) whole(m string, at int) {
	c.reads = true
	if m == mapAttributes {
		c.fail(at, `%s is read by name, as in %s, and not as a whole`, m, exampleOf[m])
	}
	c.condition.wholeQuery = c.condition.wholeQuery || m == mapQuery
	c.condition.wholeFields = c.condition.wholeFields || m == mapHeaders
}

// zone checks the time zone of a call such as getHours("Europe/Berlin").
func (c *checker) zone(e ast.Expr) {
	if !isText(e) {
		c.fail(c.start(e), `a time zone is a text in quotes, such as "Europe/Berlin"`)
		return
	}
	name := string(e.AsLiteral().(types.String))
	if strings.Contains(name, ":") {
		return // an offset, which cel-go reads
	}
	if _, err := time.LoadLocation(name); err != nil {
		c.fail(c.offsetOf(e.ID()), `%s is not a time zone that this machine knows; write one such as "UTC", "Europe/Berlin" or "+02:00"`, strict.Quote(name))
	}
}

// qualified reports whether a call with a target is one of a function with a dot in its
// name, such as ip.isCanonical.
func (c *checker) qualified(call ast.CallExpr) bool {
	if !call.IsMemberFunction() || call.Target().Kind() != ast.IdentKind {
		return false
	}
	name := call.Target().AsIdent() + "." + call.FunctionName()
	_, known := c.env.Functions()[name]
	return known && !slices.Contains(notOffered, name)
}

// function reports unknown functions, and those that are not offered.
func (c *checker) function(call ast.CallExpr, at int) {
	name := call.FunctionName()
	if _, known := c.env.Functions()[name]; (known || c.qualified(call)) && !slices.Contains(notOffered, name) {
		return
	}
	at = max(0, at-len([]rune(name))) // at is the place of the parenthesis
	if wanted := macroNames[name]; wanted != "" {
		c.fail(at, "%s is written as in %s", name, wanted)
		return
	}
	if renamed := functionRenamed[strings.ToLower(name)]; renamed != "" {
		c.fail(at, "there is no function %s; did you mean %s?", name, renamed)
		return
	}
	c.fail(at, "there is no function %s; %s", name, strict.DidYouMean(name, functionNames))
}

// macroNames are the macros, each with an example of its use. A macro with other arguments is
// parsed as a call of an unknown function.
var macroNames = map[string]string{
	"all":        `principal.roles.all(r, r != "GUEST")`,
	"exists":     `principal.roles.exists(r, r.startsWith("TEAM-"))`,
	"exists_one": `principal.roles.exists_one(r, r.startsWith("TEAM-"))`,
	"map":        "principal.roles.map(r, r.lowerAscii())",
	"filter":     `principal.roles.filter(r, r.startsWith("TEAM-"))`,
}

// functionRenamed maps names that functions have in other languages to those of CEL.
var functionRenamed = map[string]string{
	"len": "size", "length": "size", "count": "size", "lower": "lowerAscii", "tolower": "lowerAscii", "lowercase": "lowerAscii",
	"upper": "upperAscii", "toupper": "upperAscii", "has_prefix": "startsWith", "hasprefix": "startsWith", "hassuffix": "endsWith",
	"includes": "contains", "match": "matches", "regex": "matches", "indexof": "indexOf", "now": "request.time, which is not a function",
	"gethour": "getHours", "hour": "getHours", "hasrole": `"ROLE" in principal.roles`, "has_role": `"ROLE" in principal.roles`, "hasscope": `"scope" in principal.scopes`, "has_scope": `"scope" in principal.scopes`,
}

// functionNames are the functions that messages list. CEL has a few more.
var functionNames = []string{
	"cidr", "contains", "containsIP", "duration", "endsWith", "exists", "all", "getDayOfWeek", "getHours", "has", "int", "ip", "isIP",
	"lowerAscii", "matches", "replace", "size", "split", "startsWith", "string", "substring", "timestamp", "trim", "upperAscii",
}

func (c *checker) loop(loop ast.ComprehensionExpr, bound []string) {
	if m := mapOf(loop.IterRange(), bound); m != mapNone {
		c.whole(m, c.start(loop.IterRange()))
	} else {
		c.expr(loop.IterRange(), bound)
	}
	if slices.Contains(roots, loop.IterVar()) {
		c.fail(c.start(loop.IterRange()), "the name %s is taken; give each item another one, such as r", loop.IterVar())
		return
	}
	inner := append(slices.Clone(bound), loop.IterVar(), loop.AccuVar())
	for _, part := range []ast.Expr{loop.AccuInit(), loop.LoopCondition(), loop.LoopStep(), loop.Result()} {
		c.expr(part, inner)
	}
}

// wrongParams reports parameters that not every path of the route has.
func (c *checker) wrongParams(paths []pattern.Pattern) (problems []problem) {
	for _, use := range c.params {
		for _, p := range paths {
			names := p.Params()
			switch {
			case slices.Contains(names, use.name):
				continue
			case len(names) == 0:
				problems = append(problems, problem{use.offset, fmt.Sprintf("there is no params.%s: the path %s has no parameter; write {%s} for a segment of it", use.name, strict.Quote(p.String()), pattern.ParamNameLike(use.name))})
			default:
				problems = append(problems, problem{use.offset, fmt.Sprintf("there is no params.%s in the path %s; %s", use.name, strict.Quote(p.String()), strict.DidYouMean(use.name, names))})
			}
			break
		}
	}
	return problems
}
