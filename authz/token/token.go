package token

import (
	"crypto/sha256"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"warder/authz/attribute"
	"warder/authz/cache"
)

// The errors of [Verifier.Verify], one for each reason to reject a token. Verify returns
// them in a [*Rejection], whose text never contains text of a token.
var (
	ErrMalformed   = errors.New("token: malformed")
	ErrKeyUnknown  = errors.New("token: unknown key")
	ErrAlgorithm   = errors.New("token: algorithm does not match the key")
	ErrSignature   = errors.New("token: invalid signature")
	ErrExpired     = errors.New("token: expired")
	ErrNotYetValid = errors.New("token: not yet valid")
	ErrClaims      = errors.New("token: invalid claims")
	// ErrKeysUnknown says that the keys of the token's issuer are not known at the moment, so
	// that it is not known whether the token is valid.
	ErrKeysUnknown = errors.New("token: the keys of the issuer are not known")
)

// Claims are the claims of a token that warder uses.
type Claims struct {
	UserID    string
	SessionID string    // "" if the token has none and need not have one
	ExpiresAt time.Time // exp, without the leeway
	IssuedAt  time.Time // iat; the zero Time if there is none
	User      *User     // nil unless a claim with roles is configured; never modified
	// Attributes are from the claims that Config.Attributes names.
	Attributes attribute.Set
}

// A Verifier verifies tokens. Except for its cache it is immutable, and it is safe for
// concurrent use. The zero Verifier has no key and rejects every token. Use [NewVerifier].
type Verifier struct {
	issuers map[string]*issuer // by iss
	own     *issuer            // of the tokens of no other; nil if it has no keys
	leeway  time.Duration
	uses    uses
	// sessionOptional is Config.SessionOptional.
	sessionOptional bool
	validRole       func(name string) bool
	known           *remembered // nil if there is no cache
}

// An issuer is a checked Issuer that is ready for use.
type issuer struct {
	name         string           // "" accepts any iss
	keys         map[string][]key // by kid; keys without an id are under ""
	anyKID       []key            // for tokens that no other key is for
	audiences    []string         // empty accepts any
	userClaim    claimPath
	sessionClaim claimPath
	rolesClaim   claimPath // "": Claims.User is nil
	noRoles      bool
	activeClaim  claimPath // "": every user is active
	attributes   []attributeClaim
	keysUnknown  bool
}

// remembered is a cache of verified tokens.
type remembered struct {
	byHash       *cache.Cache[tokenHash, verified]
	texts        sync.Pool // of *[]byte, for hash
	hits, misses atomic.Uint64
}

// A tokenHash is the SHA-256 of a whole token. A token of an identity provider often has more than
// a thousand bytes, of which the cache needs none.
type tokenHash [sha256.Size]byte

// hash copies the token into memory that is used again: SHA-256 takes no string.
func (r *remembered) hash(token string) tokenHash {
	text, _ := r.texts.Get().(*[]byte)
	if text == nil {
		text = new([]byte)
	}
	*text = append((*text)[:0], token...)
	hash := sha256.Sum256(*text)
	r.texts.Put(text)
	return hash
}

// Verify returns the claims of a token that is valid at the time now. It checks in this
// order, and returns the first error: the form of the token ([ErrMalformed]), the issuer
// ([ErrClaims], [ErrKeysUnknown]), the key ([ErrKeyUnknown]), the algorithm ([ErrAlgorithm]), the signature ([ErrSignature]), and the
// claims ([ErrExpired], [ErrNotYetValid], [ErrClaims]).
//
// A token is malformed if its header has one of the parameters crit, b64, zip, cty, jwk,
// jku, x5u, x5c, x5t and x5t#S256. Its claims are invalid if it declares another use than that
// of an access token: see [RefusedUses].
//
// The error is a [*Rejection], whose Detail says which of several causes it was.
//
// A token in the cache, which is keyed by the SHA-256 of the whole token, is only checked against
// the clock.
func (v *Verifier) Verify(token string, now time.Time) (Claims, error) {
	if v.known == nil {
		found, err := v.verify(token, now)
		return found.claims, err
	}
	hash := v.known.hash(token)
	if found, ok := v.known.byHash.Get(hash); ok {
		v.known.hits.Add(1)
		return found.at(now, v.leeway)
	}
	v.known.misses.Add(1)
	found, err := v.verify(token, now)
	if err == nil {
		found.compact()
		v.known.byHash.SetWeighed(hash, found, found.size())
	}
	return found.claims, err
}

// Payload verifies the token like [Verifier.Verify] and returns all of its claims as a JSON
// object.
func (v *Verifier) Payload(token string, now time.Time) (string, error) {
	if v.known != nil {
		if found, ok := v.known.byHash.Get(v.known.hash(token)); ok {
			if _, err := found.at(now, v.leeway); err != nil {
				return "", err
			}
			return payloadOf(token)
		}
	}
	if _, err := v.verify(token, now); err != nil {
		return "", err
	}
	return payloadOf(token)
}

// Remembered returns how often Verify found a token in the cache and how often it did not.
func (v *Verifier) Remembered() (hits, misses uint64) {
	if v.known == nil {
		return 0, 0
	}
	return v.known.hits.Load(), v.known.misses.Load()
}

// Signed reports whether the token is signed with a key that may sign it, whatever its claims
// say otherwise.
func (v *Verifier) Signed(token string) bool {
	_, err := v.checkSigned(token)
	return err == nil
}

// verify verifies a token without the cache.
func (v *Verifier) verify(token string, now time.Time) (verified, error) {
	s, err := v.checkSigned(token)
	if err != nil {
		return verified{}, err
	}
	return v.judge(s.by, s.header, s.claims, now)
}

// signed is a token with a valid signature.
type signed struct {
	header header
	claims object
	by     *issuer // whose key has signed it
}

// checkSigned takes a token apart and checks its signature.
func (v *Verifier) checkSigned(token string) (s signed, err error) {
	jws, err := splitCompact(token)
	if err != nil {
		return signed{}, err
	}
	if s.header, err = parseHeader(jws.header); err != nil {
		return signed{}, err
	}
	var wrong string
	if s.claims, wrong = parseObject(jws.payload); wrong != "" {
		return signed{}, reject(ErrMalformed, "payload "+wrong)
	}
	if s.by, err = v.issuerOf(s.claims); err != nil {
		return signed{}, err
	}
	return s, s.by.checkSignature(s.header, jws)
}

// issuerOf returns the issuer that iss selects. The claims are not verified yet: with another
// iss a token selects the keys of another issuer, which have not signed it.
func (v *Verifier) issuerOf(claims object) (*issuer, error) {
	name, isText := claims.get("iss").text()
	by := v.issuers[name]
	if by == nil || !isText {
		by = v.own
	}
	switch {
	case by == nil && len(v.issuers) == 0:
		return &issuer{}, nil // the zero Verifier
	case by != nil && by.keysUnknown:
		return nil, &Rejection{ErrKeysUnknown, about("iss", by.name), by.name}
	case by != nil:
		return by, nil
	case claims.get("iss") == "":
		return nil, reject(ErrClaims, "iss missing")
	case !isText:
		return nil, reject(ErrClaims, "iss not a string")
	}
	return nil, rejectValue(ErrClaims, "iss", name)
}

// checkSignature checks the signature with the keys that kid selects. The algorithm is that
// of the key: a key is not tried if alg names another one.
func (by *issuer) checkSignature(head header, jws compact) error {
	candidates := by.keysFor(head)
	if len(candidates) == 0 {
		detail := Detail{text: "kid missing"}
		if head.hasKID {
			detail = about("kid", head.kid)
		}
		return &Rejection{ErrKeyUnknown, detail, by.name}
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
	switch {
	case errors.Is(refusal, ErrAlgorithm) && head.algorithm == "":
		return reject(ErrAlgorithm, "alg missing")
	case errors.Is(refusal, ErrAlgorithm):
		return rejectValue(ErrAlgorithm, "alg", head.algorithm)
	case head.hasKID:
		return rejectValue(ErrSignature, "kid", head.kid)
	}
	return reject(ErrSignature, "no kid")
}

// keysFor returns the keys that a token may be signed with. The keys for any kid are for tokens
// that no other key is for, so that a token that names a key must be signed with that key. The
// kid * of a token is a kid like any other.
func (by *issuer) keysFor(head header) []key {
	if head.hasKID && (head.kid == "" || head.kid == AnyKID) {
		return by.anyKID // no key has one of these ids
	}
	if candidates := by.keys[head.kid]; len(candidates) > 0 {
		return candidates
	}
	return by.anyKID
}
