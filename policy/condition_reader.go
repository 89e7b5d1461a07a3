package policy

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"

	"warder/policy/pattern"
	"warder/policy/strict"
)

// The maps of an expression. They are read by name, and not compared or passed on as a
// whole: {} != request.query would be true for a query that cannot be read.
const (
	mapNone    = ""
	mapParams  = "params"
	mapQuery   = "request.query"
	mapHeaders = "request.headers"
	mapClaims  = "principal.claims"
)

var conditionRoots = []string{"request", "params", "principal"}

// typeNames are the words that stand for types, as in type(x) == string.
var typeNames = []string{"bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"}

// objectOf returns the object that a name outside loops stands for.
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

// mapOf returns which of the maps a part is.
func mapOf(e ast.Expr, bound []string) string {
	if e.Kind() == ast.IdentKind && e.AsIdent() == mapParams && !slices.Contains(bound, mapParams) {
		return mapParams
	}
	if e.Kind() != ast.SelectKind || e.AsSelect().IsTestOnly() {
		return mapNone
	}
	if t := objectOf(e.AsSelect().Operand(), bound); t != nil {
		switch name := t.name + "." + e.AsSelect().FieldName(); name {
		case mapQuery, mapHeaders, mapClaims:
			return name
		}
	}
	return mapNone
}

// expr walks through a part. bound are the names that loops around it have made.
func (r *conditionReader) expr(e ast.Expr, bound []string) {
	if m := mapOf(e, bound); m != mapNone {
		r.fail(r.start(e), `%s is read by name, as in %s, and not as a whole`, m, exampleOf[m])
		return
	}
	switch e.Kind() {
	case ast.IdentKind:
		r.ident(e, bound)
	case ast.SelectKind:
		r.selection(e, bound)
	case ast.CallKind:
		r.call(e, bound)
	case ast.ComprehensionKind:
		r.loop(e.AsComprehension(), bound)
	case ast.ListKind:
		for _, item := range e.AsList().Elements() {
			r.expr(item, bound)
		}
	case ast.MapKind:
		for _, entry := range e.AsMap().Entries() {
			r.expr(entry.AsMapEntry().Key(), bound)
			r.expr(entry.AsMapEntry().Value(), bound)
		}
	case ast.StructKind:
		r.fail(r.offsetOf(e.ID()), "makes a value of a type; write the fields that are to be compared one by one")
	case ast.LiteralKind, ast.UnspecifiedExprKind:
	}
}

var exampleOf = map[string]string{
	mapParams:  "params.user_id",
	mapQuery:   `request.query.page or "page" in request.query`,
	mapHeaders: `request.headers["x-tenant"] or "x-tenant" in request.headers`,
	mapClaims:  `principal.claims.tenant or has(principal.claims.tenant)`,
}

// start returns where a part begins, which for a selection is where its operand does.
func (r *conditionReader) start(e ast.Expr) int {
	for e.Kind() == ast.SelectKind {
		e = e.AsSelect().Operand()
	}
	return r.offsetOf(e.ID())
}

func (r *conditionReader) ident(e ast.Expr, bound []string) {
	name := e.AsIdent()
	switch {
	case slices.Contains(bound, name), slices.Contains(typeNames, name):
	case slices.Contains(conditionRoots, name):
		r.reads = true
		r.fail(r.offsetOf(e.ID()), "%s is read by field, and not as a whole; use %s", name, strings.Join(prefixed(name, objectOf(e, bound).FieldNames()), ", "))
	default:
		at := r.offsetOf(e.ID())
		if runes := []rune(r.text); at > 0 && runes[at-1] == '-' {
			r.fail(at, `there is no %s; a name with a hyphen is written in brackets and quotes, as in request.headers["x-tenant"]`, strict.Quote(name))
			return
		}
		r.fail(at, "there is no %s; %s", strict.Quote(name), r.instead(name))
	}
}

// instead says what somebody may have meant by a name that is none.
func (r *conditionReader) instead(name string) string {
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
	if near := strict.DidYouMean(name, conditionRoots); len(name) > 3 && strings.HasSuffix(near, "?") {
		return near
	}
	return "use " + strings.Join(conditionRoots, ", ") + ", and put texts in quotes"
}

func prefixed(name string, fields []string) []string {
	out := make([]string, len(fields))
	for i, f := range fields {
		out[i] = name + "." + f
	}
	return out
}

func (r *conditionReader) selection(e ast.Expr, bound []string) {
	s := e.AsSelect()
	at := r.nameAfter(r.offsetOf(e.ID()))
	if s.IsTestOnly() { // its place is that of has
		at = r.nameFrom(r.offsetOf(e.ID()), s.FieldName())
	}
	if m := mapOf(s.Operand(), bound); m != mapNone {
		r.named(m, s.FieldName(), at)
		return
	}
	t := objectOf(s.Operand(), bound)
	if t == nil {
		r.expr(s.Operand(), bound)
		return
	}
	r.reads = true
	switch m := t.name + "." + s.FieldName(); {
	case !known(t, s.FieldName()):
		r.fail(at, "there is no %s.%s; %s", t.name, s.FieldName(), strict.DidYouMean(s.FieldName(), t.FieldNames()))
	case exampleOf[m] != "": // has, which is false of a query that cannot be read
		r.fail(at, "%s is there in every request; ask for a name in it, as in %s", m, exampleOf[m])
	}
}

func known(t *objectType, name string) bool {
	_, found := t.FindFieldType(name)
	return found
}

// named notes that a name of a map is read.
func (r *conditionReader) named(m, name string, at int) {
	r.reads = true
	switch m {
	case mapParams:
		r.params = append(r.params, paramUse{name, at})
	case mapHeaders:
		r.header(name, at)
	}
}

// header refuses names of headers that no expression ever sees.
func (r *conditionReader) header(name string, at int) {
	lower := strings.ToLower(name)
	switch folded := pattern.FoldHeader(name); {
	case strings.HasPrefix(folded, "x-warder-"):
		r.fail(at, "%s is hidden, since a client could send it; read principal or request.client_ip", strict.Quote(name))
	case slices.Contains(hiddenFields, folded):
		r.fail(at, "%s is hidden, since policies hold no secrets; what a credential proves is in principal", strict.Quote(name))
	case strings.HasPrefix(name, ":"):
		r.fail(at, "%s is no header here; read request.method, request.host or request.path", strict.Quote(name))
	case name == "":
		r.fail(at, `"" is no header; write its name, such as "x-tenant"`)
	case lower != name:
		r.fail(at, "%s is not in lower case, as names of headers are; write %s", strict.Quote(name), strict.Quote(lower))
	}
}

func (r *conditionReader) call(e ast.Expr, bound []string) {
	c := e.AsCall()
	args := c.Args()
	at := r.offsetOf(e.ID())
	switch name := c.FunctionName(); {
	case name == operators.Index && mapOf(args[0], bound) != mapNone:
		r.key(mapOf(args[0], bound), args[1], r.nameAfter(at), bound)
		return
	case name == operators.In && mapOf(args[1], bound) != mapNone:
		r.key(mapOf(args[1], bound), args[0], r.start(args[0]), bound)
		return
	case name == "size" && c.IsMemberFunction() && len(args) == 0 && mapOf(c.Target(), bound) != mapNone:
		r.whole(mapOf(c.Target(), bound))
		return
	case name == "size" && !c.IsMemberFunction() && len(args) == 1 && mapOf(args[0], bound) != mapNone:
		r.whole(mapOf(args[0], bound))
		return
	case name == "matches" && len(args) > 0:
		if last := args[len(args)-1]; !isText(last) {
			r.fail(r.start(last), `matches wants its pattern as a text that stands here, so that it is checked now and not with a request; write it in quotes`)
			return
		} else if _, err := regexp.Compile(string(last.AsLiteral().(types.String))); err != nil {
			r.fail(r.start(last), "is a pattern that cannot be used: %s; write it in the syntax of RE2", strings.TrimPrefix(oneLine(err.Error()), "error parsing regexp: "))
			return
		}
	case strings.HasPrefix(name, "get") && c.IsMemberFunction() && len(args) == 1:
		r.zone(args[0])
	}
	r.function(c, at)
	r.addresses(c, bound)
	if c.IsMemberFunction() && !r.qualified(c) {
		r.expr(c.Target(), bound)
	}
	for _, a := range args {
		r.expr(a, bound)
	}
}

// key notes that a map is read by a key: a name that stands there, or one that is found out.
func (r *conditionReader) key(m string, key ast.Expr, at int, bound []string) {
	if isText(key) {
		r.named(m, string(key.AsLiteral().(types.String)), at)
		return
	}
	r.reads = true
	r.expr(key, bound)
}

func isText(e ast.Expr) bool {
	if e.Kind() != ast.LiteralKind {
		return false
	}
	_, ok := e.AsLiteral().(types.String)
	return ok
}

// whole notes that an expression goes over all names of a map.
func (r *conditionReader) whole(m string) {
	r.reads = true
	r.condition.wholeQuery = r.condition.wholeQuery || m == mapQuery
	r.condition.wholeFields = r.condition.wholeFields || m == mapHeaders
}

// zone looks at the time zone of a getHours("Europe/Berlin").
func (r *conditionReader) zone(e ast.Expr) {
	if !isText(e) {
		r.fail(r.start(e), `a time zone must stand here as a text, such as "Europe/Berlin"`)
		return
	}
	name := string(e.AsLiteral().(types.String))
	if strings.Contains(name, ":") {
		return // an offset, which the library reads
	}
	if _, err := time.LoadLocation(name); err != nil {
		r.fail(r.offsetOf(e.ID()), `%s is no time zone that this machine knows; write one such as "UTC", "Europe/Berlin" or "+02:00"`, strict.Quote(name))
	}
}

// qualified reports whether a function has a dot in its name: ip.isCanonical.
func (r *conditionReader) qualified(c ast.CallExpr) bool {
	if !c.IsMemberFunction() || c.Target().Kind() != ast.IdentKind {
		return false
	}
	name := c.Target().AsIdent() + "." + c.FunctionName()
	_, known := r.env.Functions()[name]
	return known && !slices.Contains(notOffered, name)
}

// function refuses functions that there are not.
func (r *conditionReader) function(c ast.CallExpr, at int) {
	name := c.FunctionName()
	if _, known := r.env.Functions()[name]; (known || r.qualified(c)) && !slices.Contains(notOffered, name) {
		return
	}
	at = max(0, at-len([]rune(name))) // it is the place of its parenthesis
	if wanted := macroNames[name]; wanted != "" {
		r.fail(at, "%s is written as in %s", name, wanted)
		return
	}
	if renamed := functionRenamed[strings.ToLower(name)]; renamed != "" {
		r.fail(at, "there is no function %s; did you mean %s?", name, renamed)
		return
	}
	r.fail(at, "there is no function %s; %s", name, strict.DidYouMean(name, functionNames))
}

const hasForm = `has takes a field, as in has(principal.claims.tenant); for other names write "x-tenant" in request.headers`

// macroNames are the forms of what looks like a function and is read before all others.
var macroNames = map[string]string{
	"all":        `principal.roles.all(r, r != "GUEST")`,
	"exists":     `principal.roles.exists(r, r.startsWith("TEAM-"))`,
	"exists_one": `principal.roles.exists_one(r, r.startsWith("TEAM-"))`,
	"map":        "principal.roles.map(r, r.lowerAscii())",
	"filter":     `principal.roles.filter(r, r.startsWith("TEAM-"))`,
}

// functionRenamed are functions under the names that other languages have for them.
var functionRenamed = map[string]string{
	"len": "size", "length": "size", "count": "size", "lower": "lowerAscii", "tolower": "lowerAscii", "lowercase": "lowerAscii",
	"upper": "upperAscii", "toupper": "upperAscii", "has_prefix": "startsWith", "hasprefix": "startsWith", "hassuffix": "endsWith",
	"includes": "contains", "match": "matches", "regex": "matches", "indexof": "indexOf", "now": "request.time, which is no function",
	"gethour": "getHours", "hour": "getHours", "hasrole": `"ROLE" in principal.roles`, "has_role": `"ROLE" in principal.roles`, "hasscope": `"scope" in principal.scopes`, "has_scope": `"scope" in principal.scopes`,
}

// functionNames are what messages name. The library has a few more.
var functionNames = []string{
	"cidr", "contains", "containsIP", "duration", "endsWith", "exists", "all", "getDayOfWeek", "getHours", "has", "int", "ip", "isIP",
	"lowerAscii", "matches", "replace", "size", "split", "startsWith", "string", "substring", "timestamp", "trim", "upperAscii",
}

func (r *conditionReader) loop(c ast.ComprehensionExpr, bound []string) {
	if m := mapOf(c.IterRange(), bound); m != mapNone {
		r.whole(m)
	} else {
		r.expr(c.IterRange(), bound)
	}
	if slices.Contains(conditionRoots, c.IterVar()) {
		r.fail(r.start(c.IterRange()), "the name %s is taken; give each item another one, such as r", c.IterVar())
		return
	}
	inner := append(slices.Clone(bound), c.IterVar(), c.AccuVar())
	for _, part := range []ast.Expr{c.AccuInit(), c.LoopCondition(), c.LoopStep(), c.Result()} {
		r.expr(part, inner)
	}
}
