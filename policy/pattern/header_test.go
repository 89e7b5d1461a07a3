package pattern_test

import (
	"strings"
	"testing"

	"warder/policy/pattern"
)

// TestFoldHeader: every byte that is neither a letter nor a digit is a separator.
func TestFoldHeader(t *testing.T) {
	t.Parallel()
	for c := range 256 {
		b := string([]byte{byte(c)})
		want := "-"
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
			want = b
		case c >= 'A' && c <= 'Z':
			want = string([]byte{byte(c) + 'a' - 'A'})
		}
		for _, around := range [][2]string{{"", ""}, {"x", ""}, {"", "User"}, {"X_Warder", "user"}} {
			name := around[0] + b + around[1]
			wanted := strings.ReplaceAll(strings.ToLower(around[0]), "_", "-") + want + strings.ToLower(around[1])
			if got := pattern.FoldHeader(name); got != wanted {
				t.Errorf("%q folds to %q, want %q", name, got, wanted)
			}
			if !pattern.FoldsTo(name, wanted) || pattern.FoldsTo(name, wanted+"-") || pattern.FoldsTo(name, "a"+wanted[1:]) != (wanted[0] == 'a') {
				t.Errorf("FoldsTo does not agree about %q", name)
			}
			if once := pattern.FoldHeader(name); pattern.FoldHeader(once) != once {
				t.Errorf("%q: folding twice is not folding once", name)
			}
		}
	}
}
