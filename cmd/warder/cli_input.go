package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"warder/policy"
)

// cause takes the operation and the address off an error of net or os: the
// message around it names them already.
func cause(err error) error {
	if e, ok := errors.AsType[*net.OpError](err); ok {
		err = e.Err
	}
	if e, ok := errors.AsType[*os.SyscallError](err); ok {
		return e.Err
	}
	if e, ok := errors.AsType[*os.PathError](err); ok {
		return e.Err
	}
	return err
}

// standardInput is the name of a file that is read from there.
const standardInput = "-"

// loadPolicyArgument loads a policy from a file, a folder or standard input.
func loadPolicyArgument(p process, path string) (*policy.Policy, error) {
	if path != standardInput {
		loaded, err := policy.Load(path, p.env)
		return loaded, problemsOf(path, err).Err()
	}
	name := nameOfInput(path)
	data, err := readAllOf(p.stdin, maxPolicyInput)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	loaded, err := policy.Parse([]policy.File{{Name: name, Data: data}}, p.env)
	return loaded, problemsOf(name, err).Err()
}

// nameOfInput names a file in messages.
func nameOfInput(path string) string {
	if path == standardInput {
		return "standard input"
	}
	return path
}

// maxPolicyInput is more than the largest policy file that is read.
const maxPolicyInput = 16 << 20

// readAllOf reads all of r, which must not be longer than limit.
func readAllOf(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("is larger than %d MiB", limit>>20)
	}
	return data, err
}

// readBounded reads a whole file that must be small.
func readBounded(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, bare(err)
	case info.IsDir():
		return nil, errors.New("is a folder; name a file")
	case info.Size() > limit:
		return nil, fmt.Errorf("is larger than %d KiB; name the right file", limit>>10)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, bare(err)
	}
	return data, nil
}

// bare takes the path out of a file error: the message names the file already.
func bare(err error) error {
	if pathError, ok := errors.AsType[*os.PathError](err); ok {
		return fmt.Errorf("cannot be read: %w", pathError.Err)
	}
	return err
}
