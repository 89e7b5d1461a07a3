package mask

import (
	"bytes"
	"strings"
)

// harmless reports whether the value at t[v], which follows a sensitive key, shows by itself
// that it is not a secret. The sign c ends before t[j]. In case of doubt it is not harmless.
//
// The evidence is: a message about the key, a number of things, the identifier of an object or
// of a session in a sentence, and a switch for the few keys that also name switches. A value
// in a query or a form, and one of a quoted key, is never one of these, except for switches.
func (s *scanner) harmless(t []byte, from int, k foundKey, c byte, j, v, end int) bool {
	if !s.showsHarmless(t, from, k, c, j, v, end) {
		return false
	}
	s.odd = true // the evidence may be masked, as the value of a key before it
	return true
}

func (s *scanner) showsHarmless(t []byte, from int, k foundKey, c byte, j, v, end int) bool {
	before := byte(0)
	if k.start > from {
		before = t[k.start-1]
	}
	if before == '?' || before == '&' {
		return false
	}
	if k.mark&weakEnds != 0 {
		s.work += maxSwitch
		if hasPrefix(t[max(from, k.start-4):], "--- PASS:") { // of go test
			return true
		}
		if isSwitch(valueWord(t, v, end), k.mark&panEnds != 0) {
			return true
		}
	}
	if k.quote != 0 {
		return false
	}
	spaced := v > j
	switch {
	case k.mark&sessionEnds != 0 && (c == ':' || spaced) && isSessionID(t[v:end], c == ':' && spaced),
		k.mark&countEnds != 0 && isCount(t[v:end]),
		k.mark&(sessionEnds|tokenEnds) != 0 && isObject(t[v:end]):
		s.work += maxID
		return true
	case c != ':' || !spaced:
		return false
	case k.mark&tokenEnds != 0 && isLexical(t[max(from, k.start-len("unexpected ")):k.start], t[v:end]):
		s.work += maxSwitch
		return true
	case hasPrefix(t[v:end], "<set to the key '"), hasPrefix(t[v:end], "Token { kind: "): // kubectl describe, YARN
		return true
	}
	toEnd := k.mark&(authEnds|cookieEnds) != 0 || isQuote(before) || atLineStart(t, from, k.start)
	return s.isMessage(t, v, end, toEnd)
}

const (
	maxSwitch  = 16  // the greatest length of a switch, in bytes
	maxID      = 128 // the greatest length of an identifier
	maxMessage = 160 // the greatest length of a message
)

// valueWord returns the word at t[v], without the quotes around it. A quoted number keeps its
// quotes, because it may be a password of digits.
func valueWord(t []byte, v, end int) []byte {
	quote := byte(0)
	if p := quotePrefix(t, v, end); p < end && isQuote(t[p]) {
		quote, v = t[p], p+1
	}
	p := v
	for p < end && p < v+maxSwitch && (isAlnum(t[p]) || t[p] == '-' || t[p] == '.' && p+1 < end && isDigit(t[p+1])) {
		p++
	}
	switch {
	case quote != 0 && (p == end || t[p] != quote || p > v && !isLetter(t[v])), p < end && quote == 0 && !stops(t, p, end):
		return nil
	}
	return t[v:p]
}

// isSwitch reports whether the value of a key in weakWords is a switch or a small number. The
// number of a payment card has more digits than a coordinate (wide).
func isSwitch(word []byte, wide bool) bool {
	for _, name := range []string{"true", "false", "yes", "no", "on", "off", "enabled", "disabled", "none", "include", "omit", "same-origin", "left", "right"} {
		if isWord(word, name) {
			return true
		}
	}
	digits, point := 0, false
	for i, c := range word {
		switch {
		case isDigit(c):
			digits++
		case c == '.':
			point = true
		case c != '-' || i > 0:
			return false
		}
	}
	return digits > 0 && (digits <= 3 || wide && (digits < 8 || point))
}

// isSessionID reports whether t begins with a number that names a session but does not
// authorize anything: an address such as 0x14ed93111f20027 of ZooKeeper, or a decimal number
// in a sentence (inProse), as in Session: 30546173_4261722401 initialized by client.
func isSessionID(t []byte, inProse bool) bool {
	if len(t) > 2 && t[0] == '0' && t[1]|0x20 == 'x' {
		p := 2
		for p < len(t) && p < 2+17 && hexDigit(t[p]) >= 0 {
			p++
		}
		return p > 2 && p <= 2+16 && (p == len(t) || !isKeyByte(t[p]) || t[p] == '.' && stops(t, p+1, len(t)))
	}
	p, digits := 0, 0
	for p < len(t) && p < maxID && (isDigit(t[p]) || t[p] == '_' && p > 0) {
		if isDigit(t[p]) {
			digits++
		}
		p++
	}
	return inProse && digits > 0 && digits <= 20 && p+1 < len(t) && t[p] == ' ' && isLetter(t[p+1]) && !beginsPair(t[:min(len(t), p+1+maxID)], p+1, min(len(t), p+1+maxID))
}

// isCount reports whether t begins with a number of things, as in tokens: 812 or 1,024/4,096.
func isCount(t []byte) bool {
	p, digits := 0, 0
	for p < len(t) && p < maxSwitch && (isDigit(t[p]) || p > 0 && bytes.IndexByte([]byte(",./"), t[p]) >= 0 && p+1 < len(t) && isDigit(t[p+1])) {
		if isDigit(t[p]) {
			digits++
		}
		p++
	}
	return digits > 0 && digits <= 9 && (p == len(t) || t[p] != '_' && stops(t, p, len(t)))
}

// isObject reports whether t begins with what Java prints for an object that has no text: its
// class and its hash, as in android.os.BinderProxy@2bd79ce and Token{a64f992 ActivityRecord{…
func isObject(t []byte) bool {
	p, class, dots := 0, 0, 0
	for p < len(t) && p < maxID && (isAlnum(t[p]) || t[p] == '.' || t[p] == '$') {
		if t[p] == '.' || t[p] == '$' {
			class = p + 1
			dots++
		}
		p++
	}
	if class >= p || p >= len(t) || !isUpper(t[class]) || t[p] != '@' && t[p] != '{' {
		return false
	}
	open := t[p]
	digits := p + 1
	for p = digits; p < len(t) && p < digits+9 && hexDigit(t[p]) >= 0 && !isUpper(t[p]); p++ {
	}
	switch {
	case p == digits || p == digits+9:
		return false
	case open == '@':
		return dots > 0 && (p == len(t) || stops(t, p, len(t)))
	}
	return p-digits >= 5 && p+1 < len(t) && t[p] == ' ' && (isUpper(t[p+1]) || hasPrefix(t[p+1:], "token="))
}

// isLexical reports whether before ends with "unexpected " and the value is a token of a
// language: signs, or the name of a kind of token.
func isLexical(before, value []byte) bool {
	if !hasFold(before, "unexpected ") {
		return false
	}
	value = value[:min(len(value), maxSwitch)]
	if n := bytes.IndexAny(value, " \t"); n >= 0 {
		value = value[:n]
	}
	name := bytes.Trim(value, "<>(){}[]'\"`.,;:")
	if len(name) < len(value) || len(name) < maxSwitch {
		for _, kind := range []string{"", "eof", "eol", "end", "name", "punc", "operator", "keyword", "string", "number", "identifier"} {
			if isWord(name, kind) {
				return true
			}
		}
	}
	for _, c := range name {
		if isAlnum(c) || c == '*' || c >= 0x80 {
			return false
		}
	}
	return true
}

// A messageWord says where a word may stand in a message about a key.
type messageWord uint8

const (
	within messageWord = iota + 1 // not first
	leads                         // first, with other words after it
	alone                         // also as the only word
)

// messageWords are the words of messages such as "token: unexpected end of input" and
// "password: must be at least 8 characters". It is never changed. Words that are likely in
// passwords must not be added.
var messageWords = func() map[string]messageWord {
	words := map[string]messageWord{}
	for kind, list := range map[messageWord]string{
		alone: `required invalid missing expired revoked denied failed rejected refused unauthorized forbidden unknown unavailable
			unsupported unset malformed mismatch mismatched incorrect absent undefined empty blank closed opened initialized terminated`,
		leads: `not is was are must should cannot can't could has have had may does doesn't isn't too unexpected failure error
			wrong no already contains minimum maximum`,
		within: `a an the of to for from in on by with and or at as be been being it its this that than but only when while after before until
			least most more less longer shorter short long end input output found given set provided present allowed accepted valid
			match equal same different required characters character chars letters letter digits digit bytes byte symbol symbols number numbers
			lowercase uppercase length size format encoding header field value parameter argument request response signature issuer audience
			claim claims algorithm type file line column position string object contain include empty blank use used using changed reset
			parse read verify load user client server seconds minutes hours days ago yet longer again because do does cannot json character
			one two be can`,
	} {
		for word := range strings.FieldsSeq(list) {
			words[word] = max(words[word], kind)
		}
	}
	return words
}()

// isMessage reports whether the text at t[v] is a message and not a value: it begins with a
// word that begins messages, and consists of words of messages. With toEnd, the value extends
// to the end of the line, so that each word must be one. Otherwise only the first word would be
// masked, and it suffices that the first two are, or the only one.
func (s *scanner) isMessage(t []byte, v, end int, toEnd bool) bool {
	if !isLetter(t[v]) {
		return false
	}
	limit := min(end, v+maxMessage)
	n, only := 0, false
	for i := v; ; {
		word := i
		for i < limit && (isLetter(t[i]) || t[i] == '\'' && i+1 < limit && isLetter(t[i+1])) {
			i++
		}
		s.work += i - word
		if i == word && n > 0 { // a number, such as the 8 in "at least 8 characters"
			for i < limit && isDigit(t[i]) {
				i++
			}
			if i == word || i-word > 2 {
				return !toEnd && n > 1
			}
		} else {
			kind := messageKind(t[word:i])
			if kind == 0 || n == 0 && kind == within {
				return !toEnd && n > 1
			}
			only = n == 0 && kind == alone
		}
		n++
		if i == end || t[i] == '\r' {
			return only || n > 1
		}
		if i == limit {
			return !toEnd && n > 1
		}
		switch c := t[i]; {
		case c == ' ':
			i = skipBlanks(t, i, limit)
			if i < end && t[i] == '(' {
				i++
			}
			if i == end {
				return only || n > 1
			}
			if beginsPair(t[:limit], i, limit) { // token: expired user=bob
				return only || n > 1
			}
		case stops(t, i+1, end) && bytes.IndexByte([]byte(".,;:!)\"'"), c) >= 0:
			if !toEnd || c == '"' || c == '\'' {
				return only || n > 1
			}
			for i < limit && bytes.IndexByte([]byte(".,;:!) "), t[i]) >= 0 {
				i++
			}
			if i == end || t[i] == '\r' || isQuote(t[i]) || c != ':' && beginsPair(t[:limit], i, limit) {
				return only || n > 1
			}
		default:
			return !toEnd && n > 1
		}
	}
}

func messageKind(word []byte) messageWord {
	var room [16]byte
	if len(word) > len(room) {
		return 0
	}
	for i, c := range word {
		if isUpper(c) {
			c |= 0x20
		}
		room[i] = c
	}
	return messageWords[string(room[:len(word)])]
}
