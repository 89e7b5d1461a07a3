package key

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"warder/authz"
	"warder/cmd/warder/internal/cli"
	"warder/cmd/warder/internal/operator"
)

// reading is the part of the help texts about the database.
const reading = `The database is the one of the configuration, which is found as by serve. The role of the
service often may not read ids: --database-url-file, --database-url,
WARDER_ADMIN_DATABASE_URL and WARDER_ADMIN_DATABASE_URL_FILE name another one. The SQL is
directory.commands of the configuration, for tables of your own.`

func newListCommand(p cli.Process) *cobra.Command {
	var owner string
	var output cli.OutputFormat
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List API keys",
		Long: `list shows the keys of one owner, or all keys: id, public prefix, state (valid, expired or
revoked), expiry, owner and scopes. Nothing of it is secret.

` + reading + `

In JSON: {keys: [{id, prefix, state, owner, scopes, expires_at, created_at, attributes: {name:
value}, unreadable: [name]}]}. owner is "" for a key without one; expires_at is null for a key
that does not expire, created_at if it is not known; attributes and unreadable are left out if
there are none.`,
		Example: `  warder key list --owner 42
  warder key list -o json | jq '.keys[] | select(.state == "valid")'`,
		Args: cli.NoArguments,
	}
	options := operator.NewOptions(cmd, operator.Database)
	cmd.Flags().StringVar(&owner, "owner", "", "the `id` of a user: only the user's keys")
	cli.AddOutputFlag(cmd, &output)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if cmd.Flags().Changed("owner") && !authz.ValidID(owner) {
			return cli.WrongUsage(cmd, fmt.Errorf("--owner: %q is not a valid user id; use 1 to 128 of A-Z a-z 0-9 . _ @ | + = ~ -", owner))
		}
		keys, _, err := open(cmd, p, options, operator.Reads)
		if err != nil {
			return err
		}
		defer keys.Close()
		found, err := keys.Keys(cmd.Context(), owner)
		if err != nil {
			return err
		}
		now := time.Now()
		if output == cli.OutputJSON {
			list := []shown{}
			for _, k := range found {
				list = append(list, show(k, now))
			}
			return cli.WriteJSON(p.Stdout, struct {
				Keys []shown `json:"keys"`
			}{list})
		}
		if len(found) == 0 {
			fmt.Fprintln(p.Stderr, "there are no keys")
			return nil
		}
		return writeTable(p.Stdout, found, now)
	}
	return cmd
}

func newShowCommand(p cli.Process) *cobra.Command {
	var output cli.OutputFormat
	cmd := &cobra.Command{
		Use:   "show PREFIX|ID",
		Short: "Show one API key",
		Long: `show shows the key with that public prefix or id, as list does. Further columns of
directory.commands.show_key are shown as attributes, with the values of sensitive names masked.

` + reading + `

In JSON: {id, prefix, state, owner, scopes, expires_at, created_at, attributes: {name: value},
unreadable: [name]}.`,
		Example: `  warder key show ak_J4K2QX7M
  warder key show 17 -o json`,
		Args: oneName,
	}
	options := operator.NewOptions(cmd, operator.Database)
	cli.AddOutputFlag(cmd, &output)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		keys, _, k, err := openOne(cmd, p, options, operator.Reads, args[0])
		if err != nil {
			return err
		}
		defer keys.Close()
		if output == cli.OutputJSON {
			return cli.WriteJSON(p.Stdout, show(k, time.Now()))
		}
		_, err = fmt.Fprintf(p.Stdout, "%s: %s\n%s", stateOf(k, time.Now()), describe(k), operator.AttributeLines(operator.Attributes(k.Attributes), k.Attributes.Unreadable()))
		return err
	}
	return cmd
}
