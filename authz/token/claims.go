package token

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// judge holds the claims of a token whose signature is good against the clock
// and the configuration.
func (v *Verifier) judge(head header, claims object, now time.Time) (Claims, error) {
	expires, ok := numericDate(claims["exp"])
	if !ok {
		return Claims{}, ErrClaims
	}
	if !now.Before(expires.Add(v.leeway)) {
		return Claims{}, ErrExpired
	}
	for _, name := range []string{"nbf", "iat"} {
		value, present := claims[name]
		if !present {
			continue
		}
		from, ok := numericDate(value)
		if !ok {
			return Claims{}, ErrClaims
		}
		if now.Before(from.Add(-v.leeway)) {
			return Claims{}, ErrNotYetValid
		}
	}
	if !head.isAccessToken() || declaresOtherUse(claims) || !v.registeredHold(claims) ||
		claims.shadows(v.userClaim, v.sessionClaim) || claims.shadows(readNames...) {
		return Claims{}, ErrClaims
	}
	user, ok := id(claims[v.userClaim])
	if !ok {
		return Claims{}, ErrClaims
	}
	session, ok := id(claims[v.sessionClaim])
	if !ok {
		return Claims{}, ErrClaims
	}
	return Claims{UserID: user, SessionID: session, ExpiresAt: expires}, nil
}

// useNames are the claims by which issuers tell access tokens from refresh,
// identity and reset tokens that the same key signs.
var useNames = []string{"type", "token_type", "token_use"}

// readNames are the claims that are read whatever the configuration.
var readNames = append([]string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti"}, useNames...)

// declaresOtherUse reports whether the token says that it is no access token.
func declaresOtherUse(claims object) bool {
	for _, name := range useNames {
		value, present := claims[name]
		if !present {
			continue
		}
		use, _ := value.(string)
		switch strings.ToLower(use) {
		case "access", "access_token", "bearer":
		default:
			return true
		}
	}
	return false
}

// registeredHold reports whether iss, sub, aud and jti have the type that RFC
// 7519 section 4.1 gives them, checked or not, and iss and aud what is
// configured. A claim that carries the user id or the session id is id's to
// judge: there a number is as good as a string.
func (v *Verifier) registeredHold(claims object) bool {
	for _, name := range []string{"iss", "sub", "jti"} {
		value, present := claims[name]
		if _, ok := value.(string); present && !ok && name != v.userClaim && name != v.sessionClaim {
			return false
		}
	}
	if v.issuer != "" && claims["iss"] != v.issuer {
		return false
	}
	value, present := claims["aud"]
	audiences, ok := audience(value)
	if present && !ok {
		return false
	}
	return len(v.audiences) == 0 || slices.ContainsFunc(audiences, func(a string) bool {
		return slices.Contains(v.audiences, a)
	})
}

// audience reads aud: a string, or an array of strings.
func audience(value any) ([]string, bool) {
	switch value := value.(type) {
	case string:
		return []string{value}, true
	case []any:
		all := make([]string, len(value))
		for i := range value {
			var ok bool
			if all[i], ok = value[i].(string); !ok {
				return nil, false
			}
		}
		return all, true
	}
	return nil, false
}

// latest is the last second of the year 9999, the largest date that is read. A
// date in milliseconds is larger.
const latest = 253402300799

// numericDate reads seconds since 1970 as RFC 7519 section 2 has them: a JSON
// number, of which a fraction counts.
func numericDate(value any) (time.Time, bool) {
	number, ok := value.(json.Number)
	if !ok {
		return time.Time{}, false
	}
	seconds, err := strconv.ParseFloat(string(number), 64) // 1e999 is an error
	if err != nil || !(seconds >= 1 && seconds <= latest) {
		return time.Time{}, false
	}
	whole, fraction := math.Modf(seconds)
	return time.Unix(int64(whole), int64(fraction*1e9)).UTC(), true
}
