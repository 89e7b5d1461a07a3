package token

import "fmt"

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
