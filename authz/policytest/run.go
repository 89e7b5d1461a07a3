package policytest

import (
	"context"
	"fmt"
	"slices"

	"warder/authz"
)

// A DepthKind says how much of warder a run exercises.
type DepthKind string

const (
	DepthEngine DepthKind = "engine" // the decision engine alone
	DepthWire   DepthKind = "wire"   // Envoy's protocol, without an Envoy
	DepthEnvoy  DepthKind = "envoy"  // a real Envoy and an upstream
)

// A Depth sends the cases of one file and returns their outcomes. Each file has its own
// Depth, with the file's policy, configuration and facts.
type Depth interface {
	Kind() DepthKind
	// Do sends the request of [Case.Build] once. An error means that there is no outcome,
	// because of a fault in the depth or in the case.
	Do(ctx context.Context, c *Case) (Outcome, error)
}

// An Outcome is the result of one request. The zero Outcome is a denial.
type Outcome struct {
	Allowed bool    // the request was let through
	Reason  string  // "" if it is not visible at this depth
	Status  int     // the client's status; 0 if there is none
	Route   *string // id of the matching route, "" for none; nil if it is not visible

	// Shadow says that the route is in shadow mode. It is false if that is not visible.
	Shadow bool

	// Principal and ClientIP are for depths without an upstream. Principal may be nil.
	Principal *authz.Principal
	ClientIP  string

	// HitsBefore and HitsAfter are the total numbers of requests that the upstream has
	// received.
	HitsBefore, HitsAfter int64
	// Upstream has the header fields that the upstream received, including duplicates. It
	// is nil if there is no upstream.
	Upstream [][2]string

	// Response and Body are the header fields and the body of the response to a denial,
	// without the fields that the proxy adds to every response.
	Response [][2]string
	Body     string
	Secrets  []string // credentials that must not be in the response
}

// A Runner runs the cases of any number of files, one after the other.
type Runner struct {
	// Complete checks the client address, the challenge and the CORS headers also in cases
	// that do not specify them, against their defaults.
	Complete bool

	denials map[int]denial // the first denial with each status
}

// NewRunner returns a Runner that checks only what cases specify.
func NewRunner() *Runner { return &Runner{denials: map[int]denial{}} }

// A FileRun runs the cases of one file.
type FileRun struct {
	runner *Runner
	depth  Depth
	good   *Case // a case that is allowed, to be sent again after denials
}

// File starts the run of a file at a depth.
func (r *Runner) File(f *File, depth Depth) *FileRun {
	run := &FileRun{runner: r, depth: depth}
	if !r.Complete {
		return run // Case sets run.good
	}
	i := slices.IndexFunc(f.Cases, func(c *Case) bool {
		return isGood(c.Wanted(depth.Kind())) && c.Skipped(depth.Kind()) == ""
	})
	if i >= 0 {
		run.good = f.Cases[i]
	}
	return run
}

// isGood reports whether a case is allowed for a reason that an earlier request could affect.
func isGood(w Wanted) bool {
	return w.Allow && !w.Shadow && w.Reason != authz.ReasonPublic
}

// A Result is the result of one case.
type Result struct {
	Case        *Case
	Skipped     string // why the case was skipped, or ""
	Got         Outcome
	Differences []Difference // empty if the case passed
	Err         error        // the case could not be sent
}

// Failed reports whether the case was not skipped and did not pass.
func (r Result) Failed() bool { return r.Skipped == "" && (r.Err != nil || len(r.Differences) > 0) }

// Case runs one case.
func (r *FileRun) Case(ctx context.Context, c *Case) Result {
	result := Result{Case: c, Skipped: c.Skipped(r.depth.Kind())}
	if result.Skipped != "" {
		return result
	}
	if result.Got, result.Err = r.depth.Do(ctx, c); result.Err != nil {
		return result
	}
	result.Differences = r.runner.compare(c, r.depth.Kind(), result.Got)
	if len(result.Differences) > 0 {
		return result
	}
	if r.good == nil && isGood(c.wanted(r.depth.Kind(), reasonNamed(result.Got.Reason))) {
		r.good = c
	}
	if result.Got.Allowed || r.good == nil {
		return result
	}
	// A denial must not affect a later request.
	again, err := r.depth.Do(ctx, r.good)
	switch {
	case err != nil:
		result.Err = fmt.Errorf("%q, sent again after this case: %w", r.good.Name, err)
	case again.word() != authz.VerdictAllow:
		result.Differences = append(result.Differences, Difference{fmt.Sprintf("%q, sent again after this case", r.good.Name), "allow", again.verdict()})
	}
	return result
}

// Applied returns the headers that reach the upstream after a proxy has applied warder's
// response to a request. Like Envoy it first sets headers and then removes others, by the
// exact name in lower case.
func Applied(r Request, set [][2]string, remove []string) [][2]string {
	var upstream [][2]string
	for _, h := range r.Headers {
		upstream = append(upstream, [2]string{lowerASCII(h[0]), h[1]})
	}
	without := func(name string) {
		upstream = slices.DeleteFunc(upstream, func(h [2]string) bool { return h[0] == name })
	}
	for _, h := range set {
		without(h[0])
		upstream = append(upstream, h)
	}
	for _, name := range remove {
		without(name)
	}
	if upstream == nil {
		return [][2]string{}
	}
	return upstream
}

// lowerASCII converts ASCII letters to lower case, as Envoy does with header names.
func lowerASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
