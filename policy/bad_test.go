package policy_test

import (
	"errors"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"warder/policy"
)

// update writes what the policies say today, and the schema. Read the difference
// aloud before it is committed.
var update = flag.Bool("update", false, "write testdata/*.txt and policy.schema.json")

func badEnv(name string) (string, bool) {
	values := map[string]string{"BLANK": " ,\t\n", "WORDS": "192.0.2.1, 192.0.2.0/24;nonsense 192.0.2.9/24"}
	value, set := values[name]
	return value, set
}

// TestBad: each testdata/*.bad.yaml is refused with exactly what stands beside it,
// all of it at once and in the order of the file.
func TestBad(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.bad.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, path := range files {
		name := strings.TrimSuffix(filepath.Base(path), ".bad.yaml")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			p, err := policy.Parse([]policy.File{{Name: "policy.yaml", Data: data}}, badEnv)
			if err == nil || p != nil {
				t.Fatal("it is not refused")
			}
			found, ok := errors.AsType[policy.Problems](err)
			if !ok {
				t.Fatalf("%T is no policy.Problems", err)
			}
			for _, problem := range found {
				// What would be right comes after what is wrong, and no message is raw.
				if problem.Message == "" || strings.ContainsAny(problem.Message, "\n\t\x00") || strings.Contains(problem.Message, "%!") {
					t.Errorf("message %q", problem.Message)
				}
			}
			wanted := strings.TrimSuffix(path, ".yaml") + ".txt"
			if *update {
				if err := os.WriteFile(wanted, []byte(err.Error()+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, readErr := os.ReadFile(wanted)
			if readErr != nil {
				t.Fatal(readErr)
			}
			if diff := cmp.Diff(string(want), err.Error()+"\n"); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// elsewhere are the messages that no file alone is refused with.
var elsewhere = map[string]string{
	"Bad Request":         "the name of a status",
	"Service Unavailable": "the name of a status",
	"cannot be read: %v":  "TestLoadRefuses",
	"contains no *.yaml file; a policy needs at least one":                                               "TestLoadRefuses",
	"is not a regular file; name a file, or a folder of *.yaml":                                          "TestFolderLeavesOut",
	"is a folder and is not read; put its files into the folder of the policy":                           "TestFolderLeavesOut",
	"is not a regular file; remove it from the folder, or put a file in its place":                       "TestFolderLeavesOut",
	"is not read, since its name begins with a dot; remove it from the folder, or rename it":             "TestFolderLeavesOut",
	"is not read, since its name ends in capitals; rename it to *.yaml":                                  "TestFolderLeavesOut",
	"is not read, since its name does not end in .yaml or .yml; remove it from the folder, or rename it": "TestFolderLeavesOut",
	"split it into a folder of files":                                                                    "TestLoadRefuses",
	"is already set at %s; set it in one file":                                                           "TestLoadRefuses",
	"is already at %s; keep one of the two":                                                              "TestLoadRefuses",
	"no file is given; give at least one policy file":                                                    "TestLoadRefuses",
	"path has no canonical form":                                                                         "TestParsePath",
	"give it with --policy":                                                                              "TestOtherFile",
	"the segments overlap in too many ways":                                                              "for more segments than those of one message",
	"the paths of the two policies overlap in too many ways to compare":                                  "TestDiffIsBounded",
	"contains what a route refuses without path_allows: [":                                               "TestWrongPath",
	"is not a CEL expression":                                                                            "for a parser that does not say why; this one always does",
	"cannot be compiled: ":                                                                               "for a library that refuses at the end what it has checked",
	"reads nothing of the request and cannot be compiled":                                                "the same",
}

// ofRequests are files that say what is wrong with a request, not with a policy: their texts
// are held by TestConditionNeverHoldsByMistake of package condition.
var ofRequests = []string{"condition/condition.go", "condition/values.go", "condition/query.go", "condition/claims.go", "condition/functions.go"}

// TestBadHasEveryMessage: a message that no bad policy is refused with is a rule
// that nothing tests. All prose of the package, and of those
// below it that read a policy, is taken for messages.
func TestBadHasEveryMessage(t *testing.T) {
	t.Parallel()
	var said strings.Builder
	texts, err := filepath.Glob("testdata/*.bad.txt")
	if err != nil {
		t.Fatal(err)
	}
	warned, err := filepath.Glob("testdata/*.warn.txt")
	if err != nil {
		t.Fatal(err)
	}
	texts = append(texts, warned...)
	for _, path := range texts {
		if _, err := os.Stat(strings.TrimSuffix(path, ".txt") + ".yaml"); err != nil {
			t.Errorf("%s: what is refused with it is gone", path)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		said.Write(text)
	}
	var sources []string
	for _, folder := range []string{".", "pattern", "condition", "compare"} {
		found, err := filepath.Glob(filepath.Join(folder, "*.go"))
		if err != nil || len(found) == 0 {
			t.Fatal(folder, found, err)
		}
		sources = append(sources, found...)
	}
	verb := regexp.MustCompile(`%[a-z]`)
	messages, known := 0, map[string]bool{}
	for _, path := range sources {
		if strings.HasSuffix(path, "_test.go") || slices.Contains(ofRequests, filepath.ToSlash(path)) {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				// What a request is refused with is never shown.
				if name, ok := call.Fun.(*ast.Ident); ok && name.Name == "pathError" {
					return false
				}
			}
			literal, ok := n.(*ast.BasicLit)
			if !ok || literal.Kind != token.STRING {
				return true
			}
			message, err := strconv.Unquote(literal.Value)
			if err != nil {
				t.Fatal(err)
			}
			if tag := reflect.StructTag(message); tag.Get("json") != "" {
				message = tag.Get("missing")
			}
			if !strings.Contains(message, " ") {
				return true
			}
			if _, ok := elsewhere[message]; ok {
				known[message] = true
				return true
			}
			messages++
			for _, part := range verb.Split(message, -1) {
				if !strings.Contains(said.String(), part) {
					t.Errorf("%s: no bad policy is refused with %q", path, message)
					break
				}
			}
			return true
		})
	}
	if messages < 100 {
		t.Errorf("%d messages found: this tests too little", messages)
	}
	for message, where := range elsewhere {
		if !known[message] {
			t.Errorf("%q (%s) is no message any more", message, where)
		}
	}
}
