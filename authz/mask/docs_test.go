package mask_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"warder/authz/mask"
)

// TestDocumentedKeys: the keys that README lists are masked, and those that it calls kept
// are kept.
func TestDocumentedKeys(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	m, err := mask.NewMasker()
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(text), "```text\n")
	list, _, _ = strings.Cut(list, "```")
	masked, kept := strings.Fields(list), []string(nil)
	code := regexp.MustCompile("`([A-Za-z_-]+)`")
	for _, row := range regexp.MustCompile(`(?m)^\| [a-z ]+ key [^|]*\|(.+)\|(.+)\||^\| words of [^|]*\|(.+)\|(.+)\|`).FindAllStringSubmatch(string(text), -1) {
		for _, word := range code.FindAllStringSubmatch(row[1]+row[3], -1) {
			masked = append(masked, word[1])
		}
		for _, word := range code.FindAllStringSubmatch(row[2]+row[4], -1) {
			kept = append(kept, word[1])
		}
	}
	if len(masked) < 26 || len(kept) < 3 {
		t.Fatalf("README lists %v as masked and %v as kept: this tests too little", masked, kept)
	}
	for _, key := range masked {
		if got := m.String(key + "=plain"); got != key+"="+mask.Replacement {
			t.Errorf("README lists %s, and this is not masked: %s", key, got)
		}
	}
	for _, key := range kept {
		if got := m.String(key + "=plain"); got != key+"=plain" {
			t.Errorf("README says that %s is kept, and it becomes %s", key, got)
		}
	}
}
