package condition

import (
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/ext"

	"warder/policy/pattern"
	"warder/policy/strict"
)

const (
	// MaxText is the maximum length of an expression in bytes.
	MaxText = 4 << 10
	// maxNodes bounds the size of an expression after its macros are expanded.
	maxNodes = 1500
	// maxDepth bounds how deep the parts of an expression are nested.
	maxDepth = 48
	// maxLoops bounds how deep all, exists and the other macros over lists are nested.
	maxLoops = 2
	// maxRegexProgram bounds the compiled program of a pattern for matches.
	maxRegexProgram = 1000
)

// newEnv returns the language of conditions: CEL with its standard functions, those for texts
// and those for addresses. All functions are pure, and cel-go counts their cost.
func newEnv() (*cel.Env, error) {
	return cel.NewEnv(append(textFunctions(),
		ext.Network(),
		cel.Types(requestType, principalType),
		cel.Variable("request", requestType.Type),
		cel.Variable("principal", principalType.Type),
		cel.Variable("params", textMapType),
		cel.EnableErrorOnBadPresenceTest(true),
		cel.ParserExpressionSizeLimit(MaxText),
		cel.ParserRecursionLimit(maxDepth),
		cel.ExpressionNodeLimit(maxNodes),
		cel.RegexProgramSizeLimit(maxRegexProgram),
		cel.ASTValidators(
			cel.ValidateRegexLiterals(),
			cel.ValidateRegexProgramSizeLimit(maxRegexProgram),
			cel.ValidateDurationLiterals(),
			cel.ValidateTimestampLiterals(),
			cel.ValidateComprehensionNestingLimit(maxLoops),
		),
	)...)
}

// A Compiler compiles the conditions of a policy. The zero Compiler is ready to use.
type Compiler struct {
	env *cel.Env // nil before the first condition
}

// A problem is something wrong at one place of an expression.
type problem struct {
	offset  int // in characters
	message string
}

// Compile compiles the condition of a route with these paths. If anything is wrong with it,
// the condition is nil.
func (c *Compiler) Compile(s *Source, paths []pattern.Pattern) (*Condition, strict.Problems) {
	compiled, found := c.compile(s, paths)
	if len(found) == 0 {
		return compiled, nil
	}
	problems := make(strict.Problems, len(found))
	for i, p := range found {
		at, message := s.place(p)
		problems[i] = strict.Problem{Position: at, Field: s.Field, Message: message}
	}
	return nil, problems
}

func (c *Compiler) compile(s *Source, paths []pattern.Pattern) (*Condition, []problem) {
	if len(s.Text) > MaxText {
		return nil, []problem{{0, fmt.Sprintf("is %d bytes long, and an expression has at most %d; split it into two routes, or use a claim", len(s.Text), MaxText)}}
	}
	if at := scan(s.Text).comment; at >= 0 && !s.keepsLines() {
		return nil, []problem{{at, "has a // comment where YAML joins all lines, so that the comment could include what follows it; write the expression below when: |, or the comment after # outside it"}}
	}
	if c.env == nil {
		env, err := newEnv()
		if err != nil {
			return nil, []problem{{0, "cannot be compiled: " + oneLine(err.Error())}}
		}
		c.env = env
	}
	checked, problems := compile(c.env, s.Text)
	if checked == nil {
		return nil, problems
	}
	problems = append(problems, checked.wrongParams(paths)...)
	checked.condition.patterns = slices.SortedStableFunc(slices.Values(paths), pattern.Pattern.Compare)
	return checked.condition, problems
}

// compile compiles an expression. The stages of CEL report one after the other: the parser,
// then the checks of this package, then the type checker.
func compile(env *cel.Env, text string) (*checker, []problem) {
	if strings.TrimSpace(text) == "" {
		return nil, []problem{{0, "is empty; write what must be true, such as " + exampleCondition + ", or leave it out"}}
	}
	parsed, issues := env.Parse(text)
	if issues.Err() != nil {
		return nil, syntaxProblems(text, issues.Errors())
	}
	c := &checker{env: env, text: text, info: parsed.NativeRep().SourceInfo(), condition: &Condition{source: text, text: oneLine(withoutComments(text))}}
	c.expr(parsed.NativeRep().Expr(), nil)
	if len(c.problems) > 0 {
		return c, c.problems
	}
	checked, issues := env.Check(parsed)
	if issues.Err() != nil {
		return c, typeProblems(text, issues.Errors())
	}
	if out := checked.OutputType(); !out.IsExactType(cel.BoolType) {
		return c, []problem{{0, wrongResult(out)}}
	}
	if estimate, err := env.EstimateCost(checked, sizeHints{}); err != nil || estimate.Max > costLimit {
		return c, []problem{{0, "could cost more than the limit of one check; compare with == or in instead of iterating over lists inside lists, and write patterns shorter"}}
	}
	if !c.reads {
		return c, []problem{{0, constantResult(env, checked)}}
	}
	program, err := env.Program(checked, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(costLimit), cel.InterruptCheckFrequency(interruptEvery))
	if err != nil {
		return c, []problem{{0, "cannot be compiled: " + oneLine(err.Error())}}
	}
	c.condition.program = program
	return c, nil
}

// constantResult says what the result of an expression is that reads nothing of the request.
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

// withoutComments returns the expression without the lines that are comments: on one line, a
// comment would have no end.
func withoutComments(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(strings.TrimSpace(line), "//") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// oneLine returns a text with all white space as single spaces.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// sizeHints tells cel-go how large values usually are, for its estimate of the cost when an
// expression is compiled. What a request really costs is counted in each check, against the
// same limit.
type sizeHints struct{}

// EstimateCallCost implements cost.Estimator. It estimates split, for which cel-go assumes as
// many parts as the text has characters, and leaves all other functions to cel-go.
func (sizeHints) EstimateCallCost(function, _ string, _ *cost.AstNode, _ []cost.AstNode) *cost.CallEstimate {
	if function != "split" {
		return nil
	}
	return cost.NewListCallEstimate(cost.FixedCostEstimate(usualText/10), cost.RangedSizeEstimate(0, usualParts))
}

// The assumed maximum sizes of texts, lists and results of split.
const usualText, usualList, usualParts = 128, 32, 16

// EstimateSize implements cost.Estimator.
func (sizeHints) EstimateSize(node cost.AstNode) *cost.SizeEstimate {
	size := cost.RangedSizeEstimate(0, usualText)
	if kind := node.Type().Kind(); kind == cel.ListKind || kind == cel.MapKind || kind == cel.DynKind {
		size = cost.RangedSizeEstimate(0, usualList)
	}
	return &size
}
