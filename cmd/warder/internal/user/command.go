package user

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"warder/authz"
	"warder/cmd/warder/internal/cli"
	"warder/cmd/warder/internal/config"
	"warder/cmd/warder/internal/operator"
)

// NewCommand returns the command warder user.
func NewCommand(p cli.Process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "user",
		Short: "Show a user as the service sees the user",
		Args:  cli.KnownCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newShowCommand(p))
	return cmd
}

func newShowCommand(p cli.Process) *cobra.Command {
	var output cli.OutputFormat
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show whether a user exists and is active, with roles, sessions and API keys",
		Long: `show looks a user up with directory.users_query, as the service does, and counts the user's
sessions and API keys. It only reads. Where directory.users is token, the roles and the state that
count are in the user's tokens: they are shown as unknown, and warder doctor --token-file shows them.

The stores are those of the configuration, which is found as by serve. The service's own
users often may not list sessions and keys; what cannot be counted is shown as unknown, with the
reason. --redis-url-file, --database-url-file and the variables WARDER_ADMIN_REDIS_URL and
WARDER_ADMIN_DATABASE_URL name others, as for warder session and warder key. It exits with 1 if
there is no such user, or if the directory cannot answer.

Attributes are the further columns of directory.users_query. Values of sensitive names are
masked. Those that no attribute can have are listed as unreadable.

In JSON: {id, exists, active, roles, attributes: {name: value}, unreadable: [name], sessions,
api_keys, problems: [string]}. exists, active, roles, sessions and api_keys are null if they are
unknown; attributes and unreadable are left out if there are none.`,
		Example: `  warder user show 42
  warder user show 42 -o json`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || !authz.ValidID(args[0]) {
				return cli.WrongUsage(cmd, errors.New("name one user by an id of 1 to 128 of A-Z a-z 0-9 . _ @ | + = ~ -"))
			}
			return nil
		},
	}
	options := operator.NewOptions(cmd, operator.Redis, operator.Database)
	cli.AddOutputFlag(cmd, &output)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := options.Config(cmd, p, map[operator.Store]operator.Access{operator.Redis: operator.Reads, operator.Database: operator.Reads})
		if err != nil {
			return err
		}
		found, err := look(cmd.Context(), c, args[0])
		if err != nil {
			return err
		}
		if output == cli.OutputJSON {
			err = cli.WriteJSON(p.Stdout, found)
		} else {
			_, err = fmt.Fprint(p.Stdout, found)
		}
		if err == nil && found.Exists != nil && !*found.Exists {
			err = cli.ErrReported
		}
		return err
	}
	return cmd
}

// A shown is what is known about a user.
type shown struct {
	ID         string            `json:"id"`
	Exists     *bool             `json:"exists"` // null: unknown
	Active     *bool             `json:"active"` // null: unknown
	Roles      []string          `json:"roles"`  // null: unknown
	Attributes map[string]string `json:"attributes,omitempty"`
	Unreadable []string          `json:"unreadable,omitempty"`
	Sessions   *int              `json:"sessions"` // null: unknown
	APIKeys    *int              `json:"api_keys"` // null: unknown
	Problems   []string          `json:"problems"` // why something is unknown
}

func look(ctx context.Context, c *config.Config, id string) (shown, error) {
	found := shown{ID: id, Problems: []string{}}
	if c.UsersInTokens() { // what a directory has decides about the owners of API keys only
		found.Problems = append(found.Problems, "user: "+operator.ErrUsersInTokens.Error())
	} else {
		user, err := operator.FindUser(ctx, c, id)
		if err != nil && !errors.Is(err, authz.ErrNotFound) {
			return found, err
		}
		exists := err == nil
		found.Exists, found.Active, found.Roles = &exists, &user.Active, cli.SomeOrEmpty(user.Roles)
		found.Attributes, found.Unreadable = operator.Attributes(user.Attributes), user.Attributes.Unreadable()
	}
	count := func(what string, of func() (int, error)) *int {
		n, err := of()
		if err != nil {
			found.Problems = append(found.Problems, what+": "+err.Error())
			return nil
		}
		return &n
	}
	found.Sessions = count("sessions", func() (int, error) {
		store, err := operator.OpenSessions(ctx, c)
		if err != nil {
			return 0, err
		}
		defer store.Close()
		list, err := store.List(ctx, id)
		return len(list), err
	})
	found.APIKeys = count("api_keys", func() (int, error) {
		store, err := operator.OpenKeys(ctx, c, operator.Reads)
		if err != nil {
			return 0, err
		}
		defer store.Close()
		list, err := store.Keys(ctx, id)
		return len(list), err
	})
	return found, nil
}

func (s shown) String() string {
	var b strings.Builder
	switch {
	case s.Exists == nil:
		fmt.Fprintf(&b, "user %s is in tokens\n", s.ID)
	case !*s.Exists:
		fmt.Fprintf(&b, "user %s does not exist: user_unknown\n", s.ID)
	case !*s.Active:
		fmt.Fprintf(&b, "user %s is not active: user_inactive\n", s.ID)
	default:
		fmt.Fprintf(&b, "user %s is active\n", s.ID)
	}
	roles := cli.OneLine(strings.Join(s.Roles, ", "), 1000)
	switch {
	case s.Roles == nil:
		roles = "unknown"
	case roles == "":
		roles = "none"
	}
	fmt.Fprintf(&b, "roles     %s\nsessions  %s\nAPI keys  %s\n", roles, number(s.Sessions), number(s.APIKeys))
	b.WriteString(operator.AttributeLines(s.Attributes, s.Unreadable))
	for _, problem := range s.Problems {
		fmt.Fprintf(&b, "unknown   %s\n", problem)
	}
	return b.String()
}

func number(n *int) string {
	if n == nil {
		return "unknown"
	}
	return fmt.Sprint(*n)
}
