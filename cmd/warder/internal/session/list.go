package session

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"warder/authz/redis"
	"warder/cmd/warder/internal/cli"
	"warder/cmd/warder/internal/operator"
)

func newListCommand(p cli.Process) *cobra.Command {
	var user string
	var output cli.OutputFormat
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the sessions of a user",
		Long: `list finds the keys of a user's sessions by sessions.key_template. It looks at every key
of the database with SCAN, a thousand at a time, which does not block Redis.

Redis is the one of the configuration, which is found as by serve. The Redis user of the
service usually may not list keys. --redis-url-file, --redis-url, WARDER_ADMIN_REDIS_URL and
WARDER_ADMIN_REDIS_URL_FILE name another user, who needs +scan and +pttl.

In JSON: {user, sessions: [{id, expires_in_seconds}]}. expires_in_seconds is null for a
session that does not expire.`,
		Example: `  warder session list --user 42
  warder session list --user 42 --redis-url-file /run/secrets/admin-redis-url -o json`,
		Args: cli.NoArguments,
	}
	options := operator.NewOptions(cmd, operator.Redis)
	addUserFlag(cmd, &user)
	cli.AddOutputFlag(cmd, &output)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkUser(cmd, user); err != nil {
			return err
		}
		_, store, err := open(cmd, p, options, operator.Reads)
		if err != nil {
			return err
		}
		defer store.Close()
		found, err := store.List(cmd.Context(), user)
		if err != nil {
			return err
		}
		if output == cli.OutputJSON {
			return cli.WriteJSON(p.Stdout, struct {
				User     string  `json:"user"`
				Sessions []shown `json:"sessions"`
			}{user, shownOf(found)})
		}
		if len(found) == 0 {
			fmt.Fprintf(p.Stderr, "user %s has no sessions\n", user)
			return nil
		}
		return writeSessions(p.Stdout, found)
	}
	return cmd
}

// A shown is a session in JSON.
type shown struct {
	ID        string `json:"id"`
	ExpiresIn *int64 `json:"expires_in_seconds"` // null: it does not expire
}

func shownOf(found []redis.LiveSession) []shown {
	list := []shown{}
	for _, s := range found {
		one := shown{ID: s.ID}
		if s.Left != redis.NoExpiry {
			one.ExpiresIn = new(int64(s.Left / time.Second))
		}
		list = append(list, one)
	}
	return list
}

func writeSessions(to io.Writer, found []redis.LiveSession) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SESSION\tENDS IN")
	for _, s := range found {
		fmt.Fprintf(w, "%s\t%s\n", s.ID, leftOf(s))
	}
	return w.Flush()
}

// leftOf describes how long a session lives.
func leftOf(s redis.LiveSession) string {
	if s.Left == redis.NoExpiry {
		return "never"
	}
	return max(s.Left.Truncate(time.Second), time.Second).String()
}
