package policytest

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// TestDocumentedKeys: testdata/decisions/README.md, which users of warder test read,
// names every key of a file and of its cases.
func TestDocumentedKeys(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../testdata/decisions/README.md")
	if err != nil {
		t.Fatal(err)
	}
	keys := 0
	for _, shape := range []any{File{}, Case{}, Exception{}, User{}, APIKey{}, Session{}, Token{}} {
		for field := range reflect.TypeOf(shape).Fields() {
			key, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			if key == "" || key == "-" {
				continue
			}
			keys++
			if !strings.Contains(string(text), "`"+key+"`") {
				t.Errorf("the README has no %s of a %T", key, shape)
			}
		}
	}
	if keys < 50 {
		t.Errorf("%d keys: this tests too little", keys)
	}
}
