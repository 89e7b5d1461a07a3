package key

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"warder/authz"
	"warder/authz/postgres"
	"warder/cmd/warder/internal/cli"
	"warder/cmd/warder/internal/operator"
)

func newRevokeCommand(p cli.Process) *cobra.Command {
	var output cli.OutputFormat
	cmd := &cobra.Command{
		Use:   "revoke PREFIX|ID",
		Short: "Make an API key invalid",
		Long: `revoke makes the key with that public prefix or id inactive, so that it is refused
(api_key_inactive): at once, or within directory.max_staleness where changes are not announced.
It shows the key and asks. With --yes it does not ask; without a terminal it refuses, unless
--yes is given.

` + writing + `

In JSON: {id, prefix, state, owner, scopes, expires_at, created_at}, as the key is now.`,
		Example: `  warder key revoke ak_J4K2QX7M
  warder key revoke 17 --yes -o json`,
		Args: oneName,
	}
	options := operator.NewOptions(cmd, operator.Database)
	confirmation := operator.AddYesFlag(cmd)
	cli.AddOutputFlag(cmd, &output)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		keys, _, k, err := openOne(cmd, p, options, operator.Writes, args[0])
		if err != nil {
			return err
		}
		defer keys.Close()
		done := "was revoked before, so nothing was changed: "
		if k.Active {
			if err := confirmation.Ask(p, "This revokes 1 key, which is refused from then on:", "  "+describe(k)); err != nil {
				return err
			}
			if err := keys.Revoke(cmd.Context(), k.ID); err != nil {
				return err
			}
			k.Active = false
			done = "revoked "
		}
		if output == cli.OutputJSON {
			return cli.WriteJSON(p.Stdout, show(k, time.Now()))
		}
		_, err = fmt.Fprintln(p.Stdout, done+describe(k))
		return err
	}
	return cmd
}

func newRotateCommand(p cli.Process) *cobra.Command {
	var overlapText, expires, prefix string
	var output cli.OutputFormat
	cmd := &cobra.Command{
		Use:   "rotate PREFIX|ID",
		Short: "Create a key in the place of another, which stays valid for a time",
		Long: `rotate creates a key with the owner and the scopes of the key with that public prefix or id,
and prints it once as create does. The old key expires after --overlap, or when it would have
expired, whichever is first. Both happen or neither. rotate shows the old key and asks.
With --yes it does not ask; without a terminal it refuses, unless --yes is given.

Without --expires the new key lives as long as the old one was made for, from now on.

` + writing + `

In JSON: {id, prefix, state, owner, scopes, expires_at, created_at, key, replaces: {id, prefix, …}}.`,
		Example: `  warder key rotate ak_J4K2QX7M --overlap 7d
  warder key rotate 17 --overlap 24h --expires 90d --yes`,
		Args: oneName,
	}
	options := operator.NewOptions(cmd, operator.Database)
	flags := cmd.Flags()
	flags.StringVar(&overlapText, "overlap", "7d", "how `long` the old key stays valid: 7d (m, h, d, w); at most 90d")
	flags.StringVar(&expires, "expires", "", "`when` the new key expires: 90d (m, h, d, w), 2027-01-31T00:00:00Z, or never")
	flags.StringVar(&prefix, "prefix", "ak_", "the `beginning` of the new key")
	confirmation := operator.AddYesFlag(cmd)
	cli.AddOutputFlag(cmd, &output)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		now := time.Now()
		overlap, err := readOverlap(overlapText)
		if err := errors.Join(err, checkPrefix(prefix)); err != nil {
			return cli.WrongUsage(cmd, err)
		}
		if expires != "" {
			if _, err := readExpiry(expires, now); err != nil {
				return cli.WrongUsage(cmd, err)
			}
		}
		keys, c, old, err := openOne(cmd, p, options, operator.Writes, args[0])
		if err != nil {
			return err
		}
		defer keys.Close()
		if state := stateOf(old, now); state != stateValid {
			return fmt.Errorf("key %s is %s, so it cannot be replaced; create a new one", word(old.Prefix), state)
		}
		end, err := nextExpiry(old, expires, now)
		if err != nil {
			return err
		}
		if old.OwnerID != "" {
			if err := checkOwner(cmd.Context(), c, old.OwnerID); err != nil {
				return err
			}
		}
		until := now.Add(overlap).UTC().Truncate(time.Second)
		if !old.ExpiresAt.IsZero() && old.ExpiresAt.Before(until) {
			until = old.ExpiresAt
		}
		if err := confirmation.Ask(p,
			fmt.Sprintf("This creates 1 key, which expires %s, and ends 1 key at %s:", when(end), when(until)), "  "+describe(old)); err != nil {
			return err
		}
		key, public := generate(prefix)
		id, err := keys.Rotate(cmd.Context(), old.ID, until, postgres.NewKey{
			OwnerID: old.OwnerID, Hash: authz.HashAPIKey(key), Prefix: public, Scopes: old.Scopes, ExpiresAt: end,
		})
		if err != nil {
			return err
		}
		old.ExpiresAt = until
		fresh := postgres.Key{ID: id, Prefix: public, Scopes: old.Scopes, Active: true, ExpiresAt: end, OwnerID: old.OwnerID}
		if output == cli.OutputText {
			fmt.Fprintf(p.Stderr, "the old key ends at %s\n", when(until))
			return writeNew(p, output, fresh, key, now)
		}
		return cli.WriteJSON(p.Stdout, struct {
			created
			Replaces shown `json:"replaces"`
		}{created{show(fresh, now), key}, show(old, now)})
	}
	return cmd
}

// nextExpiry returns when the new key expires.
func nextExpiry(old postgres.Key, expires string, now time.Time) (time.Time, error) {
	switch {
	case expires != "":
		return readExpiry(expires, now)
	case old.ExpiresAt.IsZero():
		return time.Time{}, nil
	case old.CreatedAt.IsZero() || !old.CreatedAt.Before(old.ExpiresAt):
		return time.Time{}, fmt.Errorf("it is not known for how long key %s was made; give --expires", word(old.Prefix))
	}
	return now.Add(old.ExpiresAt.Sub(old.CreatedAt)).UTC().Truncate(time.Second), nil
}
