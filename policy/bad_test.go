package policy_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"warder/policy"
)

// update writes what the bad policies are refused with today. Read the difference
// aloud before it is committed.
var update = flag.Bool("update", false, "write testdata/*.bad.txt")

func badEnv(name string) (string, bool) {
	values := map[string]string{"BLANK": " ,\t\n", "WORDS": "192.0.2.1, 192.0.2.0/24;nonsense 192.0.2.9/24"}
	value, set := values[name]
	return value, set
}

// TestBad: each testdata/*.bad.yaml is refused with exactly what stands beside it,
// all of it at once and in the order of the file.
func TestBad(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.bad.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, path := range files {
		name := strings.TrimSuffix(filepath.Base(path), ".bad.yaml")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			p, err := policy.Parse([]policy.File{{Name: "policy.yaml", Data: data}}, badEnv)
			if err == nil || p != nil {
				t.Fatal("it is not refused")
			}
			found, ok := errors.AsType[policy.Problems](err)
			if !ok {
				t.Fatalf("%T is no policy.Problems", err)
			}
			for _, problem := range found {
				// What would be right comes after what is wrong, and no message is raw.
				if problem.Message == "" || strings.ContainsAny(problem.Message, "\n\t\x00") || strings.Contains(problem.Message, "%!") {
					t.Errorf("message %q", problem.Message)
				}
			}
			wanted := strings.TrimSuffix(path, ".yaml") + ".txt"
			if *update {
				if err := os.WriteFile(wanted, []byte(err.Error()+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, readErr := os.ReadFile(wanted)
			if readErr != nil {
				t.Fatal(readErr)
			}
			if diff := cmp.Diff(string(want), err.Error()+"\n"); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
