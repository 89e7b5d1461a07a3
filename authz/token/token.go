package token

import (
	"errors"
	"time"
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

// A Key verifies tokens of one algorithm.
type Key struct {
	ID        string // the kid that selects it; "" for tokens without a kid
	Algorithm string // HS256, HS384 or HS512
	Secret    []byte // at least 32 bytes
}

// Config says which tokens are accepted.
type Config struct {
	Keys         []Key
	Issuer       string        // "" for any
	Audiences    []string      // at least one must be in aud; empty for any
	Leeway       time.Duration // for exp, nbf and iat; 0 to 5 minutes
	UserClaim    string        // "" means sub
	SessionClaim string        // "" means jti
}

// Claims are what warder takes from a token.
type Claims struct {
	UserID    string
	SessionID string
	ExpiresAt time.Time // without the leeway
}

// A Verifier checks tokens. It is immutable and safe for concurrent use.
type Verifier struct{}

// NewVerifier checks the configuration; every problem of it is in the error.
func NewVerifier(c Config) (*Verifier, error) { panic("contract only") }

// Verify returns the claims of a token that is good at the time now.
func (v *Verifier) Verify(token string, now time.Time) (Claims, error) { panic("contract only") }
