package cli

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/spf13/cobra"

	"warder/policy"
)

// Cause takes the operation and the address off an error of net or os: the
// message around it names them already.
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

// StandardInput is the name of a file that is read from there.
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

// InputName names a file in messages.
func InputName(path string) string {
	if path == StandardInput {
		return "standard input"
	}
	return path
}

// maxPolicyInput is more than the largest policy file that is read.
const maxPolicyInput = 16 << 20

// ReadAll reads all of r, which must not be longer than limit.
func ReadAll(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("is larger than %d MiB", limit>>20)
	}
	return data, err
}

// ReadBounded reads a whole file that must be small.
func ReadBounded(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, Bare(err)
	case info.IsDir():
		return nil, errors.New("is a folder; name a file")
	case info.Size() > limit:
		return nil, fmt.Errorf("is larger than %d KiB; name the right file", limit>>10)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, Bare(err)
	}
	return data, nil
}

// Bare takes the path out of a file error: the message names the file already.
func Bare(err error) error {
	if pathError, ok := errors.AsType[*os.PathError](err); ok {
		return fmt.Errorf("cannot be read: %w", pathError.Err)
	}
	return err
}

// LoadNamedPolicy loads the policy that --policy or WARDER_POLICY names, for a command
// that cannot do without one.
func LoadNamedPolicy(cmd *cobra.Command, path string, p Process) (*policy.Policy, error) {
	if path == "" {
		path, _ = p.Env("WARDER_POLICY")
	}
	if path == "" {
		return nil, WrongUsage(cmd, fmt.Errorf("no policy is named; give --policy, or set WARDER_POLICY"))
	}
	return LoadPolicy(p, path)
}
