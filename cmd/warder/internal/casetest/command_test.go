package casetest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"warder/cmd/warder/internal/cli"
)

// corpusDir is the folder of the decision corpus.
const corpusDir = "../../../../testdata/decisions"

// TestCorpusCommand checks that warder test runs the decision corpus and that all cases
// pass.
func TestCorpusCommand(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(corpusDir, "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	code, out := runTests(append(files, "-o", "json")...)
	var report testReport
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if code != cli.ExitGood || report.Passed < 800 || report.Failed+report.Skipped > 0 {
		t.Errorf("exit %d, %d passed, %d failed, %d skipped", code, report.Passed, report.Failed, report.Skipped)
	}
}

// TestCorpusCommandCanFail checks that each case of a file of the corpus fails when its
// wanted verdict is inverted.
func TestCorpusCommandCanFail(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(corpusDir, "roles.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	turned := regexp.MustCompile(`want: (allow|deny) \w+`).ReplaceAllStringFunc(string(text), func(want string) string {
		if strings.HasPrefix(want, "want: allow") {
			return "want: deny"
		}
		return "want: allow"
	})
	turned = regexp.MustCompile(`, (as|challenge): \w+`).ReplaceAllString(turned, "")
	path := filepath.Join(t.TempDir(), "turned.yaml")
	if err := os.WriteFile(path, []byte(turned), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out := runTests(path, "--coverage")
	if cases := strings.Count(turned, "{want:"); code != cli.ExitFailure || strings.Count(out, "FAIL ") != cases || !strings.Contains(out, "0 passed, ") {
		t.Errorf("exit %d, %d of %d cases fail\n%s", code, strings.Count(out, "FAIL "), cases, out)
	}
}

func runTests(args ...string) (code int, out string) {
	var b strings.Builder
	p := cli.Process{Env: func(string) (string, bool) { return "", false }, Stdout: &b, Stderr: &b}
	root := &cobra.Command{Use: "warder", SilenceErrors: true, SilenceUsage: true}
	root.AddCommand(NewCommand(p))
	code = cli.Run(root, append([]string{"test"}, args...), p)
	return code, b.String()
}
