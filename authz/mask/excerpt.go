package mask

import (
	"strings"
	"unicode/utf8"
)

// MaxRead is the greatest length in bytes of a client's text in a log. The rest is neither
// masked nor logged.
const MaxRead = 8 << 10

// excerptMark marks the end of a truncated text.
const excerptMark = "…(cut)"

// separators are the bytes after which a text can be truncated without splitting a token:
// no token that is recognized without a key contains one.
const separators = "/?&;,# \t\r\n\"'<>|()[]{}"

// An Excerpt is the beginning of a text that a client sent. It is not masked yet.
type Excerpt struct {
	Text string // at most [MaxRead] bytes
	Cut  bool   // Text is truncated
}

// NewExcerpt truncates a text to [MaxRead] bytes. A truncated text ends at a separator,
// because a part of a token would not be recognized and masked.
func NewExcerpt(s string) Excerpt {
	if len(s) <= MaxRead {
		return Excerpt{Text: s}
	}
	return Excerpt{Text: s[:strings.LastIndexAny(s[:MaxRead], separators)+1], Cut: true}
}

// Clone returns an excerpt that does not keep the whole text in memory.
func (e Excerpt) Clone() Excerpt { return Excerpt{strings.Clone(e.Text), e.Cut} }

// Marked returns the text, with a mark if it is truncated.
func (e Excerpt) Marked() string {
	if e.Cut {
		return e.Text + excerptMark
	}
	return e.Text
}

// Shown returns masked, which is the masked text of e, truncated to at most limit bytes and
// marked if anything is missing.
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

// Without returns the text of e with a secret replaced. In a truncated text, a suffix that is
// a prefix of the secret is replaced too. It takes linear time.
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

// overlap returns the length of the longest suffix of text that is a prefix of prefix, with
// the failure function of Knuth, Morris and Pratt.
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
