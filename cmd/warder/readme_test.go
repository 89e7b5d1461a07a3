package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"warder/cmd/warder/internal/cli"
	"warder/cmd/warder/internal/config"
	"warder/policy"
)

// TestReadme: what README shows works as it stands.
func TestReadme(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(module, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	policies, configs, tests := 0, 0, 0
	var reference string // the path of the policy with all keys
	for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		path := filepath.Join(t.TempDir(), "block.yaml")
		if err := os.WriteFile(path, []byte(block[1]), 0o600); err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(block[1], "version: 1\n") {
			policies++
			env := func(name string) (string, bool) { return "192.0.2.0/24 198.51.100.7", name == "PARTNER_NETWORKS" }
			if _, err := policy.Load(path, env); err != nil {
				t.Errorf("policy %d: %v", policies, err)
			}
			if strings.Contains(block[1], "\nadmin_role:") {
				reference = path
			}
			continue
		}
		if strings.HasPrefix(block[1], "policy_file: policy.yaml") {
			tests++
			testReadmeCases(t, block[1], reference)
			continue
		}
		if strings.HasPrefix(block[1], "groups:\n") {
			continue // alert rules, see TestReadmeMetrics
		}
		configs++
		env := func(name string) (string, bool) { return "set", name == "JWT_SECRET" }
		if _, _, err := config.ReadDecisive(path, env); err != nil {
			t.Errorf("configuration %d: %v", configs, err)
		}
	}
	if policies != 3 || configs != 2 || tests != 1 {
		t.Errorf("found %d policies, %d configurations and %d policy tests, want 3, 2 and 1", policies, configs, tests)
	}

	// Each file that is named is there, and each environment variable and command is named.
	for _, link := range regexp.MustCompile(`\]\(([^)#:]+)\)`).FindAllStringSubmatch(string(text), -1) {
		if _, err := os.Stat(filepath.Join(module, link[1])); err != nil {
			t.Errorf("a link leads nowhere: %v", err)
		}
	}
	for _, link := range regexp.MustCompile(`\]\(#([^)]+)\)`).FindAllStringSubmatch(string(text), -1) {
		heading := regexp.MustCompile(`(?mi)^##+ ` + strings.ReplaceAll(link[1], "-", "[ ,-]+") + `$`)
		if !heading.Match(text) {
			t.Errorf("the contents name #%s, and no heading is it", link[1])
		}
	}
	for _, v := range config.Variables {
		if !strings.Contains(string(text), v.Name) {
			t.Errorf("%s is not named", v.Name)
		}
	}
	for _, c := range newRootCommand(cli.Process{}).Commands() {
		if c.Name() != "help" && !strings.Contains(string(text), "\n| `warder "+c.Name()) {
			t.Errorf("the command %s has no row under Commands", c.Name())
		}
	}
}

// testReadmeCases runs the cases that README shows on the policy that it shows.
func testReadmeCases(t *testing.T, cases, policyPath string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "policy_test.yaml")
	if err := os.WriteFile(path, []byte(strings.Replace(cases, "policy.yaml", policyPath, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	p := cli.Process{Env: func(name string) (string, bool) { return "192.0.2.0/24", name == "PARTNER_NETWORKS" }, Stdout: &out, Stderr: &out}
	if code := run([]string{"test", path}, p); code != cli.ExitGood || !strings.Contains(out.String(), "5 passed, 0 failed") {
		t.Errorf("the cases: exit %d\n%s", code, &out)
	}
}
