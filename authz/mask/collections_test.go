package mask_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"warder/authz/mask"
)

// collectionLines returns lines in the shape of public log collections, which hold no secret.
// Each template of testdata/masking/collections gives n lines, with other numbers in each.
func collectionLines(tb testing.TB, n int) map[string][]string {
	tb.Helper()
	files, err := filepath.Glob("../../testdata/masking/collections/*.log")
	if err != nil || len(files) == 0 {
		tb.Fatalf("no collections: %v", err)
	}
	random := rand.New(rand.NewPCG(5, 6))
	place := regexp.MustCompile(`\{(d|hex)(\d*)\}`)
	lines := map[string][]string{}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			tb.Fatal(err)
		}
		for template := range strings.Lines(string(text)) {
			for range n {
				lines[filepath.Base(path)] = append(lines[filepath.Base(path)], place.ReplaceAllStringFunc(strings.TrimSuffix(template, "\n"), func(p string) string {
					digits, base := 8, 16
					if strings.HasPrefix(p, "{d") {
						base = 10
					}
					if given := strings.Trim(p, "{}dhex"); given != "" {
						digits, _ = strconv.Atoi(given)
					}
					value := ""
					for range digits {
						value += strconv.FormatInt(1+random.Int64N(int64(base)-1), base)
					}
					return value
				}))
			}
		}
	}
	return lines
}

// TestCollections: of lines without secrets in the shape of public log collections, fewer than
// 0.5 % change.
func TestCollections(t *testing.T) {
	t.Parallel()
	m := &mask.Masker{}
	for name, lines := range collectionLines(t, 10) {
		changed := 0
		for _, line := range lines {
			if got := m.String(line); got != line {
				changed++
				t.Logf("%s:\n  in  %s\n  out %s", name, line, got)
			}
		}
		if 200*changed >= len(lines) {
			t.Errorf("%s: %d of %d lines change, want fewer than 0.5 %%", name, changed, len(lines))
		}
		if len(lines) < 60 {
			t.Errorf("%s has only %d lines", name, len(lines))
		}
	}
}
