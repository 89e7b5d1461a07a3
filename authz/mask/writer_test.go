package mask_test

import (
	"io"
	"strings"
	"testing"

	"warder/authz/mask"
)

type newWriter func(io.Writer, *mask.Masker) *mask.Writer

// throughWriter returns what becomes of a text that is written in pieces of n bytes.
func throughWriter(t *testing.T, create newWriter, m *mask.Masker, text string, n int) string {
	t.Helper()
	var out strings.Builder
	w := create(&out, m)
	for rest := text; rest != ""; {
		piece := rest[:min(n, len(rest))]
		if wrote, err := w.Write([]byte(piece)); wrote != len(piece) || err != nil {
			t.Fatalf("Write of %d bytes: %d, %v", len(piece), wrote, err)
		}
		rest = rest[len(piece):]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}
