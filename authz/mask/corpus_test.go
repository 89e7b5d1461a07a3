package mask_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"warder/authz/mask"
)

// A corpusCase is a text of the corpus and the expected result.
type corpusCase struct{ file, in, want string }

func corpus(tb testing.TB) []corpusCase {
	tb.Helper()
	files, err := filepath.Glob("../../testdata/masking/*.txt")
	if err != nil || len(files) == 0 {
		tb.Fatalf("no corpus: %v", err)
	}
	var cases []corpusCase
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			tb.Fatal(err)
		}
		file := filepath.Base(path)
		var in, want, keep []string
		flush := func() {
			if len(in) != len(want) {
				tb.Fatalf("%s: %d mask lines with %d want lines: %q", file, len(in), len(want), in)
			}
			if len(in) > 0 {
				cases = append(cases, corpusCase{file, strings.Join(in, "\n"), strings.Join(want, "\n")})
			}
			if len(keep) > 0 {
				kept := strings.Join(keep, "\n")
				cases = append(cases, corpusCase{file, kept, kept})
			}
			in, want, keep = nil, nil, nil
		}
		for line := range strings.SplitSeq(string(text), "\n") {
			verdict, rest, _ := strings.Cut(line, " ")
			switch {
			case verdict == "mask":
				if len(want) > 0 || len(keep) > 0 {
					flush()
				}
				in = append(in, rest)
			case verdict == "want":
				want = append(want, rest)
			case verdict == "keep":
				if len(in) > 0 || file != "multiline.txt" {
					flush()
				}
				keep = append(keep, rest)
			case line == "" || verdict == "#":
				flush()
			default:
				tb.Fatalf("%s: no verdict: %s", file, line)
			}
		}
		flush()
	}
	return cases
}

func TestCorpus(t *testing.T) {
	t.Parallel()
	m := &mask.Masker{}
	masked, kept := 0, 0
	for _, c := range corpus(t) {
		if c.in == c.want {
			kept++
		} else {
			masked++
		}
		if got := m.String(c.in); got != c.want {
			t.Errorf("%s:\n  in   %s\n  got  %s\n  want %s", c.file, c.in, got, c.want)
		}
		if got := string(m.Append([]byte("> "), []byte(c.in))); got != "> "+c.want {
			t.Errorf("%s: Append:\n  got  %s\n  want %s", c.file, got, c.want)
		}
		if again := m.String(c.want); again != c.want {
			t.Errorf("%s: once more:\n  first  %s\n  second %s", c.file, c.want, again)
		}
		if json.Valid([]byte(c.in)) && !json.Valid([]byte(c.want)) {
			t.Errorf("%s: no longer JSON: %s", c.file, c.want)
		}
		for name, got := range map[string]string{
			"Writer":             throughWriter(t, mask.NewWriter, m, c.in, len(c.in)),
			"Writer, by bytes":   throughWriter(t, mask.NewWriter, m, c.in, 1),
			"JSON writer":        throughWriter(t, mask.NewJSONWriter, m, c.in, len(c.in)),
			"JSON writer, bytes": throughWriter(t, mask.NewJSONWriter, m, c.in, 1),
		} {
			if got != c.want {
				t.Errorf("%s: %s:\n  in   %s\n  got  %s\n  want %s", c.file, name, c.in, got, c.want)
			}
		}
	}
	if masked < 60 || kept < 60 {
		t.Errorf("%d lines are masked and %d kept; the corpus should be larger", masked, kept)
	}
}

// A Masker does not change its input. If there is nothing to mask it returns the input itself.
func TestUnchanged(t *testing.T) {
	t.Parallel()
	m := &mask.Masker{}
	for _, c := range corpus(t) {
		b := []byte(c.in)
		got := m.Bytes(b)
		if string(b) != c.in {
			t.Errorf("the input was changed: %s", b)
		}
		if c.in == c.want && (len(got) != len(b) || len(b) > 0 && &got[0] != &b[0]) {
			t.Errorf("unchanged text was copied: %s", b)
		}
	}
}
