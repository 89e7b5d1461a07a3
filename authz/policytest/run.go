package policytest

import (
	"context"
	"fmt"
	"slices"

	"warder/authz"
)

// A DepthKind is how much of warder a run goes through.
type DepthKind string

const (
	DepthEngine DepthKind = "engine" // the decision alone
	DepthWire   DepthKind = "wire"   // Envoy's protocol, without an Envoy
	DepthEnvoy  DepthKind = "envoy"  // a real Envoy and an upstream
)

// A Depth sends the cases of one file and tells what came of them. It is made anew for
// each file, with the file's policy, configuration and facts.
type Depth interface {
	Kind() DepthKind
	// Do sends [Case.Build]'s request once. An error is a fault of the depth or of the
	// case, and no answer.
	Do(ctx context.Context, c *Case) (Outcome, error)
}

// An Outcome is what came of one request. The zero Outcome is a denial.
type Outcome struct {
	Allowed bool    // the request goes on
	Reason  string  // "" where it cannot be seen
	Status  int     // the client's; 0 where there is none
	Route   *string // the id of the one that won, "" for none; nil where it cannot be seen

	// Shadow says that no denial of the route is enforced; false where it cannot be seen.
	Shadow bool

	// Principal and ClientIP are who was proven, where no upstream is told.
	Principal *authz.Principal
	ClientIP  string

	// HitsBefore and HitsAfter count the requests that reached the upstream, ever.
	HitsBefore, HitsAfter int64
	// Upstream are the fields that reached it, each as often as it did; nil where
	// there is no upstream.
	Upstream [][2]string

	// Response are the fields of warder's answer to the client, and Body its body,
	// on a denial. What the proxy adds to every answer is left out.
	Response [][2]string
	Body     string
	Secrets  []string // what of the request must not be in the answer
}

// A Runner runs the cases of any number of files, one after the other.
type Runner struct {
	// Complete takes what a case does not say as said: no identity, challenge or header
	// for scripts but what it names.
	Complete bool

	denials map[int]denial // what a denial looks like, by status
}

// NewRunner returns a runner that holds cases to what they say.
func NewRunner() *Runner { return &Runner{denials: map[int]denial{}} }

// A FileRun runs the cases of one file.
type FileRun struct {
	runner *Runner
	depth  Depth
	good   *Case // that is let through for somebody
}

// File begins the run of a file at a depth.
func (r *Runner) File(f *File, depth Depth) *FileRun {
	run := &FileRun{runner: r, depth: depth}
	if !r.Complete {
		return run // the first case that passes is
	}
	i := slices.IndexFunc(f.Cases, func(c *Case) bool {
		return isGood(c.Wanted(depth.Kind())) && c.Skipped(depth.Kind()) == ""
	})
	if i >= 0 {
		run.good = f.Cases[i]
	}
	return run
}

// isGood reports whether somebody is let through whom a request before could keep out.
func isGood(w Wanted) bool {
	return w.Allow && !w.Shadow && w.Reason != authz.ReasonPublic
}

// A Result is what came of one case.
type Result struct {
	Case        *Case
	Skipped     string // why it did not run
	Got         Outcome
	Differences []Difference // none: it passed
	Err         error        // it could not be sent
}

// Failed reports whether the case ran and did not get what it wants.
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
	// A denial leaves nothing behind that changes the next answer.
	again, err := r.depth.Do(ctx, r.good)
	switch {
	case err != nil:
		result.Err = fmt.Errorf("%q, sent again after this case: %w", r.good.Name, err)
	case again.word() != authz.VerdictAllow:
		result.Differences = append(result.Differences, Difference{fmt.Sprintf("%q, sent again after this case", r.good.Name), "allow", again.verdict()})
	}
	return result
}

// Applied returns the headers that reach an upstream when a proxy does with a request
// what warder's answer says: it sets first, and removes then, by the exact name in lower
// case.
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

// lowerASCII is how Envoy writes the name of a header.
func lowerASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
