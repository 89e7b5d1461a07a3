package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"warder/policy"
)

// TestReadme: what README shows works as it stands.
func TestReadme(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(module, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	policies, configs := 0, 0
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
			continue
		}
		if strings.HasPrefix(block[1], "groups:\n") {
			continue // alert rules, see TestReadmeMetrics
		}
		configs++
		env := func(name string) (string, bool) { return "set", name == "JWT_SECRET" }
		if found := readConfig(path, env).reader.problems; len(found) > 0 {
			t.Errorf("configuration %d: %v", configs, found.err())
		}
	}
	if policies != 3 || configs != 2 {
		t.Errorf("found %d policies and %d configurations, want 3 and 2", policies, configs)
	}

	// Each file that is named is there, and each environment variable and command is named.
	for _, link := range regexp.MustCompile(`\]\(([^)#:]+)\)`).FindAllStringSubmatch(string(text), -1) {
		if _, err := os.Stat(filepath.Join(module, link[1])); err != nil {
			t.Errorf("a link leads nowhere: %v", err)
		}
	}
	for _, v := range environmentVariables {
		if !strings.Contains(string(text), v.name) {
			t.Errorf("%s is not named", v.name)
		}
	}
	commands := regexp.MustCompile("`warder serve [|][^`]*`").FindString(string(text))
	for _, c := range newRootCommand(process{}).Commands() {
		if !regexp.MustCompile(`\b` + c.Name() + `\b`).MatchString(commands) {
			t.Errorf("the command %s is not named in %s", c.Name(), commands)
		}
	}
}
