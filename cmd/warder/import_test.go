package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"warder/cmd/warder/internal/cli"
	"warder/cmd/warder/internal/routes"
	"warder/policy"
	"warder/policy/compare"
)

// runImport runs `warder import openapi` on a document.
func runImport(document io.Reader, arguments ...string) (code int, stdout, stderr string) {
	var out, messages bytes.Buffer
	code = run(append([]string{"import", "openapi"}, arguments...), cli.Process{
		Env: func(string) (string, bool) { return "", false }, Stdin: document, Stdout: &out, Stderr: &messages,
	})
	return code, out.String(), messages.String()
}

// TestImportOpenAPI compares what is made of each document in testdata/openapi with the
// policy beside it, and holds the two against each other: no operation is without a route.
func TestImportOpenAPI(t *testing.T) {
	t.Parallel()
	for _, document := range []string{"fastapi.json", "security.yaml", "hostile.json"} {
		t.Run(document, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join("testdata", "openapi", document)
			code, got, stderr := runImport(strings.NewReader(""), file)
			if code != cli.ExitGood {
				t.Fatalf("exit code %d: %s", code, stderr)
			}
			wanted := filepath.Join("testdata", "openapi", strings.TrimSuffix(document, filepath.Ext(document))+".want")
			want, err := os.ReadFile(wanted)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("the skeleton differs from %s (-want +got):\n%s", wanted, diff)
			}
			p := parseSkeleton(t, got)
			a, err := readOpenAPI(cli.Process{}, file, nil)
			if err != nil {
				t.Fatal(err)
			}
			found, err := compareOpenAPI(a, p)
			if err != nil {
				t.Fatal(err)
			}
			for _, row := range found.Missing {
				if o := operationAt(a, row); o.path != "" {
					t.Errorf("no route takes %s", row.words())
				}
			}
			if len(found.Idle) > 0 {
				t.Errorf("routes without an operation: %+v", found.Idle)
			}
		})
	}
}

func operationAt(a application, row operationRow) operation {
	for _, o := range a.operations {
		if o.method == row.Method && o.loose == row.Path {
			return o
		}
	}
	return operation{}
}

// parseSkeleton loads a skeleton, in which nothing may be open: each way in asks for a
// role or a scope, and there is no admin role.
func parseSkeleton(t *testing.T, text string) *policy.Policy {
	t.Helper()
	p, err := policy.Parse([]policy.File{{Name: "skeleton.yaml", Data: []byte(text)}}, nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if len(p.Warnings()) > 0 {
		t.Logf("warnings: %v", p.Warnings())
	}
	if p.AdminRole() != "" {
		t.Errorf("the admin role is %q", p.AdminRole())
	}
	for _, r := range p.Routes() {
		if routes.NeedsNoCredential(r) {
			t.Errorf("route %s is open", r.ID)
		}
		if r.User != nil && len(r.User.Roles)+len(r.User.AllRoles) == 0 || r.APIKey != nil && len(r.APIKey.Scopes)+len(r.APIKey.AnyScopes) == 0 {
			t.Errorf("route %s is open to all of a kind", r.ID)
		}
		for _, path := range r.Paths() {
			if strings.HasSuffix(path, "**") {
				t.Errorf("route %s takes %s, which is broad", r.ID, path)
			}
		}
	}
	return p
}

// FuzzImportOpenAPI: whatever the document, nothing panics, and what comes out is a policy
// in which nothing is open.
func FuzzImportOpenAPI(f *testing.F) {
	seeds, err := filepath.Glob(filepath.Join("testdata", "openapi", "*"))
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range seeds {
		data, err := os.ReadFile(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(`{"openapi":"3.0.0","paths":{"/a":{"$ref":"#/paths/~1a"}}}`))
	f.Add([]byte(`{"openapi":"3.1.0","paths":{"/a":{"get":{"security":[{"k":[]}]}}},"components":{"securitySchemes":{"k":{"$ref":"#/components/securitySchemes/k"}}}}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		doc, err := parseOpenAPI(document)
		if err != nil {
			return
		}
		a := applicationOf(doc, nil)
		if s := skeletonOf(a); len(s.routes) > 0 {
			if _, err := compareOpenAPI(a, parseSkeleton(t, s.yaml(a))); err != nil && !errors.Is(err, compare.ErrTooManyCells) {
				t.Error(err)
			}
		}
	})
}
