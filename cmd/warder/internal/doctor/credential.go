package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"warder/authz"
	"warder/authz/attribute"
	"warder/authz/mask"
	"warder/authz/token"
	"warder/cmd/warder/internal/config"
	"warder/cmd/warder/internal/operator"
)

// examineToken takes a bearer token through every look-up.
func (r *report) examineToken(ctx context.Context, of *stores, s *config.Settings, fetched config.FetchedKeys, bearer mask.Secret) error {
	r.signer(s.JWT, fetched, bearer)
	return r.examineCredential(ctx, of, s, fetched, "authorization", "Bearer "+bearer.Reveal())
}

// examineAPIKey takes an API key through every look-up.
func (r *report) examineAPIKey(ctx context.Context, of *stores, s *config.Settings, fetched config.FetchedKeys, key mask.Secret) error {
	return r.examineCredential(ctx, of, s, fetched, authz.DefaultAPIKeyHeader, key.Reveal())
}

// signer says which of the keys a token is signed with.
func (r *report) signer(s config.JWT, fetched config.FetchedKeys, bearer mask.Secret) {
	for i, k := range s.Keys {
		if only, err := s.VerifierOf(i); err == nil && only.Signed(bearer.Reveal()) {
			switch k.Kind {
			case config.KeySecret:
				r.say("credential.signature", good, k.Field+".secret", "the token is signed with this key, %s", kidOf(k))
			case config.KeySetFile:
				r.say("credential.signature", good, k.Field, "the token is signed with a key of this set")
			default:
				r.say("credential.signature", good, k.Field, "the token is signed with this key, %s", kidOf(k))
			}
			return
		}
	}
	for i, is := range s.Issuers {
		if fetched[i] == nil {
			continue
		}
		alone := s
		alone.Keys = nil
		if v, err := alone.VerifierWith(config.FetchedKeys{i: fetched[i]}); err == nil && v.Signed(bearer.Reveal()) {
			r.say("credential.signature", good, fmt.Sprintf("jwt.issuers[%d]", i), "the token is signed with a key of %s", is.Name)
			return
		}
	}
}

// examineCredential decides a request with the credential by the engine of the service. The
// look-ups say what they were asked and what the store answered.
func (r *report) examineCredential(ctx context.Context, of *stores, s *config.Settings, fetched config.FetchedKeys, header, value string) error {
	verifier, err := s.JWT.VerifierWith(fetched)
	if err != nil {
		return err
	}
	w := &walk{report: r, stores: of, Verifier: verifier}
	decision, err := operator.Decide(ctx, authz.Config{Tokens: w, Sessions: w, Users: w, APIKeys: w, UsersInTokens: s.Directory.UsersInTokens}, header, value)
	if err != nil {
		return err
	}
	why := decision.Reason().String()
	if detail := decision.Detail().String(); detail != "" {
		why += " (" + detail + ")"
	}
	if decision.Allowed() {
		r.say("credential", good, "", "accepted: %s", why)
		return nil
	}
	decides := decidedBy(decision.Reason(), decision.Detail().String())
	if s.Directory.UsersInTokens && decides == "directory.users_query" {
		decides = "directory.users"
		if decision.Principal().Method == authz.MethodSession {
			decides = "jwt.active_claim"
		}
	}
	r.say("credential", broken, decides, "refused: %s", why)
	return nil
}

// decidedBy returns the key of the configuration that decides about a reason.
func decidedBy(reason authz.Reason, detail string) string {
	switch reason {
	case authz.ReasonTokenKeyUnknown, authz.ReasonTokenAlgorithm, authz.ReasonTokenSignature, authz.ReasonKeysUnavailable:
		return "jwt.keys"
	case authz.ReasonTokenExpired, authz.ReasonTokenNotYetValid:
		return "jwt.leeway"
	case authz.ReasonTokenClaims:
		switch word, _, _ := strings.Cut(detail, " "); word {
		case "iss":
			return "jwt.issuer"
		case "aud":
			return "jwt.audiences"
		}
		return "jwt"
	case authz.ReasonSessionRevoked:
		return "sessions.key_template"
	case authz.ReasonSessionsUnavailable:
		return "sessions.redis_url"
	case authz.ReasonUserUnknown, authz.ReasonUserInactive:
		return "directory.users_query"
	case authz.ReasonAPIKeyUnknown, authz.ReasonAPIKeyInactive, authz.ReasonAPIKeyExpired:
		return "directory.api_keys_query"
	case authz.ReasonDirectoryUnavailable:
		return "directory.database_url"
	default: // the form of the credential itself
		return ""
	}
}

// A walk passes the look-ups of the engine on to the stores, and says what they answer.
type walk struct {
	*token.Verifier
	report *report
	stores *stores
}

// Verify implements [authz.Tokens].
func (w *walk) Verify(text string, now time.Time) (token.Claims, error) {
	claims, err := w.Verifier.Verify(text, now)
	if err == nil {
		session := "no session"
		if claims.SessionID != "" {
			session = "session " + claims.SessionID
		}
		w.report.say("credential.token", good, "jwt", "the token is valid until %s, for user %s and %s",
			claims.ExpiresAt.UTC().Format(time.RFC3339), claims.UserID, session+attributeNames(claims.Attributes))
		w.sayUser(claims)
	}
	return claims, err
}

// sayUser says what the token says about its user, if users are in tokens.
func (w *walk) sayUser(claims token.Claims) {
	const setting = "directory.users"
	u := claims.User
	switch {
	case u == nil:
	case !u.Active:
		w.report.say("credential.user", broken, setting, "by the token user %s is not active: %s", claims.UserID, u.ActiveDetail)
	case u.RolesDetail != token.Detail{}:
		w.report.say("credential.user", warning, setting, "by the token user %s is active, with the roles: %s; %s", claims.UserID, names(u.Roles), u.RolesDetail)
	default:
		w.report.say("credential.user", good, setting, "by the token user %s is active, with the roles: %s", claims.UserID, names(u.Roles))
	}
}

// attributeNames lists the attributes that have a value, and those whose value is unreadable. The
// values are of a person.
func attributeNames(of attribute.Set) string {
	var list []string
	for name := range of.All() {
		list = append(list, name)
	}
	text := ""
	if len(list) > 0 {
		text = "; attributes: " + strings.Join(list, ", ")
	}
	if bad := of.Unreadable(); len(bad) > 0 {
		text += "; attributes that cannot be read: " + strings.Join(bad, ", ")
	}
	return text
}

// Alive implements [authz.Sessions].
func (w *walk) Alive(ctx context.Context, session authz.Session) (bool, error) {
	alive, err := w.stores.sessions.Alive(ctx, session)
	if err != nil {
		w.report.say("credential.session", broken, "sessions.redis_url", "%v", err)
		return alive, err
	}
	says, setting := w.stores.sessionText(session, alive)
	found := broken
	if alive {
		found = good
	}
	w.report.say("credential.session", found, setting, "%s", says)
	return alive, nil
}

// sessionText says why a session is alive or not, and by which setting.
func (s *stores) sessionText(session authz.Session, alive bool) (text, setting string) {
	key := "the session"
	if s.redis != nil {
		key = "the key " + s.redis.SessionKey(session.UserID, session.ID)
	}
	switch {
	case s.rule == config.RuleNone:
		return "none: no session is asked for", "sessions.rule"
	case s.rule == config.RuleAbsent && alive:
		return "no key ends the session", "sessions.key_template"
	case s.rule == config.RuleAbsent:
		return "a key ends the session", "sessions.key_template"
	case alive:
		return key + " exists", "sessions.key_template"
	}
	return key + " does not exist: the session has ended, or the application writes another key", "sessions.key_template"
}

// User implements [authz.Users].
func (w *walk) User(ctx context.Context, id string) (authz.User, error) {
	const setting = "directory.users_query"
	user, err := w.stores.users.User(ctx, id)
	switch {
	case w.stores.users == authz.Users(authz.NoUsers{}):
		w.report.say("credential.user", broken, "directory.users", "the key has an owner, %s, who cannot be looked up, because users are in tokens; "+
			"write a directory.users_query that finds owners, or give keys no owner", id)
	case errors.Is(err, authz.ErrNotFound):
		w.report.say("credential.user", broken, setting, "there is no user %s", id)
	case err != nil:
		w.report.say("credential.user", broken, setting, "%v", err)
	case !user.Active:
		w.report.say("credential.user", broken, setting, "user %s is not active", id)
	default:
		w.report.say("credential.user", good, setting, "user %s is active, with the roles: %s%s", id, names(user.Roles), attributeNames(user.Attributes))
	}
	return user, err
}

// APIKey implements [authz.APIKeys].
func (w *walk) APIKey(ctx context.Context, hash authz.KeyHash) (authz.APIKey, error) {
	const setting = "directory.api_keys_query"
	key, err := w.stores.apiKeys.APIKey(ctx, hash)
	switch {
	case w.stores.keysOff:
		w.report.say("credential.api_key", broken, "directory.api_keys", "API keys are off, so no key is valid")
	case errors.Is(err, authz.ErrNotFound):
		w.report.say("credential.api_key", broken, setting, "no key has the SHA-256 of this one")
	case err != nil:
		w.report.say("credential.api_key", broken, setting, "%v", err)
	default:
		state, end := "active", "never"
		if !key.Active {
			state = "not active"
		}
		if !key.ExpiresAt.IsZero() {
			end = "at " + key.ExpiresAt.Format(time.RFC3339)
		}
		w.report.say("credential.api_key", good, setting, "the key %s is %s, expires %s, and has the scopes: %s%s", key.Prefix, state, end, names(key.Scopes), attributeNames(key.Attributes))
	}
	return key, err
}
