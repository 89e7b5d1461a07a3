package policy

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

	"warder/policy/pattern"
	"warder/policy/strict"
)

// A Condition is the compiled when of a route: a CEL expression over the request, the
// parameters of its path and who was proven. The zero Condition holds for nothing.
type Condition struct {
	text     string // on one line, for people
	source   string // as written
	program  cel.Program
	patterns []pattern.Pattern // of the route, the most specific first

	// wholeQuery and wholeFields say that the expression goes over all names, so that
	// one that comes twice has no place in any of them.
	wholeQuery, wholeFields bool
}

// A ConditionInput is what a condition may look at. What is not known is left at its
// zero value, and is absent for the expression: reading it is an error, not an empty text.
type ConditionInput struct {
	Method   string
	Host     string // as sent
	Path     pattern.Path
	Query    string // as sent, without its "?"
	Fields   Fields
	ClientIP netip.Addr
	Time     time.Time

	// HiddenFields are names of fields that are hidden beside those that always are: that of
	// API keys, and those under which only warder says who somebody is.
	HiddenFields []string

	AuthMethod    string
	User          string
	Roles, Scopes []string
	// Claims returns the claims of the verified token as the text of a JSON object; nil
	// when there is no token. It is called when the expression reads them, and not before.
	Claims func() (string, error)
}

// Fields are the header fields of a request, their names in lower case. A name may be
// there more than once.
type Fields interface {
	Len() int
	Field(i int) (name, value string)
}

// costLimit bounds what one check of a condition may cost, in units of cel-go: about as
// many steps, and tenths of the characters that are looked at.
const costLimit = 20_000

// maxText bounds the path, the query and the value of a header that an expression may look
// at, in bytes: a pattern is held against all of a text before its cost is counted.
const maxText = 8 << 10

// interruptEvery is after how many steps of a loop the deadline is looked at.
const interruptEvery = 100

var (
	errNotCompiled = errors.New("the condition was never compiled")
	errNoAnswer    = errors.New("the expression gave neither true nor false")
)

// String returns the expression on one line.
func (c *Condition) String() string { return c.text }

// Holds reports whether the condition is true. An error says why it is neither true nor
// false, for people: its text may hold what the client sent. It is a no like false.
func (c *Condition) Holds(ctx context.Context, in *ConditionInput) (holds bool, err error) {
	if c.program == nil {
		return false, errNotCompiled
	}
	// The library turns its own panics into errors. What panics all the same says no.
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
		return false, conditionError(err)
	case result == types.True:
		return true, nil
	case result == types.False:
		return false, nil
	}
	return false, errNoAnswer
}

// same reports whether another condition holds for the same requests, as far as can be
// seen: it is the same text, and where it speaks of parameters, over the same paths.
func (c *Condition) same(other *Condition) bool {
	return other != nil && c.source == other.source &&
		(!strings.Contains(c.source, "params") || slices.EqualFunc(c.patterns, other.patterns, func(a, b pattern.Pattern) bool { return a.String() == b.String() }))
}

var (
	errParamsLong  = fmt.Errorf("the path has more than %d bytes, and its parameters are not read", maxText)
	errParamsOther = errors.New("the path is none of the route's, and has no parameters") // a proxy has chosen the route by rules of its own
)

// params returns the decoded parameters of the path, by the first of the route's
// patterns that takes it. That none does is an error and no empty map, of which
// params.all(n, params[n] != "0") would be true.
func (c *Condition) params(path pattern.Path) (paramTexts, error) {
	if len(path.Raw()) > maxText {
		return paramTexts{}, errParamsLong
	}
	for i := range c.patterns {
		if c.patterns[i].Matches(path) {
			return paramTexts{c.patterns[i].Segments(), path.Segments()}, nil
		}
	}
	return paramTexts{}, errParamsOther
}

// paramTexts are the parameters of a path: the segments of its pattern beside its own.
type paramTexts struct {
	pattern []pattern.Segment
	path    []string
}

func (p paramTexts) find(name string) (value string, found bool, err error) {
	for i, s := range p.pattern {
		if s.Param && s.Text == name {
			return p.path[i], true, nil
		}
	}
	return "", false, nil
}

func (p paramTexts) names() (names []string) {
	for _, s := range p.pattern {
		if s.Param {
			names = append(names, s.Text)
		}
	}
	return names
}

func (p paramTexts) count() int { return len(p.names()) }

// conditionError writes what a check has found, on one line and without the library's own words.
func conditionError(err error) error {
	text := oneLine(err.Error())
	for _, w := range []struct{ has, says string }{
		{"actual cost limit exceeded", "it costs more than one check may: the request is too large for it"},
		{"operation interrupted", "the time of the check was over"},
	} {
		if strings.Contains(text, w.has) {
			return &conditionFailure{w.says, err}
		}
	}
	if key, found := strings.CutPrefix(text, "no such key: "); found {
		return &conditionFailure{"there is no " + strict.Quote(key), err}
	}
	if strings.HasPrefix(text, "no such overload") {
		return &conditionFailure{"a claim is of another kind than it is compared with", err}
	}
	return &conditionFailure{text, err}
}

// A conditionFailure is an error in words for people.
type conditionFailure struct {
	text  string
	cause error
}

func (f *conditionFailure) Error() string { return f.text }
func (f *conditionFailure) Unwrap() error { return f.cause }
