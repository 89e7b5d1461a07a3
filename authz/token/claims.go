package token

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// verified holds what is needed of a token whose signature and claims are valid, so that
// only the clock has to be checked when the same token is presented again.
type verified struct {
	claims    Claims
	notBefore time.Time // the later of nbf and iat; zero if there is neither
	payload   string    // all claims, as JSON
}

// at returns the claims if they are valid at the time now.
func (c verified) at(now time.Time, leeway time.Duration) (Claims, error) {
	switch {
	case !now.Before(c.claims.ExpiresAt.Add(leeway)):
		return Claims{}, ErrExpired
	case now.Before(c.notBefore.Add(-leeway)):
		return Claims{}, ErrNotYetValid
	}
	return c.claims, nil
}

// judge checks the claims of a token with a valid signature against the clock and the
// configuration.
func (v *Verifier) judge(head header, claims object, now time.Time) (verified, error) {
	var found verified
	var ok bool
	if found.claims.ExpiresAt, ok = numericDate(claims.get("exp")); !ok {
		return verified{}, ErrClaims
	}
	if _, err := found.at(now, v.leeway); err != nil {
		return verified{}, err
	}
	for _, name := range []string{"nbf", "iat"} {
		value := claims.get(name)
		if value == "" {
			continue
		}
		from, ok := numericDate(value)
		if !ok {
			return verified{}, ErrClaims
		}
		if from.After(found.notBefore) {
			found.notBefore = from
		}
		if _, err := found.at(now, v.leeway); err != nil {
			return verified{}, err
		}
	}
	if found.claims.UserID, ok = id(claims.get(v.userClaim)); !ok {
		return verified{}, ErrClaims
	}
	if found.claims.SessionID, ok = id(claims.get(v.sessionClaim)); !ok {
		return verified{}, ErrClaims
	}
	if slices.ContainsFunc(readNames, claims.shadows) || !v.hasRegistered(claims) || !head.isAccessToken() || declaresOtherUse(claims) {
		return verified{}, ErrClaims
	}
	return found, nil
}

// useNames are the claims by which issuers distinguish access tokens from refresh, identity
// and reset tokens signed with the same key.
var useNames = []string{"type", "token_type", "token_use"}

// readNames are the claims that are read with every configuration. A token with one of
// them in another case (NBF, Token_Use) is rejected.
var readNames = append([]string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti"}, useNames...)

// declaresOtherUse reports whether a claim says that the token is not an access token.
func declaresOtherUse(claims object) bool {
	for _, name := range useNames {
		value := claims.get(name)
		if value == "" {
			continue
		}
		use, _ := value.text()
		switch strings.ToLower(use) {
		case "access", "access_token", "bearer":
		default:
			return true
		}
	}
	return false
}

// hasRegistered reports whether iss, sub, aud and jti have the types of RFC 7519 section
// 4.1 and whether iss and aud match the configuration. It does not check the type of the
// claims with the user id and the session id, which may be numbers: see id.
func (v *Verifier) hasRegistered(claims object) bool {
	for _, name := range []string{"iss", "sub", "jti"} {
		value := claims.get(name)
		if value == "" || name == v.userClaim || name == v.sessionClaim {
			continue
		}
		if _, ok := value.text(); !ok {
			return false
		}
	}
	if issuer, _ := claims.get("iss").text(); v.issuer != "" && issuer != v.issuer {
		return false
	}
	audiences, ok := audience(claims.get("aud"))
	if !ok {
		return false
	}
	return len(v.audiences) == 0 || slices.ContainsFunc(audiences, func(a string) bool {
		return slices.Contains(v.audiences, a)
	})
}

// audience reads aud, which may be absent, a string or an array of strings.
func audience(aud value) ([]string, bool) {
	if aud == "" {
		return nil, true
	}
	elements, ok := aud.array()
	if !ok {
		elements = []value{aud}
	}
	audiences := make([]string, len(elements))
	for i, element := range elements {
		if audiences[i], ok = element.text(); !ok {
			return nil, false
		}
	}
	return audiences, true
}

// latest is the largest date accepted, the last second of the year 9999. Dates in
// milliseconds are larger.
const latest = 253402300799

// numericDate reads a NumericDate (RFC 7519 section 2): seconds since 1970 as a JSON number,
// which may have a fraction.
func numericDate(v value) (time.Time, bool) {
	number, ok := v.number()
	if !ok {
		return time.Time{}, false
	}
	seconds, err := strconv.ParseFloat(number, 64) // 1e999 is an error
	if err != nil || !(seconds >= 1 && seconds <= latest) {
		return time.Time{}, false
	}
	whole, fraction := math.Modf(seconds)
	return time.Unix(int64(whole), int64(fraction*1e9)).UTC(), true
}
