package token

import (
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
)

// The ways in which a token is refused, one for each reason of the contract.
// Verify returns one of these and nothing else, so that no text of a token can
// reach a log by way of an error.
var (
	ErrMalformed   = errors.New("token: malformed")
	ErrKeyUnknown  = errors.New("token: no key for it")
	ErrAlgorithm   = errors.New("token: algorithm is not the key's")
	ErrSignature   = errors.New("token: signature is wrong")
	ErrExpired     = errors.New("token: expired")
	ErrNotYetValid = errors.New("token: not yet valid")
	ErrClaims      = errors.New("token: claims are wrong")
)

// Claims are what warder takes from a token.
type Claims struct {
	UserID    string
	SessionID string
	ExpiresAt time.Time // without the leeway
}

// A Verifier checks tokens. It is immutable but for what it remembers, and safe for concurrent use. The
// zero Verifier has no key and refuses every token; [NewVerifier] makes one
// that accepts some.
type Verifier struct {
	keys         map[string][]key // by kid; those without an id under ""
	issuer       string           // "" for any
	audiences    []string         // empty for any
	leeway       time.Duration
	userClaim    string
	sessionClaim string
	known        *remembered // nil remembers none
}

// remembered are tokens that were good before.
type remembered struct {
	byText       *otter.Cache[string, verified] // by the whole token
	hits, misses atomic.Uint64
}

// Verify returns the claims of a token that is good at the time now. The order
// of its answers is fixed: the shape ([ErrMalformed]), the key ([ErrKeyUnknown]),
// the algorithm ([ErrAlgorithm]), the signature ([ErrSignature]); and only for
// a token that one of our keys signed what it claims ([ErrExpired],
// [ErrNotYetValid], [ErrClaims]).
//
// A header parameter that changes the reading or brings a key along (crit, b64,
// zip, cty, jwk, jku, x5u, x5c, x5t, x5t#S256) makes a token malformed. A token
// that says it is something else than an access token has wrong claims: a typ
// that is not JWT or at+jwt, or a type, token_type or token_use that is not
// access, access_token or bearer.
//
// A token that was good before is found again by all of its bytes, and only held
// against the clock once more.
func (v *Verifier) Verify(token string, now time.Time) (Claims, error) {
	if v.known == nil {
		found, err := v.verify(token, now)
		return found.claims, err
	}
	if found, ok := v.known.byText.GetIfPresent(token); ok {
		v.known.hits.Add(1)
		return found.at(now, v.leeway)
	}
	v.known.misses.Add(1)
	found, err := v.verify(token, now)
	if err == nil {
		v.known.byText.Set(strings.Clone(token), found) // the token is part of a larger text
	}
	return found.claims, err
}

// Payload returns the claims of a token as the text of one JSON object, after it has
// verified the token as [Verifier.Verify] does.
func (v *Verifier) Payload(token string, now time.Time) (string, error) {
	if v.known != nil {
		if found, ok := v.known.byText.GetIfPresent(token); ok {
			_, err := found.at(now, v.leeway)
			if err != nil {
				return "", err
			}
			return found.payload, nil
		}
	}
	found, err := v.verify(token, now)
	if err != nil {
		return "", err
	}
	return found.payload, nil
}

// Remembered says how often a token was found among those that were good before, and
// how often it was not and had to be read.
func (v *Verifier) Remembered() (hits, misses uint64) {
	if v.known == nil {
		return 0, 0
	}
	return v.known.hits.Load(), v.known.misses.Load()
}

// verify reads the whole token.
func (v *Verifier) verify(token string, now time.Time) (verified, error) {
	jws, err := splitCompact(token)
	if err != nil {
		return verified{}, err
	}
	head, err := parseHeader(jws.header)
	if err != nil {
		return verified{}, err
	}
	claims, payload, err := parseObject(jws.payload)
	if err != nil {
		return verified{}, err
	}
	if err := v.checkSignature(head, jws); err != nil {
		return verified{}, err
	}
	found, err := v.judge(head, claims, now)
	if err != nil {
		return verified{}, err
	}
	found.payload = payload
	return found, nil
}

// checkSignature finds the keys that the header selects and holds the signature
// against those whose algorithm is the header's. It is the key that decides the
// algorithm: a header that names another finds no key to be tried with.
func (v *Verifier) checkSignature(head header, jws compact) error {
	if head.hasKID && head.kid == "" {
		return ErrKeyUnknown // no key has an empty id
	}
	candidates := v.keys[head.kid]
	if len(candidates) == 0 {
		return ErrKeyUnknown
	}
	refusal := ErrAlgorithm
	for _, k := range candidates {
		if k.algorithm != head.algorithm {
			continue
		}
		if k.verify(jws.signed, jws.signature) == nil {
			return nil
		}
		refusal = ErrSignature
	}
	return refusal
}
