package cli

import (
	"errors"
	"fmt"
	"io"
)

// A Process holds the environment and the standard streams of a command.
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

// ErrReported is returned by a command that failed and has already written why.
var ErrReported = errors.New("reported")

// A LookupEnv looks up an environment variable, like [os.LookupEnv].
type LookupEnv func(name string) (value string, set bool)

// An ExitError ends this process with the exit code of a process that it ran.
type ExitError int

func (e ExitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }
