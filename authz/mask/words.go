package mask

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// builtin has the words that every Masker knows, in normal form.
const builtin = "password passwd passphrase pwd secret secretkey token authorization apikey accesskey privatekey " +
	"creditcard cardnumber cvv ssn cookie setcookie session sessionid jwt otp pin " +
	// What follows a password or a token in the names of forms and columns.
	"passwordconfirmation passwordconfirm passwordrepeat passwordagain passwordverification passwordretype passwordnew passwordold passwordcurrent " +
	"passwordhash passworddigest passwordsalt passwordencrypted passwordencoded passwordvalue passwordplain passhash pwhash " +
	"tokenvalue tokenhash tokendigest tokenstring idtokenhint secretkeybase secretkeyfallbacks secretvalue secretstring secretbinary secrethash " +
	// Passwords by other names.
	"pass dbpass userpass smtppass mailpass adminpass rootpass proxypass storepass keypass requirepass masterauth onetimepass " +
	"pw dbpw userpw bindpw rootpw adminpw passcode passkey pincode creds credentials " +
	// Codes of a second factor and of log-ins.
	"otpcode otpattempt totp totpcode mfacode twofactorcode 2facode smscode verificationcode recoverycode backupcode onetimecode " +
	"authcode authorizationcode accesscode resetcode devicecode codeverifier oauthverifier " +
	// Assertions and signatures that stand for a credential.
	"clientassertion samlresponse samlart xamzsignature xgoogsignature oauthsignature sharedaccesssignature " +
	// Cookies and fields of frameworks.
	"csrf xsrf connectsid phpsessid sessid aspxauth koasess sessionkey authorizationheader authheader " +
	// Keys.
	"signingkey sshkey encryptionkey encryptedkey masterkey privkey hmackey accountkey storagekey sharedkey presharedkey psk " +
	"subscriptionkey functionskey licensekey appkey applicationkey authkey deploykey unsealkey clientkeydata tlskey communitystring seedphrase recoveryphrase " +
	// Payment cards and identities.
	"cvc cvv2 cvc2 cvccode cvvcode cardcvc cardcvv securitycode pan cardnum cardno ccnumber ccnum socialsecuritynumber"

// wholeWords has the words of builtin that count only as a whole word of a key although they
// have more than shortWord letters. For example, "bypass" and "compass" contain "pass".
const wholeWords = "pass creds csrf xsrf"

// weakWords has the words of builtin that also name switches, counts and coordinates. A value
// that is only a switch or a small number is kept: pass: 12, csrf=true, pan: -0.5.
const weakWords = "pass creds credentials csrf xsrf pan"

// countWords has the words whose plural also names a number of things, as in tokens: 812.
const countWords = "token cookie session"

// readable has the ends of keys that are not sensitive although a listed word ends them: marks
// of pages, places in streams, and tokens of language models.
const readable = "pagetoken nexttoken continuationtoken continuetoken paginationtoken cursortoken scrolltoken skiptoken synctoken resumetoken " +
	"fencingtoken idempotencytoken cancellationtoken eostoken bostoken padtoken unktoken septoken clstoken masktoken stoptoken"

// queryWords has the keys that are sensitive only in queries and forms, and only as the whole
// key. Elsewhere they name other things: the code of an error, the sig of a process.
const queryWords = "code sig signature hmac assertion auth sid"

// shortWord is the greatest length of words that count only as a whole word of a key. For
// example, "spin" and "shipping" contain "pin".
const shortWord = 3

// A mark is the result at a node of the trie, after reading the end of a key up to it.
type mark uint16

const (
	wordEnds    mark = 1 << iota // a listed word; the key is sensitive
	shortEnds                    // a whole word; sensitive if it is a whole word of the key
	pluralEnds                   // a listed word with s; sensitive if it is the whole key
	authEnds                     // the word is authorization
	cookieEnds                   // the word is cookie or setcookie
	sessionEnds                  // the word is session or sessionid
	tokenEnds                    // the word is token
	weakEnds                     // the word is one of weakWords
	panEnds                      // the word is pan
	countEnds                    // a plural that also names a number of things, such as tokens
	readEnds                     // one of readable; the key is not sensitive
	queryEnds                    // one of queryWords; sensitive in a query if it is the whole key
	keptEnds                     // a key that the configuration keeps, if it is the whole key
	foreign                      // no word; the walk stopped at a non-ASCII letter
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
var builtinWords = newWords(nil, nil)

// newWords returns the built-in words with more sensitive words, without the keys in kept. All
// must be in normal form.
func newWords(more, kept []string) *words {
	w := &words{}
	for i := range w.symbols {
		w.symbols[i] = noSymbol
	}
	for _, c := range "_-. " {
		w.symbols[c] = separator
	}
	known := strings.Fields(builtin)
	list := append(known, more...)
	for _, word := range slices.Concat(list, kept, strings.Fields(readable), strings.Fields(queryWords), []string{"s"}) {
		for i := range len(word) {
			c := word[i]
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
	whole, weak, counted := strings.Fields(wholeWords), strings.Fields(weakWords), strings.Fields(countWords)
	for i, word := range list {
		m := wordEnds
		if len(word) <= shortWord || i < len(known) && slices.Contains(whole, word) {
			m = shortEnds
		}
		switch word {
		case "authorization":
			m |= authEnds
		case "cookie", "setcookie":
			m |= cookieEnds
		case "session", "sessionid":
			m |= sessionEnds
		case "token":
			m |= tokenEnds
		case "pan":
			m |= panEnds
		}
		if i < len(known) && slices.Contains(weak, word) {
			m |= weakEnds
		}
		w.add(word, m)
		w.add(word+"s", pluralEnds)
		if i < len(known) && slices.Contains(counted, word) {
			w.add(word+"s", countEnds)
		}
	}
	for _, word := range more { // listed by the operator: sensitive whatever the value
		w.clear(word, weakEnds|panEnds)
	}
	for word := range strings.FieldsSeq(readable) {
		if !slices.Contains(more, word) {
			w.add(word, readEnds)
		}
	}
	for word := range strings.FieldsSeq(queryWords) {
		w.add(word, queryEnds)
	}
	for _, word := range kept {
		w.add(word, keptEnds)
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

// clear removes marks of a word.
func (w *words) clear(word string, m mark) {
	node := 0
	for i := len(word) - 1; i >= 0; i-- {
		node = int(w.next[node*w.width+int(w.symbols[word[i]])])
	}
	w.marks[node] &^= m
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
	if m := w.lookUp(t, lo, hi, at); m&wordEnds != 0 {
		return m
	}
	return 0
}

// inQuery reports whether the key t[lo:hi], whose value is in a query or a form, is sensitive
// for that reason.
func (w *words) inQuery(t []byte, lo, hi int) bool {
	return w.lookUp(t, lo, hi, wholeKey)&queryEnds != 0
}

// lookUp is find for all marks. Of wordEnds, queryEnds and keptEnds, at most one is in the
// result.
func (w *words) lookUp(t []byte, lo, hi int, at place) mark {
	hi = trimKey(t, lo, hi)
	m := w.walk(t, lo, hi, at, false)
	switch {
	case m == 0 && hi > lo && isDigit(t[hi-1]):
		// Forms have keys such as password1. "session 42" in prose is not a key.
		for n := 0; n < 2 && hi > lo && isDigit(t[hi-1]); n++ {
			hi--
		}
		if hi > lo && (isLetter(t[hi-1]) || t[hi-1] == '_') {
			m = w.walk(t, lo, hi, at, true) &^ (queryEnds | keptEnds)
		}
	case m&foreign != 0:
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

// walk is lookUp for a key without a suffix. numbered means that a number was removed: such a
// key is not sensitive for a short word, because names like pin1 are common.
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
		if m == 0 {
			continue
		}
		if m&keptEnds != 0 && beginsKept(t, lo, i, hi, at) {
			return keptEnds
		}
		if m&queryEnds != 0 && beginsKey(t, lo, i, at) {
			found |= queryEnds
		}
		switch {
		case m&readEnds != 0:
			found = 0
		case m&wordEnds != 0:
			found |= m &^ (shortEnds | pluralEnds | countEnds | queryEnds)
		case numbered:
		case m&shortEnds != 0 && beginsWord(t, lo, i):
			found |= wordEnds | m&(weakEnds|panEnds)
		case m&pluralEnds != 0 && beginsKey(t, lo, i, at):
			found |= wordEnds | m&countEnds
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

// beginsKept reports whether the key t[i:hi], which the configuration keeps, is a whole key. Of
// several words with spaces between them, a word before could belong to the key too.
func beginsKept(t []byte, lo, i, hi int, at place) bool {
	if at == wholeKey || bytes.IndexByte(t[i:hi], ' ') >= 0 {
		return beginsKey(t, lo, i, at)
	}
	for i > lo && (t[i-1] == '-' || t[i-1] == '_' || t[i-1] == '.') {
		i--
	}
	return i == lo || !isKeyByte(t[i-1])
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

// configuredWords returns the built-in words with those of more, without those of kept.
func configuredWords(more, kept []string) (*words, error) {
	total := 0
	normal := func(kind string, keys []string) (list []string, err error) {
		for i, key := range keys {
			word := normalKey(key)
			switch {
			case word == "":
				return nil, fmt.Errorf("%s %d is %q, which has no letter or digit and would match every key; write one such as customer_number", kind, i+1, key)
			case !utf8.ValidString(key):
				return nil, fmt.Errorf("%s %d is %q, which is not UTF-8; write it as text, such as customer_number", kind, i+1, key)
			}
			for _, r := range word {
				if r < utf8.RuneSelf && !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789", r) {
					return nil, fmt.Errorf("%s %d is %q, but a key cannot contain %q; use letters, digits, _, - and ., as in customer_number", kind, i+1, key, r)
				}
			}
			if total += len(word) + 1; total > maxWords {
				return nil, fmt.Errorf("the %ss have more than %d bytes in total; list fewer, since a key matches every name that ends with it", kind, maxWords)
			}
			list = append(list, word)
		}
		return list, nil
	}
	added, err := normal("sensitive key", more)
	if err != nil {
		return nil, err
	}
	without, err := normal("kept key", kept)
	if err != nil {
		return nil, err
	}
	for i, word := range without {
		if never := neverKept(word); never != "" {
			return nil, fmt.Errorf("kept key %d is %q, but the values of %s are always masked; rename the key, or leave it out", i+1, kept[i], never)
		}
		if n := slices.Index(added, word); n >= 0 {
			return nil, fmt.Errorf("kept key %d is %q, which is also sensitive key %d; list it once", i+1, kept[i], n+1)
		}
	}
	return newWords(added, without), nil
}

// neverKept returns the word that prevents a key in normal form from being kept, or "". It is
// the end of the key, as for sensitive keys.
func neverKept(normal string) string {
	for _, word := range []string{"password", "authorization", "cookie", "secret"} {
		if strings.HasSuffix(strings.TrimSuffix(normal, "s"), word) {
			return word
		}
	}
	return ""
}

// maxKey is the greatest length in bytes of a non-ASCII key, and of other texts that may be a
// key.
const maxKey = 128

// maxWords is the greatest total length of the words of the configuration, so that a node fits
// in a uint16.
const maxWords = 1 << 14
