package policytest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestBadFiles checks that each testdata/NAME.bad.yaml is rejected with the text of
// NAME.bad.txt. With WRITE_BAD=1 in the environment it writes the texts.
func TestBadFiles(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.bad.yaml")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			_, err := Load(file)
			if err == nil {
				t.Fatal("it was accepted")
			}
			got := strings.ReplaceAll(err.Error(), "testdata/", "") + "\n"
			golden := strings.TrimSuffix(file, ".yaml") + ".txt"
			if os.Getenv("WRITE_BAD") != "" {
				if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%swant\n%s", got, want)
			}
		})
	}
}

// FuzzParse checks that Parse does not panic and that the cases of accepted files can be
// built.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/*.yaml", "../../testdata/decisions/c*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Add([]byte("policy: a\ncases: [{name: a, want: deny, request: GET /, headers: {a: &x [b]}}]"))
	f.Add([]byte("a: &a\n? b\n: *a"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Parse("fuzz.yaml", data)
		if err != nil {
			return
		}
		if len(file.Cases) == 0 {
			t.Fatal("accepted without cases")
		}
		for _, c := range file.Cases {
			_, _ = c.Build(time.Time{})
			_ = c.Wanted(DepthWire)
		}
		_, _ = file.LoadPolicy(func(string) (string, bool) { return "", false })
	})
}
