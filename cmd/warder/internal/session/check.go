package session

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"warder/authz"
	"warder/authz/mask"
	"warder/authz/redis"
	"warder/authz/token"
	"warder/cmd/warder/internal/cli"
	"warder/cmd/warder/internal/config"
	"warder/cmd/warder/internal/operator"
)

func newCheckCommand(p cli.Process) *cobra.Command {
	var file string
	var output cli.OutputFormat
	cmd := &cobra.Command{
		Use:   "check [TOKEN|-]",
		Short: "Check whether a bearer token is valid and has a session",
		Long: `check verifies a bearer token with the configured keys and asks Redis for its session, as the
service does. It exits with 0 if the session is alive, and with 1 if it is not. It does not
ask whether the user is active: see warder doctor.

The token is read from standard input for -, or from --token-file. As an argument,
everybody on this machine can see it in the list of processes. It is never printed.

In JSON: {alive, reason, detail, user, session, token_expires_at}. reason is session, or the
reason for which the service refuses the token. user, session and token_expires_at are "" and
null if the token cannot be verified.`,
		Example: `  warder session check - < token.txt
  warder session check --token-file token.txt -o json`,
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) > 1:
				return cli.WrongUsage(cmd, fmt.Errorf("%d arguments; give one token, - for standard input, or --token-file", len(args)))
			case (len(args) == 1) == (file != ""):
				return cli.WrongUsage(cmd, fmt.Errorf("give one of a token, - for standard input, and --token-file"))
			}
			return nil
		},
	}
	options := operator.NewOptions(cmd, operator.Redis)
	cmd.Flags().StringVar(&file, "token-file", "", "a `file` with the token; - is standard input")
	cli.AddOutputFlag(cmd, &output)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		bearer, err := givenToken(p, file, args)
		if err != nil {
			return err
		}
		c, err := options.Config(cmd, p, map[operator.Store]operator.Access{operator.Redis: operator.Reads})
		if err != nil {
			return err
		}
		found, err := check(cmd.Context(), c, bearer)
		if err != nil {
			return err
		}
		if output == cli.OutputJSON {
			err = cli.WriteJSON(p.Stdout, found)
		} else {
			_, err = fmt.Fprintln(p.Stdout, found)
		}
		if err == nil && !found.Alive {
			err = cli.ErrReported
		}
		return err
	}
	return cmd
}

func givenToken(p cli.Process, file string, args []string) (mask.Secret, error) {
	if len(args) == 1 && args[0] != cli.StandardInput {
		return operator.Credential(args[0]), nil
	}
	if file == "" {
		file = cli.StandardInput
	}
	return operator.ReadCredential(p, file)
}

// A checked is the result of a check.
type checked struct {
	Alive     bool       `json:"alive"`
	Reason    string     `json:"reason"`
	Detail    string     `json:"detail"`
	User      string     `json:"user"`
	Session   string     `json:"session"`
	ExpiresAt *time.Time `json:"token_expires_at"` // null: the token cannot be verified

	why string // why the session is not alive
}

func (c checked) String() string {
	switch {
	case c.Alive:
		return fmt.Sprintf("alive: session %s of user %s; the token expires at %s", c.Session, c.User, c.ExpiresAt.Format(time.RFC3339))
	case c.why != "":
		return fmt.Sprintf("not alive: %s; %s", c.Reason, c.why)
	case c.Detail != "":
		return fmt.Sprintf("not alive: %s (%s)", c.Reason, c.Detail)
	}
	return "not alive: " + c.Reason
}

// check decides by the engine of the service, with a directory in which every user is active.
func check(ctx context.Context, c *config.Config, bearer mask.Secret) (checked, error) {
	keys, err := c.ResolveJWT()
	if err != nil {
		return checked{}, err
	}
	fetched, err := keys.FetchKeys(ctx)
	if err != nil {
		return checked{}, err
	}
	verifier, err := keys.VerifierWith(fetched)
	if err != nil {
		return checked{}, err
	}
	store, err := operator.OpenSessions(ctx, c)
	if err != nil {
		return checked{}, err
	}
	defer store.Close()
	seen := &witness{Verifier: verifier, store: store}
	decision, err := operator.Decide(ctx, authz.Config{Tokens: seen, Sessions: seen, Users: active{}, APIKeys: active{}}, "authorization", "Bearer "+bearer.Reveal())
	if err != nil {
		return checked{}, err
	}
	if seen.err != nil {
		return checked{}, seen.err
	}
	found := checked{
		Alive: decision.Allowed(), Reason: decision.Reason().String(), Detail: decision.Detail().String(),
		User: seen.claims.UserID, Session: seen.claims.SessionID,
	}
	if !seen.claims.ExpiresAt.IsZero() {
		found.ExpiresAt = new(seen.claims.ExpiresAt.UTC())
	}
	switch {
	case decision.Reason() != authz.ReasonSessionRevoked:
	case store.RuleAbsent():
		found.why = "Redis has a key that ends it"
	default:
		found.why = "Redis has no key " + store.Key(found.User, found.Session)
	}
	return found, nil
}

// A witness keeps what the token says and why Redis could not answer.
type witness struct {
	*token.Verifier
	store  *redis.Admin
	claims token.Claims
	err    error
}

// Verify implements [authz.Tokens].
func (w *witness) Verify(text string, now time.Time) (token.Claims, error) {
	claims, err := w.Verifier.Verify(text, now)
	if err == nil {
		w.claims = claims
	}
	return claims, err
}

// Alive implements [authz.Sessions].
func (w *witness) Alive(ctx context.Context, session authz.Session) (bool, error) {
	alive, err := w.store.Alive(ctx, session)
	w.err = err
	return alive, err
}

// active is a directory in which every user is active and no API key exists.
type active struct{}

// User implements [authz.Users].
func (active) User(context.Context, string) (authz.User, error) { return authz.User{Active: true}, nil }

// APIKey implements [authz.APIKeys].
func (active) APIKey(context.Context, authz.KeyHash) (authz.APIKey, error) {
	return authz.APIKey{}, authz.ErrNotFound
}
