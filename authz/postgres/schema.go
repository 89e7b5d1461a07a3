package postgres

import _ "embed"

// Schema is the reference schema: the tables, a role that may read them, and the triggers
// that notify of changes. It can be applied repeatedly.
//
//go:embed schema.sql
var Schema string

// The default queries, which fit the reference schema.
const (
	DefaultUsersQuery   = "SELECT is_active, roles FROM users WHERE id = $1"
	DefaultAPIKeysQuery = "SELECT prefix, scopes, is_active, expires_at, user_id FROM api_keys WHERE key_hash = $1"
)
