package policy_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"warder/policy"
	"warder/policy/strict/stricttest"
)

// TestSchemaIsCurrent: the schema is what the shapes and their comments make today.
func TestSchemaIsCurrent(t *testing.T) {
	t.Parallel()
	want, err := policy.GenerateSchema()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("policy.schema.json", []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile("policy.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(have)); diff != "" {
		t.Errorf("policy.schema.json is not what the shapes say; run go test ./policy -update (-want +got):\n%s", diff)
	}
}

// unseen are the bad policies that a schema cannot refuse, each with the reason; with
// an index, one of its routes alone.
var unseen = map[string]string{
	"allow-kind-twice":               kindTwice,
	"allow-kind-twice[0]":            kindTwice,
	"allow-kind-twice[1]":            kindTwice,
	"allow-kind-twice[2]":            kindTwice,
	"ambiguous-any-host":             twoRoutes,
	"ambiguous-beside-more-specific": twoRoutes,
	"ambiguous-defaults":             twoRoutes,
	"ambiguous-escapes":              twoRoutes,
	"ambiguous-hosts":                twoRoutes,
	"ambiguous-methods":              twoRoutes,
	"ambiguous-mixed":                twoRoutes,
	"ambiguous-mixed[12]":            twoRoutes,
	"ambiguous-params":               twoRoutes,
	"ambiguous-root":                 twoRoutes,
	"ambiguous-same":                 twoRoutes,
	"ambiguous-shadowed":             twoRoutes,
	"route-id-twice":                 twoRoutes,
	"client-ips-default":             anotherKey,
	"client-ips-misspelled":          anotherKey,
	"client-ips-misspelled[0]":       anotherKey,
	"client-ips-misspelled[1]":       anotherKey,
	"client-ips[3]":                  aloneOnly,
	"match-hosts[9]":                 "any may be the name of a host",
	"match-hosts[10]":                aloneOnly,
	"match-hosts[21]":                "a pattern does not tell an address from what looks like one",
	"match-hosts[19]":                "each label is short enough, the whole is not",
	"match-path-twice[1]":            twoSpellings,
	"match-path-twice[2]":            twoSpellings,
	"match-path-twice[3]":            twoSpellings,
	"match-paths[7]":                 anotherKey,
	"match-paths[9]":                 anotherKey,
	"match-paths[18]":                anotherKey,
	"match-paths[19]":                anotherKey,
	"match-paths[47]":                anotherKey,
	"match-paths[15]":                notUTF8,
	"match-paths[16]":                notUTF8,
	"match-paths[38]":                twiceInAText,
	"match-paths[44]":                twiceInAText,
	"match-paths[46]":                anotherKey,
	"match-paths-elsewhere[35]":      elsewhereWord,
	"match-paths-elsewhere[42]":      elsewhereWord,
	"match-paths-elsewhere[43]":      elsewhereWord,
	"match-paths-elsewhere[47]":      elsewhereWord,
	"match-paths-elsewhere[49]":      elsewhereWord,
	"match-paths-elsewhere[63]":      emptyParts,
	"match-paths-elsewhere[64]":      emptyParts,
	"match-paths-elsewhere[65]":      emptyParts,
	"match-paths-elsewhere[66]":      emptyParts,
	"match-paths-elsewhere[68]":      notUTF8,
	"match-paths-elsewhere[71]":      twiceInAText,
	"match-paths-elsewhere[72]":      twiceInAText,
	"match-paths-elsewhere[75]":      anotherKey,
	"match-paths-elsewhere[76]":      anotherKey,
	"match-paths-elsewhere[77]":      "a pattern that counts would be too long",
	"match-short[5]":                 twiceInAText,
	"words[0]":                       elsewhereWord,
	"words[1]":                       elsewhereWord,
	"words[9]":                       elsewhereWord,
	"words[11]":                      elsewhereWord,
	"path-allows[4]":                 anotherKey,
	"denials-bodies[1]":              anotherKey,
	"denials-bodies[6]":              aWordInside,
	"denials-bodies[7]":              aWordInside,
	"denials-bodies[8]":              anotherKey,
	"denials-login[17]":              elsewhereWord,
	"query-without-kind[0]":          anotherKey,
	"query-without-kind[1]":          anotherKey,
	"query-without-kind[2]":          anotherKey,
	"version-float":                  "to JSON Schema 1.0 is the integer 1",
}

const modeline = "# yaml-language-server: $schema=../policy.schema.json\n"

// expressions begins the names of the files about what stands inside when: that is a
// language of its own, of which a schema sees the length.
const expressions = "when-"

const (
	twoRoutes     = "what two routes say together is more than a schema compares"
	anotherKey    = "it depends on what another key says"
	aloneOnly     = "a word that stands alone in its list; beside others it makes no sense, but is a text like them"
	twoSpellings  = "two spellings of one path"
	twiceInAText  = "a pattern cannot find a word that stands twice"
	elsewhereWord = "a path could be written like this, and hardly ever is"
	emptyParts    = "a pattern does not look for dot segments in parts of segments"
	notUTF8       = "what the escapes decode to is no matter of a pattern"
	aWordInside   = "it is about what a text contains"
	kindTwice     = "maxContains counts kinds, but editors that know only draft 7 would read contains as a demand for each"
)

// TestSchemaAgrees: the schema takes each policy that the parser takes, and refuses
// each that it refuses, but for those that no schema can see. A file that is refused as
// a text (no YAML, anchors, a key twice) is none for a schema.
func TestSchemaAgrees(t *testing.T) {
	t.Parallel()
	schema := stricttest.Compile(t, policy.Schema)
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) < 100 {
		t.Fatal(files, err)
	}
	used := map[string]bool{}
	agree := func(name string, tree any, bad bool) {
		reason, listed := unseen[name]
		used[name] = used[name] || bad
		switch err := schema.Validate(tree); {
		case err != nil && !bad:
			t.Errorf("%s: the parser takes it: %v", name, err)
		case err != nil && listed:
			t.Errorf("%s is refused after all, and needs no line in unseen (%s)", name, reason)
		case err == nil && bad && !listed && !strings.HasPrefix(name, expressions):
			t.Errorf("%s is not refused", name)
		}
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		tree, ok := policy.Tree(data)
		name, bad := strings.CutSuffix(filepath.Base(file), ".bad.yaml")
		// yaml-*.yaml are about how the text itself is written.
		if !strings.HasPrefix(name, "yaml-") && !strings.HasPrefix(string(data), modeline) {
			t.Errorf("%s does not begin with %q, which shows its mistakes in an editor", file, modeline)
		}
		if !ok {
			if !bad {
				t.Errorf("%s is not read", file)
			}
			continue
		}
		agree(name, tree, bad)
		if !bad {
			continue
		}
		// A file has many mistakes, of which the schema may see but one: each route alone.
		for i, one := range routesApart(tree) {
			_, err := policy.Parse([]policy.File{{Name: "policy.yaml", Data: asYAML(t, one)}}, badEnv)
			agree(fmt.Sprintf("%s[%d]", name, i), one, err != nil)
		}
	}
	for name := range unseen {
		if !used[name] {
			t.Errorf("%s is no bad policy any more", name)
		}
	}
}

// routesApart makes a policy of each route of one.
func routesApart(tree any) (apart []any) {
	file, _ := tree.(map[string]any)
	routes, _ := file["routes"].([]any)
	for _, route := range routes {
		one := map[string]any{"version": int64(1), "routes": []any{route}}
		if lists, given := file["ip_lists"]; given {
			one["ip_lists"] = lists
		}
		apart = append(apart, one)
	}
	return apart
}

// asYAML writes a tree as JSON, which is YAML.
func asYAML(t testing.TB, tree any) []byte {
	t.Helper()
	data, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestSchemaIsNeverStricter: whatever the parser takes, the schema takes. The policies
// are the good ones with pieces of all others in them.
func TestSchemaIsNeverStricter(t *testing.T) {
	t.Parallel()
	schema := stricttest.Compile(t, policy.Schema)
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var good, pieces []any
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		tree, _ := policy.Tree(data)
		eachPiece(tree, func(piece any) { pieces = append(pieces, piece) })
		if !strings.HasSuffix(file, ".bad.yaml") {
			good = append(good, tree)
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	taken := 0
	for range 6000 {
		tree := good[random.IntN(len(good))]
		for range 1 + random.IntN(2) {
			tree = mutate(random, tree, pieces)
		}
		data := asYAML(t, tree)
		if _, err := policy.Parse([]policy.File{{Name: "policy.yaml", Data: data}}, goodEnv); err != nil {
			continue
		}
		taken++
		if err := schema.Validate(tree); err != nil {
			t.Errorf("%s: %v", data, err)
		}
	}
	if taken < 300 {
		t.Errorf("the parser took %d policies: this tests too little", taken)
	}
}

func eachPiece(tree any, see func(any)) {
	see(tree)
	switch tree := tree.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(tree)) {
			eachPiece(tree[key], see)
		}
	case []any:
		for _, item := range tree {
			eachPiece(item, see)
		}
	}
}

// mutate returns the tree with one piece taken out, or replaced by another one.
func mutate(random *rand.Rand, tree any, pieces []any) any {
	size := 0
	eachPiece(tree, func(any) { size++ })
	at, piece, out := random.IntN(size), pieces[random.IntN(len(pieces))], random.IntN(4) == 0
	var walk func(any) (changed any, keep bool)
	walk = func(tree any) (any, bool) {
		if at--; at == -1 {
			return piece, !out
		}
		switch tree := tree.(type) {
		case map[string]any:
			changed := map[string]any{}
			for _, key := range slices.Sorted(maps.Keys(tree)) {
				if value, keep := walk(tree[key]); keep {
					changed[key] = value
				}
			}
			return changed, true
		case []any:
			changed := []any{}
			for _, item := range tree {
				if value, keep := walk(item); keep {
					changed = append(changed, value)
				}
			}
			return changed, true
		}
		return tree, true
	}
	tree, _ = walk(tree)
	return tree
}

// FuzzSchema: whatever the parser takes, the schema takes.
func FuzzSchema(f *testing.F) {
	schema := stricttest.Compile(f, policy.Schema)
	files, err := filepath.Glob("testdata/*.good.yaml")
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
	f.Add([]byte(`{version: 1, routes: [{id: a, match: "/%41/{_}/**", public: true, principals: ["a://b\uFEFF/*"]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := policy.Parse([]policy.File{{Name: "policy.yaml", Data: data}}, goodEnv); err != nil {
			return
		}
		tree, _ := policy.Tree(data)
		if err := schema.Validate(tree); err != nil {
			t.Error(err)
		}
	})
}
