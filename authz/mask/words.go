package mask

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// builtin has the words that every Masker knows, in normal form.
const builtin = "password passwd passphrase pwd secret secretkey token authorization apikey accesskey privatekey " +
	"creditcard cardnumber cvv ssn cookie setcookie session sessionid jwt otp pin"

// shortWord is the greatest length of words that count only as a whole word of a key. For
// example, "spin" and "shipping" contain "pin".
const shortWord = 3

// A mark is the result at a node of the trie, after reading the end of a key up to it.
type mark uint8

const (
	wordEnds   mark = 1 << iota // a listed word; the key is sensitive
	shortEnds                   // a short listed word; sensitive if it is a whole word
	pluralEnds                  // a listed word with s; sensitive if it is the whole key
	authEnds                    // the word is authorization
	cookieEnds                  // the word is cookie or setcookie
	foreign                     // no word; the walk stopped at a non-ASCII letter
)

// Symbols of bytes that occur in no word.
const (
	noSymbol  = 0xff // ends a key
	separator = 0xfe // not part of the normal form
)

// words is the list of sensitive words, as a trie of their reversed letters. A key is compared
// with all words in one walk from its end, without converting it to its normal form.
type words struct {
	symbols [256]uint8 // symbol of each byte; the same for both cases of a letter
	width   int        // number of symbols
	next    []uint16   // next[node*width+symbol]; 0 for none
	marks   []mark     // mark of each node
}

// builtinWords is never changed.
var builtinWords = newWords(strings.Fields(builtin))

func newWords(list []string) *words {
	w := &words{}
	for i := range w.symbols {
		w.symbols[i] = noSymbol
	}
	for _, c := range "_-. " {
		w.symbols[c] = separator
	}
	for _, word := range list {
		for i := range len(word + "s") {
			c := (word + "s")[i]
			if w.symbols[c] != noSymbol {
				continue
			}
			w.symbols[c] = uint8(w.width) //nolint:gosec // at most 256 bytes less the separators
			if 'a' <= c && c <= 'z' {
				w.symbols[c-'a'+'A'] = w.symbols[c]
			}
			w.width++
		}
	}
	w.grow()
	for _, word := range list {
		var m mark
		if len(word) <= shortWord {
			m = shortEnds
		} else {
			m = wordEnds
		}
		switch word {
		case "authorization":
			m |= authEnds
		case "cookie", "setcookie":
			m |= cookieEnds
		}
		w.add(word, m)
		w.add(word+"s", pluralEnds)
	}
	return w
}

func (w *words) grow() int {
	w.next = append(w.next, make([]uint16, w.width)...)
	w.marks = append(w.marks, 0)
	return len(w.marks) - 1
}

func (w *words) add(word string, m mark) {
	node := 0
	for i := len(word) - 1; i >= 0; i-- {
		at := node*w.width + int(w.symbols[word[i]])
		if w.next[at] == 0 {
			w.next[at] = uint16(w.grow()) //nolint:gosec // NewMasker bounds the number of nodes
		}
		node = int(w.next[at])
	}
	w.marks[node] |= m
}

// A place says where a key may begin.
type place uint8

const (
	wholeKey     place = iota // at the beginning of the text
	beforeColon               // anywhere in prose before a colon, as in "the api key: x"
	beforeEquals              // likewise before =, where a name contains no space, as in "a tokens=x"
)

// find returns the mark of the key t[lo:hi], or 0 if it is not sensitive. In prose, the words
// of a key may be separated by a single space.
func (w *words) find(t []byte, lo, hi int, at place) mark {
	hi = trimKey(t, lo, hi)
	m := w.walk(t, lo, hi, at, false)
	switch {
	case m == 0 && hi > lo && isDigit(t[hi-1]):
		// Forms have keys such as password1. "session 42" in prose is not a key.
		for n := 0; n < 2 && hi > lo && isDigit(t[hi-1]); n++ {
			hi--
		}
		if hi > lo && (isLetter(t[hi-1]) || t[hi-1] == '_') {
			return w.walk(t, lo, hi, at, true) &^ foreign
		}
	case m == foreign:
		start := hi
		for start > lo && hi-start < maxKey && isKeyByte(t[start-1]) {
			start--
		}
		key := []byte(normalKey(string(t[start:hi])))
		m = w.walk(key, 0, len(key), wholeKey, false)
	}
	return m &^ foreign
}

// sensitive is find for a whole key.
func (w *words) sensitive(key []byte) bool { return w.find(key, 0, len(key), wholeKey) != 0 }

// walk is find for a key without a suffix. numbered means that a number was removed: such a key
// is not sensitive for a short word, because names like pin1 are common.
func (w *words) walk(t []byte, lo, hi int, at place, numbered bool) mark {
	node, gap := 0, byte(0)
	var found mark
	for i := hi - 1; i >= lo; i-- {
		s := w.symbols[t[i]]
		if s == separator {
			if at != wholeKey && gap != 0 && (t[i] == ' ' || gap == ' ') {
				break
			}
			gap = t[i]
			continue
		}
		gap = 0
		if s != noSymbol {
			node = int(w.next[node*w.width+int(s)])
		}
		if s == noSymbol || node == 0 {
			if found == 0 && t[i] >= utf8.RuneSelf {
				return foreign
			}
			break
		}
		m := w.marks[node]
		switch {
		case m == 0:
		case m&wordEnds != 0:
			found |= m &^ (shortEnds | pluralEnds)
		case numbered:
		case m&shortEnds != 0 && beginsWord(t, lo, i):
			found |= wordEnds
		case m&pluralEnds != 0 && beginsKey(t, lo, i, at):
			found |= wordEnds
		}
	}
	return found
}

// beginsWord reports whether a word of the key begins at t[i], after a byte that is not a
// letter or at an upper-case letter of camelCase.
func beginsWord(t []byte, lo, i int) bool {
	if i == lo || !isLetter(t[i-1]) {
		return true
	}
	if !isUpper(t[i]) {
		return false
	}
	return !isUpper(t[i-1]) || i+1 < len(t) && isLetter(t[i+1]) && !isUpper(t[i+1])
}

// beginsKey reports whether the key begins at t[i].
func beginsKey(t []byte, lo, i int, at place) bool {
	for i > lo && (t[i-1] == '-' || t[i-1] == '_' || t[i-1] == '.') { // --tokens, _tokens
		i--
	}
	switch {
	case i == lo:
		return true
	case t[i-1] != ' ':
		return !isKeyByte(t[i-1])
	}
	return at == beforeEquals || i-1 == lo || !isKeyByte(t[i-2]) // "used tokens: 5" is a count
}

// trimKey removes brackets and other suffixes from a key, as in user[password], password[] and
// password[0]. It returns the new end.
func trimKey(t []byte, lo, hi int) int {
	if hi > lo && t[hi-1] == ']' {
		hi--
		i := hi
		for i > lo && isDigit(t[i-1]) {
			i--
		}
		if i > lo && t[i-1] == '[' {
			hi = i - 1
			if hi > lo && t[hi-1] == ']' {
				hi--
			}
		}
	}
	for hi > lo && (t[hi-1] == '"' || t[hi-1] == '\'' || isSpace(t[hi-1])) {
		hi--
	}
	return hi
}

// normalKey returns the normal form of a key, which is in lower case and without separators.
func normalKey(key string) string {
	return strings.Map(func(r rune) rune {
		switch r {
		case '_', '-', '.', ' ':
			return -1
		}
		return r
	}, strings.ToLower(foldKey(key)))
}

// foldKey replaces the two non-ASCII characters that fold to ASCII letters, the long s and the
// Kelvin sign. Readers that ignore case, such as encoding/json, take them for s and k.
func foldKey(key string) string {
	if strings.ContainsAny(key, "\u017f\u212a") {
		key = strings.NewReplacer("\u017f", "s", "\u212a", "k").Replace(key)
	}
	return key
}

// configuredWords returns the built-in words with those of keys.
func configuredWords(keys []string) (*words, error) {
	list, total := strings.Fields(builtin), len(builtin)
	for i, key := range keys {
		normal := normalKey(key)
		switch {
		case normal == "":
			return nil, fmt.Errorf("sensitive key %d is %q, which has no letter or digit and would match every key; write one such as customer_number", i+1, key)
		case !utf8.ValidString(key):
			return nil, fmt.Errorf("sensitive key %d is %q, which is not UTF-8; write it as text, such as customer_number", i+1, key)
		}
		for _, r := range normal {
			if r < utf8.RuneSelf && !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789", r) {
				return nil, fmt.Errorf("sensitive key %d is %q, but a key cannot contain %q; use letters, digits, _, - and ., as in customer_number", i+1, key, r)
			}
		}
		if total += len(normal) + 1; total > maxWords {
			return nil, fmt.Errorf("the sensitive keys have more than %d bytes in total; list fewer, since a key matches every name that ends with it", maxWords)
		}
		list = append(list, normal)
	}
	return newWords(list), nil
}

// maxKey is the greatest length in bytes of a non-ASCII key, and of other texts that may be a
// key.
const maxKey = 128

// maxWords is the greatest total length of the words, so that a node fits in a uint16.
const maxWords = 1 << 14
