package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"warder/policy"
)

// TestShippedPoliciesHaveNoWarnings: what people copy is an example of what is meant.
func TestShippedPoliciesHaveNoWarnings(t *testing.T) {
	t.Parallel()
	found := 0
	for file, texts := range shippedPolicies(t) {
		for _, text := range texts {
			env := func(string) (string, bool) { return "192.0.2.0/24 198.51.100.7", true }
			p, err := policy.Parse([]policy.File{{Name: file, Data: text}}, env)
			if err != nil {
				t.Errorf("%s: %v", file, err)
				continue
			}
			found++
			for _, w := range p.Warnings() {
				t.Errorf("%s", w)
			}
		}
	}
	if found < 6 {
		t.Errorf("%d policies found: this tests too little", found)
	}
}

// shippedPolicies are the policies that people copy, by file.
func shippedPolicies(t *testing.T) map[string][][]byte {
	t.Helper()
	manifests, err := filepath.Glob(filepath.Join(module, "k8s", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	// A policy, as a document, in a fence of Markdown or indented in a manifest.
	begins := regexp.MustCompile(`(?m)^( *)version: 1\n`)
	policies := map[string][][]byte{}
	files := append(manifests, "demo-policy.yaml")
	for _, p := range pages(t) {
		files = append(files, filepath.Join(module, p.name))
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text := string(data)
		for _, begin := range begins.FindAllStringSubmatchIndex(text, -1) {
			indent := text[begin[2]:begin[3]]
			var b strings.Builder
			for line := range strings.Lines(text[begin[0]:]) {
				if strings.HasPrefix(line, "```") || strings.TrimSpace(line) != "" && !strings.HasPrefix(line, indent) {
					break
				}
				b.WriteString(strings.TrimPrefix(line, indent))
			}
			policies[file] = append(policies[file], []byte(b.String()))
		}
	}
	return policies
}
