package clitest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Root returns the path of the root of the repository.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; filepath.Dir(dir) != dir; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
	}
	t.Fatal("no go.mod above the test")
	return ""
}

// Manifests returns the files of the manifests for Kubernetes that stand alone.
func Manifests(t testing.TB) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"*.yaml", "inject/*.yaml", "istio/*.yaml", "envoy-gateway/*.yaml"} {
		found, err := filepath.Glob(filepath.Join(Root(t), "k8s", pattern))
		if err != nil || len(found) == 0 {
			t.Fatalf("k8s/%s: %d files, %v", pattern, len(found), err)
		}
		all = append(all, found...)
	}
	return all
}

// ShippedPolicies returns the policies that people copy, by file.
func ShippedPolicies(t testing.TB) map[string][][]byte {
	t.Helper()
	root := Root(t)
	manifests := Manifests(t)
	// A policy is a whole file, a fenced block of Markdown or an indented part of a manifest.
	begins := regexp.MustCompile(`(?m)^( *)version: 1\n`)
	policies := map[string][][]byte{}
	files := append(manifests, filepath.Join(root, "cmd", "warder", "internal", "demo", "policy.yaml"))
	for _, p := range Pages(t) {
		files = append(files, filepath.Join(root, p.Name))
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
