package monitoring

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
	"go.yaml.in/yaml/v3"
)

// ruleTests is what rules_test.yaml holds: the part of promtool's format that it uses. An unknown
// key is an error.
type ruleTests struct {
	RuleFiles          []string       `yaml:"rule_files"`
	EvaluationInterval model.Duration `yaml:"evaluation_interval"`
	Tests              []ruleTest
}

type ruleTest struct {
	Name        string
	Interval    model.Duration
	InputSeries []struct{ Series, Values string } `yaml:"input_series"`
	AlertTests  []alertTest                       `yaml:"alert_rule_test"`
}

// An alertTest names an alert and what it reports at a time: nothing, if Want is empty.
type alertTest struct {
	At   model.Duration `yaml:"eval_time"`
	Name string         `yaml:"alertname"`
	Want []struct {
		Labels      map[string]string `yaml:"exp_labels"`
		Annotations map[string]string `yaml:"exp_annotations"`
	} `yaml:"exp_alerts"`
}

func readRuleTests(t *testing.T, file string) (tests ruleTests) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	if err := decoder.Decode(&tests); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return tests
}

// TestRules runs the unit tests of the alerts with the packages of Prometheus that promtool uses.
// promtool itself takes minutes to build.
func TestRules(t *testing.T) {
	t.Parallel()
	file := readRuleTests(t, "rules_test.yaml")
	for _, test := range file.Tests {
		for _, problem := range test.run(t, time.Duration(file.EvaluationInterval), file.RuleFiles...) {
			t.Errorf("%s: %s", test.Name, problem)
		}
	}
}

// TestRulesFindsProblems checks that TestRules would find an alert that fires, is quiet or reports
// something else against what is expected.
func TestRulesFindsProblems(t *testing.T) {
	t.Parallel()
	file := readRuleTests(t, "rules_test.yaml")
	for _, test := range file.Tests {
		for i := range test.AlertTests {
			each := &test.AlertTests[i]
			if len(each.Want) == 0 {
				each.Want = slices.Grow(each.Want, 1)[:1]
			} else {
				each.Want[0].Annotations["summary"] += "!"
			}
		}
		if got := test.run(t, time.Duration(file.EvaluationInterval), file.RuleFiles...); len(got) != len(test.AlertTests) {
			t.Errorf("%s: found %d of %d mistakes:\n%s", test.Name, len(got), len(test.AlertTests), strings.Join(got, "\n"))
		}
	}
}

// run evaluates the rules over the series and returns what is not as expected. Like promtool, it
// looks at the alerts in the evaluation at or before the time of a test.
func (r ruleTest) run(t *testing.T, step time.Duration, files ...string) (problems []string) {
	t.Helper()
	language := parser.NewParser(parser.Options{})
	var load strings.Builder
	fmt.Fprintf(&load, "load %v\n", r.Interval)
	for _, s := range r.InputSeries {
		fmt.Fprintf(&load, "  %s %s\n", s.Series, s.Values)
	}
	series, err := promqltest.NewLazyLoader(load.String(), promqltest.LazyLoaderOpts{EnableAtModifier: true, EnableNegativeOffset: true, Parser: language})
	if err != nil {
		t.Fatalf("%s: %v", r.Name, err)
	}
	defer series.Close()
	groups, errs := rules.NewManager(&rules.ManagerOptions{
		QueryFunc:    rules.EngineQueryFunc(series.QueryEngine(), series.Storage()),
		AppendableV2: series.Storage(),
		Context:      t.Context(),
		NotifyFunc:   func(context.Context, string, ...*rules.Alert) {},
		Logger:       promslog.NewNopLogger(),
		Parser:       language,
	}).LoadGroups(time.Duration(r.Interval), labels.EmptyLabels(), "", nil, false, files...)
	if len(errs) > 0 {
		t.Fatalf("%v: %v", files, errs)
	}
	var evaluated []rules.Rule
	for _, g := range groups {
		for _, rule := range g.Rules() {
			if alerting, ok := rule.(*rules.AlertingRule); ok {
				alerting.SetRestored(true) // else nothing is stored about the alert
			}
			evaluated = append(evaluated, rule)
		}
	}

	due := slices.SortedFunc(slices.Values(r.AlertTests), func(a, b alertTest) int { return int(a.At - b.At) })
	for at := time.Duration(0); len(due) > 0; at += step {
		series.WithSamplesTill(time.Unix(0, 0).Add(at), func(err error) {
			if err != nil {
				t.Fatalf("%s: %v", r.Name, err)
			}
			for _, g := range groups {
				g.Eval(series.Context(), time.Unix(0, 0).Add(at))
			}
		})
		for _, rule := range evaluated {
			if err := rule.LastError(); err != nil {
				t.Fatalf("%s: %s: %v", r.Name, rule.Name(), err)
			}
		}
		for len(due) > 0 && time.Duration(due[0].At) < at+step {
			if got, want := firing(evaluated, due[0].Name), due[0].want(); !slices.Equal(got, want) {
				problems = append(problems, fmt.Sprintf("%s at %v reports %q, want %q", due[0].Name, due[0].At, got, want))
			}
			due = due[1:]
		}
	}
	return problems
}

// firing returns the alerts of a name that fire now, as want does.
func firing(all []rules.Rule, name string) (found []string) {
	for _, rule := range all {
		if alerting, ok := rule.(*rules.AlertingRule); ok && alerting.Name() == name {
			for _, a := range alerting.ActiveAlerts() {
				if a.State == rules.StateFiring {
					found = append(found, a.Labels.String()+" "+a.Annotations.String())
				}
			}
		}
	}
	slices.Sort(found)
	return found
}

// want returns the alerts that are expected, as text. Prometheus adds the name to the labels.
func (a alertTest) want() (texts []string) {
	for _, each := range a.Want {
		with := labels.NewBuilder(labels.FromMap(each.Labels)).Set(labels.AlertName, a.Name).Labels()
		texts = append(texts, with.String()+" "+labels.FromMap(each.Annotations).String())
	}
	slices.Sort(texts)
	return texts
}
