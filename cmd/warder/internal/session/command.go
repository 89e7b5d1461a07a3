package session

import (
	"fmt"

	"github.com/spf13/cobra"

	"warder/authz"
	"warder/cmd/warder/internal/cli"
)

// NewCommand returns the command warder session.
func NewCommand(p cli.Process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "session",
		Short: "List, end and check the sessions of users in Redis",
		Args:  cli.KnownCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newListCommand(p), newRevokeCommand(p), newCheckCommand(p))
	return cmd
}

// addUserFlag adds the flag --user.
func addUserFlag(cmd *cobra.Command, user *string) {
	cmd.Flags().StringVar(user, "user", "", "the `id` of the user, as in the user's tokens")
}

// checkUser checks the value of --user.
func checkUser(cmd *cobra.Command, user string) error {
	switch {
	case user == "":
		return cli.WrongUsage(cmd, fmt.Errorf("no user is named; give --user"))
	case !authz.ValidID(user):
		return cli.WrongUsage(cmd, fmt.Errorf("--user: %q is not a valid user id; use 1 to 128 of A-Z a-z 0-9 . _ @ | + = ~ -", user))
	}
	return nil
}
