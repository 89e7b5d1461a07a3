package session

import (
	"fmt"

	"github.com/spf13/cobra"

	"warder/authz"
	"warder/authz/redis"
	"warder/cmd/warder/internal/cli"
	"warder/cmd/warder/internal/config"
	"warder/cmd/warder/internal/operator"
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

// open reads the configuration and opens the sessions. The caller must close them.
func open(cmd *cobra.Command, p cli.Process, o *operator.Options, access operator.Access) (*config.Config, *redis.Admin, error) {
	c, err := o.Config(cmd, p, map[operator.Store]operator.Access{operator.Redis: access})
	if err != nil {
		return nil, nil, err
	}
	store, err := operator.OpenSessions(cmd.Context(), c)
	return c, store, err
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
