package token

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ClockGrace is how far the clock of an issuer may be ahead: a token is often used within the
// second in which it was issued. It holds for nbf and iat. A greater leeway takes its place.
const ClockGrace = 5 * time.Second

// verified holds what is needed of a token whose signature and claims are valid, so that
// only the clock has to be checked when the same token is presented again.
type verified struct {
	claims    Claims
	notBefore time.Time // the later of nbf and iat; zero if there is neither
	fromIAT   bool      // notBefore is iat
}

// compact puts the two ids into one string, so that there is one object less to keep.
func (c *verified) compact() {
	both := c.claims.UserID + c.claims.SessionID
	c.claims.UserID, c.claims.SessionID = both[:len(c.claims.UserID)], both[len(c.claims.UserID):]
}

// verifiedOverhead is the approximate memory of a cached token besides its texts, in bytes: itself,
// its hash, and its place in the cache.
const verifiedOverhead = 220

// size returns the approximate memory of a cached token, in bytes.
func (c *verified) size() int {
	return verifiedOverhead + len(c.claims.UserID) + len(c.claims.SessionID) + c.claims.User.size() + c.claims.Attributes.Size()
}

// at returns the claims if they are valid at the time now.
func (c *verified) at(now time.Time, leeway time.Duration) (Claims, error) {
	switch {
	case !now.Before(c.claims.ExpiresAt.Add(leeway)):
		return Claims{}, reject(ErrExpired, "exp has passed")
	case now.Before(c.notBefore.Add(-max(leeway, ClockGrace))):
		if c.fromIAT {
			return Claims{}, reject(ErrNotYetValid, "iat in the future")
		}
		return Claims{}, reject(ErrNotYetValid, "nbf in the future")
	}
	return c.claims, nil
}

// judge checks the claims of a token with a valid signature against the clock and the
// configuration.
func (v *Verifier) judge(by *issuer, head header, claims object, now time.Time) (verified, error) {
	var found verified
	var err error
	if found.claims.ExpiresAt, err = dateOf(claims, "exp"); err != nil {
		return verified{}, err
	}
	if _, err := found.at(now, v.leeway); err != nil {
		return verified{}, err
	}
	for _, name := range []string{"nbf", "iat"} {
		if claims.get(name) == "" {
			continue
		}
		from, err := dateOf(claims, name)
		if err != nil {
			return verified{}, err
		}
		if name == "iat" {
			found.claims.IssuedAt = from
		}
		if from.After(found.notBefore) {
			found.notBefore, found.fromIAT = from, name == "iat"
		}
		if _, err := found.at(now, v.leeway); err != nil {
			return verified{}, err
		}
	}
	if found.claims.UserID, err = idOf(claims, by.userClaim); err != nil {
		return verified{}, err
	}
	if found.claims.SessionID, err = v.sessionOf(claims, by.sessionClaim); err != nil {
		return verified{}, err
	}
	for _, name := range readNames {
		if claims.shadows(name) {
			return verified{}, reject(ErrClaims, name+" in another case")
		}
	}
	if err := by.checkRegistered(claims); err != nil {
		return verified{}, err
	}
	if !v.isAccessToken(head) {
		return verified{}, rejectValue(ErrClaims, "header typ", head.typ)
	}
	if detail, other := v.uses.declaresOther(claims); other {
		return verified{}, &Rejection{ErrClaims, detail, ""}
	}
	if by.rolesClaim != "" {
		if found.claims.User, err = v.userOf(by, claims); err != nil {
			return verified{}, err
		}
	}
	found.claims.Attributes, err = attributesOf(claims, by.attributes)
	return found, err
}

// dateOf reads a required date.
func dateOf(claims object, name string) (time.Time, error) {
	value := claims.get(name)
	if value == "" {
		return time.Time{}, reject(ErrClaims, name+" missing")
	}
	date, ok := numericDate(value)
	if !ok {
		return time.Time{}, reject(ErrClaims, name+" not a date in seconds")
	}
	return date, nil
}

// idOf reads a required id. The path is from the configuration.
func idOf(claims object, path claimPath) (string, error) {
	value := path.in(claims)
	if value == "" {
		return "", reject(ErrClaims, string(path)+" missing")
	}
	found, ok := id(value)
	if !ok {
		return "", reject(ErrClaims, string(path)+" not an id")
	}
	return found, nil
}

// sessionOf reads the id of the session. If tokens need not be of one, any other text is no session.
func (v *Verifier) sessionOf(claims object, path claimPath) (string, error) {
	value := path.in(claims)
	if v.sessionOptional {
		if value == "" {
			return "", nil
		}
		if text, isText := value.text(); isText && !ValidID(text) {
			return "", nil
		}
	}
	return idOf(claims, path)
}

// A claimPath is the name of a claim, or the names of nested members with dots between them,
// such as realm_access.roles. A name that itself has dots, such as https://example.com/id, is
// that of a claim of the token, which comes first.
type claimPath string

// in returns the value at the path, or "" if there is none.
func (p claimPath) in(claims object) value {
	found, _ := p.find(claims)
	return found
}

// find is in. blocked reports that there is no value because a claim on the path is neither an
// object nor null.
func (p claimPath) find(claims object) (found value, blocked bool) {
	name := string(p)
	for {
		if found := claims.get(name); found != "" {
			return found, false
		}
		first, rest, nested := strings.Cut(name, ".")
		if !nested {
			return "", false
		}
		parent := claims.get(first)
		inner, wrong := parent.object()
		if wrong != "" {
			return "", parent != "" && parent != "null"
		}
		claims, name = inner, rest
	}
}

// shadowed reports whether in would find the value, or a part of the path, under a name that
// differs only in case. A reader that ignores case would take it for the claim.
func (p claimPath) shadowed(claims object) bool {
	name := string(p)
	for {
		if claims.get(name) != "" {
			return false
		}
		first, rest, nested := strings.Cut(name, ".")
		if claims.shadows(name) || nested && claims.shadows(first) {
			return true
		}
		if !nested {
			return false
		}
		inner, wrong := claims.get(first).object()
		if wrong != "" {
			return false
		}
		claims, name = inner, rest
	}
}

// readNames are the claims that are read with every configuration. A token with one of
// them in another case (NBF, Token_Use) is rejected.
var readNames = []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "type", "token_type", "token_use"}

// checkRegistered checks that iss, sub, aud and jti have the types of RFC 7519 section 4.1 and
// that iss and aud match the configuration. It does not check the type of the claims with the
// user id and the session id, which may be numbers: see id.
func (by *issuer) checkRegistered(claims object) error {
	for _, name := range []string{"iss", "sub", "jti"} {
		value := claims.get(name)
		if value == "" || name == string(by.userClaim) || name == string(by.sessionClaim) {
			continue
		}
		if _, ok := value.text(); !ok {
			return reject(ErrClaims, name+" not a string")
		}
	}
	if by.name != "" {
		switch name, present := claims.get("iss").text(); {
		case !present:
			return reject(ErrClaims, "iss missing")
		case name != by.name:
			return rejectValue(ErrClaims, "iss", name)
		}
	}
	audiences, ok := audience(claims.get("aud"))
	switch {
	case !ok:
		return reject(ErrClaims, "aud not a string or a list of strings")
	case len(by.audiences) == 0:
		return nil
	case len(audiences) == 0:
		return reject(ErrClaims, "aud missing")
	case !slices.ContainsFunc(audiences, func(a string) bool { return slices.Contains(by.audiences, a) }):
		return rejectValue(ErrClaims, "aud", strings.Join(audiences[:min(len(audiences), maxDetailValue)], ","))
	}
	return nil
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
