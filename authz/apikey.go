package authz

import (
	"context"
	"strings"
)

// verifyAPIKey authenticates an API key. Its hash must be known, the key must be active
// and not expired, and its owner, if any, must be an active user. The key has its own
// scopes and does not inherit its owner's roles.
func (e *Engine) verifyAPIKey(ctx context.Context, key string) (Principal, verification) {
	if !validAPIKey(key) {
		return Principal{}, verification{reason: ReasonAPIKeyMalformed}
	}
	row, err := e.apiKeys.APIKey(ctx, HashAPIKey(key))
	switch {
	case isNotFound(err):
		return Principal{}, verification{reason: ReasonAPIKeyUnknown}
	case err != nil:
		return Principal{}, verification{reason: unanswered(err, ReasonDirectoryUnavailable)}
	}
	who := Principal{Method: MethodAPIKey, KeyPrefix: row.Prefix}
	switch {
	case !row.Active:
		return who, verification{reason: ReasonAPIKeyInactive}
	case !row.ExpiresAt.IsZero() && !e.now().Before(row.ExpiresAt):
		return who, verification{reason: ReasonAPIKeyExpired}
	}
	if row.OwnerID != "" {
		if _, found := e.verifyUser(ctx, row.OwnerID); found.reason != passed {
			return who, found
		}
		who.UserID = row.OwnerID
	}
	who.Scopes, who.Attributes = row.Scopes, row.Attributes
	return who, verification{reason: passed}
}

// validAPIKey reports whether key has the form of an API key,
// [A-Za-z0-9._~+/=-]{8,256}. Other values are denied without a query.
func validAPIKey(key string) bool {
	if len(key) < 8 || len(key) > 256 {
		return false
	}
	for i := range len(key) {
		c := key[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' {
			continue
		}
		if !strings.ContainsRune("._~+/=-", rune(c)) {
			return false
		}
	}
	return true
}
