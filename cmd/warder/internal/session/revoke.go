package session

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"warder/authz"
	"warder/authz/redis"
	"warder/cmd/warder/internal/cli"
	"warder/cmd/warder/internal/operator"
)

func newRevokeCommand(p cli.Process) *cobra.Command {
	var user string
	var only []string
	var lasting time.Duration
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

With sessions.rule absent it writes the keys that end sessions instead: for each --session the
key of a sessions.key_template with {jti}; without --session the time of
sessions.revoked_before_template, a few seconds from now (jwt.leeway, at least 5s), because the
clock of an issuer may be ahead; or else the key of a template of {user_id} alone, which refuses
later sessions too, as long as it is kept. --for says how long that is; it must be as long as
tokens are valid. The user needs +pttl and +set on these keys, and +get on those with a time.

In JSON: {user, revoked: [id]}; with sessions.rule absent also all, which is true without
--session.`,
		Example: `  warder session revoke --user 42
  warder session revoke --user 42 --session 0b9c5d1e --yes -o json
  warder session revoke --user 42 --for 24h`,
		Args: cli.NoArguments,
	}
	options := operator.NewOptions(cmd, operator.Redis)
	addUserFlag(cmd, &user)
	cmd.Flags().StringArrayVar(&only, "session", nil, "the `id` of a session; may be repeated (default: all)")
	cmd.Flags().DurationVar(&lasting, "for", 0, "with sessions.rule absent: how long the key is kept, at least as long as tokens are valid")
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
		c, store, err := open(cmd, p, options, operator.Writes)
		if err != nil {
			return err
		}
		defer store.Close()
		if store.RuleAbsent() {
			r := revocation{user, only, lasting, c.ClockAhead()}
			if err := r.check(cmd, store); err != nil {
				return err
			}
			if err := confirmation.Ask(p, r.plan(store)...); err != nil {
				return err
			}
			if err := r.write(cmd.Context(), store); err != nil {
				return err
			}
			return r.report(p, output)
		}
		if cmd.Flags().Changed("for") {
			return cli.WrongUsage(cmd, fmt.Errorf("--for is for sessions.rule absent; leave it out"))
		}
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

// A revocation ends sessions by keys, with sessions.rule absent.
type revocation struct {
	user     string
	sessions []string // empty: all that began up to now
	lasting  time.Duration
	ahead    time.Duration // how far the clock of an issuer may be ahead
}

// check checks that there is a key for what is to end, before anything is written.
func (r revocation) check(cmd *cobra.Command, store *redis.Admin) error {
	if r.lasting < time.Second {
		return cli.WrongUsage(cmd, fmt.Errorf("with sessions.rule absent a session has ended as long as Redis keeps a key; give --for, at least as long as tokens are valid, as in --for 24h"))
	}
	if _, ok := store.RevocationKey(r.user, ""); !ok && len(r.sessions) == 0 {
		return fmt.Errorf("no key of the configuration ends all sessions of a user, so nothing was changed; name sessions with --session, or set sessions.revoked_before_template")
	}
	if _, ok := store.RevocationKey(r.user, "any"); !ok && len(r.sessions) > 0 {
		return fmt.Errorf("no key of the configuration ends a single session, so nothing was changed; leave --session out to end all of the user")
	}
	return nil
}

func (r revocation) plan(store *redis.Admin) []string {
	if len(r.sessions) == 0 {
		key, _ := store.RevocationKey(r.user, "")
		if !store.RevokesByTime() {
			return []string{fmt.Sprintf("This ends all sessions of user %s, and those that begin in the next %v, by the key %s.", r.user, r.lasting, key)}
		}
		return []string{fmt.Sprintf("This ends all sessions of user %s that began up to now (tokens issued until %s), by the key %s for %v.",
			r.user, time.Now().Add(r.ahead).UTC().Format(time.TimeOnly), key, r.lasting)}
	}
	plan := []string{fmt.Sprintf("This ends %s of user %s for %v:", cli.Count(len(r.sessions), "session"), r.user, r.lasting)}
	for _, id := range r.sessions {
		key, _ := store.RevocationKey(r.user, id)
		plan = append(plan, fmt.Sprintf("  %s, by the key %s", id, key))
	}
	return plan
}

func (r revocation) write(ctx context.Context, store *redis.Admin) error {
	if len(r.sessions) == 0 {
		return store.Revoke(ctx, r.user, "", r.lasting, r.ahead)
	}
	for i, id := range r.sessions {
		if err := store.Revoke(ctx, r.user, id, r.lasting, r.ahead); err != nil {
			return fmt.Errorf("%w; %d of %d sessions have ended", err, i, len(r.sessions))
		}
	}
	return nil
}

func (r revocation) report(p cli.Process, output cli.OutputFormat) error {
	all := len(r.sessions) == 0
	if output == cli.OutputJSON {
		return cli.WriteJSON(p.Stdout, struct {
			User    string   `json:"user"`
			Revoked []string `json:"revoked"`
			All     bool     `json:"all"`
		}{r.user, append([]string{}, r.sessions...), all})
	}
	text := cli.Count(len(r.sessions), "session")
	if all {
		text = "all sessions"
	}
	_, err := fmt.Fprintf(p.Stdout, "ended %s of user %s\n", text, r.user)
	return err
}
