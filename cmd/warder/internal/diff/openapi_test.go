package diff

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"warder/cmd/warder/internal/cli"
	"warder/cmd/warder/internal/clitest"
	"warder/cmd/warder/internal/openapi"
	"warder/policy"
	"warder/policy/compare"
)

// documents is the folder of the documents that the tests of warder import use.
const documents = "../openapi/testdata"

// TestSkeletonsTakeEveryOperation compares each document with the skeleton that is generated
// from it: every operation has a route, and every route has an operation.
func TestSkeletonsTakeEveryOperation(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(documents, "*.[jy]*"))
	if err != nil || len(files) < 9 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(strings.TrimSuffix(file, filepath.Ext(file)) + ".want")
			if err != nil {
				t.Fatal(err)
			}
			p, err := policy.Parse([]policy.File{{Name: "skeleton.yaml", Data: text}}, nil)
			if err != nil {
				t.Fatal(err)
			}
			a, err := openapi.Read(cli.Process{}, file, nil)
			if err != nil {
				t.Fatal(err)
			}
			found, err := compareOpenAPI(a, p)
			if err != nil {
				t.Fatal(err)
			}
			for _, row := range found.Missing {
				if hasPath(a, row) {
					t.Errorf("no route takes %s", row.words())
				}
			}
			if len(found.Idle) > 0 {
				t.Errorf("routes without an operation: %+v", found.Idle)
			}
		})
	}
}

// hasPath reports whether a policy can match exactly the paths of the operation.
func hasPath(a openapi.Application, row operationRow) bool {
	for _, o := range a.Operations {
		if o.Method == row.Method && o.Loose == row.Path {
			return o.Wrong == ""
		}
	}
	return false
}

// FuzzOpenAPI checks that any document can be compared with the skeleton that is generated
// from it.
func FuzzOpenAPI(f *testing.F) {
	clitest.AddSeeds(f, filepath.Join(documents, "*"))
	f.Fuzz(func(t *testing.T, document []byte) {
		var out bytes.Buffer
		importing := openapi.NewCommand(cli.Process{Stdin: bytes.NewReader(document), Stdout: &out, Stderr: &out})
		importing.SilenceErrors, importing.SilenceUsage = true, true
		importing.SetArgs([]string{"openapi", "-"})
		if importing.Execute() != nil {
			return
		}
		p, err := policy.Parse([]policy.File{{Name: "skeleton.yaml", Data: out.Bytes()}}, nil)
		if err != nil {
			t.Fatalf("%v\n%s", err, &out)
		}
		a, err := openapi.Read(cli.Process{Stdin: bytes.NewReader(document)}, "-", nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := compareOpenAPI(a, p); err != nil && !errors.Is(err, compare.ErrTooManyCells) {
			t.Error(err)
		}
	})
}
