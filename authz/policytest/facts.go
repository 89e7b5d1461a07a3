package policytest

import (
	"encoding/json"
	"regexp"
	"strconv"
	"time"

	"warder/authz"
	"warder/authz/attribute"
)

// Flag returns the value of the user's is_active column, or nil for NULL.
func (u User) Flag() *bool { return flag(u.State) }

// Column returns the value of the user's roles column.
func (u User) Column() string { return namesJSON(u.Roles, u.RolesJSON) }

// User returns the user for an in-memory store. columns are [File.UserAttributes].
func (u User) User(columns []string) authz.User {
	return authz.User{Active: isActive(u.State), Roles: readNames(u.Column()), Attributes: readAttributes(columns, u.Attributes)}
}

// readAttributes reads columns as documented. Those that values does not have are NULL.
func readAttributes(columns []string, values map[string]string) attribute.Set {
	var b attribute.Builder
	for _, name := range columns {
		b.Put(name, values[name])
	}
	return b.Set()
}

// Hash returns the hash of the key.
func (k APIKey) Hash() authz.KeyHash { return authz.HashAPIKey(k.Key) }

// Flag returns the value of the key's is_active column, or nil for NULL.
func (k APIKey) Flag() *bool { return flag(k.State) }

// Column returns the value of the key's scopes column.
func (k APIKey) Column() string { return namesJSON(k.Scopes, k.ScopesJSON) }

// ExpiresAt returns the key's expiry, or the zero Time if it does not expire.
func (k APIKey) ExpiresAt(now time.Time) time.Time {
	at, _ := timeFrom(now, k.Expires)
	return at
}

// APIKey returns the key for an in-memory store. columns are [File.APIKeyAttributes].
func (k APIKey) APIKey(now time.Time, columns []string) authz.APIKey {
	return authz.APIKey{
		Prefix: k.Prefix, Active: isActive(k.State), OwnerID: k.Owner,
		Scopes: readNames(k.Column()), ExpiresAt: k.ExpiresAt(now), Attributes: readAttributes(columns, k.Attributes),
	}
}

// GoodKey returns the record of a key. good reports whether the key is known, active and not
// expired at the time now.
func (f *File) GoodKey(key string, now time.Time) (_ authz.APIKey, good bool) {
	for _, k := range f.APIKeys {
		if facts := k.APIKey(now, f.APIKeyAttributes()); k.Key == key {
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

// namesJSON returns the value of the column, "" for NULL.
func namesJSON(names []string, text *string) string {
	if text != nil {
		return *text
	}
	if names == nil {
		return "[]"
	}
	encoded, _ := json.Marshal(names) // strings cannot fail
	return string(encoded)
}

// readNames reads a column as documented: a value that is not an array of strings counts as
// empty, and invalid names are dropped.
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

// relativeTime parses a time relative to now: +1h, -30s, +0s, +400d.
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

// timeFrom parses a relative or an absolute time.
func timeFrom(now time.Time, s string) (time.Time, bool) {
	if after, ok := relativeTime(s); ok {
		return now.Add(after), true
	}
	return parseTime(s)
}
