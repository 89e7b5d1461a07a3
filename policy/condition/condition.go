package condition

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/interpreter"

	"warder/authz/attribute"
	"warder/policy/pattern"
)

// A Condition is a compiled expression. The zero Condition is true for no request.
type Condition struct {
	text     string // on one line, for messages
	source   string // as written
	program  cel.Program
	patterns []pattern.Pattern // of the route, the most specific first

	// wholeQuery and wholeFields are set if the expression iterates over all names of the
	// query or of the header fields. A name that occurs twice is then an error, whichever
	// name is read.
	wholeQuery, wholeFields bool

	readsRoles bool
}

// An Input is what a condition may look at. A field with its zero value is unknown. It is
// absent for the expression: reading it is an error, not an empty text.
type Input struct {
	Method   string
	Host     string // as sent
	Path     pattern.Path
	Query    string // as sent, without its "?"
	Fields   Fields
	ClientIP netip.Addr
	Time     time.Time

	// HiddenFields are the names of header fields that the expression must not see, in
	// addition to those that are always hidden: the header of API keys, and the headers in
	// which warder reports the principal.
	HiddenFields []string

	AuthMethod    string
	User          string
	Roles, Scopes []string
	Attributes    attribute.Set
	// Claims returns the claims of the verified token as the text of a JSON object. It is nil
	// if there is no token, and it is called only if the expression reads the claims.
	Claims func() (string, error)
}

// Fields are the header fields of a request. Their names are in lower case, and a name may
// occur more than once.
type Fields interface {
	Len() int
	Field(i int) (name, value string)
}

// costLimit bounds the cost of one check in the units of cel-go, which are roughly steps of
// the evaluation, and tenths of the characters that are looked at.
const costLimit = 20_000

// maxText bounds the path, the query and the value of a header field that an expression may
// look at, in bytes: matches scans the whole text before its cost is counted.
const maxText = 8 << 10

// interruptEvery is the number of iterations of a loop after which the context is checked.
const interruptEvery = 100

var (
	errNotCompiled = errors.New("the condition was never compiled")
	errNoBool      = errors.New("the expression returned neither true nor false")
	errCost        = errors.New("the check costs more than its limit: the request is too large for this expression")
	errInterrupted = errors.New("the check was interrupted before it had a result")
	errOtherType   = errors.New("a claim has another type than the expression expects")
)

// String returns the expression on one line.
func (c *Condition) String() string { return c.text }

// ReadsRoles reports whether the expression reads the roles of the principal.
func (c *Condition) ReadsRoles() bool { return c.readsRoles }

// Holds reports whether the condition is true. An error says why it is neither true nor
// false, and the caller must treat it like false. Its text is for logs: it may contain what
// the client sent.
func (c *Condition) Holds(ctx context.Context, in *Input) (holds bool, err error) {
	if c.program == nil {
		return false, errNotCompiled
	}
	// cel-go turns panics into errors. A panic that still gets here denies the request.
	defer func() {
		if p := recover(); p != nil {
			holds, err = false, fmt.Errorf("evaluation failed: %v", p)
		}
	}()
	if err := ctx.Err(); err != nil {
		return false, err
	}
	result, _, err := c.program.ContextEval(ctx, &evaluation{condition: c, in: in})
	switch {
	case err != nil:
		return false, explained(err)
	case result == types.True:
		return true, nil
	case result == types.False:
		return false, nil
	}
	return false, errNoBool
}

// explained puts an explanation before the errors of cel-go that do not explain themselves to
// the author of a policy. All others are returned as they are.
func explained(err error) error {
	if cancelled, ok := errors.AsType[interpreter.EvalCancelledError](err); ok && cancelled.Cause == interpreter.CostLimitExceeded {
		return &failure{errCost, err}
	}
	if _, ok := errors.AsType[interpreter.InterruptError](err); ok {
		return &failure{errInterrupted, err}
	}
	if errors.Is(err, noSuchOverload) {
		return &failure{errOtherType, err}
	}
	return err
}

// noSuchOverload is the error of cel-go for a function that does not take the types of its
// arguments. Types are checked when the expression is compiled, except for those of claims.
var noSuchOverload = types.NoSuchOverloadErr().(*types.Err)

// A failure is an error of cel-go with the text of another error.
type failure struct{ text, cause error }

func (f *failure) Error() string   { return f.text.Error() }
func (f *failure) Unwrap() []error { return []error{f.text, f.cause} }

// SameAs reports whether another condition is known to be true for the same requests: it has
// the same text and, if it reads parameters, the same paths.
func (c *Condition) SameAs(other *Condition) bool {
	return other != nil && c.source == other.source &&
		(!strings.Contains(c.source, "params") || slices.EqualFunc(c.patterns, other.patterns, func(a, b pattern.Pattern) bool { return a.String() == b.String() }))
}

var (
	errParamsLong  = fmt.Errorf("the path has more than %d bytes, and its parameters are not read", maxText)
	errParamsOther = errors.New("the path is none of the route's, and has no parameters") // a proxy chose the route by its own rules
)

// params returns the parameters of the path, according to the first of the route's patterns
// that matches it. If none does, that is an error. An empty map would not be safe, since
// params.all(n, params[n] != "0") is true for it.
func (c *Condition) params(path pattern.Path) (paramTexts, error) {
	if len(path.Raw()) > maxText {
		return paramTexts{}, errParamsLong
	}
	for _, p := range c.patterns {
		if p.Matches(path) {
			return paramTexts{p, path}, nil
		}
	}
	return paramTexts{}, errParamsOther
}

// paramTexts are the parameters of a path that a pattern matches.
type paramTexts struct {
	pattern pattern.Pattern
	path    pattern.Path
}

func (p paramTexts) find(name string) (value string, found bool, err error) {
	value, found = p.pattern.Param(name, p.path)
	return value, found, nil
}

func (p paramTexts) names() []string { return p.pattern.Params() }

func (p paramTexts) count() int { return len(p.names()) }
