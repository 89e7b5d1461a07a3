package postgres

import _ "embed"

// Schema is the reference schema: tables, the role that may read them, and the
// triggers that announce changes. It can be applied twice.
//
//go:embed schema.sql
var Schema string

// The queries for the reference schema, which are used when none are configured.
const (
	DefaultUsersQuery   = "SELECT is_active, roles FROM users WHERE id = $1"
	DefaultAPIKeysQuery = "SELECT prefix, scopes, is_active, expires_at, user_id FROM api_keys WHERE key_hash = $1"
)
