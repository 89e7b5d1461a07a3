package main

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/licensecheck"

	"warder/cmd/warder/internal/clitest"
)

// TestSecurityPage checks that SECURITY.md names a test for each threat, and that each test, each
// file of the corpus and each other file that it names exists.
func TestSecurityPage(t *testing.T) {
	t.Parallel()
	page := string(clitest.ReadFile(t, filepath.Join(module, "SECURITY.md")))
	_, table, _ := strings.Cut(page, "\n## Threats\n")
	table, _, _ = strings.Cut(table, "\n## ")
	rows := regexp.MustCompile(`(?m)^\| .+ \|$`).FindAllString(table, -1)
	if len(rows) < 30 {
		t.Fatalf("%d threats: this tests too little", len(rows))
	}
	corpus := regexp.MustCompile("`([a-z0-9_]+\\.yaml)`")
	named := regexp.MustCompile("`((?:[a-z0-9]+/)*[a-z0-9]+)\\.((?:Test|Fuzz)[A-Za-z0-9]+)`")
	for _, row := range rows[1:] { // the first is the head
		tests := named.FindAllStringSubmatch(row, -1)
		if len(tests) == 0 {
			t.Errorf("no test: %s", row)
		}
		for _, each := range tests {
			files, err := filepath.Glob(filepath.Join(module, each[1], "*_test.go"))
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(files, func(file string) bool {
				return strings.Contains(string(clitest.ReadFile(t, file)), "\nfunc "+each[2]+"(")
			}) {
				t.Errorf("%s has no %s: %s", each[1], each[2], row)
			}
		}
		for _, file := range corpus.FindAllStringSubmatch(row, -1) {
			if _, err := os.Stat(filepath.Join(module, "testdata/decisions", file[1])); err != nil {
				t.Errorf("the corpus has no %s: %s", file[1], row)
			}
		}
	}
	for _, link := range regexp.MustCompile(`\]\(([^)#]+)(?:#[^)]*)?\)`).FindAllStringSubmatch(page, -1) {
		if strings.HasPrefix(link[1], "https://") {
			continue
		}
		if _, err := os.Stat(filepath.Join(module, link[1])); errors.Is(err, fs.ErrNotExist) {
			t.Errorf("SECURITY.md: (%s) leads nowhere", link[1])
		}
	}
}

// allowedLicenses are the licenses, as SPDX ids, of what may be linked into warder: permissive
// ones, which ask for no more than a notice.
var allowedLicenses = []string{"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT"}

// TestLicenses checks that each module that is linked into warder has a license, and that its
// license file holds nothing but permissive licenses.
func TestLicenses(t *testing.T) {
	t.Parallel()
	const fields = "{{with .Module}}{{if not .Main}}{{.Path}}\t{{.Dir}}{{end}}{{end}}"
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", fields, "./cmd/warder")
	list.Dir = module
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		path, dir, ok := strings.Cut(strings.TrimSpace(line), "\t")
		if !ok || seen[path] {
			continue
		}
		seen[path] = true
		for _, problem := range licenseProblems(t, dir) {
			t.Errorf("%s: %s", path, problem)
		}
	}
	if len(seen) < 20 {
		t.Fatalf("%d modules: this tests too little", len(seen))
	}
}

// TestLicensesCanFail checks that TestLicenses finds a module without a license, and one that is
// not permissive.
func TestLicensesCanFail(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                               "no license file",
		"All rights reserved. Ask first": "no known license",
		"This program is free software: you can redistribute it and/or modify it under the terms of the GNU General Public License " +
			"as published by the Free Software Foundation, either version 3 of the License, or (at your option) any later version.": "not permissive",
	} {
		dir := t.TempDir()
		if text != "" {
			clitest.WriteFile(t, dir, "LICENSE", text)
		}
		if got := strings.Join(licenseProblems(t, dir), "; "); !strings.Contains(got, want) {
			t.Errorf("%.40q: %q, want %q", text, got, want)
		}
	}
}

// licenseProblems returns what is wrong with the license files in the root of a module.
func licenseProblems(t *testing.T, dir string) (problems []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := 0
	for _, entry := range entries {
		if !regexp.MustCompile(`(?i)^(licen[sc]e|copying)`).MatchString(entry.Name()) || entry.IsDir() {
			continue
		}
		files++
		found := licensecheck.Scan(clitest.ReadFile(t, filepath.Join(dir, entry.Name())))
		if len(found.Match) == 0 {
			problems = append(problems, entry.Name()+" has no known license")
		}
		for _, m := range found.Match {
			if !slices.Contains(allowedLicenses, m.ID) {
				problems = append(problems, entry.Name()+" has "+m.ID+", which is not permissive, or not known to be")
			}
		}
	}
	if files == 0 {
		problems = append(problems, "it has no license file")
	}
	return problems
}
