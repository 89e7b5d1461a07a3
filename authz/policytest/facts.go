package policytest

import (
	"encoding/json"
	"regexp"
	"strconv"
	"time"

	"warder/authz"
)

// Flag returns the active flag of the user as a table holds it; nil for NULL.
func (u User) Flag() *bool { return flag(u.State) }

// Column returns the roles as a column holds them.
func (u User) Column() string { return namesJSON(u.Roles, u.RolesJSON) }

// User returns the user as a store in memory holds it.
func (u User) User() authz.User {
	return authz.User{Active: isActive(u.State), Roles: readNames(u.Column())}
}

// Hash returns the hash that the key is found by.
func (k APIKey) Hash() authz.KeyHash { return authz.HashAPIKey(k.Key) }

// Flag returns the active flag of the key as a table holds it; nil for NULL.
func (k APIKey) Flag() *bool { return flag(k.State) }

// Column returns the scopes as a column holds them.
func (k APIKey) Column() string { return namesJSON(k.Scopes, k.ScopesJSON) }

// ExpiresAt returns when the key ends; the zero time for never.
func (k APIKey) ExpiresAt(now time.Time) time.Time {
	at, _ := timeFrom(now, k.Expires)
	return at
}

// APIKey returns the key as a store in memory holds it.
func (k APIKey) APIKey(now time.Time) authz.APIKey {
	return authz.APIKey{
		Prefix: k.Prefix, Active: isActive(k.State), OwnerID: k.Owner,
		Scopes: readNames(k.Column()), ExpiresAt: k.ExpiresAt(now),
	}
}

// GoodKey returns the facts of a key that is accepted at a time; good is false for
// others.
func (f *File) GoodKey(key string, now time.Time) (_ authz.APIKey, good bool) {
	for _, k := range f.APIKeys {
		if facts := k.APIKey(now); k.Key == key {
			return facts, facts.Active && (facts.ExpiresAt.IsZero() || now.Before(facts.ExpiresAt))
		}
	}
	return authz.APIKey{}, false
}

func isActive(state string) bool { return state == "" || state == "active" }

func flag(state string) *bool {
	if state == "null" {
		return nil
	}
	active := isActive(state)
	return &active
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
func readNames(column string) authz.Names {
	var list []any
	if json.Unmarshal([]byte(column), &list) != nil {
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

func parseTime(s string) (time.Time, bool) {
	at, err := time.Parse(time.RFC3339, s)
	return at, err == nil
}

// timeFrom reads a time from now, or one by itself.
func timeFrom(now time.Time, s string) (time.Time, bool) {
	if after, ok := relativeTime(s); ok {
		return now.Add(after), true
	}
	return parseTime(s)
}
