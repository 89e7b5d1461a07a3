package mask_test

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"

	"warder/authz/mask"
)

type newWriter func(io.Writer, *mask.Masker) *mask.Writer

var newWriters = map[string]newWriter{"Writer": mask.NewWriter, "JSONWriter": mask.NewJSONWriter}

// throughWriter writes a text in pieces of n bytes and returns the output.
func throughWriter(t *testing.T, create newWriter, m *mask.Masker, text string, n int) string {
	t.Helper()
	var out strings.Builder
	w := create(&out, m)
	for rest := text; rest != ""; {
		piece := rest[:min(n, len(rest))]
		if wrote, err := w.Write([]byte(piece)); wrote != len(piece) || err != nil {
			t.Fatalf("Write of %d bytes: %d, %v", len(piece), wrote, err)
		}
		rest = rest[len(piece):]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// A recorder records each write. It can be set to fail.
type recorder struct {
	writes []string
	err    error
	short  bool
}

func (r *recorder) Write(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	r.writes = append(r.writes, string(p))
	if r.short {
		return len(p) - 1, nil
	}
	return len(p), nil
}

func (r *recorder) text() string { return strings.Join(r.writes, "") }

// Lines keep their order and their line ends.
func TestWriterLines(t *testing.T) {
	t.Parallel()
	const in = "a\r\n\r\n\npassword=x\r\n b \n{\"pin\":1}\r\n\tc\rd\npassword=y\nlast"
	const want = "a\r\n\r\n\npassword=***FILTERED***\r\n b \n{\"pin\":\"***FILTERED***\"}\r\n\tc\rd\npassword=***FILTERED***\nlast"
	for name, create := range newWriters {
		for n := 1; n <= len(in); n++ {
			if got := throughWriter(t, create, nil, in, n); got != want {
				t.Errorf("%s, pieces of %d:\n  got  %q\n  want %q", name, n, got, want)
			}
		}
	}
}

// Complete lines have been written when Write returns, in one call.
func TestWriterWritesCompleteLines(t *testing.T) {
	t.Parallel()
	for name, create := range newWriters {
		out := &recorder{}
		w := create(out, nil)
		steps := []struct{ in, out string }{
			{"one\ntwo\npass", "one\ntwo\n"},
			{"word=x", ""},
			{"\n", "password=***FILTERED***\n"},
			{strings.Repeat("line\n", 100), strings.Repeat("line\n", 100)},
		}
		for _, step := range steps {
			out.writes = nil
			if _, err := io.WriteString(w, step.in); err != nil {
				t.Fatal(err)
			}
			if got := out.text(); got != step.out {
				t.Errorf("%s: after %q: %q, want %q", name, step.in, got, step.out)
			}
			if len(out.writes) > 1 {
				t.Errorf("%s: %d writes for one", name, len(out.writes))
			}
		}
	}
}

// Flush writes an incomplete line, such as a prompt. Later text continues the line.
func TestWriterFlush(t *testing.T) {
	t.Parallel()
	for name, create := range newWriters {
		for _, test := range []struct{ parts, want []string }{
			{[]string{"Password: ", "\n"}, []string{"Password: ", "\n"}},
			{[]string{"pass", "word=hun", "ter2", " ok\n"}, []string{"pass", "word=***FILTERED***", "", " ok\n"}},
			{[]string{`{"password":"`, `hun`, `ter2"}` + "\n"}, []string{`{"password":"`, "***FILTERED***", `"}` + "\n"}},
			{[]string{"a\nb", "c\n"}, []string{"a\nb", "c\n"}},
			{[]string{"x", ""}, []string{"x", ""}},
			{[]string{"--x\r\nContent-Disposition: form-data; name=pin\r\n\r", "\n12", "34\r\n", "56\n--x\n"},
				[]string{"--x\r\nContent-Disposition: form-data; name=pin\r\n\r", "\n***FILTERED***", "\r\n", "***FILTERED***\n--x\n"}},
		} {
			out := &recorder{}
			w := create(out, nil)
			for i, part := range test.parts {
				out.writes = nil
				if _, err := io.WriteString(w, part); err != nil {
					t.Fatal(err)
				}
				if err := w.Flush(); err != nil {
					t.Fatal(err)
				}
				if got := out.text(); got != test.want[i] {
					t.Errorf("%s: %q: after %q: %q, want %q", name, test.parts, part, got, test.want[i])
				}
			}
		}
	}
}

func TestWriterErrors(t *testing.T) {
	t.Parallel()
	full := errors.New("disk full")
	for name, create := range newWriters {
		out := &recorder{err: full}
		w := create(out, nil)
		if n, err := io.WriteString(w, "a\n"); n != 0 || !errors.Is(err, full) {
			t.Errorf("%s: Write = %d, %v", name, n, err)
		}
		out.err = nil
		for range 2 {
			if _, err := io.WriteString(w, "b\n"); !errors.Is(err, full) {
				t.Errorf("%s: later calls do not return the error: %v", name, err)
			}
		}
		if err := w.Flush(); !errors.Is(err, full) {
			t.Errorf("%s: Flush = %v", name, err)
		}
		if err := w.Close(); !errors.Is(err, full) {
			t.Errorf("%s: Close = %v", name, err)
		}

		w = create(&recorder{short: true}, nil)
		if _, err := io.WriteString(w, "a\n"); !errors.Is(err, io.ErrShortWrite) {
			t.Errorf("%s: a short write: %v", name, err)
		}

		out = &recorder{}
		w = create(out, nil)
		_, _ = io.WriteString(w, "pin=1")
		if err := w.Close(); err != nil || out.text() != "pin=***FILTERED***" {
			t.Errorf("%s: Close = %v, wrote %q", name, err, out.text())
		}
		if _, err := io.WriteString(w, "b\n"); err == nil {
			t.Errorf("%s: written after Close", name)
		}
		if err := w.Close(); err != nil {
			t.Errorf("%s: closed twice: %v", name, err)
		}
	}
}

func TestWriterCuts(t *testing.T) {
	t.Parallel()
	const cut = "…(cut)"
	word := strings.Repeat("word ", mask.MaxLine/5+10)
	for name, create := range newWriters {
		for _, test := range []struct{ in, want string }{
			// The longest line, and one with one byte more.
			{strings.Repeat("a", mask.MaxLine) + "\r\nb\n", strings.Repeat("a", mask.MaxLine) + "\r\nb\n"},
			{"x " + strings.Repeat("a", mask.MaxLine-1) + "\nb\n", ""},
			{word + "password=c4n4ry\r\nafter pin=1\n", word[:mask.MaxLine/5*5] + cut + "\r\nafter pin=***FILTERED***\n"},
			{word + "no end c4n4ry", word[:mask.MaxLine/5*5] + cut},
			{"password=c4n4ry " + word + "\n", "password=***FILTERED*** " + word[:(mask.MaxLine-16)/5*5] + cut + "\n"},
			{`{"password":"c4n4ry","a":"` + word + `","pin":"c4n4ry"}` + "\nb\n", ""},
			// A part of a secret may not be recognizable.
			{word[:mask.MaxLine-20] + "x postgres://bob:c4n4ry" + strings.Repeat("c4n4ry", 100) + "@db\nb\n", ""},
			{strings.Repeat("\r", mask.MaxLine+9) + "\nb\n", ""},
		} {
			for _, n := range []int{len(test.in), 1 << 16, mask.MaxLine, mask.MaxLine + 1, max(1, strings.IndexByte(test.in, '\n'))} {
				got := throughWriter(t, create, nil, test.in, n)
				if test.want != "" && got != test.want {
					t.Errorf("%s, pieces of %d: %d bytes, want %d: %.60q … %.60q", name, n, len(got), len(test.want), got, got[max(0, len(got)-60):])
				}
				if strings.Contains(got, "c4n4ry") {
					t.Errorf("%s: the secret is in %.60q … %.60q", name, got, got[max(0, len(got)-60):])
				}
				if test.want == "" && (!strings.Contains(got, cut) || !strings.HasSuffix(got, "\nb\n")) {
					t.Errorf("%s: not truncated: %.60q … %.60q", name, got, got[max(0, len(got)-60):])
				}
			}
		}
	}
}

// A line of any length takes bounded memory.
func TestWriterMemory(t *testing.T) {
	for name, create := range newWriters {
		for _, piece := range []string{strings.Repeat("a b=", 1<<14), strings.Repeat(`{"a":[`, 1<<13), strings.Repeat("\r", 1<<16)} {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			w := create(io.Discard, nil)
			p := []byte(piece)
			for range 800 { // 50 MB
				if _, err := w.Write(p); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := io.WriteString(w, "\n"); err != nil {
				t.Fatal(err)
			}
			runtime.ReadMemStats(&after)
			if grown := after.TotalAlloc - before.TotalAlloc; grown > 20*mask.MaxLine {
				t.Errorf("%s: %d bytes allocated for a line of %.6q…", name, grown, piece)
			}
		}
	}
}

func TestJSONWriter(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ in, want string }{
		{"{\n  \"password\": {\n    \"a\": \"c4n4ry\"\n  },\n  \"n\": 1\n}\nafter\n", "{\n  \"password\": \"***FILTERED***\",\n  \"n\": 1\n}\nafter\n"},
		{"[\n  {\n    \"pin\":\n      1234\n  }\n]\n", "[\n  {\n    \"pin\":\n      \"***FILTERED***\"\n  }\n]\n"},
		{"before\n{ \"a\": [\r\n1,\r\n2 ] }\r\nafter", "before\n{ \"a\": [\r\n1,\r\n2 ] }\r\nafter"},
		{"{\"a\":\"}\",\n\"password\":[\"c4n4ry\",\n\"c4n4ry\"]} and more\n", "{\"a\":\"}\",\n\"password\":\"***FILTERED***\"} and more\n"},
		// The JSON is never complete.
		{"{\n  \"password\": {\n    \"a\": \"c4n4ry\"\n", "{\n  \"password\": \"***FILTERED***\"\n"},
		{"{\n  \"password\": \"c4n4ry", "{\n  \"password\": \"***FILTERED***"},
		// It is not JSON, and the following text is not held.
		{"[INFO] not JSON {\nafter\n", "[INFO] not JSON {\nafter\n"},
		{"{not JSON\nafter\n", "{not JSON\nafter\n"},
		{"{\n  \"a\": 1,\nINFO torn password=c4n4ry\nafter\n", "{\n  \"a\": 1,\nINFO torn password=***FILTERED***\nafter\n"},
		{"{\n  \"a\": 1,\n2026-03-14 torn\nafter\n", "{\n  \"a\": 1,\n2026-03-14 torn\nafter\n"},
		{"{\"a\": \"torn\nafter\n", "{\"a\": \"torn\nafter\n"},
		{"[2026-03-14 09:26:53] text\n[1] text [\nafter\n", "[2026-03-14 09:26:53] text\n[1] text [\nafter\n"},
	} {
		for n := 1; n <= len(test.in); n++ {
			if got := throughWriter(t, mask.NewJSONWriter, nil, test.in, n); got != test.want {
				t.Errorf("pieces of %d:\n  in   %q\n  got  %q\n  want %q", n, test.in, got, test.want)
			}
		}
	}
	// Other text is not held until the end either.
	out := &recorder{}
	w := mask.NewJSONWriter(out, nil)
	for _, step := range []struct{ in, out string }{
		{"{\n\"a\": 1\n", ""}, {"}\n", "{\n\"a\": 1\n}\n"}, {"{\n", ""}, {"INFO x\n", "{\nINFO x\n"}, {"[\"torn\n", "[\"torn\n"},
	} {
		out.writes = nil
		_, _ = io.WriteString(w, step.in)
		if got := out.text(); got != step.out {
			t.Errorf("after %q: %q, want %q", step.in, got, step.out)
		}
	}
}

// JSON of more than MaxLine bytes is truncated. The rest is discarded up to its end, or up to a
// line that is not part of it.
func TestJSONWriterCuts(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("  \"word\",\n", mask.MaxLine/10+10)
	for _, end := range []string{"], \"password\": {\n\"a\": \"c4n4ry\"\n}\n}\nafter\n", "{\n\"password\":\n\"c4n4ry\"\n}\nINFO after\n"} {
		in := "{\"a\": [\n" + long + end
		for _, n := range []int{len(in), 1 << 16, 1000} {
			got := throughWriter(t, mask.NewJSONWriter, nil, in, n)
			if strings.Contains(got, "c4n4ry") || !strings.Contains(got, "…(cut)\n") || !strings.HasSuffix(got, "after\n") {
				t.Errorf("pieces of %d: %.60q … %.60q", n, got, got[max(0, len(got)-60):])
			}
		}
	}
}

func TestWriterZeroMasker(t *testing.T) {
	t.Parallel()
	for _, m := range []*mask.Masker{nil, {}} {
		var out bytes.Buffer
		w := mask.NewWriter(&out, m)
		_, _ = io.WriteString(w, "pin=1\n")
		if out.String() != "pin=***FILTERED***\n" {
			t.Errorf("got %q", out.String())
		}
	}
}
