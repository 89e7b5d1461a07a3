package mask_test

import (
	"io"
	"strings"
	"testing"

	"warder/authz/mask"
)

// Typical log lines, with the number of secrets in them.
var benchLines = []struct {
	name, line string
	secrets    int
}{
	{"json clean", `{"time":"2026-03-14T09:26:53.589793Z","level":"INFO","msg":"request served","service":"assets","method":"GET","path":"/api/v1/assets/42/audit","status":200,"duration_ms":12.75,"bytes":5120,"client_ip":"203.0.113.9","request_id":"4b1c2a6e-0f3d-4a5e-9b58-6d2f8f1c7e21","user_agent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"}`, 0},
	{"json access", `{"start_time":"2026-03-14T09:26:53.589Z","method":"POST","authority":"api.example.com","path":"/v1/orders?page=2&sort=desc","protocol":"HTTP/2","response_code":201,"upstream_host":"10.1.2.3:8080","upstream_cluster":"orders","x_forwarded_for":"203.0.113.9","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","bytes_received":512,"bytes_sent":2048,"duration":31}`, 0},
	{"json docker", `{"log":"2026-03-14 09:26:53,589 INFO  [worker-3] orders.tasks: task 9f1b finished in 0.532s, 14 rows written to table order_lines, next run in 60 s\n","stream":"stdout","time":"2026-03-14T09:26:53.589793123Z"}`, 0},
	{"text clean", `203.0.113.9 - - [14/Mar/2026:09:26:53 +0000] "GET /api/v1/assets/42/audit?page=2 HTTP/1.1" 200 5120 "https://app.example.com/assets" "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"`, 0},
	{"json secret", `{"time":"2026-03-14T09:26:53.589793Z","level":"INFO","msg":"login","service":"accounts","method":"POST","path":"/login","status":200,"body":{"user":"bob","password":"hunter2 and more"},"headers":{"host":"api.example.com","authorization":"Bearer abc.def.ghi-0123456789","accept":"*/*"},"client_ip":"203.0.113.9","request_id":"4b1c2a6e-0f3d-4a5e"}`, 2},
	{"json text secret", `{"time":"2026-03-14T09:26:53.589793Z","level":"ERROR","msg":"cannot connect to postgres://app:hunter2@db.example.com:5432/app: timeout","service":"accounts","url":"https://api.example.com/cb?code=5&access_token=abcdef0123456789&state=7","attempt":3,"request_id":"4b1c2a6e-0f3d-4a5e"}`, 2},
	{"text secret", `2026-03-14T09:26:53.589Z INFO accounts.login: user=bob password=hunter2 remote=203.0.113.9 result=ok duration=12ms agent="curl/8.5.0" authorization="Bearer abcdef0123456789" request_id=4b1c2a6e-0f3d-4a5e`, 2},
}

func BenchmarkAppend(b *testing.B) {
	for _, bench := range benchLines {
		b.Run(strings.ReplaceAll(bench.name, " ", "_"), func(b *testing.B) {
			m, line, dst := &mask.Masker{}, []byte(bench.line), make([]byte, 0, 4096)
			b.SetBytes(int64(len(line)))
			b.ReportAllocs()
			for b.Loop() {
				dst = m.Append(dst[:0], line)
			}
			if n := strings.Count(string(dst), mask.Replacement); n != bench.secrets {
				b.Fatalf("%d values masked, want %d: %s", n, bench.secrets, dst)
			}
		})
	}
}

func BenchmarkWriter(b *testing.B) {
	for _, bench := range benchLines {
		b.Run(strings.ReplaceAll(bench.name, " ", "_"), func(b *testing.B) {
			lines := []byte(strings.Repeat(bench.line+"\n", 100))
			var last counter
			w := mask.NewWriter(&last, nil)
			b.SetBytes(int64(len(lines)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := w.Write(lines); err != nil {
					b.Fatal(err)
				}
			}
			if want := 100 * bench.secrets; last.secrets != want {
				b.Fatalf("%d values masked, want %d", last.secrets, want)
			}
		})
	}
}

// A counter counts the replacements in the first write to it.
type counter struct {
	secrets int
	seen    bool
}

func (c *counter) Write(p []byte) (int, error) {
	if !c.seen {
		c.seen, c.secrets = true, strings.Count(string(p), mask.Replacement)
	}
	return io.Discard.Write(p)
}

func TestNoAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	m, dst := &mask.Masker{}, make([]byte, 0, 4096)
	for _, bench := range benchLines {
		line := []byte(bench.line)
		if n := testing.AllocsPerRun(100, func() { dst = m.Append(dst[:0], line) }); n != 0 {
			t.Errorf("%s: %v allocations for a line", bench.name, n)
		}
	}
	w := mask.NewWriter(io.Discard, m)
	for _, bench := range benchLines {
		lines := []byte(strings.Repeat(bench.line+"\n", 10))
		if n := testing.AllocsPerRun(100, func() { _, _ = w.Write(lines) }); n != 0 {
			t.Errorf("%s: %v allocations for ten lines", bench.name, n)
		}
	}
}
