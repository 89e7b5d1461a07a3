package key

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"warder/authz"
	"warder/authz/postgres"
	"warder/cmd/warder/internal/cli"
	"warder/cmd/warder/internal/config"
	"warder/cmd/warder/internal/operator"
)

// NewCommand returns the command warder key.
func NewCommand(p cli.Process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Create, list, revoke and rotate API keys in the database",
		Args:  cli.KnownCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCreateCommand(p), newListCommand(p), newShowCommand(p), newRevokeCommand(p), newRotateCommand(p))
	return cmd
}

// writing is the part of the help texts about the database.
const writing = `It writes to the database, and never with the URL of the service: --database-url-file,
--database-url, WARDER_ADMIN_DATABASE_URL or WARDER_ADMIN_DATABASE_URL_FILE names a role that
may. The SQL is directory.commands of the configuration, for tables of your own.`

// open opens the keys of the database.
func open(cmd *cobra.Command, p cli.Process, o *operator.Options, access operator.Access) (*postgres.Admin, *config.Config, error) {
	c, err := o.Config(cmd, p, map[operator.Store]operator.Access{operator.Database: access})
	if err != nil {
		return nil, nil, err
	}
	keys, err := operator.OpenKeys(cmd.Context(), c, access)
	return keys, c, err
}

// openOne opens the keys like open, and finds one by its id or prefix.
func openOne(cmd *cobra.Command, p cli.Process, o *operator.Options, access operator.Access, name string) (*postgres.Admin, *config.Config, postgres.Key, error) {
	keys, c, err := open(cmd, p, o, access)
	if err != nil {
		return nil, nil, postgres.Key{}, err
	}
	k, err := one(cmd.Context(), keys, name)
	if err != nil {
		keys.Close()
		return nil, nil, postgres.Key{}, err
	}
	return keys, c, k, nil
}

// A shown is a key in JSON.
type shown struct {
	ID         string            `json:"id"`
	Prefix     string            `json:"prefix"`
	State      string            `json:"state"`
	Owner      string            `json:"owner"`
	Scopes     []string          `json:"scopes"`
	ExpiresAt  *time.Time        `json:"expires_at"` // null: never
	CreatedAt  *time.Time        `json:"created_at"` // null: not known
	Attributes map[string]string `json:"attributes,omitempty"`
	Unreadable []string          `json:"unreadable,omitempty"`
}

// The states of a key.
const (
	stateValid   = "valid"
	stateExpired = "expired"
	stateRevoked = "revoked"
)

func stateOf(k postgres.Key, now time.Time) string {
	switch {
	case !k.Active:
		return stateRevoked
	case !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt):
		return stateExpired
	}
	return stateValid
}

func show(k postgres.Key, now time.Time) shown {
	return shown{
		ID: k.ID, Prefix: k.Prefix, State: stateOf(k, now), Owner: k.OwnerID, Scopes: cli.SomeOrEmpty(k.Scopes),
		ExpiresAt: known(k.ExpiresAt), CreatedAt: known(k.CreatedAt),
		Attributes: operator.Attributes(k.Attributes), Unreadable: cli.SomeOrEmpty(k.Attributes.Unreadable()),
	}
}

func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// when writes an expiry time for people.
func when(t time.Time) string {
	if t.IsZero() {
		return never
	}
	return t.Format(time.RFC3339)
}

// word writes text of the database for people.
func word(s string) string {
	if s = cli.OneLine(s, 120); s == "" {
		return "-"
	}
	return s
}

// describe describes a key in one line.
func describe(k postgres.Key) string {
	owner := "no owner"
	if k.OwnerID != "" {
		owner = "owner " + word(k.OwnerID)
	}
	return fmt.Sprintf("%s (id %s, %s, scopes %s, expires %s)", word(k.Prefix), word(k.ID), owner, word(strings.Join(k.Scopes, ", ")), when(k.ExpiresAt))
}

func writeTable(to io.Writer, keys []postgres.Key, now time.Time) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tPREFIX\tSTATE\tEXPIRES\tOWNER\tSCOPES")
	for _, k := range keys {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", word(k.ID), word(k.Prefix), stateOf(k, now), when(k.ExpiresAt), word(k.OwnerID), word(strings.Join(k.Scopes, ", ")))
	}
	return w.Flush()
}

// one returns the key with the id or the prefix name. Several keys are an error that lists them.
func one(ctx context.Context, keys *postgres.Admin, name string) (postgres.Key, error) {
	found, err := keys.Find(ctx, name)
	switch {
	case err != nil:
		return postgres.Key{}, err
	case len(found) == 0:
		return postgres.Key{}, errors.New("there is no key with this id or prefix; warder key list shows those that there are")
	case len(found) > 1:
		lines := []string{fmt.Sprintf("%d keys have this id or prefix; name one by an id that is not the prefix of another:", len(found))}
		for _, k := range found {
			lines = append(lines, "  "+describe(k))
		}
		return postgres.Key{}, errors.New(strings.Join(lines, "\n"))
	}
	return found[0], nil
}

// oneName checks the arguments of a command that takes the id or prefix of a key.
func oneName(cmd *cobra.Command, args []string) error {
	if len(args) != 1 || args[0] == "" {
		return cli.WrongUsage(cmd, errors.New("name one key by its id or its prefix"))
	}
	if len(args[0]) > 128 {
		return cli.WrongUsage(cmd, errors.New("an id or a prefix of more than 128 characters; if this is a whole key, leave out what comes after its prefix"))
	}
	return nil
}

// checkOwner returns an error unless the owner is an active user. Keys of others are refused.
func checkOwner(ctx context.Context, c *config.Config, owner string) error {
	user, err := operator.FindUser(ctx, c, owner)
	switch {
	case errors.Is(err, authz.ErrNotFound):
		return fmt.Errorf("user %s does not exist, so the key would be refused (user_unknown); nothing was stored", owner)
	case errors.Is(err, operator.ErrUsersInTokens):
		return fmt.Errorf("the owner %s cannot be looked up, so the key would be refused (user_unknown); nothing was stored. "+
			"Users are in tokens (directory.users): leave the owner out, or write a directory.users_query that finds owners", owner)
	case err != nil:
		return err
	case !user.Active:
		return fmt.Errorf("user %s is not active, so the key would be refused (user_inactive); nothing was stored", owner)
	}
	return nil
}

// A created is a new key in JSON.
type created struct {
	shown
	Key string `json:"key"`
}

// writeNew prints a new key. It is the only time that the key is printed.
func writeNew(p cli.Process, output cli.OutputFormat, k postgres.Key, key string, now time.Time) error {
	var err error
	if output == cli.OutputJSON {
		err = cli.WriteJSON(p.Stdout, created{show(k, now), key})
	} else {
		fmt.Fprintf(p.Stderr, "created key %s\nThe key itself, which is not shown again:\n", describe(k))
		_, err = fmt.Fprintln(p.Stdout, key)
	}
	if err != nil {
		return fmt.Errorf("the key was stored and could not be printed; run warder key revoke %s: %w", k.ID, err)
	}
	return nil
}
