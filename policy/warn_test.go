package policy_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"warder/policy"
)

// TestWarn: each testdata/*.warn.yaml is warned about with exactly what stands beside
// it, and the *.quiet.yaml of the same name, which does about the same and means it, is not.
func TestWarn(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.warn.yaml")
	if err != nil || len(files) < 6 {
		t.Fatal(files, err)
	}
	quiet, err := filepath.Glob("testdata/*.quiet.yaml")
	if err != nil || len(quiet) != len(files) {
		t.Errorf("%d policies are warned about and %d are not (%v): each kind of warning has both", len(files), len(quiet), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".warn.yaml"), func(t *testing.T) {
			t.Parallel()
			wanted := strings.TrimSuffix(file, ".yaml") + ".txt"
			got := warningsOf(t, file)
			if *update {
				if err := os.WriteFile(wanted, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(wanted)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" || got == "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if got := warningsOf(t, strings.TrimSuffix(file, ".warn.yaml")+".quiet.yaml"); got != "" {
				t.Errorf("the quiet one is warned about:\n%s", got)
			}
		})
	}
}

func warningsOf(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Parse([]policy.File{{Name: "policy.yaml", Data: data}}, goodEnv)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, w := range p.Warnings() {
		b.WriteString(w.String() + "\n")
	}
	return b.String()
}
