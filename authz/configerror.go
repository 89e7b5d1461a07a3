package authz

import "warder/authz/token"

// A ConfigError is something wrong with a configuration: at which key of warder.yaml, and what
// would be right. The stores and the packages in front of authz report theirs as one too.
type ConfigError = token.ConfigError

// Misconfigured returns a [*ConfigError] about a key.
func Misconfigured(field, format string, args ...any) error {
	return token.Misconfigured(field, format, args...)
}

// ConfigErrors takes joined errors apart. One that is no [*ConfigError] becomes one without a
// field.
func ConfigErrors(err error) []*ConfigError { return token.ConfigErrors(err) }
