package doctor

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"warder/authz"
	"warder/authz/mask"
	"warder/cmd/warder/internal/cli"
	"warder/cmd/warder/internal/config"
	"warder/cmd/warder/internal/operator"
	"warder/cmd/warder/internal/server"
	"warder/policy"
)

// NewCommand returns the command warder doctor.
func NewCommand(p cli.Process) *cobra.Command {
	var o options
	var output cli.OutputFormat
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Examine the configuration, the stores and one credential",
		Long: `doctor examines what warder serve would use: the configuration and the policy with their
warnings, the listeners, the keys of tokens, Redis and Postgres. Of a store it checks that it can
be reached and fits, whether the connection is protected, how far the clocks are apart, which
rights the user lacks and which are too many, and whether changes are announced. It changes
nothing: rights are tried on keys with a random name, which do not exist.

--token-file or --key-file takes one credential through every look-up, as the service would: the
token and the key that verifies it, the session, the user, the API key and its owner. - is
standard input. The credential is never printed. Roles, scopes and routes are not looked at: see
warder explain.

Each finding names the key of the configuration that decides it, and its place. The exit code is
1 when something is broken or the credential is refused. Warnings leave it at 0.

In JSON: {ok, findings: [{check, status, message, setting, at}]}. status is ok, warning, broken
or unknown. setting and at are "" where no key of the configuration decides.`,
		Example: `  warder doctor -c warder.yaml
  warder doctor -c warder.yaml --token-file token.txt
  warder doctor -o json | jq '.findings[] | select(.status != "ok")'`,
		Args: cli.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.tokenFile != "" && o.keyFile != "" {
				return cli.WrongUsage(cmd, fmt.Errorf("--token-file and --key-file both name a credential; give only one of them"))
			}
			r, err := examine(cmd.Context(), p, o)
			if err != nil {
				return err
			}
			ok := r.count(broken) == 0
			if output == cli.OutputJSON {
				err = cli.WriteJSON(p.Stdout, struct {
					OK       bool      `json:"ok"`
					Findings []finding `json:"findings"`
				}{ok, append([]finding{}, r.found...)})
			} else {
				err = r.write(p.Stdout)
			}
			if err == nil && !ok {
				err = cli.ErrReported
			}
			return err
		},
	}
	cli.AddConfigFlag(cmd, &o.configPath)
	cli.AddPolicyFlag(cmd, &o.policyPath)
	cmd.Flags().StringVar(&o.tokenFile, "token-file", "", "a `file` with a bearer token; - is standard input")
	cmd.Flags().StringVar(&o.keyFile, "key-file", "", "a `file` with an API key; - is standard input")
	cli.AddOutputFlag(cmd, &output)
	return cmd
}

type options struct {
	configPath, policyPath string
	tokenFile, keyFile     string
}

// examine makes the report. An error means that the credential cannot be read.
func examine(ctx context.Context, p cli.Process, o options) (*report, error) {
	var credential mask.Secret
	if file := o.tokenFile + o.keyFile; file != "" {
		var err error
		if credential, err = operator.ReadCredential(p, file); err != nil {
			return nil, err
		}
	}
	path, err := config.FindFile(o.configPath, p.Env)
	if err != nil {
		return nil, err
	}
	c := config.Read(path, p.Env)
	if o.policyPath != "" {
		c.UsePolicy(o.policyPath)
	}
	s, warnings, err := c.Resolve()
	r := &report{config: c}
	r.problems("configuration", warning, warnings)
	if err != nil {
		r.problems("configuration", broken, cli.ProblemsOf(path, err))
		return r, nil
	}
	r.say("configuration", good, "", "%s is valid", configName(path))
	r.examinePolicy(s, p.Env)
	r.examineListeners(s.Listen)
	if s.Listen.TLS.Enabled() {
		r.examineCertificates(s.Listen.TLS)
	}
	fetched := r.examineKeys(ctx, s.JWT)
	stores := r.openStores(ctx, s)
	defer stores.close()
	r.examineRedis(ctx, stores.redis, s.Sessions)
	r.examinePostgres(ctx, stores.postgres, s)
	switch {
	case o.tokenFile != "":
		return r, r.examineToken(ctx, stores, s, fetched, credential)
	case o.keyFile != "":
		return r, r.examineAPIKey(ctx, stores, s, fetched, credential)
	}
	return r, nil
}

func configName(path string) string {
	if path == "" {
		return "the environment"
	}
	return path
}

func (r *report) examinePolicy(s *config.Settings, env cli.LookupEnv) {
	routes, err := policy.Load(s.Policy, env)
	if err != nil {
		r.problems("policy", broken, cli.ProblemsOf(s.Policy, err))
		return
	}
	r.problems("policy", broken, server.APIKeyProblems(routes, s.Policy, s.Directory.NoAPIKeys))
	warnings := append(cli.Problems(routes.Warnings()), server.ConfiguredWarnings(routes, s.Policy, s)...)
	r.problems("policy", warning, warnings)
	r.say("policy", good, "policy", "%s is valid, with %s", s.Policy, cli.Count(len(routes.Routes()), "route"))
}

func (r *report) examineListeners(l config.Listen) {
	switch {
	case local(l.GRPC):
		r.say("listen.grpc", good, "listen.grpc", "only this machine can reach %s", l.GRPC)
	case l.TLS.ClientCAFile != "":
		r.say("listen.grpc", good, "listen.tls", "others can reach %s, with TLS and a client certificate", l.GRPC)
	case l.TLS.Enabled():
		r.say("listen.grpc", warning, "listen.tls", "others can reach %s with TLS, and anybody may ask it about any token; set client_ca_file, so that only your Envoys may", l.GRPC)
	default:
		r.say("listen.grpc", warning, "listen.plaintext", "others can reach %s, and tokens and API keys pass unencrypted; use listen.tls, a loopback address or a unix socket", l.GRPC)
	}
	if local(l.Admin) {
		r.say("listen.admin", good, "listen.admin", "only this machine can reach %s", l.Admin)
	} else {
		r.say("listen.admin", warning, "listen.admin", "others can reach %s, which shows metrics and the state of the stores without a password; let only your monitoring reach it", l.Admin)
	}
}

// local reports whether only this machine can reach an address.
func local(a config.Address) bool {
	if a.Network == "unix" {
		return true
	}
	host, _, err := net.SplitHostPort(a.Address)
	address, parseErr := netip.ParseAddr(host)
	return err == nil && (host == "localhost" || parseErr == nil && address.IsLoopback())
}

// examineKeys lists the keys of tokens, and returns those that it fetches. Two keys of jwt are a
// rotation, so it says how to end it.
func (r *report) examineKeys(ctx context.Context, s config.JWT) config.FetchedKeys {
	var own []config.JWTKey
	for _, k := range s.Keys {
		if k.Issuer == 0 {
			own = append(own, k)
		}
		switch k.Kind {
		case config.KeySetFile:
			r.say("jwt.keys", good, k.Field, "the keys of the set verify tokens%s, %s", ofIssuer(s, k), sourceOf(k))
		case config.KeyPublicFile:
			r.say("jwt.keys", good, k.Field, "a public key verifies tokens%s with %s, %s", ofIssuer(s, k), kidOf(k), sourceOf(k))
		default:
			r.say("jwt.keys", good, k.Field+".secret", "%s verifies tokens%s with %s, %s", k.Algorithm, ofIssuer(s, k), kidOf(k), sourceOf(k))
		}
	}
	fetched, err := s.FetchKeys(ctx)
	if err != nil {
		for _, problem := range authz.ConfigErrors(err) {
			r.say("jwt.issuers", broken, problem.Field, "%s", problem.Problem)
		}
	}
	for i, is := range s.Issuers {
		if keys, is := fetched[i], is.Name; keys != nil {
			r.say("jwt.issuers", good, fmt.Sprintf("jwt.issuers[%d]", i), "%s of %s can be fetched", cli.Count(len(keys), "key"), is)
		}
	}
	switch {
	case len(own) > 1:
		r.say("jwt.rotation", good, "jwt.keys", "%d keys are accepted. Every warder must have them before the new one signs (the first, with %s). "+
			"Take an old one out when the last token that it signed has expired; --token-file says which key a token is signed with", len(own), kidOf(own[0]))
	case len(own) == 1:
		r.say("jwt.rotation", good, "jwt.overlap", "one key is accepted; a secret in a file that changes is accepted for another %s", s.Overlap)
	}
	return fetched
}

// ofIssuer names the issuer of a key, if it is one of several.
func ofIssuer(s config.JWT, k config.JWTKey) string {
	if k.Issuer == 0 {
		return ""
	}
	return " of " + s.Issuers[k.Issuer-1].Name
}

func kidOf(k config.JWTKey) string {
	switch k.ID {
	case "":
		return "no kid"
	case "*":
		return "any other kid"
	}
	return "kid " + k.ID
}

func sourceOf(k config.JWTKey) string {
	if k.File.Path != "" {
		return "from a file, which is read again when it changes"
	}
	return "not from a file, so a change needs a new start"
}

const (
	// skewWarning is the difference of clocks that is worth a warning, and skewBroken the one
	// at which good tokens are refused: nbf and iat have 5 s of grace.
	skewWarning = time.Second
	skewBroken  = 5 * time.Second
)

func (r *report) skew(check, setting string, skew time.Duration) {
	apart, direction := skew.Abs().Round(time.Millisecond), "ahead of"
	if skew < 0 {
		direction = "behind"
	}
	switch {
	case apart > skewBroken:
		r.say(check, broken, setting, "the clock of the server is %s %s this machine's, so expiry times are wrong by as much; set both clocks with NTP", apart, direction)
	case apart > skewWarning:
		r.say(check, warning, setting, "the clock of the server is %s %s this machine's; set both clocks with NTP", apart, direction)
	default:
		r.say(check, good, setting, "the clocks are %s apart", apart)
	}
}
