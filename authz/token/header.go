package token

import "strings"

// A header holds the parameters that are read from a JOSE header (RFC 7515 section 4).
type header struct {
	algorithm string // "" if alg is absent
	kid       string
	hasKID    bool
	typ       string
	hasTyp    bool
}

// forbidden are header parameters that change the interpretation of a token or that
// contain or locate a key. None of them is supported, so a token with one is rejected,
// whatever the value.
var forbidden = map[string]struct{}{
	"crit":     {}, // extensions that must be understood
	"b64":      {}, // an unencoded payload (RFC 7797)
	"zip":      {}, // a compressed payload
	"cty":      {}, // a nested token
	"jwk":      {}, // a key chosen by the sender, or a reference to one; likewise those below
	"jku":      {},
	"x5u":      {},
	"x5c":      {},
	"x5t":      {},
	"x5t#s256": {}, // folded, as the names it is compared with
}

// parseHeader reads a token's header. It does not check alg, which checkSignature compares
// with the key's algorithm.
func parseHeader(text []byte) (header, error) {
	members, wrong := parseObject(text)
	if wrong != "" {
		return header{}, reject(ErrMalformed, "header "+wrong)
	}
	for _, m := range members {
		if _, found := forbidden[m.folded]; found {
			return header{}, reject(ErrMalformed, "header with "+m.folded)
		}
	}
	var h header
	for _, parameter := range []struct {
		name    string
		text    *string
		present *bool
	}{
		{"alg", &h.algorithm, new(bool)}, // absent, empty and "none" match no key
		{"kid", &h.kid, &h.hasKID},
		{"typ", &h.typ, &h.hasTyp},
	} {
		if members.shadows(parameter.name) {
			return header{}, reject(ErrMalformed, parameter.name+" in another case")
		}
		value := members.get(parameter.name)
		if value == "" {
			continue
		}
		text, ok := value.text()
		if !ok {
			return header{}, reject(ErrMalformed, parameter.name+" not a string")
		}
		*parameter.text, *parameter.present = text, true
	}
	return h, nil
}

// isAccessToken reports whether typ is that of an access token: absent, JWT (RFC 7519
// section 5.1) or at+jwt (RFC 9068), in any case, with or without the prefix application/
// (RFC 7515 section 4.1.9), or one of the names of a claim such as type, or an accepted use.
// Any other typ (logout+jwt, Refresh, dpop+jwt) declares another use.
func (v *Verifier) isAccessToken(h header) bool {
	if !h.hasTyp {
		return true
	}
	switch strings.TrimPrefix(strings.ToLower(h.typ), "application/") {
	case "jwt", "at+jwt", "bearer", "access", "access_token":
		return true
	}
	return v.uses.accepts(h.typ)
}
