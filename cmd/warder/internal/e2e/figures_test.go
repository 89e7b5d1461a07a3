package e2e

import (
	"errors"
	"fmt"

	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// This file has what make bench and make sizes read from the load generator, Envoy and /proc, and
// how the figures are computed and printed. It has no build tag, so that these functions are tested
// in each run: wrong figures would not be noticed.

// offered is what the load generator (testdata/load) reports.
type offered struct {
	Sent     int         `json:"sent"`
	Dropped  int         `json:"dropped"`
	Failed   int         `json:"failed"`
	Wrong    int         `json:"wrong"`
	Statuses map[int]int `json:"statuses"`
	Rate     float64     `json:"rate"`
	Late     int64       `json:"late_us"`
	P50      int64       `json:"p50_us"`
	P99      int64       `json:"p99_us"`
	Max      int64       `json:"max_us"`
	Problem  string      `json:"problem"`
}

// check returns an error unless every request that was sent got the wanted answer.
func (l offered) check() error {
	if l.Sent > 0 && l.Failed == 0 && l.Wrong == 0 && l.Problem == "" {
		return nil
	}
	return fmt.Errorf("of %d requests %d have no answer and %d a wrong one; the first problem: %s", l.Sent, l.Failed, l.Wrong, l.Problem)
}

// A sample is the result of one run of the load generator against one side.
type sample struct {
	Rate     float64       `json:"requests_per_second"`
	CPU      time.Duration `json:"cpu_per_check_ns"` // of the authorizer
	EnvoyCPU time.Duration `json:"envoy_cpu_per_check_ns"`
	P50      time.Duration `json:"p50_ns"`
	P99      time.Duration `json:"p99_ns"`
	Max      time.Duration `json:"max_ns"`
	Peak     int64         `json:"peak_memory_bytes"` // of the authorizer, since it started
	Dropped  int           `json:"dropped,omitempty"`
	Late     time.Duration `json:"generator_late_ns,omitempty"`
}

// pair is one round.
type pair struct {
	A sample `json:"a"`
	B sample `json:"b"`
}

// The figures that A and B are compared by.
const (
	throughput = "throughput"
	cpuTime    = "CPU"
	latency    = "p99"
)

// figures returns a figure of a sample by its name.
var figures = map[string]func(sample) float64{
	throughput: func(s sample) float64 { return s.Rate },
	cpuTime:    func(s sample) float64 { return float64(s.CPU + s.EnvoyCPU) },
	latency:    func(s sample) float64 { return float64(s.P99) },
}

// A goal is a bound for the ratio of a figure, B to A. One of Least and Most is not 0.
type goal struct {
	Figure string  `json:"figure"`
	Least  float64 `json:"least,omitempty"`
	Most   float64 `json:"most,omitempty"`
	Met    bool    `json:"met"`
}

func (g goal) String() string {
	verdict := "missed"
	if g.Met {
		verdict = "met"
	}
	if g.Least != 0 {
		return fmt.Sprintf("%s ≥ %g: %s", g.Figure, g.Least, verdict)
	}
	return fmt.Sprintf("%s ≤ %g: %s", g.Figure, g.Most, verdict)
}

// The kinds of rows. Each has a table of its own.
const (
	directRow = "direct"
	pacedRow  = "paced"
	envoyRow  = "envoy"
)

// A row is a scenario with its figures.
type row struct {
	Name        string            `json:"name"`
	Kind        string            `json:"kind"`
	About       string            `json:"about"`
	Unavailable string            `json:"unavailable,omitempty"`
	Goals       []goal            `json:"goals,omitempty"`
	Ratios      map[string]spread `json:"ratios,omitempty"` // B to A, by figure
	Runs        []pair            `json:"runs,omitempty"`
}

// sum computes the ratios and compares them with the goals.
func (r *row) sum() {
	r.Ratios = map[string]spread{}
	for name, figure := range figures {
		var ratios []float64
		for _, p := range r.Runs {
			if a := figure(p.A); a > 0 { // processor time is 0 if a run is shorter than a clock tick
				ratios = append(ratios, figure(p.B)/a)
			}
		}
		if len(ratios) > 0 {
			r.Ratios[name] = spreadOf(ratios)
		}
	}
	r.Goals = slices.Clone(r.Goals)
	for i, g := range r.Goals {
		ratio, measured := r.Ratios[g.Figure]
		r.Goals[i].Met = measured && (g.Least == 0 || ratio.Median >= g.Least) && (g.Most == 0 || ratio.Median <= g.Most)
	}
}

// both returns the medians of a figure of A and of B.
func (r row) both(format string, figure func(sample) float64) string {
	var a, b []float64
	for _, p := range r.Runs {
		a, b = append(a, figure(p.A)), append(b, figure(p.B))
	}
	return fmt.Sprintf(format+", "+format, spreadOf(a).Median, spreadOf(b).Median)
}

// verdict says which goals are met.
func (r row) verdict() string {
	var all []string
	for _, g := range r.Goals {
		all = append(all, g.String())
	}
	return strings.Join(all, "; ")
}

// line returns the short form of the row that is printed as soon as it is measured.
func (r row) line() string {
	if r.Unavailable != "" {
		return fmt.Sprintf("%s: %s", r.Name, r.Unavailable)
	}
	line := fmt.Sprintf("%s: B/A: throughput %v, CPU %v, p99 %v", r.Name, r.Ratios[throughput], r.Ratios[cpuTime], r.Ratios[latency])
	if dropped := r.dropped(); dropped > 0 {
		line += fmt.Sprintf("; %d requests were not sent, because too many were in flight", dropped)
	}
	return strings.TrimSuffix(line+"; "+r.verdict(), "; ")
}

// dropped returns how many requests of all runs were not sent.
func (r row) dropped() (n int) {
	for _, p := range r.Runs {
		n += p.A.Dropped + p.B.Dropped
	}
	return n
}

// A column is a column of a table of rows.
type column struct {
	head string
	cell func(row) string
}

func ratioColumn(figure string) column {
	return column{"B/A (least to most)", func(r row) string { return r.Ratios[figure].String() }}
}

func bothColumn(head, format string, figure func(sample) float64) column {
	return column{head, func(r row) string { return r.both(format, figure) }}
}

var (
	micros = func(s sample) float64 { return float64(s.CPU+s.EnvoyCPU) / 1e3 }
	millis = func(of func(sample) time.Duration) func(sample) float64 {
		return func(s sample) float64 { return float64(of(s)) / 1e6 }
	}
	p99Column  = bothColumn("p99 ms A, B", "%.1f", millis(func(s sample) time.Duration { return s.P99 }))
	goalColumn = column{"goal", row.verdict}
)

// columns are the columns of the tables, by kind of row. A column with the name of the row and
// what it is about comes before them.
var columns = map[string][]column{
	directRow: {
		bothColumn("checks/s A, B", "%.0f", figures[throughput]), ratioColumn(throughput),
		bothColumn("CPU µs a check A, B", "%.1f", micros), ratioColumn(cpuTime), p99Column,
		bothColumn("peak MiB A, B", "%.0f", func(s sample) float64 { return float64(s.Peak) / (1 << 20) }), goalColumn,
	},
	pacedRow: {
		bothColumn("p50 ms A, B", "%.2f", millis(func(s sample) time.Duration { return s.P50 })),
		bothColumn("p99 ms A, B", "%.2f", millis(func(s sample) time.Duration { return s.P99 })), ratioColumn(latency),
		bothColumn("max ms A, B", "%.1f", millis(func(s sample) time.Duration { return s.Max })),
		bothColumn("not sent A, B", "%.0f", func(s sample) float64 { return float64(s.Dropped) }),
		bothColumn("CPU µs a check A, B", "%.1f", micros), goalColumn,
	},
	envoyRow: {
		bothColumn("requests/s A, B", "%.0f", figures[throughput]), ratioColumn(throughput),
		bothColumn("CPU µs of Envoy and authorizer A, B", "%.1f", micros), ratioColumn(cpuTime), p99Column, goalColumn,
	},
}

// table returns the rows of one kind as a Markdown table, or "" if there is none.
func table(kind string, rows []row) string {
	head := []string{"scenario"}
	for _, c := range columns[kind] {
		head = append(head, c.head)
	}
	cells := [][]string{head}
	for _, r := range rows {
		if r.Kind != kind {
			continue
		}
		line := []string{r.Name + ": " + r.About}
		for i, c := range columns[kind] {
			switch {
			case r.Unavailable == "":
				line = append(line, c.cell(r))
			case i == 0:
				line = append(line, r.Unavailable)
			default:
				line = append(line, "")
			}
		}
		cells = append(cells, line)
	}
	if len(cells) == 1 {
		return ""
	}
	return aligned(cells)
}

// A spread is the median, the minimum and the maximum of some figures.
type spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

func (s spread) String() string { return fmt.Sprintf("%.2f (%.2f to %.2f)", s.Median, s.Min, s.Max) }

func spreadOf(values []float64) spread {
	if len(values) == 0 {
		return spread{}
	}
	s := slices.Sorted(slices.Values(values))
	return spread{Median: (s[(len(s)-1)/2] + s[len(s)/2]) / 2, Min: s[0], Max: s[len(s)-1]}
}

// clockTick is the unit of the times in /proc/PID/stat. It is 10 ms on all Linux systems that Go
// supports.
const clockTick = 10 * time.Millisecond

// parseCPUTime reads the user and system time of all threads of a process from /proc/PID/stat.
func parseCPUTime(stat string) (time.Duration, error) {
	// The second field is a name in parentheses, which may contain any character.
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	const utime, stime = 14 - 3, 15 - 3 // proc(5) counts from 1, and the first two fields are cut off
	if len(fields) <= stime {
		return 0, fmt.Errorf("unexpected /proc/PID/stat: %q", stat)
	}
	user, err := strconv.ParseInt(fields[utime], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("/proc/PID/stat: utime: %w", err)
	}
	system, err := strconv.ParseInt(fields[stime], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("/proc/PID/stat: stime: %w", err)
	}
	return time.Duration(user+system) * clockTick, nil
}

var memoryLine = regexp.MustCompile(`(?m)^Vm(HWM|RSS):\s+(\d+) kB$`)

// parseMemory reads the resident memory of a process and its peak, in bytes, from
// /proc/PID/status.
func parseMemory(status string) (resident, peak int64, err error) {
	sizes := map[string]int64{}
	for _, found := range memoryLine.FindAllStringSubmatch(status, -1) {
		n, err := strconv.ParseInt(found[2], 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("/proc/PID/status: Vm%s: %w", found[1], err)
		}
		sizes[found[1]] = n << 10
	}
	if len(sizes) != 2 {
		return 0, 0, errors.New("/proc/PID/status has no VmRSS and VmHWM")
	}
	return sizes["RSS"], sizes["HWM"], nil
}

// parseCounters reads Envoy's /stats and returns the counters of the ext_authz filter, such as ok,
// denied and error. It accepts any stat_prefix in their names.
func parseCounters(stats string) (map[string]int, error) {
	counters := map[string]int{}
	for line := range strings.Lines(stats) {
		name, value, found := strings.Cut(strings.TrimSpace(line), ": ")
		if !found || !strings.HasPrefix(name, "http.") || !strings.Contains(name, ".ext_authz.") {
			continue
		}
		n, err := strconv.Atoi(value)
		if err != nil {
			continue // a histogram
		}
		counters[name[strings.LastIndexByte(name, '.')+1:]] += n
	}
	if _, found := counters["ok"]; !found {
		return nil, fmt.Errorf("Envoy's /stats has no ext_authz filter:\n%s", stats)
	}
	return counters, nil
}

func TestCheckOffered(t *testing.T) {
	t.Parallel()
	good := offered{Sent: 10, Statuses: map[int]int{200: 10}}
	if err := good.check(); err != nil {
		t.Errorf("right answers: %v", err)
	}
	for name, bad := range map[string]offered{
		"nothing was sent":  {},
		"one has no answer": {Sent: 10, Failed: 1},
		"one is wrong":      {Sent: 10, Wrong: 1},
		"a problem":         {Sent: 10, Problem: "a request was reset"},
	} {
		if bad.check() == nil {
			t.Errorf("%s, but check returns no error", name)
		}
	}
}

// TestRow: B is twice as fast as A in one round, as fast in another, and three times in the last.
func TestRow(t *testing.T) {
	t.Parallel()
	a := sample{Rate: 100, CPU: 10 * time.Microsecond, EnvoyCPU: 30 * time.Microsecond, P50: time.Millisecond, P99: 2 * time.Millisecond, Max: 9 * time.Millisecond, Peak: 3 << 20}
	b := func(rate float64) sample {
		return sample{Rate: rate, CPU: 20 * time.Microsecond, EnvoyCPU: 10 * time.Microsecond, P50: time.Millisecond, P99: 5 * time.Millisecond, Max: 7 * time.Millisecond, Peak: 4 << 20}
	}
	r := row{Name: "name", Kind: envoyRow, About: "about", Runs: []pair{{a, b(200)}, {a, b(100)}, {a, b(300)}}, Goals: []goal{
		{Figure: throughput, Least: 2}, {Figure: throughput, Least: 2.1}, {Figure: cpuTime, Most: 0.75}, {Figure: cpuTime, Most: 0.7}, {Figure: latency, Most: 2.5},
	}}
	r.sum()
	if want := (spread{2, 1, 3}); r.Ratios[throughput] != want {
		t.Errorf("throughput: %v, want %v", r.Ratios[throughput], want)
	}
	if want := (spread{0.75, 0.75, 0.75}); r.Ratios[cpuTime] != want {
		t.Errorf("CPU of Envoy and authorizer: %v, want %v", r.Ratios[cpuTime], want)
	}
	const verdict = "throughput ≥ 2: met; throughput ≥ 2.1: missed; CPU ≤ 0.75: met; CPU ≤ 0.7: missed; p99 ≤ 2.5: met"
	if got := r.verdict(); got != verdict {
		t.Errorf("verdict %q, want %q", got, verdict)
	}
	if got, want := r.line(), "name: B/A: throughput 2.00 (1.00 to 3.00), CPU 0.75 (0.75 to 0.75), p99 2.50 (2.50 to 2.50); "+verdict; got != want {
		t.Errorf("line %q, want %q", got, want)
	}
	r.Goals, r.Runs[1].B.Dropped = nil, 7
	if got, want := r.line(), "p99 2.50 (2.50 to 2.50); 7 requests were not sent, because too many were in flight"; !strings.HasSuffix(got, want) {
		t.Errorf("line %q, want it to end in %q", got, want)
	}
	other := row{Name: "other", Kind: envoyRow, About: "not there", Unavailable: "not built: no network", Goals: []goal{{Figure: throughput, Least: 1}}}
	other.sum()
	if got, want := other.verdict(), "throughput ≥ 1: missed"; got != want {
		t.Errorf("a row that was not measured: %q, want %q", got, want)
	}
	if got, want := table(envoyRow, []row{r, other, {Name: "direct", Kind: directRow}}), `| scenario         | requests/s A, B       | B/A (least to most) | CPU µs of Envoy and authorizer A, B | B/A (least to most) | p99 ms A, B | goal |
|------------------|-----------------------|---------------------|-------------------------------------|---------------------|-------------|------|
| name: about      | 100, 200              | 2.00 (1.00 to 3.00) | 40.0, 30.0                          | 0.75 (0.75 to 0.75) | 2.0, 5.0    |      |
| other: not there | not built: no network |                     |                                     |                     |             |      |
`; got != want {
		t.Errorf("table:\n%s\nwant\n%s", got, want)
	}
	for kind, want := range map[string]string{
		directRow: "100, 200 | 2.00 (1.00 to 3.00) | 40.0, 30.0 | 0.75 (0.75 to 0.75) | 2.0, 5.0 | 3, 4 |",
		pacedRow:  "1.00, 1.00 | 2.00, 5.00 | 2.50 (2.50 to 2.50) | 9.0, 7.0 | 0, 0 | 40.0, 30.0 |",
	} {
		r.Kind = kind
		if got := strings.Join(strings.Fields(table(kind, []row{r})), " "); !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", kind, got, want)
		}
	}
	if got := table(pacedRow, []row{other}); got != "" {
		t.Errorf("without rows of the kind: %q", got)
	}
}

func TestSpread(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		values []float64
		want   spread
	}{
		{nil, spread{}},
		{[]float64{2}, spread{2, 2, 2}},
		{[]float64{3, 1, 2}, spread{2, 1, 3}},
		{[]float64{4, 1, 2, 3}, spread{2.5, 1, 4}},
	} {
		if got := spreadOf(test.values); got != test.want {
			t.Errorf("%v: %v, want %v", test.values, got, test.want)
		}
	}
	if got := spreadOf([]float64{1.456, 0.9, 2}).String(); got != "1.46 (0.90 to 2.00)" {
		t.Errorf("String() = %q", got)
	}
}

func TestParseProc(t *testing.T) {
	t.Parallel()
	const rest = " S 8632 8632 1947 0 -1 4194560 3694 0 0 0 28 4 0 0 20 0 6 0 209563 1303482368 4522\n"
	for _, stat := range []string{"8746 (stock)" + rest, "8746 (a) S 1 2 (b)" + rest} {
		if got, err := parseCPUTime(stat); err != nil || got != 320*time.Millisecond {
			t.Errorf("parseCPUTime(%q) = %v, %v, want 320ms", stat, got, err)
		}
	}
	for _, stat := range []string{"", "8746 (stock) S 8632", strings.Replace("1 (x)"+rest, " 28 4 ", " 28 x ", 1), strings.Replace("1 (x)"+rest, " 28 4 ", " x 4 ", 1)} {
		if got, err := parseCPUTime(stat); err == nil {
			t.Errorf("parseCPUTime(%q) = %v, want an error", stat, got)
		}
	}
	if resident, peak, err := parseMemory("VmPeak:\t 1272932 kB\nVmHWM:\t   19396 kB\nVmRSS:\t   18040 kB\n"); err != nil || resident != 18040<<10 || peak != 19396<<10 {
		t.Errorf("parseMemory = %d, %d, %v", resident, peak, err)
	}
	for _, status := range []string{"", "VmRSS:\t   18040 kB\n", "VmHWM:\t   18040 kB\n"} {
		if resident, peak, err := parseMemory(status); err == nil {
			t.Errorf("parseMemory(%q) = %d, %d", status, resident, peak)
		}
	}
}

func TestParseCounters(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{"http.ingress.ext_authz.", "http.ingress.ext_authz.warder."} {
		got, err := parseCounters("cluster.app.ext_authz.ok: 7\n" + prefix + "denied: 3\n" + prefix + "error: 0\n" + prefix + "ok: 12\n" + prefix + "time: P0(nan,1)\n")
		if err != nil || len(got) != 3 || got["ok"] != 12 || got["denied"] != 3 {
			t.Errorf("%s: %v, %v", prefix, got, err)
		}
	}
	if got, err := parseCounters("server.live: 1\n"); err == nil {
		t.Errorf("without the filter: %v", got)
	}
}
