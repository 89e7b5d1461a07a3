package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"index/suffixarray"
	"net/url"
	"slices"
	"sync"
	"testing"
)

// leaks collects all output of a run (log lines, responses, answers of the admin listener)
// and all secrets that the output must not contain.
type leaks struct {
	mu      sync.Mutex
	secrets map[string]string // secret -> what it is
	output  map[string]*bytes.Buffer
	keep    int // if not 0, the number of bytes that are kept of the end of each output, or a little more
}

func newLeaks() *leaks {
	return &leaks{secrets: map[string]string{}, output: map[string]*bytes.Buffer{}}
}

// secret records a text that must not appear in the output, in any spelling.
func (l *leaks) secret(what, text string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(text) >= minSecret {
		l.secrets[text] = what
	}
	return text
}

// minSecret is the minimum length of a secret that is searched for. Shorter texts could occur in a
// log by chance.
const minSecret = 8

// sink returns a writer that collects the output at one place.
func (l *leaks) sink(where string) *sink { return &sink{l, where} }

type sink struct {
	leaks *leaks
	where string
}

func (s *sink) Write(p []byte) (int, error) {
	s.leaks.mu.Lock()
	defer s.leaks.mu.Unlock()
	b := s.leaks.output[s.where]
	if b == nil {
		b = new(bytes.Buffer)
		s.leaks.output[s.where] = b
	}
	if keep := s.leaks.keep; keep > 0 && b.Len() > 2*keep {
		b.Next(b.Len() - keep)
	}
	return b.Write(p)
}

// text returns the output at one place so far.
func (l *leaks) text(where string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if b := l.output[where]; b != nil {
		return b.String()
	}
	return ""
}

// scan fails the test for each secret that occurs in the output, in any spelling.
func (l *leaks) scan(t *testing.T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.secrets) == 0 || len(l.output) == 0 {
		t.Fatalf("nothing to scan: %d secrets, %d places", len(l.secrets), len(l.output))
	}
	size := 0
	for where, out := range l.output {
		size += out.Len()
		index := suffixarray.New(out.Bytes()) // there are thousands of texts to search for
		for secret, what := range l.secrets {
			for spelling, text := range spellings(secret) {
				if found := index.Lookup([]byte(text), 1); len(found) > 0 {
					i := found[0]
					line := out.Bytes()[max(0, i-200):min(out.Len(), i+len(text)+80)]
					t.Errorf("%s: %s came out %s: …%s…", where, what, spelling, line)
				}
			}
		}
	}
	t.Logf("%d secrets are in none of %d bytes from %d places", len(l.secrets), size, len(l.output))
}

// spellings returns the encodings of a secret that also must not appear.
func spellings(secret string) map[string]string {
	reversed := []byte(secret)
	slices.Reverse(reversed)
	quoted, _ := json.Marshal(secret) // encoding a string does not fail
	return map[string]string{
		"as it is":     secret,
		"in base64":    base64.RawStdEncoding.EncodeToString([]byte(secret)),
		"in base64url": base64.RawURLEncoding.EncodeToString([]byte(secret)),
		"in hex":       hex.EncodeToString([]byte(secret)),
		"URL-encoded":  url.QueryEscape(secret),
		"JSON-escaped": string(quoted[1 : len(quoted)-1]),
		"reversed":     string(reversed),
	}
}

// TestLeaksAreFound checks that the scan finds secrets.
func TestLeaksAreFound(t *testing.T) {
	const secret = "wk_live_c4n4ry/+?"
	for spelling, text := range spellings(secret) {
		found := false
		for _, other := range spellings(secret) {
			found = found || bytes.Contains([]byte(`{"path":"/x`+text+`"}`), []byte(other))
		}
		if !found {
			t.Errorf("a secret %s would not be found", spelling)
		}
	}
}
