package policy

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/ext"

	"warder/policy/pattern"
	"warder/policy/strict"
)

const (
	// maxCondition bounds the text of an expression, in bytes.
	maxCondition = 4 << 10
	// maxConditionNodes bounds what an expression comes to when its macros are written out.
	maxConditionNodes = 1500
	// maxConditionDepth bounds how deep its parts stand in each other.
	maxConditionDepth = 48
	// maxConditionLoops bounds how many all, exists and the like stand in each other.
	maxConditionLoops = 2
	// maxPattern bounds the program of a pattern for matches.
	maxPattern = 1000
)

// newConditionEnv makes the language of conditions: CEL with its standard functions, those
// for texts, and those for addresses. All of them are pure, and their cost is counted.
func newConditionEnv() (*cel.Env, error) {
	return cel.NewEnv(append(textFunctions(),
		ext.Network(),
		cel.Types(requestType, principalType),
		cel.Variable("request", requestType.Type),
		cel.Variable("principal", principalType.Type),
		cel.Variable("params", textMapType),
		cel.EnableErrorOnBadPresenceTest(true),
		cel.ParserExpressionSizeLimit(maxCondition),
		cel.ParserRecursionLimit(maxConditionDepth),
		cel.ExpressionNodeLimit(maxConditionNodes),
		cel.RegexProgramSizeLimit(maxPattern),
		cel.ASTValidators(
			cel.ValidateRegexLiterals(),
			cel.ValidateRegexProgramSizeLimit(maxPattern),
			cel.ValidateDurationLiterals(),
			cel.ValidateTimestampLiterals(),
			cel.ValidateComprehensionNestingLimit(maxConditionLoops),
		),
	)...)
}

// A conditionProblem is something wrong at one place of an expression.
type conditionProblem struct {
	offset  int // in characters
	message string
}

// condition compiles the when of a route.
func (c *compiler) condition(route *Route, e routeEntry, patterns []placedPattern) {
	if e.When == nil || e.When.Field == "" { // none, or reported already
		return
	}
	fail := func(problems ...conditionProblem) {
		for _, p := range problems {
			at, message := e.When.place(p)
			c.fail(at, e.When.Field, "%s", message)
		}
	}
	if len(e.When.Text) > maxCondition {
		fail(conditionProblem{0, fmt.Sprintf("is %d bytes long, and an expression has at most %d; make two routes of it, or a claim that says it shorter", len(e.When.Text), maxCondition)})
		return
	}
	if at, found := commentIn(e.When.Text); found && !e.When.keepsLines() {
		fail(conditionProblem{at, "has a // comment where YAML makes one line of all, so that it could take what follows with it; write the expression below when: |, or the comment after # outside it"})
		return
	}
	if c.conditions == nil {
		env, err := newConditionEnv()
		if err != nil {
			fail(conditionProblem{0, "cannot be compiled: " + oneLine(err.Error())})
			return
		}
		c.conditions = env
	}
	r, problems := compileCondition(c.conditions, e.When.Text)
	if r != nil {
		problems = append(problems, r.wrongParams(patterns)...)
	}
	if fail(problems...); len(problems) > 0 {
		return
	}
	for _, p := range patterns {
		r.condition.patterns = append(r.condition.patterns, p.pattern)
	}
	slices.SortStableFunc(r.condition.patterns, pattern.Pattern.Compare)
	route.Condition = r.condition
}

// A placedPattern is a path of a route with its place.
type placedPattern struct {
	pattern pattern.Pattern
	text    string
}

// compileCondition compiles an expression. What is wrong is found in the order of the
// language: how it is written, then what it names, then whether it fits together.
func compileCondition(env *cel.Env, text string) (*conditionReader, []conditionProblem) {
	if strings.TrimSpace(text) == "" {
		return nil, []conditionProblem{{0, "is empty; write what must be true, such as " + exampleCondition + ", or leave it out"}}
	}
	parsed, issues := env.Parse(text)
	if issues.Err() != nil {
		return nil, syntaxProblems(text, issues.Errors())
	}
	r := &conditionReader{env: env, text: text, info: parsed.NativeRep().SourceInfo(), condition: &Condition{source: text, text: oneLine(withoutComments(text))}}
	r.expr(parsed.NativeRep().Expr(), nil)
	if len(r.problems) > 0 {
		return r, r.problems
	}
	checked, issues := env.Check(parsed)
	if issues.Err() != nil {
		return r, r.typeProblems(issues.Errors())
	}
	if out := checked.OutputType(); !out.IsExactType(cel.BoolType) {
		return r, []conditionProblem{{0, wrongResult(out)}}
	}
	if estimate, err := env.EstimateCost(checked, sizeHints{}); err != nil || estimate.Max > costLimit {
		return r, []conditionProblem{{0, "could cost more than one check may; compare with == or in instead of going over lists inside lists, and write patterns shorter"}}
	}
	if !r.reads {
		return r, []conditionProblem{{0, constantResult(env, checked)}}
	}
	program, err := env.Program(checked, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(costLimit), cel.InterruptCheckFrequency(interruptEvery))
	if err != nil {
		return r, []conditionProblem{{0, "cannot be compiled: " + oneLine(err.Error())}}
	}
	r.condition.program = program
	return r, nil
}

const exampleCondition = "params.user_id == principal.user"

// constantResult says what an expression that reads nothing comes to.
func constantResult(env *cel.Env, checked *cel.Ast) string {
	const nobody = ", which lets nobody in; write what must be true, such as " + exampleCondition
	program, err := env.Program(checked, cel.CostLimit(costLimit))
	if err != nil {
		return "reads nothing of the request and cannot be compiled" + nobody
	}
	switch out, _, err := program.Eval(cel.NoVars()); {
	case err != nil:
		return "reads nothing of the request and is always an error" + nobody
	case out.Value() == true:
		return "reads nothing of the request and is always true; leave it out"
	}
	return "reads nothing of the request and is always false" + nobody
}

// withoutComments takes out the lines of an expression that are comments, which would end
// nowhere on one line.
func withoutComments(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(strings.TrimSpace(line), "//") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// oneLine writes a text of several lines on one.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// sizeHints say how large things usually are, for the estimate at load. What a request
// holds beyond them is counted when it comes, against the same limit.
type sizeHints struct{}

// EstimateCallCost leaves functions to the library, which takes split to make as many
// texts as a text has characters.
func (sizeHints) EstimateCallCost(function, _ string, _ *cost.AstNode, _ []cost.AstNode) *cost.CallEstimate {
	if function != "split" {
		return nil
	}
	return cost.NewListCallEstimate(cost.FixedCostEstimate(usualText/10), cost.RangedSizeEstimate(0, usualParts))
}

// How long texts, lists and what split makes are taken to be.
const usualText, usualList, usualParts = 128, 32, 16

// EstimateSize implements cost.Estimator.
func (sizeHints) EstimateSize(node cost.AstNode) *cost.SizeEstimate {
	size := cost.RangedSizeEstimate(0, usualText)
	if kind := node.Type().Kind(); kind == cel.ListKind || kind == cel.MapKind || kind == cel.DynKind {
		size = cost.RangedSizeEstimate(0, usualList)
	}
	return &size
}

// A conditionReader walks through an expression before its types are checked. It finds
// what it reads, and what would be read in a way that nobody means.
type conditionReader struct {
	env       *cel.Env
	text      string
	info      *ast.SourceInfo
	condition *Condition
	reads     bool
	params    []paramUse
	problems  []conditionProblem
}

type paramUse struct {
	name   string
	offset int
}

// offsetOf returns the place of a part, in characters.
func (r *conditionReader) offsetOf(id int64) int {
	if at, known := r.info.GetOffsetRange(id); known {
		return int(at.Start)
	}
	return 0
}

func (r *conditionReader) fail(offset int, format string, args ...any) {
	r.problems = append(r.problems, conditionProblem{offset, fmt.Sprintf(format, args...)})
}

// nameAfter returns where a name stands that follows an operator: the dot or the bracket.
func (r *conditionReader) nameAfter(offset int) int {
	runes := []rune(r.text)
	for i := offset; i < len(runes); i++ {
		if runes[i] != '.' && runes[i] != '[' && runes[i] != ' ' && runes[i] != '\n' {
			return i
		}
	}
	return min(offset, utf8.RuneCountInString(r.text))
}

// nameFrom returns where a name stands that comes after a place.
func (r *conditionReader) nameFrom(offset int, name string) int {
	rest := string([]rune(r.text)[offset:])
	before, _, found := strings.Cut(rest, name)
	if !found {
		return offset
	}
	return offset + utf8.RuneCountInString(before)
}

// wrongParams finds parameters that not every path of the route has.
func (r *conditionReader) wrongParams(patterns []placedPattern) (problems []conditionProblem) {
	for _, use := range r.params {
		for _, p := range patterns {
			names := p.pattern.Params()
			switch {
			case slices.Contains(names, use.name):
				continue
			case len(names) == 0:
				problems = append(problems, conditionProblem{use.offset, fmt.Sprintf("there is no params.%s: the path %s has no parameter; write {%s} for a segment of it", use.name, strict.Quote(p.text), pattern.ParamNameLike(use.name))})
			default:
				problems = append(problems, conditionProblem{use.offset, fmt.Sprintf("there is no params.%s in the path %s; %s", use.name, strict.Quote(p.text), strict.DidYouMean(use.name, names))})
			}
			break
		}
	}
	return problems
}
