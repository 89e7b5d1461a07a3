package token

import (
	"errors"
	"fmt"
)

// A ConfigError is something wrong with a configuration: at which key, and what would be right.
// The packages that check configurations use it, so that a program can add the place of
// the key and needs to read no text.
type ConfigError struct {
	Field   string // the key as it is named by the package, such as keys[0]; "" for the whole
	Problem string
}

// Error writes the error as field: problem.
func (e *ConfigError) Error() string {
	if e.Field == "" {
		return e.Problem
	}
	return e.Field + ": " + e.Problem
}

// Misconfigured returns a [*ConfigError].
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
