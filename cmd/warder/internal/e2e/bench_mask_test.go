//go:build bench

package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// maskGoals are the project's goals by scenario, in MB of input per second of processor time.
var maskGoals = map[string]float64{"mask/no-secrets": 200, "mask/secrets": 100}

// A maskScenario measures the masking of one kind of log lines.
type maskScenario struct {
	name    string
	lines   []string
	secrets bool
}

var maskScenarios = []maskScenario{
	{"mask/no-secrets", []string{
		`{"time":"2026-11-24T23:33:15.905906Z","level":"INFO","logger":"app.assets","msg":"asset listed","method":"GET","path":"/api/v1/assets?page=2&size=50","status":200,"duration_ms":12.719,"user_id":42,"client":"203.0.113.9","request_id":"09c63ff2-9bb4-47f8-a53d-7a01c79fe989"}`,
		`{"time":"2026-11-24T23:33:15.909382Z","level":"WARNING","logger":"celery.worker","msg":"task retried","task":"reports.render","attempt":3,"eta":"2026-11-24T23:34:15Z","args":[17,"monthly",{"format":"pdf","pages":[1,2,3]}],"host":"worker-7f9c6"}`,
	}, false},
	{"mask/secrets", []string{
		`{"time":"2026-11-24T23:33:15.905906Z","level":"INFO","logger":"app.login","msg":"signed in","user":"ada","password":"c4n4ry-1","request":{"headers":{"authorization":"Bearer c4n4ry-2","accept":"*/*"},"path":"/login"},"status":200}`,
		`{"time":"2026-11-24T23:33:15.909382Z","level":"DEBUG","logger":"app.http","msg":"POST https://id.example.com/token?api_key=c4n4ry-3","duration_ms":31.2,"retries":0,"host":"worker-7f9c6"}`,
	}, true},
}

// maskInput and pythonInput are the input sizes of a run, in bytes. Python gets less input because
// it is slower.
const (
	maskInput   = 96 << 20
	pythonInput = 8 << 20
)

// TestBenchMask compares warder mask with masking inside an application, on the same lines, by the
// processor time of the whole process.
func TestBenchMask(t *testing.T) {
	if os.Getenv("SHORT") != "" {
		return
	}
	only := knob(t, "SCENARIO", regexp.MustCompile(""), regexp.Compile)
	rounds := knob(t, "ROUNDS", 5, strconv.Atoi)
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Fatal("the comparison needs python3, which was not found")
	}
	script := filepath.Join(repository, "testdata", "stock", "mask.py")
	var table strings.Builder
	for _, s := range maskScenarios {
		if !only.MatchString(s.name) {
			continue
		}
		large, small := s.input(t, maskInput), s.input(t, pythonInput)
		var ours, theirs, ratios []float64
		for range rounds {
			b := s.run(t, large, warderBinary, "mask")
			a := s.run(t, small, python, script)
			theirs, ours, ratios = append(theirs, a), append(ours, b), append(ratios, b/a)
		}
		verdict := "missed"
		if spreadOf(ours).Median >= maskGoals[s.name] {
			verdict = "met"
		}
		fmt.Fprintf(&table, "| %s | %v | %v | %v | >= %.0f MB/s: %s |\n", s.name, spreadOf(theirs), spreadOf(ours), spreadOf(ratios), maskGoals[s.name], verdict)
	}
	if table.Len() > 0 {
		fmt.Printf("\nMB of log lines per second on one core: A is testdata/stock/mask.py, B is warder mask.\n\n"+
			"| scenario | A, MB/s | B, MB/s | B/A | goal |\n|---|---|---|---|---|\n%s", &table)
	}
}

// input writes a file of at least size bytes and returns its path.
func (s maskScenario) input(t *testing.T, size int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lines")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	for written := 0; written < size; {
		for _, line := range s.lines {
			n, err := w.WriteString(line + "\n")
			if err != nil {
				t.Fatal(err)
			}
			written += n
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return path
}

// run passes a file through a program and returns the MB of input per second of processor time. It
// checks the output for the first lines.
func (s maskScenario) run(t *testing.T, input, program string, args ...string) float64 {
	t.Helper()
	in, err := os.Open(input)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	first, err := os.ReadFile(input)
	if err != nil {
		t.Fatal(err)
	}
	probe := exec.CommandContext(t.Context(), program, args...)
	probe.Stdin = bytes.NewReader(first[:bytes.LastIndexByte(first[:4096], '\n')+1])
	out, err := probe.Output()
	if err != nil || bytes.Contains(out, []byte("c4n4ry")) && program == warderBinary || s.secrets && !bytes.Contains(out, []byte("***FILTERED***")) {
		t.Fatalf("%s: %v: %s", program, err, out)
	}
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Stdin = in
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		t.Fatal("the system does not report the processor time")
	}
	seconds := float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
	return float64(len(first)) / 1e6 / seconds
}
