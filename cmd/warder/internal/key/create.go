package key

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"warder/authz"
	"warder/authz/postgres"
	"warder/cmd/warder/internal/cli"
	"warder/cmd/warder/internal/operator"
)

func newCreateCommand(p cli.Process) *cobra.Command {
	var owner, expires, prefix string
	var noOwner bool
	var scopes []string
	var output cli.OutputFormat
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Create an API key and print it once",
		Long: `create makes a random key of at least 128 bits and stores its SHA-256. The key itself is
printed to standard output, and is stored nowhere.

A key is its public prefix, an underscore and the secret. The public prefix is --prefix and
eight random characters; it is what logs and the other commands show. The owner must be an active
user. A key has the scopes of --scope and not the roles of its owner.

` + writing + `

In JSON: {id, prefix, state, owner, scopes, expires_at, created_at, key}. expires_at is null for a
key that does not expire. created_at is null here.`,
		Example: `  warder key create --owner 42 --scope assets:read --scope assets:audit --expires 90d
  KEY=$(warder key create --no-owner --scope metrics --expires 2027-01-31T00:00:00Z)`,
		Args: cli.NoArguments,
	}
	options := operator.NewOptions(cmd, operator.Database)
	flags := cmd.Flags()
	flags.StringVar(&owner, "owner", "", "the `id` of the user that the key belongs to")
	flags.BoolVar(&noOwner, "no-owner", false, "the key belongs to nobody")
	flags.StringArrayVar(&scopes, "scope", nil, "a `scope` of the key; may be repeated")
	flags.StringVar(&expires, "expires", "", "`when` the key expires: 90d (m, h, d, w), 2027-01-31T00:00:00Z, or never")
	flags.StringVar(&prefix, "prefix", "ak_", "the `beginning` of the key")
	cli.AddOutputFlag(cmd, &output)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		now := time.Now()
		end, err := readExpiry(expires, now)
		switch {
		case (owner == "") != noOwner:
			err = errors.New("give one of --owner and --no-owner")
		case owner != "" && !authz.ValidID(owner):
			err = fmt.Errorf("--owner: %q is not a valid user id; use 1 to 128 of A-Z a-z 0-9 . _ @ | + = ~ -", owner)
		case expires == "":
			err = errors.New("--expires is missing; give a span such as 90d, or never")
		}
		if err := errors.Join(err, checkScopes(scopes), checkPrefix(prefix)); err != nil {
			return cli.WrongUsage(cmd, err)
		}
		slices.Sort(scopes)
		scopes = slices.Compact(scopes)
		keys, c, err := open(cmd, p, options, operator.Writes)
		if err != nil {
			return err
		}
		defer keys.Close()
		if owner != "" {
			if err := checkOwner(cmd.Context(), c, owner); err != nil {
				return err
			}
		}
		if len(scopes) == 0 {
			fmt.Fprintln(p.Stderr, "warning: the key has no scopes, so it passes only routes that ask for none; give --scope")
		}
		key, public := generate(prefix)
		id, err := keys.Create(cmd.Context(), postgres.NewKey{OwnerID: owner, Hash: authz.HashAPIKey(key), Prefix: public, Scopes: scopes, ExpiresAt: end})
		if err != nil {
			return err
		}
		return writeNew(p, output, postgres.Key{ID: id, Prefix: public, Scopes: scopes, Active: true, ExpiresAt: end, OwnerID: owner}, key, now)
	}
	return cmd
}
