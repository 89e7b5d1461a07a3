package main

import (
	"errors"
	"io"
)

// A process is what a command takes from the world around it.
type process struct {
	env            lookupEnv
	stdin          io.Reader
	stdout, stderr io.Writer
}

// Exit codes.
const (
	exitGood    = 0
	exitFailure = 1
	exitUsage   = 2
)

// A usageError is a command line that cannot be understood.
type usageError struct {
	command string // as in "warder validate"
	err     error
}

func (e *usageError) Error() string { return e.err.Error() }

func (e *usageError) Unwrap() error { return e.err }

// errReported ends a command that failed and has said why.
var errReported = errors.New("reported")

// lookupEnv is os.LookupEnv or a stand-in.
type lookupEnv func(name string) (value string, set bool)
