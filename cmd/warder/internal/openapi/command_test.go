package openapi

import (
	"bytes"
	"flag"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"warder/cmd/warder/internal/cli"
	"warder/cmd/warder/internal/clitest"
	"warder/cmd/warder/internal/routes"
	"warder/policy"
)

var update = flag.Bool("update", false, "write testdata/*.want")

// runImport runs `warder import openapi` on a document.
func runImport(document io.Reader, arguments ...string) (stdout string, err error) {
	var out, messages bytes.Buffer
	cmd := NewCommand(cli.Process{
		Env: func(string) (string, bool) { return "", false }, Stdin: document, Stdout: &out, Stderr: &messages,
	})
	cmd.SetArgs(append([]string{"openapi"}, arguments...))
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	err = cmd.Execute()
	return out.String(), err
}

// TestImportOpenAPI compares the skeleton of each document in testdata with the policy beside
// it. The tests of package diff compare the policy with the document.
func TestImportOpenAPI(t *testing.T) {
	t.Parallel()
	documents, err := filepath.Glob(filepath.Join("testdata", "*.[jy]*"))
	if err != nil || len(documents) < 9 {
		t.Fatal(documents, err)
	}
	for _, file := range documents {
		document := filepath.Base(file)
		t.Run(document, func(t *testing.T) {
			t.Parallel()
			got, err := runImport(strings.NewReader(""), file)
			if err != nil {
				t.Fatal(err)
			}
			wanted := filepath.Join("testdata", strings.TrimSuffix(document, filepath.Ext(document))+".want")
			if *update {
				clitest.WriteFile(t, "testdata", filepath.Base(wanted), got)
			}
			if diff := cmp.Diff(string(clitest.ReadFile(t, wanted)), got); diff != "" {
				t.Errorf("the skeleton differs from %s; run go test ./cmd/warder/internal/openapi -run Import -update (-want +got):\n%s", wanted, diff)
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
			// Only what the document marks as broad is broad.
			if strings.HasSuffix(path, "**") && !strings.Contains(text, "DECIDE: ** ") {
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
		out, err := runImport(bytes.NewReader(document), "-")
		if err != nil {
			if strings.Contains(err.Error(), "valid policy") {
				t.Fatal(err)
			}
			return
		}
		parseSkeleton(t, out)
	})
}
