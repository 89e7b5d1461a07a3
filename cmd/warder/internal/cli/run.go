package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// Run runs the command of root that args name and returns the exit code. It
// writes an error to standard error, unless the command has already reported it.
func Run(root *cobra.Command, args []string, p Process) int {
	root.SetArgs(args)
	err := root.Execute()
	usage, isUsage := errors.AsType[*UsageError](err)
	code, isExit := errors.AsType[ExitError](err)
	switch {
	case err == nil:
		return ExitGood
	case isExit:
		return int(code)
	case isUsage:
		fmt.Fprintf(p.Stderr, "warder: %s\nRun '%s --help' for usage.\n", usage, usage.command)
		return ExitUsage
	case errors.Is(err, ErrReported):
	default:
		fmt.Fprintf(p.Stderr, "warder: %s\n", strings.ReplaceAll(err.Error(), "\n", "\nwarder: "))
	}
	return ExitFailure
}
