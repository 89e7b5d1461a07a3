package authz

import (
	"context"
	"errors"
	"strings"

	"warder/authz/token"
)

// verifyBearer authenticates a user by a bearer token. It checks the token's signature
// and claims, then the session, then the user's row. Roles come from the directory,
// never from the token.
func (e *Engine) verifyBearer(ctx context.Context, authorization string) (Principal, verification) {
	text, ok := bearerToken(authorization)
	if !ok {
		return Principal{}, verification{ReasonTokenMalformed, token.NewDetail("scheme not Bearer")}
	}
	claims, err := e.tokens.Verify(text, e.now())
	if err != nil {
		return Principal{}, tokenVerification(err)
	}
	who := Principal{Method: MethodSession, UserID: claims.UserID, SessionID: claims.SessionID}
	alive, err := e.sessions.Alive(ctx, claims.UserID, claims.SessionID)
	if err != nil {
		return who, verification{reason: unanswered(err, ReasonSessionsUnavailable)}
	}
	if !alive {
		return who, verification{reason: ReasonSessionRevoked}
	}
	user, found := e.verifyUser(ctx, claims.UserID)
	if found.reason == passed {
		who.Roles = user.Roles
	}
	return who, found
}

// bearerToken returns the token in "Bearer <token>" (RFC 6750 section 2.1). The scheme
// is matched in any case (RFC 9110 section 11.1), followed by one or more spaces.
func bearerToken(authorization string) (string, bool) {
	scheme, text, found := strings.Cut(authorization, " ")
	if !found || !strings.EqualFold(scheme, "Bearer") {
		return "", false
	}
	return strings.TrimLeft(text, " "), true
}

// tokenVerification returns the reason of an error of the token verifier, and its detail.
func tokenVerification(err error) verification {
	found := verification{reason: tokenReason(err)}
	if rejection, ok := errors.AsType[*token.Rejection](err); ok {
		found.detail = rejection.Detail
	}
	return found
}

func tokenReason(err error) Reason {
	for _, is := range []struct {
		err    error
		reason Reason
	}{
		{token.ErrMalformed, ReasonTokenMalformed},
		{token.ErrKeyUnknown, ReasonTokenKeyUnknown},
		{token.ErrAlgorithm, ReasonTokenAlgorithm},
		{token.ErrSignature, ReasonTokenSignature},
		{token.ErrExpired, ReasonTokenExpired},
		{token.ErrNotYetValid, ReasonTokenNotYetValid},
		{token.ErrClaims, ReasonTokenClaims},
		{token.ErrKeysUnknown, ReasonKeysUnavailable},
	} {
		if errors.Is(err, is.err) {
			return is.reason
		}
	}
	return ReasonTokenMalformed
}
