package token

import (
	"errors"
	"fmt"
)

// A ConfigError is a problem with a configuration. It names the key separately, so that a
// program can add the key's position without parsing the text.
type ConfigError struct {
	Field   string // the key, relative to the package's part, such as keys[0]; "" for no single key
	Problem string // what is wrong, and what to write instead
}

// Error returns the error in the form "field: problem".
func (e *ConfigError) Error() string {
	if e.Field == "" {
		return e.Problem
	}
	return e.Field + ": " + e.Problem
}

// Misconfigured returns a [*ConfigError] for field with a formatted problem.
func Misconfigured(field, format string, args ...any) error {
	return &ConfigError{field, fmt.Sprintf(format, args...)}
}

// ConfigErrors takes joined errors apart. One that is no [*ConfigError] becomes one without a
// field.
func ConfigErrors(err error) []*ConfigError {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []*ConfigError
		for _, e := range joined.Unwrap() {
			all = append(all, ConfigErrors(e)...)
		}
		return all
	}
	if known, ok := errors.AsType[*ConfigError](err); ok {
		return []*ConfigError{known}
	}
	return []*ConfigError{{Problem: err.Error()}}
}
