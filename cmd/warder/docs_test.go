package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	reflected "github.com/invopop/jsonschema"

	"warder/authz"
	"warder/cmd/warder/internal/clitest"
	"warder/envoy"
)

// The tests here compare the documentation, which is every file named README.md, with the
// program: the links, and the tables of keys, reasons and metrics. readme_test.go runs the
// examples that the pages show.

// update rewrites the tables of keys in the pages from the current schemas.
var update = flag.Bool("update", false, "write the tables of keys into the pages")

// TestLinksOfPages checks that each link leads to an existing file and to an existing
// heading, and that each file named in a code span exists.
func TestLinksOfPages(t *testing.T) {
	t.Parallel()
	byName := map[string]clitest.Page{}
	for _, p := range clitest.Pages(t) {
		byName[p.Name] = p
	}
	links := 0
	for _, p := range byName {
		for _, link := range regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(p.Prose(), -1) {
			if strings.HasPrefix(link[1], "https://") {
				continue
			}
			links++
			file, anchor, _ := strings.Cut(link[1], "#")
			target := p.Name
			if file != "" {
				target = path.Join(path.Dir(p.Name), file)
			}
			info, err := os.Stat(filepath.Join(module, target))
			if err != nil {
				t.Errorf("%s: (%s) leads nowhere: %v", p.Name, link[1], err)
				continue
			}
			if info.IsDir() {
				target = path.Join(target, "README.md")
			}
			if to, isPage := byName[target]; anchor != "" && (!isPage || !to.Anchors()[anchor]) {
				t.Errorf("%s: (%s): %s has no such heading", p.Name, link[1], target)
			}
		}
		for _, named := range regexp.MustCompile("`([a-z0-9_]+(?:/[a-z0-9_.-]+)+)`").FindAllStringSubmatch(p.Prose(), -1) {
			top, _, _ := strings.Cut(named[1], "/")
			if _, err := os.Stat(filepath.Join(module, top)); err != nil || top == "bin" {
				continue // not a file of this repository, or made by make
			}
			if _, err := os.Stat(filepath.Join(module, named[1])); err != nil {
				t.Errorf("%s names a file: %v", p.Name, err)
			}
		}
	}
	if links < 80 {
		t.Errorf("%d links found: this tests too little", links)
	}
}

// TestReadmeIsTheMap checks that the top README is short, and that it names every page and
// every file that a request passes through.
func TestReadmeIsTheMap(t *testing.T) {
	t.Parallel()
	readme := clitest.PageAt(t, "README.md")
	if lines := strings.Count(readme.Text, "\n"); lines >= 200 {
		t.Errorf("README.md has %d lines; what is about one subject belongs on its page", lines)
	}
	for _, p := range clitest.Pages(t) {
		if p.Name != readme.Name && p.Name != "testdata/masking/README.md" && !strings.Contains(readme.Text, "| ["+p.Name+"]("+p.Name+") |") {
			t.Errorf("the table of documentation has no row for %s", p.Name)
		}
	}
	_, walk, _ := strings.Cut(readme.Text, "\n## Reading the code\n")
	walk, _, _ = strings.Cut(walk, "\n\nEach package")
	files := regexp.MustCompile(`(?m)^\| \[([a-z/]+\.go)\]\(([a-z/]+\.go)\) \|`).FindAllStringSubmatch(walk, -1)
	if len(files) != 7 {
		t.Fatalf("the walk has %d files, want 7:\n%s", len(files), walk)
	}
	for at, want := range map[int]string{0: ") Check(", 2: ") Decide(", 3: ") Match(", 6: "responseFor("} {
		if source := clitest.ReadFile(t, filepath.Join(module, files[at][2])); !bytes.Contains(source, []byte(want)) {
			t.Errorf("%s has no %q: the list of files to read is out of date", files[at][1], want)
		}
	}
}

// TestDocumentedCommands checks that each command and each environment variable has a row.
func TestDocumentedCommands(t *testing.T) {
	t.Parallel()
	text := clitest.PageAt(t, "cmd/warder/README.md").Text
	_, commands, _ := strings.Cut(text, "\n## Commands\n")
	commands, _, _ = strings.Cut(commands, "\n## ")
	_, variables, _ := strings.Cut(text, "\n### Environment\n")
	variables, _, _ = strings.Cut(variables, "\n## ")
	for _, c := range []struct {
		args         []string
		help, row    string
		least        int
		page, called string
	}{
		{[]string{"--help"}, `(?m)^  ([a-z]+) {2,}[A-Z]`, "\n| `warder %s", 10, commands, "Commands"},
		{[]string{"serve", "--help"}, `(?m)^  ([A-Z_]+) {2,}[a-z]`, "`%s`", 10, variables, "Environment"},
	} {
		found := regexp.MustCompile(c.help).FindAllStringSubmatch(asked(t, c.args...), -1)
		if len(found) < c.least {
			t.Errorf("warder %s names %d: this tests too little", c.args, len(found))
		}
		for _, name := range found {
			if name[1] != "help" && !strings.Contains(c.page, fmt.Sprintf(c.row, name[1])) {
				t.Errorf("%s has no row under %s", name[1], c.called)
			}
		}
	}
}

// asked runs the program with args and returns its output.
func asked(t *testing.T, args ...string) string {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), program, args...)
	command.Env = append(os.Environ(), asProgram+"=1")
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("warder %s: %v\n%s", args, err, out)
	}
	return string(out)
}

// TestDocumentedReasons checks that the table has each reason once, with its status.
func TestDocumentedReasons(t *testing.T) {
	t.Parallel()
	_, table, _ := strings.Cut(clitest.PageAt(t, "authz/README.md").Text, "\n## Reasons\n")
	table, _, _ = strings.Cut(table, "\n## ")
	rows := regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| (\\d+) \\| .+ \\|$").FindAllStringSubmatch(table, -1)
	var have, want []string
	for _, row := range rows {
		have = append(have, row[1]+" "+row[2])
	}
	for _, reason := range authz.Reasons() {
		want = append(want, fmt.Sprintf("%s %d", reason, envoy.StatusOf(reason)))
	}
	slices.Sort(have)
	slices.Sort(want)
	if !slices.Equal(have, want) {
		t.Errorf("the table of reasons has\n%s\nwant\n%s", strings.Join(have, "\n"), strings.Join(want, "\n"))
	}
}

// TestDocumentedKeys checks that the tables of keys match the schemas. The schemas are
// generated from the Go types and their comments. With -update it rewrites the tables.
func TestDocumentedKeys(t *testing.T) {
	t.Parallel()
	for name, schema := range map[string]string{"policy/README.md": "policy", "cmd/warder/README.md": "config"} {
		root := new(reflected.Schema)
		if err := json.Unmarshal([]byte(asked(t, "schema", schema)), root); err != nil {
			t.Fatal(err)
		}
		k := keyTable{root: root}
		k.properties("", root)
		if len(k.rows) < 25 {
			t.Errorf("the schema %s has %d keys: this tests too little", schema, len(k.rows))
		}
		begin, end := "<!-- table of the schema: "+schema+"; go test ./cmd/warder -run Documented -update -->\n", "<!-- end of the table -->"
		p := clitest.PageAt(t, name)
		before, rest, found := strings.Cut(p.Text, begin)
		_, after, closed := strings.Cut(rest, end)
		if !found || !closed {
			t.Fatalf("%s has no table between %q and %q", name, begin, end)
		}
		want := before + begin + "| Key | Value | Default | |\n|---|---|---|---|\n" + strings.Join(k.rows, "") + end + after
		if *update {
			if err := os.WriteFile(filepath.Join(module, name), []byte(want), 0o600); err != nil {
				t.Fatal(err)
			}
		} else if p.Text != want {
			t.Errorf("%s: the table of keys is not what the schema says; run go test ./cmd/warder -run Documented -update", name)
		}
	}
}

// A keyTable builds the table of the keys of a schema.
type keyTable struct {
	root *reflected.Schema
	rows []string
}

// properties adds the keys of a mapping, in the order of the schema.
func (k *keyTable) properties(at string, s *reflected.Schema) {
	if at != "" {
		at += "."
	}
	for p := s.Properties.Oldest(); p != nil; p = p.Next() {
		k.key(at+p.Key, p.Value, slices.Contains(s.Required, p.Key))
	}
}

// key adds a row for a key, and rows for the keys below it.
func (k *keyTable) key(name string, s *reflected.Schema, required bool) {
	kind := k.kind(s)
	if required {
		kind += ", required"
	}
	preset := ""
	if s.Default != nil {
		text, isText := s.Default.(string)
		if preset = fmt.Sprint(s.Default); isText && text == "" {
			preset = `""`
		}
		preset = "`" + preset + "`"
	}
	cell := strings.NewReplacer("|", `\|`, "*", `\*`, "<", "&lt;").Replace
	k.rows = append(k.rows, fmt.Sprintf("| `%s` | %s | %s | %s |\n", name, kind, strings.ReplaceAll(preset, "|", `\|`), cell(s.Description)))
	switch {
	case s.Ref != "":
		k.properties(name, k.resolve(s))
	case s.Items != nil && s.Items.Ref != "":
		k.properties(name+"[]", k.resolve(s.Items))
	}
	for _, form := range s.OneOf {
		if form.Ref != "" {
			k.properties(name, k.resolve(form))
		}
	}
}

func (k *keyTable) resolve(s *reflected.Schema) *reflected.Schema {
	if name, isRef := strings.CutPrefix(s.Ref, "#/$defs/"); isRef {
		return k.root.Definitions[name]
	}
	return s
}

// kind describes in words which values a key takes.
func (k *keyTable) kind(s *reflected.Schema) string {
	forms := slices.Concat(s.AnyOf, s.OneOf)
	switch {
	case len(forms) > 0 && strings.Contains(forms[0].Pattern, "ns|us"):
		return "duration"
	case len(forms) > 0 && strings.Contains(forms[0].Pattern, "0o"):
		return "file mode"
	case len(s.AnyOf) > 0:
		return k.kind(s.AnyOf[0]) // the other form is an environment variable
	case len(s.OneOf) > 0:
		return k.kind(s.OneOf[0]) + " or " + k.kind(s.OneOf[1])
	case len(s.Enum) > 0:
		words := make([]string, len(s.Enum))
		for i, word := range s.Enum {
			words[i] = fmt.Sprintf("`%v`", word)
		}
		return strings.Join(words, ", ")
	case s.Const != nil:
		return fmt.Sprintf("`%v`", s.Const)
	case s.Items != nil && len(s.Items.Enum) > 0:
		return "list of " + k.kind(s.Items)
	case s.Items != nil && s.Items.Ref != "":
		return "list of mappings"
	case s.Items != nil:
		return "list of strings"
	case s.Ref != "" || s.Type == "object":
		return "mapping"
	case s.Type == "integer":
		return "number"
	}
	return s.Type
}
