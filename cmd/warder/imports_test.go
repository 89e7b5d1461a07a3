package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// module is the path from this package to the root of the repository.
const module = "../.."

// mayImport lists, for each package of this module, the packages of this module that it
// may import. A package that is not in the map fails the test.
var mayImport = map[string][]string{
	"policy":           {"policy/strict", "policy/pattern", "policy/condition"},
	"policy/strict":    {},
	"policy/pattern":   {"policy/strict"},
	"policy/condition": {"policy/strict", "policy/pattern", "authz/attribute"},
	"policy/compare":   {"policy", "policy/strict", "policy/pattern", "policy/condition"},
	"authz/mask":       {},

	"authz/attribute": {},
	"authz/cache":     {},

	"authz/token": {"authz/attribute", "authz/cache"},
	"authz/jwks":  {"authz/token"},
	"authz":       {"policy", "policy/pattern", "policy/condition", "authz/attribute", "authz/cache", "authz/token", "authz/mask"},

	"authz/redis":    {"policy/strict", "authz", "authz/cache", "authz/mask"},
	"authz/postgres": {"authz", "authz/attribute", "authz/cache", "authz/mask"},
	"authz/memory":   {"policy/strict", "authz", "authz/attribute", "authz/mask"},

	// stricttest and authztest are for tests; no program imports them.
	"policy/strict/stricttest": {"policy/strict"},
	"authz/authztest":          {"authz", "authz/attribute", "authz/policytest", "policy"},

	"authz/policytest": {"authz", "authz/attribute", "authz/token", "authz/memory", "policy", "policy/strict"},

	"envoy": {"authz", "authz/attribute", "authz/mask"},

	// The program, then its packages, lowest first. A command may use the descriptions of
	// package routes, the documents of package openapi and the explanations of package explain.
	"cmd/warder":                         {"authz", "authz/postgres", "policy", "cmd/warder/internal/admin", "cmd/warder/internal/casetest", "cmd/warder/internal/cli", "cmd/warder/internal/config", "cmd/warder/internal/demo", "cmd/warder/internal/diff", "cmd/warder/internal/doctor", "cmd/warder/internal/explain", "cmd/warder/internal/filter", "cmd/warder/internal/key", "cmd/warder/internal/openapi", "cmd/warder/internal/routes", "cmd/warder/internal/session", "cmd/warder/internal/user", "cmd/warder/internal/server"},
	"cmd/warder/internal/cli":            {"policy", "policy/strict"},
	"cmd/warder/internal/routes":         {"policy", "cmd/warder/internal/cli"},
	"cmd/warder/internal/config":         {"authz", "authz/attribute", "authz/jwks", "authz/mask", "authz/memory", "authz/postgres", "authz/redis", "authz/token", "envoy", "policy", "policy/strict", "cmd/warder/internal/cli"},
	"cmd/warder/internal/admin":          {"cmd/warder/internal/cli", "cmd/warder/internal/config"},
	"cmd/warder/internal/openapi":        {"policy", "policy/pattern", "cmd/warder/internal/cli"},
	"cmd/warder/internal/diff":           {"policy", "policy/compare", "policy/pattern", "cmd/warder/internal/cli", "cmd/warder/internal/openapi", "cmd/warder/internal/routes"},
	"cmd/warder/internal/filter":         {"authz/mask", "cmd/warder/internal/cli"},
	"cmd/warder/internal/explain":        {"authz", "authz/attribute", "authz/memory", "authz/token", "envoy", "policy", "policy/pattern", "policy/strict", "cmd/warder/internal/admin", "cmd/warder/internal/cli", "cmd/warder/internal/config", "cmd/warder/internal/routes"},
	"cmd/warder/internal/casetest":       {"authz", "authz/attribute", "authz/policytest", "envoy", "policy", "policy/strict", "cmd/warder/internal/cli", "cmd/warder/internal/config", "cmd/warder/internal/explain", "cmd/warder/internal/routes"},
	"cmd/warder/internal/operator":       {"authz", "authz/attribute", "authz/mask", "authz/postgres", "authz/redis", "policy", "cmd/warder/internal/cli", "cmd/warder/internal/config"},
	"cmd/warder/internal/session":        {"authz", "authz/mask", "authz/redis", "authz/token", "cmd/warder/internal/cli", "cmd/warder/internal/config", "cmd/warder/internal/operator"},
	"cmd/warder/internal/key":            {"authz", "authz/postgres", "cmd/warder/internal/cli", "cmd/warder/internal/config", "cmd/warder/internal/operator"},
	"cmd/warder/internal/user":           {"authz", "authz/attribute", "cmd/warder/internal/cli", "cmd/warder/internal/config", "cmd/warder/internal/operator"},
	"cmd/warder/internal/server/metrics": {"authz", "envoy", "policy"},
	"cmd/warder/internal/server/traces":  {"authz", "authz/mask", "envoy"},
	"cmd/warder/internal/server":         {"authz", "authz/attribute", "authz/jwks", "authz/mask", "authz/memory", "authz/postgres", "authz/redis", "authz/token", "envoy", "policy", "cmd/warder/internal/admin", "cmd/warder/internal/cli", "cmd/warder/internal/config", "cmd/warder/internal/explain", "cmd/warder/internal/server/metrics", "cmd/warder/internal/server/traces"},
	"cmd/warder/internal/doctor":         {"authz", "authz/attribute", "authz/mask", "authz/memory", "authz/postgres", "authz/redis", "authz/token", "policy", "cmd/warder/internal/cli", "cmd/warder/internal/config", "cmd/warder/internal/operator", "cmd/warder/internal/server"},
	"cmd/warder/internal/demo":           {"authz", "authz/mask", "authz/memory", "envoy", "policy", "cmd/warder/internal/cli", "cmd/warder/internal/config", "cmd/warder/internal/server"},

	// Both are for tests; no program imports them.
	"cmd/warder/internal/clitest": {},
	"cmd/warder/internal/e2e":     {},

	"k8s": {},
}

// Modules that some packages must not import, directly or indirectly.
const (
	grpcModule    = "google.golang.org/grpc"
	envoyModule   = "github.com/envoyproxy"
	pgxModule     = "github.com/jackc"
	redisModule   = "github.com/redis"
	metricsModule = "github.com/prometheus"
	cobraModule   = "github.com/spf13"
	celModule     = "cel.dev/cel-go"
	tracesModule  = "go.opentelemetry.io"
)

// neverReach lists, for each package, the import path prefixes that it must not import,
// directly or indirectly.
var neverReach = map[string][]string{
	"policy/strict":    {grpcModule, envoyModule, pgxModule, redisModule, metricsModule, tracesModule, cobraModule, celModule, "net/http"},
	"policy/pattern":   {grpcModule, envoyModule, pgxModule, redisModule, metricsModule, tracesModule, cobraModule, celModule, "net/http"},
	"policy/compare":   {grpcModule, envoyModule, pgxModule, redisModule, metricsModule, tracesModule, cobraModule, "net/http"},
	"policy/condition": {grpcModule, envoyModule, pgxModule, redisModule, metricsModule, tracesModule, cobraModule, "net/http"},
	"policy":           {grpcModule, envoyModule, pgxModule, redisModule, metricsModule, tracesModule, cobraModule, "net/http"},
	"authz/token":      {grpcModule, envoyModule, pgxModule, redisModule, metricsModule, tracesModule, cobraModule, "net/http"},
	"authz/jwks":       {grpcModule, envoyModule, pgxModule, redisModule, metricsModule, tracesModule, cobraModule, celModule},
	"authz/cache":      {grpcModule, envoyModule, pgxModule, redisModule, metricsModule, tracesModule, cobraModule, celModule, "net/http"},
	"authz/attribute":  {grpcModule, envoyModule, pgxModule, redisModule, metricsModule, tracesModule, cobraModule, celModule, "net/http"},
	"authz/mask":       {grpcModule, envoyModule, pgxModule, redisModule, metricsModule, tracesModule, cobraModule, "net/http"},
	"authz":            {grpcModule, envoyModule, pgxModule, redisModule, metricsModule, tracesModule, cobraModule, "net/http"},
	"authz/redis":      {grpcModule, envoyModule, pgxModule, metricsModule, tracesModule, cobraModule},
	"authz/postgres":   {grpcModule, envoyModule, redisModule, metricsModule, tracesModule, cobraModule},
	"authz/memory":     {grpcModule, envoyModule, pgxModule, redisModule, metricsModule, tracesModule, cobraModule},
	"envoy":            {pgxModule, redisModule, cobraModule, tracesModule},

	"authz/policytest": {grpcModule, envoyModule, pgxModule, redisModule, metricsModule, tracesModule, cobraModule, "net/http", "testing"},

	"cmd/warder": {"testing"},

	"cmd/warder/internal/cli":            {grpcModule, envoyModule, pgxModule, redisModule, metricsModule, tracesModule, "net/http", "testing"},
	"cmd/warder/internal/clitest":        {grpcModule, envoyModule, pgxModule, redisModule, celModule},
	"cmd/warder/internal/routes":         {grpcModule, envoyModule, pgxModule, redisModule, metricsModule, tracesModule, "net/http"},
	"cmd/warder/internal/config":         {metricsModule, tracesModule},
	"cmd/warder/internal/admin":          {metricsModule, tracesModule},
	"cmd/warder/internal/openapi":        {grpcModule, envoyModule, pgxModule, redisModule, metricsModule, tracesModule},
	"cmd/warder/internal/diff":           {grpcModule, envoyModule, pgxModule, redisModule, metricsModule, tracesModule},
	"cmd/warder/internal/filter":         {grpcModule, envoyModule, pgxModule, redisModule, metricsModule, tracesModule, "net/http"},
	"cmd/warder/internal/explain":        {metricsModule, tracesModule},
	"cmd/warder/internal/casetest":       {metricsModule, tracesModule},
	"cmd/warder/internal/server/metrics": {cobraModule, tracesModule},
	"cmd/warder/internal/server/traces":  {metricsModule, pgxModule, redisModule, cobraModule},
}

// folders lists every folder of the repository, except testdata folders and their contents.
var folders = []string{
	"cmd", "cmd/warder", "cmd/warder/internal",
	"cmd/warder/internal/cli", "cmd/warder/internal/config", "cmd/warder/internal/admin",
	"cmd/warder/internal/server", "cmd/warder/internal/server/metrics", "cmd/warder/internal/server/traces", "cmd/warder/internal/demo",
	"cmd/warder/internal/routes", "cmd/warder/internal/explain", "cmd/warder/internal/casetest",
	"cmd/warder/internal/openapi", "cmd/warder/internal/diff", "cmd/warder/internal/filter",
	"cmd/warder/internal/operator", "cmd/warder/internal/session", "cmd/warder/internal/key", "cmd/warder/internal/user", "cmd/warder/internal/doctor",
	"cmd/warder/internal/clitest", "cmd/warder/internal/e2e",
	"authz", "authz/attribute", "authz/cache", "authz/jwks", "authz/jwks/provider", "authz/token", "authz/redis", "authz/postgres", "authz/memory", "authz/mask", "authz/policytest", "authz/authztest",
	"policy", "policy/strict", "policy/strict/stricttest", "policy/pattern", "policy/condition", "policy/compare", "envoy", "envoy/configs",
	"k8s", "k8s/inject", "k8s/istio", "k8s/envoy-gateway", "k8s/translate", "k8s/translate/istio",
	"k8s/image", "k8s/monitoring", "k8s/cluster", "k8s/cluster/cmd", "k8s/cluster/cmd/controlplane", "k8s/cluster/cmd/node", "k8s/cluster/cmd/pod",
}

// setsUpLogs lists the functions of log/slog that decide where a log goes. Only programs
// may call them; package authz returns what it knows to its caller.
var setsUpLogs = []string{"SetDefault", "Default", "New", "NewJSONHandler", "NewTextHandler", "SetLogLoggerLevel"}

// A listed holds the fields of a package, as go list prints them, that this test needs.
type listed struct {
	ImportPath string
	Dir        string
	Imports    []string
	Deps       []string
	GoFiles    []string
}

// name returns the path of the package within the module, such as "authz/token".
func (p listed) name() string { return strings.TrimPrefix(p.ImportPath, "warder/") }

// TestImportsPointOneWay checks the imports of every package, without its tests, against
// the tables above.
func TestImportsPointOneWay(t *testing.T) {
	t.Parallel()
	packages := listPackages(t)
	for _, problem := range brokenImports(packages) {
		t.Error(problem)
	}
	found := map[string]bool{}
	for _, p := range packages {
		found[p.name()] = true
	}
	for name := range mayImport {
		if !found[name] {
			t.Errorf("mayImport names %s, which is not a package; remove it", name)
		}
	}
}

// brokenImports returns a message for each import that the tables do not allow.
func brokenImports(packages []listed) []string {
	var problems []string
	for _, p := range packages {
		allowed, known := mayImport[p.name()]
		if !known {
			problems = append(problems, fmt.Sprintf("%s is not in mayImport: a new package needs a place in the layout, and a line there", p.name()))
			continue
		}
		for _, imported := range p.Imports {
			ours, ok := strings.CutPrefix(imported, "warder/")
			if ok && !slices.Contains(allowed, ours) {
				problems = append(problems, fmt.Sprintf("%s imports %s; it may import %v", p.name(), ours, allowed))
			}
		}
		for _, never := range neverReach[p.name()] {
			for _, dep := range p.Deps {
				if dep == never || strings.HasPrefix(dep, never+"/") {
					problems = append(problems, fmt.Sprintf("%s reaches %s, and must never see %s", p.name(), dep, never))
					break
				}
			}
		}
	}
	return problems
}

// TestImportsPointOneWayCanFail checks that brokenImports reports planted mistakes.
func TestImportsPointOneWayCanFail(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		want string // "" for no problem
		p    listed
	}{
		{"", listed{ImportPath: "warder/authz", Imports: []string{"warder/policy", "slices"}}},
		{"", listed{ImportPath: "warder/policy", Deps: []string{"log/slog", "net/netip", "github.com/jackcx"}}},
		{"policy imports authz", listed{ImportPath: "warder/policy", Imports: []string{"warder/authz"}}},
		{"authz imports envoy", listed{ImportPath: "warder/authz", Imports: []string{"warder/envoy"}}},
		{"authz imports authz/redis", listed{ImportPath: "warder/authz", Imports: []string{"warder/authz/redis"}}},
		{"authz/redis imports policy", listed{ImportPath: "warder/authz/redis", Imports: []string{"warder/policy"}}},
		{"envoy imports policy", listed{ImportPath: "warder/envoy", Imports: []string{"warder/policy"}}},
		{"authz/policytest reaches testing", listed{ImportPath: "warder/authz/policytest", Deps: []string{"testing"}}},
		{"cmd/warder imports authz/authztest", listed{ImportPath: "warder/cmd/warder", Imports: []string{"warder/authz/authztest"}}},
		{"authz reaches google.golang.org/grpc/codes", listed{ImportPath: "warder/authz", Deps: []string{"google.golang.org/grpc/codes"}}},
		{"authz reaches go.opentelemetry.io/otel/trace", listed{ImportPath: "warder/authz", Deps: []string{"go.opentelemetry.io/otel/trace"}}},
		{"envoy reaches go.opentelemetry.io/otel", listed{ImportPath: "warder/envoy", Deps: []string{"go.opentelemetry.io/otel"}}},
		{"authz reaches github.com/jackc/pgx/v5", listed{ImportPath: "warder/authz", Deps: []string{"github.com/jackc/pgx/v5"}}},
		{"policy/pattern imports policy", listed{ImportPath: "warder/policy/pattern", Imports: []string{"warder/policy"}}},
		{"policy/pattern reaches cel.dev/cel-go/cel", listed{ImportPath: "warder/policy/pattern", Deps: []string{"cel.dev/cel-go/cel"}}},
		{"policy/condition imports policy", listed{ImportPath: "warder/policy/condition", Imports: []string{"warder/policy"}}},
		{"policy imports policy/compare", listed{ImportPath: "warder/policy", Imports: []string{"warder/policy/compare"}}},
		{"authz imports policy/compare", listed{ImportPath: "warder/authz", Imports: []string{"warder/policy/compare"}}},
		{"policy reaches net/http", listed{ImportPath: "warder/policy", Deps: []string{"net/http"}}},
		{"cmd/warder imports cmd/warder/internal/clitest", listed{ImportPath: "warder/cmd/warder", Imports: []string{"warder/cmd/warder/internal/clitest"}}},
		{"cmd/warder/internal/cli reaches net/http", listed{ImportPath: "warder/cmd/warder/internal/cli", Deps: []string{"net/http"}}},
		{"cmd/warder/internal/diff imports cmd/warder/internal/explain", listed{ImportPath: "warder/cmd/warder/internal/diff", Imports: []string{"warder/cmd/warder/internal/explain"}}},
		{"cmd/warder/internal/explain imports cmd/warder/internal/server", listed{ImportPath: "warder/cmd/warder/internal/explain", Imports: []string{"warder/cmd/warder/internal/server"}}},
		{"cmd/warder/internal/clitest imports cmd/warder/internal/cli", listed{ImportPath: "warder/cmd/warder/internal/clitest", Imports: []string{"warder/cmd/warder/internal/cli"}}},
		{"util is not in mayImport", listed{ImportPath: "warder/util"}},
	} {
		got := strings.Join(brokenImports([]listed{test.p}), "\n")
		if test.want == "" && got != "" || !strings.Contains(got, test.want) {
			t.Errorf("%s importing %v %v: got %q, want %q", test.p.name(), test.p.Imports, test.p.Deps, got, test.want)
		}
	}
}

// TestLayout checks that each folder is in the list, and that each package has a doc.go.
func TestLayout(t *testing.T) {
	t.Parallel()
	err := filepath.WalkDir(module, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() || file == module {
			return err
		}
		folder, err := filepath.Rel(module, file)
		if err != nil {
			return err
		}
		folder = filepath.ToSlash(folder)
		switch {
		case strings.HasPrefix(folder, "."), folder == "bin", path.Base(folder) == "testdata":
			return fs.SkipDir
		case folder == "k8s/chart", folder == "k8s/kustomize": // laid out as Helm and kustomize want it
			return fs.SkipDir
		case !slices.Contains(folders, folder):
			t.Errorf("%s/ is not in the layout; a folder exists because its imports differ", folder)
			return fs.SkipDir
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range listPackages(t) {
		doc, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, "doc.go"), nil, parser.ParseComments)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			t.Errorf("%s has no doc.go: say what it owns, who calls it, and what it never does", p.name())
		case err != nil:
			t.Error(err)
		case len(strings.Fields(doc.Doc.Text())) < 12:
			t.Errorf("%s/doc.go does not say what the package owns, who calls it, and what it never does", p.name())
		}
	}
}

// TestAuthzSetsUpNoLog checks that policy and the packages below it, authz and authz/token
// neither create a logger nor use the default one.
func TestAuthzSetsUpNoLog(t *testing.T) {
	t.Parallel()
	for _, p := range listPackages(t) {
		if !strings.HasPrefix(p.name(), "policy") && p.name() != "authz" && p.name() != "authz/token" {
			continue
		}
		for _, name := range p.GoFiles {
			files := token.NewFileSet()
			file, err := parser.ParseFile(files, filepath.Join(p.Dir, name), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			for node := range ast.Preorder(file) {
				selector, ok := node.(*ast.SelectorExpr)
				if !ok {
					continue
				}
				if pkg, ok := selector.X.(*ast.Ident); ok && pkg.Name == "slog" && slices.Contains(setsUpLogs, selector.Sel.Name) {
					t.Errorf("%s: slog.%s: authz has no log of its own", files.Position(node.Pos()), selector.Sel.Name)
				}
			}
		}
	}
}

// listPackages returns all packages of this module, without their tests, from go list.
func listPackages(t *testing.T) []listed {
	t.Helper()
	list := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Dir,Imports,Deps,GoFiles", "./...")
	list.Dir = module
	list.Env = os.Environ()
	var stderr bytes.Buffer
	list.Stderr = &stderr
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.Bytes())
	}
	var packages []listed
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		switch err := decoder.Decode(&p); {
		case errors.Is(err, io.EOF):
			return packages
		case err != nil:
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}
