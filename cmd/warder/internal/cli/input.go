package cli

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"github.com/spf13/cobra"

	"warder/policy"
)

// Cause returns an error of package net or os without its operation and address. The
// message around it already names them.
func Cause(err error) error {
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

// StandardInput is the file name that stands for standard input.
const StandardInput = "-"

// LoadPolicy loads a policy from a file, a folder or standard input.
func LoadPolicy(p Process, path string) (*policy.Policy, error) {
	if path != StandardInput {
		loaded, err := policy.Load(path, p.Env)
		return loaded, ProblemsOf(path, err).Err()
	}
	name := InputName(path)
	data, err := ReadAll(p.Stdin, maxPolicyInput)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	loaded, err := policy.Parse([]policy.File{{Name: name, Data: data}}, p.Env)
	return loaded, ProblemsOf(name, err).Err()
}

// InputName returns the name of a file for messages.
func InputName(path string) string {
	if path == StandardInput {
		return "standard input"
	}
	return path
}

// maxPolicyInput bounds a policy on standard input, in bytes. It is larger than any policy
// file may be.
const maxPolicyInput = 16 << 20

// ReadAll reads all of r. It returns an error if r is longer than limit.
func ReadAll(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("is larger than %d MiB", limit>>20)
	}
	return data, err
}

// ReadBounded reads a whole file. It returns an error if the file is larger than limit. It
// does not trust the size that the system reports, which is 0 for a pipe or a device.
func ReadBounded(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, Bare(err)
	}
	return readOpened(path, os.O_RDONLY, info, limit)
}

// ReadRegular is like [ReadBounded], but refuses what is not a regular file. It is for files
// that are read again while the program runs: reading a pipe may never end, and reading some
// devices changes them.
func ReadRegular(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, Bare(err)
	}
	if !info.IsDir() && !info.Mode().IsRegular() {
		return nil, errNotRegular
	}
	// Opening a pipe that replaced the file after Stat must not block.
	return readOpened(path, os.O_RDONLY|syscall.O_NONBLOCK, info, limit)
}

var errNotRegular = errors.New("is a pipe, a socket or a device; name a regular file")

func readOpened(path string, flag int, info os.FileInfo, limit int64) ([]byte, error) {
	if info.IsDir() {
		return nil, errors.New("is a folder; name a file")
	}
	f, err := os.OpenFile(path, flag, 0)
	if err != nil {
		return nil, Bare(err)
	}
	defer f.Close()
	if opened, err := f.Stat(); err != nil || flag&syscall.O_NONBLOCK != 0 && !opened.Mode().IsRegular() {
		return nil, errNotRegular
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	switch {
	case err != nil:
		return nil, Bare(err)
	case int64(len(data)) > limit:
		return nil, fmt.Errorf("is larger than %d KiB; name the right file", limit>>10)
	}
	return data, nil
}

// Bare returns a file error without its path. The message around it already names the file.
func Bare(err error) error {
	if pathError, ok := errors.AsType[*os.PathError](err); ok {
		return fmt.Errorf("cannot be read: %w", pathError.Err)
	}
	return err
}

// LoadNamedPolicy loads the policy that --policy or WARDER_POLICY names, for a command that
// requires one.
func LoadNamedPolicy(cmd *cobra.Command, path string, p Process) (*policy.Policy, error) {
	if path == "" {
		path, _ = p.Env("WARDER_POLICY")
	}
	if path == "" {
		return nil, WrongUsage(cmd, fmt.Errorf("no policy is named; give --policy, or set WARDER_POLICY"))
	}
	return LoadPolicy(p, path)
}
