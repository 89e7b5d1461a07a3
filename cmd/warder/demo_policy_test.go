package main

import (
	"strings"
	"testing"

	"warder/cmd/warder/internal/cli"
)

// TestDemoPolicy checks that the test cases of the demo's policy pass and cover all of it.
func TestDemoPolicy(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	p := cli.Process{Env: func(string) (string, bool) { return "", false }, Stdout: &out, Stderr: &out}
	if code := run([]string{"test", "internal/demo/policy_test.yaml", "--coverage-min", "100"}, p); code != cli.ExitGood {
		t.Errorf("exit %d\n%s", code, &out)
	}
}
