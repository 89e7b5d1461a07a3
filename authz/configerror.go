package authz

import "warder/authz/token"

// A ConfigError is a problem with the configuration. It names the key in warder.yaml and
// says what to write instead. The stores and the packages that call authz use it too.
type ConfigError = token.ConfigError

// Misconfigured returns a [*ConfigError] for the key field.
func Misconfigured(field, format string, args ...any) error {
	return token.Misconfigured(field, format, args...)
}

// ConfigErrors takes joined errors apart. One that is no [*ConfigError] becomes one without a
// field.
func ConfigErrors(err error) []*ConfigError { return token.ConfigErrors(err) }
