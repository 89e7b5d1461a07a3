package mask

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// builtin are the words that every Masker knows, in their normal form.
const builtin = "password passwd passphrase pwd secret secretkey token authorization apikey accesskey privatekey " +
	"creditcard cardnumber cvv ssn cookie setcookie session sessionid jwt otp pin"

// shortWord is the length up to which a word counts only as a whole word of a
// key: "pin" is in "spin" and in "shipping".
const shortWord = 3

// A mark says what is known when a key has been read backwards up to a node.
type mark uint8

const (
	wordEnds   mark = 1 << iota // a listed word: the key is sensitive
	shortEnds                   // a short listed word: only at the beginning of a word
	pluralEnds                  // a listed word and an s: only at the beginning of the key
	authEnds                    // the word is authorization
	cookieEnds                  // the word is cookie
	foreign                     // no word: a letter beyond ASCII stopped the walk
)

// Symbols of bytes that are in no word.
const (
	noSymbol  = 0xff // ends a key
	separator = 0xfe // the normal form leaves it out
)

// words is the list of sensitive words, as a tree of their letters from the last
// to the first: a key is compared with all of them in one walk from its end,
// without making its normal form.
type words struct {
	symbols [256]uint8 // of each byte, in both cases; noSymbol, separator
	width   int        // number of symbols
	next    []uint16   // next[node*width+symbol], 0 for none
	marks   []mark     // of each node
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

// A place is what is known of where a key begins.
type place uint8

const (
	wholeKey     place = iota // at the beginning of the bytes
	beforeColon               // anywhere in the prose before a colon: "the api key: x"
	beforeEquals              // the same, but a name before = holds no space: "a tokens=x"
)

// find reports what the key t[lo:hi] ends with; 0 is nothing sensitive. In prose
// the words of a key may be one space apart, no more.
func (w *words) find(t []byte, lo, hi int, at place) mark {
	hi = trimKey(t, lo, hi)
	m := w.walk(t, lo, hi, at, false)
	switch {
	case m == 0 && hi > lo && isDigit(t[hi-1]):
		// A form has password1 and password2. "session 42" in prose is no key.
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

// walk is find for a key without what may stand behind its name. A numbered one
// is no short word: pin1 is one of many.
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

// beginsWord reports whether a word of the key begins at t[i]: behind anything
// that is not a letter, or at a hump of camelCase.
func beginsWord(t []byte, lo, i int) bool {
	if i == lo || !isLetter(t[i-1]) {
		return true
	}
	if !isUpper(t[i]) {
		return false
	}
	return !isUpper(t[i-1]) || i+1 < len(t) && isLetter(t[i+1]) && !isUpper(t[i+1])
}

// beginsKey reports whether nothing of the key stands before t[i].
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
	return at == beforeEquals || i-1 == lo || !isKeyByte(t[i-2]) // "used tokens: 5" are counted
}

// trimKey leaves out what may stand behind the name of a key: user[password],
// password[], password[0].
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

// normalKey returns the normal form of a key: lower case, without separators.
func normalKey(key string) string {
	return strings.Map(func(r rune) rune {
		switch r {
		case '_', '-', '.', ' ':
			return -1
		}
		return r
	}, strings.ToLower(foldKey(key)))
}

// foldKey replaces the two characters beyond ASCII that are letters of it to a
// reader who ignores case, such as encoding/json: the long s and the kelvin sign.
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
			return nil, fmt.Errorf("sensitive key %d is %q, which names nothing; it would hide every value. A key has a letter or digit, such as customer_number", i+1, key)
		case !utf8.ValidString(key):
			return nil, fmt.Errorf("sensitive key %d is %q, which is not UTF-8; write it as text, such as customer_number", i+1, key)
		}
		for _, r := range normal {
			if r < utf8.RuneSelf && !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789", r) {
				return nil, fmt.Errorf("sensitive key %d is %q, but %q is never part of a key; letters, digits, _, - and . are, such as customer_number", i+1, key, r)
			}
		}
		if total += len(normal) + 1; total > maxWords {
			return nil, fmt.Errorf("the sensitive keys are more than %d bytes together; a key matches all names that end with it, so that fewer will do", maxWords)
		}
		list = append(list, normal)
	}
	return newWords(list), nil
}

// maxKey bounds the length of a key beyond ASCII.
const maxKey = 128

// maxWords bounds all words together: a node of the tree is a uint16.
const maxWords = 1 << 14
