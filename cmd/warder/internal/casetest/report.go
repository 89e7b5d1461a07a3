package casetest

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"text/tabwriter"

	"warder/authz/policytest"
	"warder/cmd/warder/internal/cli"
	"warder/cmd/warder/internal/explain"
	"warder/cmd/warder/internal/routes"
)

// textReport returns the report for people: the failures, the gaps in coverage and the counts.
func (t *run) textReport() string {
	var b strings.Builder
	if t.options.verbose {
		t.table(&b)
	}
	for _, r := range t.results {
		if r.Failed() {
			r.writeFailure(&b)
		}
	}
	if t.options.coverage {
		t.writeCoverage(&b)
	}
	passed, failed, skipped := t.counts()
	fmt.Fprintf(&b, "%d passed, %d failed, %d skipped", passed, failed, skipped)
	if t.unrun > 0 {
		fmt.Fprintf(&b, "; %s did not run", cli.Count(t.unrun, "file"))
	}
	b.WriteString("\n")
	return b.String()
}

// table lists all cases.
func (t *run) table(b *strings.Builder) {
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for _, r := range t.results {
		answer, route := r.Skipped, ""
		if x := r.explanation; x != nil {
			answer, route = fmt.Sprintf("%s %d %s", strings.ToUpper(x.Decision), x.Status, x.Reason), r.route()
		}
		_, _ = fmt.Fprintln(w, strings.Join([]string{r.outcome(), r.Case.File().Name + "/" + r.Case.Name, answer, route}, "\t"))
	}
	_ = w.Flush() // writing to a strings.Builder never fails
}

func (r testResult) outcome() string {
	switch {
	case r.Skipped != "":
		return "skipped"
	case r.Failed():
		return "failed"
	}
	return "passed"
}

func (r testResult) route() string {
	if r.Got.Route == nil {
		return ""
	}
	return *r.Got.Route
}

// writeFailure writes what the case wanted and what it got, field by field, and why.
func (r testResult) writeFailure(b *strings.Builder) {
	fmt.Fprintf(b, "FAIL %s: %s\n", r.Case.Position(), r.Case.Name)
	line := func(name, text string) { fmt.Fprintf(b, "  %-8s %s\n", name, text) }
	line("request", r.Case.Request)
	if r.Err != nil {
		line("error", r.Err.Error())
	}
	for _, d := range r.Differences {
		fmt.Fprintf(b, "  %s\n    - wanted %s\n    + got    %s\n", d.Field, d.Want, d.Got)
	}
	if x := r.explanation; x != nil {
		line("answer", fmt.Sprintf("%s %d %s", x.Decision, x.Status, x.Reason))
		line("route", r.where())
		line("why", r.why())
	}
	if r.hint != "" {
		line("try", r.hint)
	}
	b.WriteString("\n")
}

// where returns the route that won, its place and who may pass.
func (r testResult) where() string {
	switch x := r.explanation; {
	case r.route() == "":
		return "none"
	case x.Route != nil:
		return fmt.Sprintf("%s (%s:%d): %s", x.Route.ID, x.Route.File, x.Route.Line, routes.WhoCell(x.Route.Who, x.Route.Ways))
	}
	return r.route()
}

// why returns the check that decided: the one that failed, or else the last one that passed.
func (r testResult) why() string {
	last := ""
	for _, check := range r.explanation.Checks {
		switch check.Outcome {
		case explain.Failed:
			return check.Check + ": " + check.Detail
		case explain.Passed:
			last = check.Check + ": " + check.Detail
		case explain.Skipped, explain.NotReached:
		}
	}
	return last
}

// covered returns the policies under test, sorted by name.
func (t *run) covered() []*testedPolicy {
	all := slices.DeleteFunc(slices.Collect(maps.Values(t.policies)), func(p *testedPolicy) bool { return p.coverage == nil })
	slices.SortFunc(all, func(a, b *testedPolicy) int { return cmp.Compare(a.name, b.name) })
	return all
}

// share returns the coverage in percent. It is rounded down to one decimal, so that 100
// means that everything is covered.
func (p *testedPolicy) share() float64 {
	covered, total := p.coverage.Count()
	if total == 0 {
		return 100
	}
	return math.Floor(float64(covered)*1000/float64(total)) / 10
}

// tooLittle returns a message for each policy whose coverage is below --coverage-min.
func (t *run) tooLittle() (lines []string) {
	for _, p := range t.covered() {
		if covered, total := p.coverage.Count(); float64(covered)*100 < float64(t.options.least)*float64(total) {
			lines = append(lines, fmt.Sprintf("%s: the cases cover %g%% of it, below --coverage-min %s", p.name, p.share(), t.options.least.String()))
		}
	}
	return lines
}

func (t *run) writeCoverage(b *strings.Builder) {
	for _, p := range t.covered() {
		covered, total := p.coverage.Count()
		fmt.Fprintf(b, "%s: %g%% covered, %d of %d in %s\n", p.name, p.share(), covered, total, cli.Count(len(p.coverage.Routes), "route"))
		for _, r := range p.coverage.Routes {
			if missing := r.Missing(); len(missing) > 0 {
				fmt.Fprintf(b, "  %s:%d: %s: no case for: %s\n", r.Route.Position.File, r.Route.Position.Line, r.Route.ID, strings.Join(missing, "; "))
			}
		}
	}
	b.WriteString("\n")
}

// A testReport is the JSON report.
type testReport struct {
	OK       bool           `json:"ok"`
	Passed   int            `json:"passed"`
	Failed   int            `json:"failed"`
	Skipped  int            `json:"skipped"`
	Cases    []testedCase   `json:"cases"`
	Problems cli.Problems   `json:"problems"`
	Coverage []testCoverage `json:"coverage"` // null without --coverage
}

type testedCase struct {
	File        string                  `json:"file"`
	Name        string                  `json:"name"`
	Line        int                     `json:"line"`
	Column      int                     `json:"column"`
	Outcome     string                  `json:"outcome"` // passed, failed or skipped
	Skipped     string                  `json:"skipped,omitempty"`
	Error       string                  `json:"error,omitempty"`
	Want        string                  `json:"want"`
	Got         *testAnswer             `json:"got"`
	Differences []policytest.Difference `json:"differences"`
	Why         string                  `json:"why,omitempty"`
	Explain     string                  `json:"explain,omitempty"`
	Seconds     float64                 `json:"seconds"`
}

type testAnswer struct {
	Decision string `json:"decision"`
	Reason   string `json:"reason"`
	Status   int    `json:"status"`
	Route    string `json:"route"` // "" for none
}

type testCoverage struct {
	Policy  string              `json:"policy"`
	Percent float64             `json:"percent"`
	Covered int                 `json:"covered"`
	Total   int                 `json:"total"`
	Routes  []testRouteCoverage `json:"routes"`
}

type testRouteCoverage struct {
	Route  string     `json:"route"`
	File   string     `json:"file"`
	Line   int        `json:"line"`
	Column int        `json:"column"`
	Items  []testItem `json:"items"`
}

type testItem struct {
	Item    string `json:"item"`
	Covered bool   `json:"covered"`
}

func (t *run) jsonReport() testReport {
	report := testReport{OK: t.ok(), Cases: []testedCase{}, Problems: cli.OrEmpty(t.problems)}
	report.Passed, report.Failed, report.Skipped = t.counts()
	for _, r := range t.results {
		at := r.Case.Position()
		c := testedCase{
			File: at.File, Name: r.Case.Name, Line: at.Line, Column: at.Column, Outcome: r.outcome(), Skipped: r.Skipped,
			Want: r.Case.Want, Differences: r.Differences, Seconds: r.took.Seconds(),
		}
		if r.Err != nil {
			c.Error = r.Err.Error()
		}
		if c.Differences == nil {
			c.Differences = []policytest.Difference{}
		}
		if x := r.explanation; x != nil {
			c.Got = &testAnswer{x.Decision, x.Reason, x.Status, r.route()}
			c.Why, c.Explain = r.why(), r.hint
		}
		report.Cases = append(report.Cases, c)
	}
	if t.options.coverage {
		report.Coverage = t.jsonCoverage()
	}
	return report
}

func (t *run) jsonCoverage() []testCoverage {
	all := []testCoverage{}
	for _, p := range t.covered() {
		c := testCoverage{Policy: p.name, Percent: p.share(), Routes: []testRouteCoverage{}}
		c.Covered, c.Total = p.coverage.Count()
		for _, r := range p.coverage.Routes {
			at := r.Route.Position
			route := testRouteCoverage{Route: r.Route.ID, File: at.File, Line: at.Line, Column: at.Column}
			for _, item := range r.Items {
				route.Items = append(route.Items, testItem{item.Name, item.Covered})
			}
			c.Routes = append(c.Routes, route)
		}
		all = append(all, c)
	}
	return all
}
