package redis_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// documentedRights are the rights in Redis that README lists: those of strict first, then
// those that tracked needs in addition. [TestCheckTracking] tries each.
func documentedRights(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var rights []string
	for _, block := range regexp.MustCompile("(?s)```text\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		if strings.Contains(block[1], "SETUSER operator") {
			continue // of the commands, not of the service
		}
		for word := range strings.FieldsSeq(block[1]) {
			if strings.HasPrefix(word, "+") || strings.HasPrefix(word, "&") {
				rights = append(rights, word)
			}
		}
	}
	if len(rights) != 9 || rights[0] != "+exists" || rights[1] != "+role" || !slices.Contains(rights, "+pttl") {
		t.Fatalf("README lists the rights %q", rights)
	}
	return rights
}
