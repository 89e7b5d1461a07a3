package cli

import (
	"errors"
	"fmt"
	"io"
)

// A Process is what a command takes from the world around it.
type Process struct {
	Env            LookupEnv
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// Exit codes.
const (
	ExitGood    = 0
	ExitFailure = 1
	ExitUsage   = 2
)

// A UsageError is a command line that cannot be understood.
type UsageError struct {
	command string // as in "warder validate"
	err     error
}

func (e *UsageError) Error() string { return e.err.Error() }

func (e *UsageError) Unwrap() error { return e.err }

// ErrReported ends a command that failed and has said why.
var ErrReported = errors.New("reported")

// LookupEnv is os.LookupEnv or a stand-in.
type LookupEnv func(name string) (value string, set bool)

// An ExitError ends the process with the exit code of another one.
type ExitError int

func (e ExitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }
