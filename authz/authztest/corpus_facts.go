package authztest

import (
	"encoding/json"
	"regexp"
	"strconv"
	"time"

	"warder/authz"
)

// User returns the user as a store in memory holds it.
func (u CorpusUser) User() authz.User {
	return authz.User{Active: active(u.State) == Yes, Roles: readNames(u.Roles, u.RolesJSON)}
}

// Row returns the user as a table holds it.
func (u CorpusUser) Row() UserRow {
	return UserRow{ID: u.ID, Active: active(u.State), Roles: namesJSON(u.Roles, u.RolesJSON)}
}

// Hash returns the hash that the key is found by.
func (k CorpusAPIKey) Hash() authz.KeyHash { return authz.HashAPIKey(k.Key) }

// APIKey returns the key as a store in memory holds it.
func (k CorpusAPIKey) APIKey(now time.Time) authz.APIKey {
	key := authz.APIKey{
		Prefix: k.Prefix, Active: active(k.State) == Yes, OwnerID: k.Owner,
		Scopes: readNames(k.Scopes, k.ScopesJSON),
	}
	if after, ok := relativeTime(k.Expires); ok {
		key.ExpiresAt = now.Add(after)
	}
	return key
}

// Row returns the key as a table holds it.
func (k CorpusAPIKey) Row(now time.Time) APIKeyRow {
	row := APIKeyRow{
		Hash: k.Hash(), Prefix: k.Prefix, Scopes: namesJSON(k.Scopes, k.ScopesJSON),
		Active: active(k.State), OwnerID: k.Owner,
	}
	if after, ok := relativeTime(k.Expires); ok {
		row.Expires = now.Add(after).UTC().Format(time.RFC3339Nano)
	}
	return row
}

// namesJSON returns what the column holds; "" stands for NULL.
func namesJSON(names []string, text *string) string {
	if text != nil {
		return *text
	}
	if names == nil {
		return "[]"
	}
	encoded, _ := json.Marshal(names) // strings
	return string(encoded)
}

// readNames reads a column as the contract says: an array of strings counts, any
// other shape means none, and a name that nobody can hold is dropped.
func readNames(names []string, text *string) authz.Names {
	var list []any
	if json.Unmarshal([]byte(namesJSON(names, text)), &list) != nil {
		return nil
	}
	held := make([]string, 0, len(list))
	for _, element := range list {
		name, ok := element.(string)
		if !ok {
			return nil
		}
		held = append(held, name)
	}
	valid, _ := authz.NewNames(held)
	return valid
}

var relative = regexp.MustCompile(`^([+-])([0-9]+)([smhd])$`)

// relativeTime reads a time from now: +1h, -30s, +0s, +400d.
func relativeTime(s string) (time.Duration, bool) {
	parts := relative.FindStringSubmatch(s)
	if parts == nil {
		return 0, false
	}
	n, err := strconv.Atoi(parts[1] + parts[2])
	unit := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}[parts[3]]
	return time.Duration(n) * unit, err == nil
}
