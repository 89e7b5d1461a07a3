package authz

import (
	"context"
	"errors"

	"warder/authz/token"
)

// verifyToken authenticates a user by a token. It checks the token's signature and claims, then
// the session, then the user's row. Roles come from the directory, and from the token only with
// Config.UsersInTokens.
func (e *Engine) verifyToken(ctx context.Context, text string) (Principal, verification) {
	claims, err := e.tokens.Verify(text, e.now())
	if err != nil {
		return Principal{}, tokenVerification(err)
	}
	who := Principal{Method: MethodSession, UserID: claims.UserID, SessionID: claims.SessionID}
	alive, err := e.sessions.Alive(ctx, Session{UserID: claims.UserID, ID: claims.SessionID, Issued: claims.IssuedAt})
	if err != nil {
		return who, verification{reason: unanswered(err, ReasonSessionsUnavailable)}
	}
	if !alive {
		return who, verification{reason: ReasonSessionRevoked}
	}
	var user User
	var found verification
	if e.inTokens {
		user, found = userInToken(claims.User)
	} else {
		user, found = e.verifyUser(ctx, claims.UserID)
	}
	if found.reason == passed {
		who.Roles, who.Attributes = user.Roles, user.Attributes.Over(claims.Attributes)
	}
	return who, found
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
