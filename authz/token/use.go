package token

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// RefusedUses returns the built-in uses that a token must not declare. Each is one word or
// several, in lower case, separated by spaces.
//
// A value names a use if the words of the use occur in it one after the other: refresh is in
// Refresh, refresh_token, userRefresh and urn:ietf:params:oauth:token-type:refresh_token. A use
// that is in wholeUses has to be all of the value.
func RefusedUses() []string {
	return []string{
		// Tokens that are exchanged for others, and those of OAuth and OpenID Connect.
		"refresh", "rt", "offline", "id", "identity", "logout", "code", "authorization code", "auth code", "device code",
		"request object", "authz req", "client assertion", "client authentication", "introspection", "secevent", "dpop",
		// Tokens that confirm something once, mostly by e-mail.
		"reset", "forgot", "forgotten", "recovery", "recover", "verify", "verification", "confirm", "confirmation",
		"activate", "activation", "register", "registration", "signup", "sign up", "invite", "invitation",
		"magic", "magic link", "passwordless", "one time", "onetime", "change email", "email change",
		"change password", "password change", "unsubscribe", "opt in", "optin", "unlock",
		// Half of a log-in.
		"mfa", "2fa", "otp", "totp", "two factor", "twofactor", "second factor", "challenge", "pre auth", "preauth", "csrf", "xsrf",
	}
}

// wholeUses are words that are common in values that name no kind of token, such as
// national_id and postal_code. They count only if the value has no other word.
var wholeUses = map[string]struct{}{
	"rt": {}, "offline": {}, "id": {}, "identity": {}, "code": {}, "magic": {}, "challenge": {}, "recover": {}, "unlock": {},
}

// flagless are uses that, as the name of a boolean claim, say something about the user or the
// log-in of an access token: "mfa": true.
var flagless = map[string]struct{}{
	"rt": {}, "id": {}, "identity": {}, "code": {}, "magic": {}, "challenge": {}, "passwordless": {}, "opt in": {}, "optin": {}, "dpop": {},
	"mfa": {}, "2fa": {}, "otp": {}, "totp": {}, "two factor": {}, "twofactor": {}, "second factor": {},
}

// noise are words that do not say which kind of token it is.
var noise = map[string]struct{}{
	"token": {}, "tokens": {}, "jwt": {}, "application": {}, "urn": {}, "ietf": {}, "params": {}, "oauth": {}, "type": {}, "is": {},
}

// subjects are what a token that confirms something may be about, as in password_reset.
var subjects = []string{"password", "passwd", "pwd", "email", "mail", "account", "user", "phone", "sms", "link"}

// uses are the refused uses of a Verifier.
type uses struct {
	refused  map[string][][]string // the words of each use, by the first one
	accepted map[string]struct{}   // words, joined by spaces
}

// newUses returns the built-in uses and more, and those that are accepted.
func newUses(more, accepted []string) uses {
	u := uses{refused: map[string][][]string{}, accepted: map[string]struct{}{}}
	for _, text := range accepted {
		u.accepted[strings.Join(meaning(text), " ")] = struct{}{}
	}
	for _, text := range slices.Concat(RefusedUses(), more) {
		words := meaning(text) // never empty: see Config
		u.refused[words[0]] = append(u.refused[words[0]], words)
	}
	return u
}

// accepts reports whether a value names an accepted use.
func (u uses) accepts(value string) bool {
	_, accepts := u.accepted[strings.Join(meaning(value), " ")]
	return accepts
}

// refuses reports whether a value names a refused use.
func (u uses) refuses(value string) bool {
	words := meaning(value)
	if _, accepts := u.accepted[strings.Join(words, " ")]; accepts {
		return false
	}
	for i, first := range words {
		for _, refused := range u.refused[first] {
			if _, whole := wholeUses[first]; whole && len(refused) == 1 && len(words) > 1 {
				continue
			}
			if len(words)-i >= len(refused) && slices.Equal(words[i:i+len(refused)], refused) {
				return true
			}
		}
	}
	return false
}

// refusesFlag reports whether the name of a boolean claim is a refused use: refresh,
// is_refresh, isRefreshToken, password_reset. A name with other words, such as reset_required,
// is none.
func (u uses) refusesFlag(name string) bool {
	name = name[strings.LastIndexAny(name, namePrefixEnds)+1:]
	words := slices.DeleteFunc(meaning(name), func(word string) bool { return slices.Contains(subjects, word) })
	if len(words) == 0 || u.accepts(name) {
		return false
	}
	if _, is := flagless[strings.Join(words, " ")]; is && !strings.Contains(fold(name), "token") {
		return false
	}
	return slices.ContainsFunc(u.refused[words[0]], func(refused []string) bool { return slices.Equal(refused, words) })
}

// isMediaType reports whether a value is the media type of another kind of JWT than access
// tokens (RFC 8725 section 3.11), such as logout+jwt.
func isMediaType(value string) bool {
	name, ok := strings.CutSuffix(strings.TrimPrefix(strings.ToLower(value), "application/"), "+jwt")
	return ok && name != "at"
}

// meaning returns the words of a value in lower case, without noise. Words end at a character
// that is not a letter or a digit, and before the upper-case letter that begins the next one:
// refreshToken, refresh-token and IDToken have two words. What is written together is taken
// apart as far as it is known: refreshtoken, passwordreset.
func meaning(value string) []string {
	var words []string
	begin, before := -1, rune(0)
	take := func(end int) {
		if begin >= 0 {
			words = appendWord(words, fold(value[begin:end]))
		}
		begin = -1
	}
	for i, r := range value {
		switch {
		case !unicode.IsLetter(r) && !unicode.IsDigit(r):
			take(i)
		case unicode.IsUpper(r) && (unicode.IsLower(before) || beginsLower(value[i+utf8.RuneLen(r):])):
			take(i)
			begin = i
		case begin < 0:
			begin = i
		}
		before = r
	}
	take(len(value))
	return words
}

func beginsLower(s string) bool {
	r, _ := utf8.DecodeRuneInString(s)
	return unicode.IsLower(r)
}

// appendWord appends a word that is not noise. Of a word such as refreshtoken or passwordreset
// it appends the parts.
func appendWord(words []string, word string) []string {
	if _, is := noise[word]; is {
		return words
	}
	for _, end := range []string{"token", "jwt"} {
		if rest := strings.TrimSuffix(strings.TrimPrefix(word, end), end); rest != "" {
			word = rest
		}
	}
	for _, subject := range subjects {
		if rest, ok := strings.CutPrefix(word, subject); ok && len(rest) > 3 && rest != "less" {
			return append(words, subject, rest)
		}
		if rest, ok := strings.CutSuffix(word, subject); ok && len(rest) > 3 {
			return append(words, rest, subject)
		}
	}
	return append(words, word)
}

// A useClaim is what a claim with a certain name says about the use of a token.
type useClaim uint8

const (
	noUse useClaim = iota
	// strictUse claims must be strings. They are the claims that most libraries use.
	strictUse
	// openUse claims may also be lists. What is neither a string nor in a list is not looked at.
	openUse
	// scopeUse claims hold scopes, in a string or a list.
	scopeUse
)

// useClaims are the claims that say what a token is for, by the normal form of their names:
// in lower case, without separators, without a prefix such as https://example.com/.
var useClaims = map[string]useClaim{
	"type": strictUse, "tokentype": strictUse, "tokenuse": strictUse,
	"typ": openUse, "tokentyp": openUse, "use": openUse, "usage": openUse, "tokenusage": openUse,
	"purpose": openUse, "tokenpurpose": openUse, "kind": openUse, "tokenkind": openUse, "jwttype": openUse, "jwtuse": openUse,
	"scope": scopeUse, "scopes": scopeUse, "scp": scopeUse,
}

// maxUseName is the greatest length of a name in useClaims.
const maxUseName = len("tokenpurpose")

// namePrefixEnds are the characters that end the prefix of a claim's name (RFC 7519 section 4.2).
const namePrefixEnds = "/:#"

// useClaimOf returns what a claim with a folded name says.
func useClaimOf(folded string) useClaim {
	folded = folded[strings.LastIndexAny(folded, namePrefixEnds)+1:]
	var normal [maxUseName]byte
	n := 0
	for i := range len(folded) {
		c := folded[i]
		switch {
		case c == '_' || c == '-' || c == '.' || c == ' ':
			continue
		case n == len(normal):
			return noUse
		}
		normal[n] = c
		n++
	}
	return useClaims[string(normal[:n])]
}

// declaresOther returns how a token says that it is not an access token. ok is false if it
// does not say so.
func (u uses) declaresOther(claims object) (_ Detail, ok bool) {
	for i := range claims {
		c := &claims[i]
		switch kind := useClaimOf(c.folded); kind {
		case noUse:
			if isTrue(c.value) && u.refusesFlag(c.name) {
				return about(nameOf(c), "true"), true
			}
		case scopeUse:
			if scope := u.onlyScope(c.value); scope != "" {
				return about(nameOf(c), scope), true
			}
		case strictUse, openUse:
			items, isText := textsOf(c.value)
			if kind == strictUse && !isText {
				return NewDetail(nameOf(c) + " not a string"), true
			}
			for _, item := range items {
				if u.refuses(item) || isMediaType(item) && !u.accepts(item) {
					return about(nameOf(c), item), true
				}
			}
		}
	}
	return u.isOther(claims)
}

// isOther recognizes ID tokens and logout tokens by claims that only they have (OpenID Connect
// Core section 3.3.2.11, Back-Channel Logout section 2.4).
func (u uses) isOther(claims object) (_ Detail, ok bool) {
	for _, name := range []string{"at_hash", "c_hash"} {
		if claims.get(name) != "" && !u.accepts("id") {
			return NewDetail(name + " of an ID token"), true
		}
	}
	if strings.Contains(string(claims.get("events")), "event/backchannel-logout") && !u.accepts("logout") {
		return NewDetail("events of a logout token"), true
	}
	return Detail{}, false
}

// onlyScope returns a scope that names a refused use, if every scope of the list does. An
// access token may have a scope such as invite:read or reset among others. offline_access does
// not count: it says that there is a refresh token beside this one (OpenID Connect Core section
// 11).
func (u uses) onlyScope(v value) string {
	items, _ := textsOf(v)
	found := ""
	for _, item := range items {
		switch words := meaning(item); {
		case len(words) == 0, words[0] == "offline":
			continue
		case strings.ContainsAny(item, ":./") || !u.refuses(item):
			return ""
		}
		found = item
	}
	return found
}

// textsOf returns the words of a string, or of the strings in a list, between white space and
// commas. isText is false for a value that is not a string.
func textsOf(v value) (texts []string, isText bool) {
	separates := func(r rune) bool { return r == ',' || unicode.IsSpace(r) }
	if text, ok := v.text(); ok {
		return strings.FieldsFunc(text, separates), true
	}
	elements, _ := v.array()
	for _, element := range elements {
		if text, ok := element.text(); ok {
			texts = append(texts, strings.FieldsFunc(text, separates)...)
		}
	}
	return texts, false
}

// isTrue reports whether a value is true or "true". 1 is not: it is also the value of an id.
func isTrue(v value) bool {
	text, ok := v.text()
	return v == "true" || ok && strings.EqualFold(text, "true")
}

// nameOf returns the name of a claim as it is logged.
func nameOf(m *member) string { return about("", m.name).value }
