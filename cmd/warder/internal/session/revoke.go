package session

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"warder/authz"
	"warder/authz/redis"
	"warder/cmd/warder/internal/cli"
	"warder/cmd/warder/internal/operator"
)

func newRevokeCommand(p cli.Process) *cobra.Command {
	var user string
	var only []string
	var output cli.OutputFormat
	cmd := &cobra.Command{
		Use:   "revoke",
		Short: "End the sessions of a user",
		Long: `revoke deletes the keys of a user's sessions: all of them, or those that --session names.
It shows which sessions these are and asks. With --yes it does not ask; without a terminal
it refuses, unless --yes is given. A session that begins after that stays.

It writes to Redis, and never with the URL of the service: --redis-url-file, --redis-url,
WARDER_ADMIN_REDIS_URL or WARDER_ADMIN_REDIS_URL_FILE names a user with +scan, +pttl and +del.

Tokens of these sessions are refused from then on (session_revoked): at once with
sessions.consistency strict, within a second with tracked. What else the application keeps
about its sessions, such as refresh tokens, is not touched.

In JSON: {user, revoked: [id]}.`,
		Example: `  warder session revoke --user 42
  warder session revoke --user 42 --session 0b9c5d1e --yes -o json`,
		Args: cli.NoArguments,
	}
	options := operator.NewOptions(cmd, operator.Redis)
	addUserFlag(cmd, &user)
	cmd.Flags().StringArrayVar(&only, "session", nil, "the `id` of a session; may be repeated (default: all)")
	confirmation := operator.AddYesFlag(cmd)
	cli.AddOutputFlag(cmd, &output)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkUser(cmd, user); err != nil {
			return err
		}
		for _, id := range only {
			if !authz.ValidID(id) {
				return cli.WrongUsage(cmd, fmt.Errorf("--session: %q is not a valid session id; warder session list shows those of a user", id))
			}
		}
		store, err := open(cmd, p, options, operator.Writes)
		if err != nil {
			return err
		}
		defer store.Close()
		found, err := store.List(cmd.Context(), user)
		if err != nil {
			return err
		}
		if found, err = chosen(user, found, only); err != nil {
			return err
		}
		ids := []string{}
		plan := []string{fmt.Sprintf("This ends %s of user %s:", cli.Count(len(found), "session"), user)}
		for _, s := range found {
			ids = append(ids, s.ID)
			plan = append(plan, fmt.Sprintf("  %s (ends in %s)", s.ID, leftOf(s)))
		}
		if len(ids) > 0 {
			if err := confirmation.Ask(p, plan...); err != nil {
				return err
			}
			if err := store.End(cmd.Context(), user, ids); err != nil {
				return fmt.Errorf("%w; some of the sessions may have ended", err)
			}
		}
		if output == cli.OutputJSON {
			return cli.WriteJSON(p.Stdout, struct {
				User    string   `json:"user"`
				Revoked []string `json:"revoked"`
			}{user, ids})
		}
		if len(ids) == 0 {
			_, err = fmt.Fprintf(p.Stdout, "user %s has no sessions, so nothing was changed\n", user)
			return err
		}
		_, err = fmt.Fprintf(p.Stdout, "ended %s of user %s\n", cli.Count(len(ids), "session"), user)
		return err
	}
	return cmd
}

// chosen returns the sessions that are named, or all if none is named. A session that does not
// exist is an error, because the name may be wrong.
func chosen(user string, found []redis.LiveSession, only []string) ([]redis.LiveSession, error) {
	if len(only) == 0 {
		return found, nil
	}
	for _, id := range only {
		if !slices.ContainsFunc(found, func(s redis.LiveSession) bool { return s.ID == id }) {
			return nil, fmt.Errorf("user %s has no session %s, so nothing was changed; warder session list shows those that there are", user, id)
		}
	}
	return slices.DeleteFunc(found, func(s redis.LiveSession) bool { return !slices.Contains(only, s.ID) }), nil
}
