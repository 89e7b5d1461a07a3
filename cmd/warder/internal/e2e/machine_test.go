package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
)

// This file has what every measurement prints and reads: make bench, make sizes, make faults,
// make soak and make flood.

// knob returns the value of an environment variable that make sets, or the standard value if the
// variable is empty.
func knob[T any](t *testing.T, name string, standard T, parse func(string) (T, error)) T {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return standard
	}
	value, err := parse(text)
	if err != nil {
		t.Fatalf("%s is %q: %v", name, text, err)
	}
	return value
}

type fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// machine describes the machine and the software versions of the run.
func machine(t *testing.T, proxy, redisURL, postgresURL string) []fact {
	t.Helper()
	cpu := runtime.GOARCH
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if found := regexp.MustCompile(`(?m)^model name\s*: (.*)$`).FindSubmatch(info); found != nil {
			cpu = string(found[1]) // absent on Arm
		}
	}
	envoyVersion := firstLine(t, proxy, "--version") // …/.tools/envoy  version: COMMIT/1.40.0/Clean/RELEASE/BoringSSL
	if parts := strings.Split(envoyVersion, "/"); len(parts) >= 4 {
		envoyVersion = parts[len(parts)-4]
	}
	return []fact{
		{"machine", fmt.Sprintf("%s, %d cores, Linux %s", cpu, runtime.NumCPU(), firstLine(t, "uname", "-r"))},
		{"Go", runtime.Version()},
		{"Redis", redisVersion(t, redisURL)},
		{"Postgres", postgresVersion(t, postgresURL)},
		{"Envoy", envoyVersion},
	}
}

// firstLine returns the first line that a program prints.
func firstLine(t *testing.T, path string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), path, args...).Output()
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line
}

func redisVersion(t *testing.T, url string) string {
	t.Helper()
	options, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(options)
	defer client.Close()
	info, err := client.Info(t.Context(), "server").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"valkey", "redis"} {
		if _, after, found := strings.Cut(info, name+"_version:"); found {
			version, _, _ := strings.Cut(after, "\r")
			return name + " " + version
		}
	}
	return "unknown version"
}

func postgresVersion(t *testing.T, url string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	var version string
	if err := conn.QueryRow(t.Context(), "SHOW server_version").Scan(&version); err != nil {
		t.Fatal(err)
	}
	return version
}

func factLines(facts []fact) string {
	var b strings.Builder
	for _, f := range facts {
		fmt.Fprintf(&b, "%s: %s\n", f.Name, f.Value)
	}
	return b.String()
}

// aligned returns a Markdown table with aligned columns. The first line is its head.
func aligned(cells [][]string) string {
	widths := make([]int, len(cells[0]))
	for _, line := range cells {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for n, line := range cells {
		for i, cell := range line {
			fmt.Fprintf(&b, "| %-*s ", widths[i], cell)
		}
		b.WriteString("|\n")
		if n == 0 {
			for _, width := range widths {
				b.WriteString("|" + strings.Repeat("-", width+2))
			}
			b.WriteString("|\n")
		}
	}
	return b.String()
}

// usage is the resource usage of a process since its start.
type usage struct {
	cpu            time.Duration
	resident, peak int64 // memory in bytes
}

// usageOf reads the resource usage of a process from Linux's /proc.
func usageOf(t *testing.T, pid int) usage {
	t.Helper()
	dir := "/proc/" + strconv.Itoa(pid)
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		t.Fatal(err)
	}
	var u usage
	if u.cpu, err = parseCPUTime(string(stat)); err != nil {
		t.Fatal(err)
	}
	if u.resident, u.peak, err = parseMemory(string(status)); err != nil {
		t.Fatal(err)
	}
	return u
}
