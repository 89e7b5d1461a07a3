package token

import "strings"

// A header is what is read of a JOSE header (RFC 7515 section 4).
type header struct {
	algorithm string // "" when it names none
	kid       string
	hasKID    bool
	typ       string
	hasTyp    bool
}

// forbidden are header parameters that change how a token is to be read, or
// bring the key along. Whoever sends one wants what we do not do, so the token
// is refused, whatever the value.
var forbidden = map[string]struct{}{
	"crit":     {}, // extensions that must be understood: we understand none
	"b64":      {}, // RFC 7797, an unencoded payload
	"zip":      {}, // a compressed payload
	"cty":      {}, // a nested token
	"jwk":      {}, // keys, or where to find them, that the sender chooses
	"jku":      {},
	"x5u":      {},
	"x5c":      {},
	"x5t":      {},
	"x5t#s256": {}, // names are compared folded
}

// parseHeader reads a token's header. That alg is the key's is not its matter.
func parseHeader(text []byte) (header, error) {
	members, _, err := parseObject(text)
	if err != nil {
		return header{}, err
	}
	for _, m := range members {
		if _, found := forbidden[m.folded]; found {
			return header{}, ErrMalformed
		}
	}
	var h header
	for _, parameter := range []struct {
		name    string
		text    *string
		present *bool
	}{
		{"alg", &h.algorithm, new(bool)}, // none or an empty one is no key's algorithm
		{"kid", &h.kid, &h.hasKID},
		{"typ", &h.typ, &h.hasTyp},
	} {
		if members.shadows(parameter.name) {
			return header{}, ErrMalformed
		}
		value := members.get(parameter.name)
		if value == "" {
			continue
		}
		text, ok := value.text()
		if !ok {
			return header{}, ErrMalformed
		}
		*parameter.text, *parameter.present = text, true
	}
	return h, nil
}

// isAccessToken reports whether the typ says nothing else than that the token
// is one: absent, JWT (RFC 7519 section 5.1) or at+jwt (RFC 9068), in any case,
// with or without the application/ that RFC 7515 section 4.1.9 lets one leave
// out. Any other (logout+jwt, refresh+jwt, dpop+jwt) declares another use.
func (h header) isAccessToken() bool {
	if !h.hasTyp {
		return true
	}
	switch strings.TrimPrefix(strings.ToLower(h.typ), "application/") {
	case "jwt", "at+jwt":
		return true
	}
	return false
}
