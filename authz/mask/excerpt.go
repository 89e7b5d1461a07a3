package mask

import (
	"strings"
	"unicode/utf8"
)

// MaxRead is how many bytes of a client's text are masked for a log. What follows is
// neither masked nor logged.
const MaxRead = 8 << 10

// excerptMark is written where a text was cut.
const excerptMark = "…(cut)"

// separators are the bytes behind which a cut leaves no half of a token: no shape that
// is masked without a key holds one.
const separators = "/?&;,# \t\r\n\"'<>|()[]{}"

// An Excerpt is the beginning of a text that a client sent, before it is masked.
type Excerpt struct {
	Text string // at most [MaxRead] bytes
	Cut  bool   // the client's text goes on
}

// NewExcerpt cuts a text to [MaxRead]. A text that is cut ends at a separator: half
// of a token would not be recognized, and so not be masked.
func NewExcerpt(s string) Excerpt {
	if len(s) <= MaxRead {
		return Excerpt{Text: s}
	}
	return Excerpt{Text: s[:strings.LastIndexAny(s[:MaxRead], separators)+1], Cut: true}
}

// Clone returns an excerpt that does not keep the whole text in memory.
func (e Excerpt) Clone() Excerpt { return Excerpt{strings.Clone(e.Text), e.Cut} }

// Marked returns the text, with a mark when it is cut.
func (e Excerpt) Marked() string {
	if e.Cut {
		return e.Text + excerptMark
	}
	return e.Text
}

// Shown returns the masked text of e, cut to at most limit bytes and marked when
// anything is missing.
func (e Excerpt) Shown(masked string, limit int) string {
	if len(masked) > limit {
		cut := limit
		for cut > limit-utf8.UTFMax && !utf8.RuneStart(masked[cut]) {
			cut--
		}
		return masked[:cut] + excerptMark
	}
	return Excerpt{masked, e.Cut}.Marked()
}

// Without replaces a secret in the text of e. Of a text that was cut, an end that
// is the beginning of the secret is replaced too. The work is linear.
func (e Excerpt) Without(secret string) string {
	text := strings.ReplaceAll(e.Text, secret, Replacement)
	if !e.Cut {
		return text
	}
	if n := overlap(text, secret); n > 0 {
		text = text[:len(text)-n] + Replacement
	}
	return text
}

// overlap returns the length of the longest end of text that is a beginning of
// prefix, by the failure function of Knuth, Morris and Pratt.
func overlap(text, prefix string) int {
	prefix = prefix[:min(len(prefix), len(text))]
	fail := make([]int, len(prefix)+1)
	step := func(n int, c byte) int {
		for n > 0 && (n == len(prefix) || prefix[n] != c) {
			n = fail[n]
		}
		if n < len(prefix) && prefix[n] == c {
			n++
		}
		return n
	}
	for i := 1; i < len(prefix); i++ {
		fail[i+1] = step(fail[i], prefix[i])
	}
	n := 0
	for i := range len(text) {
		n = step(n, text[i])
	}
	return n
}
