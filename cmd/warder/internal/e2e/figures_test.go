package e2e

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// This file has what make bench reads from h2load and /proc, and how it computes the figures. It
// has no build tag, so that these functions are tested in each run: wrong figures would not be
// noticed.

// loaded is the summary that h2load prints, without the times for requests. Their columns differ
// between versions.
type loaded struct {
	rate     float64 // requests per second; printed with more digits than the time
	done     int
	errored  int // no response, or an incomplete one
	timeouts int
	statuses [4]int // 2xx, 3xx, 4xx, 5xx
	data     int64  // total size of the bodies in bytes
}

var (
	loadFinished = regexp.MustCompile(`(?m)^finished in [0-9.]+(?:us|ms|s), ([0-9.]+) req/s,`)
	loadRequests = regexp.MustCompile(`(?m)^requests: \d+ total, \d+ started, (\d+) done, \d+ succeeded, \d+ failed, (\d+) errored, (\d+) timeout$`)
	loadStatuses = regexp.MustCompile(`(?m)^status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx$`)
	loadTraffic  = regexp.MustCompile(`(?m)^traffic: .* \((\d+)\) data$`)
)

func parseLoad(output string) (loaded, error) {
	var l loaded
	var counts []int64
	for _, line := range []*regexp.Regexp{loadFinished, loadRequests, loadStatuses, loadTraffic} {
		found := line.FindStringSubmatch(output)
		if found == nil {
			return l, fmt.Errorf("h2load printed no line that matches %s:\n%s", line, output)
		}
		for _, text := range found[1:] {
			if line == loadFinished {
				rate, err := strconv.ParseFloat(text, 64)
				if err != nil || rate <= 0 {
					return l, fmt.Errorf("h2load reports %q req/s", text)
				}
				l.rate = rate
				continue
			}
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				return l, fmt.Errorf("h2load: %w", err)
			}
			counts = append(counts, n)
		}
	}
	l.done, l.errored, l.timeouts = int(counts[0]), int(counts[1]), int(counts[2])
	for i := range l.statuses {
		l.statuses[i] = int(counts[3+i])
	}
	l.data = counts[7]
	return l, nil
}

// check returns an error if not all of n requests got a response with one class of status (2 for
// 2xx) and a body of one size. The size distinguishes a gRPC error from a response: the error also
// has status 200, but no body.
func (l loaded) check(n, class, size int) error {
	want := loaded{rate: l.rate, done: n, data: int64(n) * int64(size)}
	want.statuses[class-2] = n
	if l != want {
		return fmt.Errorf("of %d requests %d were answered, %d errored, %d timed out; 2xx, 3xx, 4xx, 5xx: %v, want %v; %d bytes of bodies, want %d",
			n, l.done, l.errored, l.timeouts, l.statuses, want.statuses, l.data, want.data)
	}
	return nil
}

// parseLatencies reads the --log-file of h2load and returns the latencies sorted. The file has one
// line per request, and the third column is the time in microseconds.
func parseLatencies(log string) ([]time.Duration, error) {
	var all []time.Duration
	for line := range strings.Lines(log) {
		fields := strings.Fields(line)
		if len(fields) < 3 {
			return nil, fmt.Errorf("unexpected line in h2load's log: %q", line)
		}
		n, err := strconv.ParseInt(fields[2], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("h2load's log: %w", err)
		}
		all = append(all, time.Duration(n)*time.Microsecond)
	}
	slices.Sort(all)
	return all, nil
}

// percentile returns the smallest of the sorted values that at least p percent of the values do not
// exceed (nearest rank). It returns zero if there are no values.
func percentile[T cmp.Ordered](sorted []T, p float64) T {
	if len(sorted) == 0 {
		var zero T
		return zero
	}
	rank := int(math.Ceil(p / 100 * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
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

// h2loadOutput is the output of h2load 1.52 without the progress lines.
const h2loadOutput = `starting benchmark...
spawning thread #0: 4 total client(s). 20000 total requests
Application protocol: h2c
progress: 100% done

finished in 594.48ms, 33642.85 req/s, 1.35MB/s
requests: 20000 total, 20000 started, 20000 done, 20000 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 20000 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 820.21KB (839892) total, 39.11KB (40048) headers (space savings 94.73%), 175.78KB (180000) data
                     min         max         mean         sd        +/- sd
time for request:      132us     83.86ms      1.76ms      5.12ms    98.80%
time for connect:      109us       518us       257us       179us    75.00%
time to 1st byte:     5.19ms      6.37ms      6.01ms       552us    75.00%
req/s           :    8414.65     8504.20     8452.09       38.18    75.00%
`

// refusedOutput is the output of a run in which responses were denials and some were missing.
const refusedOutput = `finished in 2.01s, 49.75 req/s, 10.51KB/s
requests: 100 total, 100 started, 100 done, 0 succeeded, 100 failed, 3 errored, 2 timeout
status codes: 0 2xx, 0 3xx, 96 4xx, 1 5xx
traffic: 21.12KB (21631) total, 1.36KB (1397) headers (space savings 92.55%), 9.47KB (9700) data
                     min         max      median         p95         p99        mean         sd        +/- sd
time for request:      132us     83.86ms      1.76ms      5.12ms     5.12ms     5.12ms     5.12ms    98.80%
`

func TestParseLoad(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, output string
		want         loaded
	}{
		{"all answered", h2loadOutput, loaded{rate: 33642.85, done: 20000, statuses: [4]int{20000}, data: 180000}},
		{"refusals and errors", refusedOutput, loaded{rate: 49.75, done: 100, errored: 3, timeouts: 2, statuses: [4]int{0, 0, 96, 1}, data: 9700}},
	} {
		got, err := parseLoad(test.output)
		if err != nil || got != test.want {
			t.Errorf("%s: %+v, %v, want %+v", test.name, got, err, test.want)
		}
	}
	for _, output := range []string{
		"", "h2load: could not connect\n",
		strings.Replace(h2loadOutput, "33642.85 req/s", "0.00 req/s", 1),
		strings.Replace(h2loadOutput, "status codes", "codes", 1),
		strings.Replace(h2loadOutput, "20000 done", "99999999999999999999 done", 1),
	} {
		if got, err := parseLoad(output); err == nil {
			t.Errorf("parseLoad(%q) = %+v, want an error", output, got)
		}
	}
}

func TestCheckLoad(t *testing.T) {
	t.Parallel()
	good := loaded{rate: 10, done: 10, statuses: [4]int{10}, data: 90}
	if err := good.check(10, 2, 9); err != nil {
		t.Errorf("good answers: %v", err)
	}
	refused := loaded{rate: 10, done: 10, statuses: [4]int{0, 0, 10}, data: 970}
	if err := refused.check(10, 4, 97); err != nil {
		t.Errorf("expected refusals: %v", err)
	}
	for name, change := range map[string]func(*loaded){
		"one is missing":         func(l *loaded) { l.done, l.statuses[0], l.data = 9, 9, 81 },
		"one errored":            func(l *loaded) { l.errored = 1 },
		"one timed out":          func(l *loaded) { l.timeouts = 1 },
		"one has another status": func(l *loaded) { l.statuses[0], l.statuses[3] = 9, 1 },
		"one has no body":        func(l *loaded) { l.data -= 9 },
		"one has a longer body":  func(l *loaded) { l.data++ },
	} {
		bad := good
		change(&bad)
		if bad.check(10, 2, 9) == nil {
			t.Errorf("%s, but check returns no error", name)
		}
	}
}

func TestParseLatencies(t *testing.T) {
	t.Parallel()
	got, err := parseLatencies("1795564511189640\t200\t4513\n1795564511189631\t200\t17\n1795564511189631\t-1\t300\n")
	want := []time.Duration{17 * time.Microsecond, 300 * time.Microsecond, 4513 * time.Microsecond}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
	for _, log := range []string{"1\t200\n", "1\t200\tx\n"} {
		if _, err := parseLatencies(log); err == nil {
			t.Errorf("parseLatencies(%q) returned no error", log)
		}
	}
}

func TestPercentile(t *testing.T) {
	t.Parallel()
	hundred := make([]int, 100)
	for i := range hundred {
		hundred[i] = i + 1
	}
	for _, test := range []struct {
		sorted []int
		p      float64
		want   int
	}{
		{nil, 50, 0},
		{[]int{7}, 1, 7},
		{[]int{7}, 99, 7},
		{[]int{1, 2}, 50, 1},
		{[]int{1, 2, 3}, 50, 2},
		{hundred, 0, 1},
		{hundred, 50, 50},
		{hundred, 99, 99},
		{hundred, 99.1, 100},
		{hundred, 100, 100},
	} {
		if got := percentile(test.sorted, test.p); got != test.want {
			t.Errorf("percentile %v of %d values is %d, want %d", test.p, len(test.sorted), got, test.want)
		}
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
