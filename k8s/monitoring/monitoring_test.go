package monitoring

import (
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"
)

// A metric is a row of the table of metrics: the values of each label; nil when they are open.
type metric map[string][]string

// documented returns the metrics of the table in cmd/warder/README.md, which a test there
// compares with /metrics of a server.
func documented(t *testing.T) map[string]metric {
	t.Helper()
	page, err := os.ReadFile("../../cmd/warder/README.md")
	if err != nil {
		t.Fatal(err)
	}
	reasons, err := os.ReadFile("../../authz/README.md")
	if err != nil {
		t.Fatal(err)
	}
	var known []string
	_, table, _ := strings.Cut(string(reasons), "\n## Reasons\n")
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| \\d+ \\|").FindAllStringSubmatch(table, -1) {
		known = append(known, row[1])
	}
	decisions := []string{"allow", "deny", "would_deny"}
	fixed := metric{
		"reason": known, "next_reason": known, "decision": decisions, "next_decision": decisions,
	}

	metrics := map[string]metric{}
	word := regexp.MustCompile("`([^`]+)`")
	for _, row := range regexp.MustCompile("(?m)^\\| `((?:warder|grpc)_[a-z_]+)` \\| *(.*?) *\\| ").FindAllStringSubmatch(string(page), -1) {
		about := metric{}
		cell := regexp.MustCompile(`\([^)]*\)`).ReplaceAllString(row[2], "")
		if rest, same := strings.CutPrefix(cell, "the same and "); same {
			maps.Copy(about, metrics["grpc_server_started_total"])
			cell = rest
		}
		// "`a`: `one`, `two`; `b`: `three`" has values, "`a`, `b`" has none.
		for part := range strings.SplitSeq(cell, ";") {
			names, values, _ := strings.Cut(part, ":")
			for _, name := range word.FindAllStringSubmatch(names, -1) {
				about[name[1]] = fixed[name[1]]
				for _, value := range word.FindAllStringSubmatch(values, -1) {
					about[name[1]] = append(about[name[1]], value[1])
				}
			}
		}
		metrics[row[1]] = about
	}
	metrics["warder_store_duration_seconds"]["store"] = metrics["warder_store_requests_total"]["store"]
	if len(metrics) < 15 || len(known) < 20 || len(metrics["warder_decisions_total"]) != 3 || len(metrics["warder_store_requests_total"]["result"]) != 5 {
		t.Fatalf("the table of metrics was not understood: %v", metrics)
	}

	// What /metrics has of the Go runtime and the process.
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		metrics[f.GetName()] = metric{}
	}
	return metrics
}

// target are the labels that Prometheus adds to each series.
var target = []string{"job", "instance"}

// queries returns each query of the rules and of the dashboard, by where it is.
func queries(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, alert := range alerts(t) {
		found["rules.yaml: "+alert.Alert] = alert.Expr
	}
	data, err := os.ReadFile("dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ RefID, Expr string }
		}
		Annotations struct{ List []struct{ Name, Expr string } }
		Templating  struct {
			List []struct {
				Name  string
				Query any
			}
		}
	}
	if err := json.Unmarshal(data, &dashboard); err != nil {
		t.Fatal(err)
	}
	// Grafana replaces these before it asks Prometheus.
	grafana := strings.NewReplacer("$__rate_interval", "1m", "$job", ".*")
	for _, p := range dashboard.Panels {
		if len(p.Targets) == 0 {
			t.Errorf("dashboard.json: %s has no query", p.Title)
		}
		for _, each := range p.Targets {
			found["dashboard.json: "+p.Title+" "+each.RefID] = grafana.Replace(each.Expr)
		}
	}
	for _, each := range dashboard.Annotations.List {
		found["dashboard.json: annotation "+each.Name] = grafana.Replace(each.Expr)
	}
	for _, each := range dashboard.Templating.List {
		query, ok := each.Query.(map[string]any)
		if !ok {
			continue
		}
		values := regexp.MustCompile(`^label_values\((\w+), (\w+)\)$`).FindStringSubmatch(query["query"].(string))
		if values == nil {
			t.Fatalf("dashboard.json: variable %s: %v was not understood", each.Name, query)
		}
		found["dashboard.json: variable "+each.Name] = "count by (" + values[2] + ") (" + values[1] + ")"
	}
	return found
}

type alert struct {
	Alert, Expr string
	Annotations map[string]string
}

func alerts(t *testing.T) (all []alert) {
	t.Helper()
	var file struct {
		Groups []struct{ Rules []alert }
	}
	read(t, "rules.yaml", &file)
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) < 8 {
		t.Fatalf("%d alerts: this tests too little", len(all))
	}
	return all
}

func read(t *testing.T, file string, to any) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(data, to); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// TestQueries checks that each query is PromQL, and that it names only metrics, labels and
// values that warder has.
func TestQueries(t *testing.T) {
	t.Parallel()
	metrics := documented(t)
	for where, query := range queries(t) {
		for _, problem := range problems(metrics, query) {
			t.Errorf("%s: %s\n\t%s", where, problem, query)
		}
	}
}

// TestProblems checks that TestQueries would find each kind of mistake.
func TestProblems(t *testing.T) {
	t.Parallel()
	metrics := documented(t)
	for query, want := range map[string]string{
		`sum(rate(warder_decisions_total[5m]))`:                                "",
		`sum by (le) (warder_store_duration_seconds_bucket{store="users"})`:    "",
		`go_goroutines{instance="a"} + process_resident_memory_bytes`:          "",
		`count by (hash) (warder_policy_info)`:                                 "",
		`warder_decisions_total{reason=~"internal|overloaded"}`:                "",
		`sum(rate(warder_decisions_total[5m])`:                                 "parse error",
		`warder_decision_total`:                                                "no metric warder_decision_total",
		`warder_decisions_total_bucket`:                                        "no metric warder_decisions_total_bucket",
		`{reason="internal"}`:                                                  "names no metric",
		`warder_decisions_total{reasons="internal"}`:                           "has no label reasons",
		`warder_decisions_total{reason="internl"}`:                             `has no value "internl"`,
		`warder_decisions_total{reason=~"internal|overload"}`:                  `has no value "overload"`,
		`warder_decisions_total{decision!="denied"}`:                           `has no value "denied"`,
		`sum by (stores) (warder_store_requests_total)`:                        "has no label stores",
		`sum by (le) (warder_decisions_total)`:                                 "has no label le",
		`a_metric / on (job) warder_policy_info`:                               "no metric a_metric",
		`warder_policy_info * on (hsh) warder_policy_info`:                     "has no label hsh",
		`sum by (store) (warder_cache_requests_total)`:                         "has no label store",
		`topk(2, sum without (stoer) (rate(warder_store_requests_total[5m])))`: "has no label stoer",
	} {
		got := strings.Join(problems(metrics, query), "; ")
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
}

// problems returns what is wrong with a query.
func problems(metrics map[string]metric, query string) (found []string) {
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(query)
	if err != nil {
		return []string{"parse error: " + err.Error()}
	}
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		switch n := node.(type) {
		case *parser.VectorSelector:
			found = append(found, ofSelector(metrics, n)...)
		case *parser.AggregateExpr:
			found = append(found, ofLabels(metrics, n.Expr, n.Grouping)...)
		case *parser.BinaryExpr:
			if n.VectorMatching != nil {
				found = append(found, ofLabels(metrics, n.LHS, n.VectorMatching.MatchingLabels)...)
				found = append(found, ofLabels(metrics, n.RHS, n.VectorMatching.MatchingLabels)...)
			}
		}
		return nil
	})
	return found
}

// lookUp returns the labels of a series, with those of its histogram and of its target.
func lookUp(metrics map[string]metric, name string) (metric, bool) {
	for _, suffix := range []string{"_bucket", "_count", "_sum"} {
		if base, ok := strings.CutSuffix(name, suffix); ok && strings.HasSuffix(base, "_seconds") {
			about, ok := metrics[base]
			with := metric{}
			maps.Copy(with, about)
			if suffix == "_bucket" {
				with["le"] = nil
			}
			return with, ok
		}
	}
	about, ok := metrics[name]
	return about, ok
}

func ofSelector(metrics map[string]metric, s *parser.VectorSelector) (found []string) {
	if s.Name == "" {
		return []string{s.String() + " names no metric"}
	}
	about, ok := lookUp(metrics, s.Name)
	if !ok {
		return []string{"no metric " + s.Name}
	}
	for _, m := range s.LabelMatchers {
		if m.Name == model.MetricNameLabel || slices.Contains(target, m.Name) {
			continue
		}
		values, ok := about[m.Name]
		if !ok {
			found = append(found, s.Name+" has no label "+m.Name)
			continue
		}
		named := []string{m.Value}
		if m.Type == labels.MatchRegexp || m.Type == labels.MatchNotRegexp {
			named = strings.Split(m.Value, "|")
		}
		for _, value := range named {
			if values != nil && !slices.Contains(values, value) {
				found = append(found, s.Name+": "+m.Name+" has no value "+`"`+value+`"`)
			}
		}
	}
	return found
}

// ofLabels checks that every metric below an expression has the labels.
func ofLabels(metrics map[string]metric, below parser.Expr, names []string) (found []string) {
	parser.Inspect(below, func(node parser.Node, _ []parser.Node) error {
		s, ok := node.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		about, known := lookUp(metrics, s.Name)
		for _, name := range names {
			if _, has := about[name]; known && !has && !slices.Contains(target, name) {
				found = append(found, s.Name+" has no label "+name)
			}
		}
		return nil
	})
	return found
}

// TestEachAlertIsTested checks that rules_test.yaml has, for each alert, a test in which it
// fires and one in which it does not.
func TestEachAlertIsTested(t *testing.T) {
	t.Parallel()
	fires, quiet := map[string]bool{}, map[string]bool{}
	for _, test := range readRuleTests(t, "rules_test.yaml").Tests {
		for _, each := range test.AlertTests {
			if len(each.Want) > 0 {
				fires[each.Name] = true
			} else {
				quiet[each.Name] = true
			}
		}
	}
	seen := map[string]bool{}
	for _, each := range alerts(t) {
		if !fires[each.Alert] || !quiet[each.Alert] {
			t.Errorf("%s: tested to fire: %v, to be quiet: %v", each.Alert, fires[each.Alert], quiet[each.Alert])
		}
		if each.Annotations["summary"] == "" {
			t.Errorf("%s has no summary", each.Alert)
		}
		if seen[each.Alert] {
			t.Errorf("%s is there twice", each.Alert)
		}
		seen[each.Alert] = true
	}
}

// TestDocumentedAlerts checks that the page shows the rules as they are.
func TestDocumentedAlerts(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../cmd/warder/README.md")
	if err != nil {
		t.Fatal(err)
	}
	rules, err := os.ReadFile("rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, shown, _ := strings.Cut(string(page), "```yaml\n# alerts.yaml\n")
	shown, _, _ = strings.Cut(shown, "```")
	if shown != string(rules) {
		t.Errorf("the alerts of cmd/warder/README.md are not k8s/monitoring/rules.yaml:\n%s", shown)
	}
}
