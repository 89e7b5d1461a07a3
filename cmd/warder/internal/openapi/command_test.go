package openapi

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"warder/cmd/warder/internal/cli"
	"warder/cmd/warder/internal/clitest"
	"warder/cmd/warder/internal/routes"
	"warder/policy"
)

// runImport runs `warder import openapi` on a document.
func runImport(document io.Reader, arguments ...string) (stdout string, err error) {
	var out, messages bytes.Buffer
	cmd := NewCommand(cli.Process{
		Env: func(string) (string, bool) { return "", false }, Stdin: document, Stdout: &out, Stderr: &messages,
	})
	cmd.SetArgs(append([]string{"openapi"}, arguments...))
	err = cmd.Execute()
	return out.String(), err
}

// TestImportOpenAPI compares the skeleton of each document in testdata with the policy beside
// it. The tests of package diff compare the policy with the document.
func TestImportOpenAPI(t *testing.T) {
	t.Parallel()
	for _, document := range []string{"fastapi.json", "security.yaml", "hostile.json"} {
		t.Run(document, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join("testdata", document)
			got, err := runImport(strings.NewReader(""), file)
			if err != nil {
				t.Fatal(err)
			}
			wanted := filepath.Join("testdata", strings.TrimSuffix(document, filepath.Ext(document))+".want")
			want, err := os.ReadFile(wanted)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("the skeleton differs from %s (-want +got):\n%s", wanted, diff)
			}
			parseSkeleton(t, got)
		})
	}
}

// parseSkeleton loads a skeleton and checks that nothing in it is open: each way in requires
// a role or a scope, and there is no admin role.
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

// FuzzImportOpenAPI checks that no document causes a panic, and that each skeleton is a valid
// policy in which nothing is open.
func FuzzImportOpenAPI(f *testing.F) {
	clitest.AddSeeds(f, filepath.Join("testdata", "*"))
	f.Add([]byte(`{"openapi":"3.0.0","paths":{"/a":{"$ref":"#/paths/~1a"}}}`))
	f.Add([]byte(`{"openapi":"3.1.0","paths":{"/a":{"get":{"security":[{"k":[]}]}}},"components":{"securitySchemes":{"k":{"$ref":"#/components/securitySchemes/k"}}}}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		doc, err := parseOpenAPI(document)
		if err != nil {
			return
		}
		a := applicationOf(doc, nil)
		if s := skeletonOf(a); len(s.routes) > 0 {
			parseSkeleton(t, s.yaml(a))
		}
	})
}
