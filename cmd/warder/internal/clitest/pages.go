package clitest

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A Page is one README.md.
type Page struct {
	Name string // relative to the root of the module, such as policy/README.md
	Text string
}

// Pages returns every page of the module.
func Pages(t testing.TB) (found []Page) {
	t.Helper()
	root := Root(t)
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != "." && (strings.HasPrefix(entry.Name(), ".") || name == "bin"):
			return fs.SkipDir
		case entry.Name() == "README.md", entry.Name() == "CREDENTIALS.md", entry.Name() == "SPEED.md":
			text, err := os.ReadFile(filepath.Join(root, name))
			if err != nil {
				return err
			}
			found = append(found, Page{name, string(text)})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) < 8 {
		t.Fatalf("%d pages found: this tests too little", len(found))
	}
	return found
}

// PageAt returns one page, by its name.
func PageAt(t testing.TB, name string) Page {
	t.Helper()
	for _, p := range Pages(t) {
		if p.Name == name {
			return p
		}
	}
	t.Fatalf("there is no page %s", name)
	return Page{}
}

// A Block is a fenced block of a page.
type Block struct {
	Language string
	Name     string // from its first line, such as "# policy.yaml"
	Text     string
	Line     int
}

// Blocks returns the fenced blocks of a page, without their indentation.
func (p Page) Blocks(t testing.TB) (found []Block) {
	t.Helper()
	fence := regexp.MustCompile("^( *)```([a-z]*)$")
	var open *Block
	indent, number := "", 0
	for line := range strings.Lines(p.Text) {
		number++
		mark := fence.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		switch {
		case mark == nil && open != nil:
			open.Text += strings.TrimPrefix(line, indent)
		case mark == nil:
		case open == nil:
			open, indent = &Block{Language: mark[2], Line: number}, mark[1]
		default:
			first, _, _ := strings.Cut(open.Text, "\n")
			open.Name, _ = strings.CutPrefix(first, "# ")
			found = append(found, *open)
			open = nil
		}
	}
	if open != nil {
		t.Errorf("%s:%d: the block does not end", p.Name, open.Line)
	}
	return found
}

// Prose returns the text of the page without its fenced blocks.
func (p Page) Prose() string {
	return regexp.MustCompile("(?ms)^ *```.*?^ *```$").ReplaceAllString(p.Text, "")
}

// Anchors returns the anchors of the headings of a page, as GitHub generates them.
func (p Page) Anchors() map[string]bool {
	found := map[string]bool{}
	dropped := regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(p.Prose(), -1) {
		found[strings.ReplaceAll(dropped.ReplaceAllString(strings.ToLower(heading[1]), ""), " ", "-")] = true
	}
	return found
}
