package explain

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/golang-jwt/jwt/v5"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"warder/authz"
	"warder/authz/attribute"
	"warder/authz/memory"
	"warder/authz/token"
	"warder/cmd/warder/internal/cli"
	"warder/cmd/warder/internal/config"
	"warder/envoy"
	"warder/policy"
)

// options are the command-line options of warder explain.
type options struct {
	policyPath, configPath string
	url                    string // the admin listener of a running warder
	checkRequest           string // a file; "-" for standard input
	headers                []string
	clientIP, principal    string
	user                   string
	roles                  []string
	claims                 string // JSON
	apiKey                 bool
	scopes                 []string
	attributes             []string // NAME=VALUE
}

// NewCommand returns the command warder explain.
func NewCommand(p cli.Process) *cobra.Command {
	var o options
	var output cli.OutputFormat
	cmd := &cobra.Command{
		Use:   "explain METHOD URL",
		Short: "Say how one request would be decided, and why",
		Long: `explain decides one request as the service would, and shows which route won, which
others came close and why they lost, each check in order, and the headers that would be
sent. The exit code is 0 for every decision.

It uses no Redis and no Postgres. --as-user makes the request one of an active user with a
live session, --as-api-key one with an active API key; without them there is no credential.
--claims adds claims to the token of --as-user, for conditions (when:). Where directory.users is
token, --roles are put into the token at jwt.roles_claim, and the user is active; instead --claims
may hold these claims as an issuer writes them. --claims are also for jwt.attributes of --config.
--attribute is an attribute of the user or the key, as a column of the directory. A token or a key in a
--header cannot be verified, because explain has neither your secrets nor your stores: it is
treated as forged.

The client's address is that of --client-ip, else it is derived from a captured request in the
way that client_ip in --config sets. --config also sets renamed headers; its secrets are not
read. "-" as the policy is standard input.

--check-request takes a captured envoy.service.auth.v3.CheckRequest in JSON instead of
METHOD and URL; the other flags add to it.

--url uses the current policy and settings of a running warder, which accepts such requests
only from its own machine, for example through kubectl port-forward. It uses no store either:
--as-user and --as-api-key are believed, and a token or a key in a --header is treated as
forged.

For a route in shadow the decision is would_deny instead of deny, and the request is forwarded.

In JSON: {request: {method, host, path, client_ip}, decision, status, reason, route: {id, host,
path, methods, who, file, line, column} or null, checks: [{check, outcome, detail}], close:
[{route, host, path, methods, who, file, line, column, why}], close_more, upstream: {set: [{name,
value}], remove} or null, client: {status, headers: [{name, value}], body} or null, notes}. An
outcome is passed, failed, skipped (not needed for this request) or not_reached (an earlier one
failed). upstream is set if the request is forwarded, client if it is denied.`,
		Example: `  warder explain -p policy.yaml GET https://api.example.com/api/v1/assets/7
  warder explain -p policy.yaml DELETE /admin/users/7 --as-user 42 --roles CONTROL --client-ip 203.0.113.9
  warder explain -p policy.yaml GET /t/acme/x --as-user 42 --claims '{"tenant": "acme"}'
  warder explain -p policy.yaml GET /t/acme/x --as-user 42 --attribute tenant=acme
  warder explain -p policy.yaml GET /api/v1/assets --as-api-key --scopes assets:read -o json
  warder explain -p policy.yaml --check-request captured.json
  warder explain --url http://127.0.0.1:9192 GET /api/v1/assets/7 --as-user 42`,
		Args: func(cmd *cobra.Command, args []string) error { return o.check(cmd, args) },
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := o.request(p, args)
			if err != nil {
				return err
			}
			if o.url != "" {
				return askRunning(cmd.Context(), p.Stdout, o, in, output)
			}
			s, err := o.settings(cmd, p)
			if err != nil {
				return err
			}
			x, err := o.explain(cmd.Context(), in, s)
			if err != nil {
				return err
			}
			return x.write(p.Stdout, output)
		},
	}
	cli.AddPolicyFlag(cmd, &o.policyPath)
	cli.AddConfigFlag(cmd, &o.configPath)
	cli.AddOutputFlag(cmd, &output)
	flags := cmd.Flags()
	flags.StringVar(&o.url, "url", "", "ask a running warder, by the `URL` of its admin listener")
	flags.StringVar(&o.checkRequest, "check-request", "", "a captured CheckRequest in JSON: a `file`, or - for standard input")
	flags.StringArrayVar(&o.headers, "header", nil, "a `'Name: value'` of the request; can be given more than once")
	flags.StringVar(&o.clientIP, "client-ip", "", "the `address` that the client comes from")
	flags.StringVar(&o.principal, "principal", "", "the mTLS `name` of the connection's other end, as spiffe://…")
	flags.StringVar(&o.user, "as-user", "", "send the credential of this user, by `id`")
	flags.StringSliceVar(&o.roles, "roles", nil, "the roles of --as-user, separated by commas")
	flags.StringVar(&o.claims, "claims", "", "other claims of the token of --as-user, as a `JSON` object, for when:")
	flags.BoolVar(&o.apiKey, "as-api-key", false, "send an API key")
	flags.StringSliceVar(&o.scopes, "scopes", nil, "the scopes of --as-api-key, separated by commas")
	flags.StringArrayVar(&o.attributes, "attribute", nil, "an attribute of --as-user or --as-api-key as `NAME=VALUE`; can be given more than once")
	return cmd
}

// check validates the command line.
func (o *options) check(cmd *cobra.Command, args []string) error {
	wrong := func(format string, a ...any) error { return cli.WrongUsage(cmd, fmt.Errorf(format, a...)) }
	switch {
	case o.checkRequest != "" && len(args) > 0:
		return wrong("both --check-request and %q name a request; give one", args[0])
	case o.checkRequest == "" && len(args) != 2:
		return wrong("%d arguments given, want METHOD URL, as in: GET https://api.example.com/x", len(args))
	case o.policyPath == cli.StandardInput && o.checkRequest == cli.StandardInput:
		return wrong("both the policy and --check-request are standard input; give one of them as a file")
	case o.url != "" && (o.policyPath != "" || o.configPath != ""):
		return wrong("--url asks a running warder, which has a policy and a configuration; leave --policy and --config out")
	case cmd.Flags().Changed("as-user") && o.user == "":
		return wrong("--as-user is empty; write the id of a user")
	case cmd.Flags().Changed("claims") && o.claims == "":
		return wrong(`--claims is empty; write a JSON object such as '{"tenant": "acme"}'`)
	}
	if o.url != "" {
		if _, _, why := adminOf(o.url); why != "" {
			return wrong("--url: %q %s", o.url, why)
		}
	}
	if why := o.whyNot(); why != "" {
		return wrong("%s", why)
	}
	for _, h := range o.headers {
		if _, _, why := splitHeader(h); why != "" {
			return wrong("--header: %q %s", h, why)
		}
	}
	if o.checkRequest == "" {
		if _, why := requestLine(args[0], args[1]); why != "" {
			return wrong("%s", why)
		}
	}
	return nil
}

// whyNot returns why the options are invalid, or "" if they are valid.
func (o *options) whyNot() string {
	switch {
	case len(o.roles) > 0 && o.user == "":
		return "--roles needs --as-user; give both"
	case o.claims != "" && o.user == "":
		return "--claims needs --as-user; give both"
	case len(o.scopes) > 0 && !o.apiKey:
		return "--scopes needs --as-api-key; give both"
	case len(o.attributes) > 0 && o.user == "" && !o.apiKey:
		return "--attribute needs --as-user or --as-api-key; give both"
	case o.user != "" && !authz.ValidID(o.user):
		return fmt.Sprintf("--as-user: %q is not a valid user id; use 1 to 128 of A-Z a-z 0-9 . _ @ | + = ~ -", o.user)
	}
	if o.claims != "" {
		if _, why := readClaims(o.claims); why != "" {
			return "--claims: " + why
		}
	}
	if why := wrongAttributes(o.attributes); why != "" {
		return "--attribute: " + why
	}
	for _, list := range []struct {
		flag  string
		names []string
	}{{"--roles", o.roles}, {"--scopes", o.scopes}} {
		for _, name := range list.names {
			if !authz.ValidName(name) {
				return fmt.Sprintf("%s: %q is not a valid name; write names without spaces at their ends, separated by commas", list.flag, name)
			}
		}
	}
	if o.clientIP != "" {
		if addr, err := netip.ParseAddr(o.clientIP); err != nil || addr.Zone() != "" {
			return fmt.Sprintf("--client-ip: %q is not an address; write one such as 203.0.113.9", o.clientIP)
		}
	}
	return ""
}

// wrongAttributes returns why a list of NAME=VALUE is invalid, or "" if it is valid.
func wrongAttributes(list []string) string {
	seen := map[string]bool{}
	for _, text := range list {
		name, value, found := strings.Cut(text, "=")
		switch {
		case !found:
			return fmt.Sprintf("%q has no =; write NAME=VALUE, as in tenant=acme", text)
		case !attribute.ValidName(name):
			return fmt.Sprintf("%q is not the name of an attribute; %s", name, attribute.NameGrammar)
		case value != "" && !attribute.ValidValue(value):
			return fmt.Sprintf("%q is not the value of an attribute; %s", value, attribute.ValueGrammar)
		case seen[name]:
			return fmt.Sprintf("%s is given twice; give it once", name)
		}
		seen[name] = true
	}
	if len(list) > attribute.Max {
		return fmt.Sprintf("%d are given; give at most %d", len(list), attribute.Max)
	}
	return ""
}

// givenAttributes returns the attributes of --attribute. An empty value stands for NULL.
func (o *options) givenAttributes() attribute.Set {
	var b attribute.Builder
	for _, text := range o.attributes {
		name, value, _ := strings.Cut(text, "=")
		b.Put(name, value)
	}
	return b.Set()
}

// ownClaims are the claims of the token of --as-user that --claims cannot change.
var ownClaims = []string{"sub", "jti", "exp", "nbf", "iat"}

// readClaims parses the JSON of --claims, or returns why it is invalid.
func readClaims(text string) (claims jwt.MapClaims, why string) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&claims); err != nil || claims == nil || d.More() {
		return nil, fmt.Sprintf(`%q is not a JSON object; write one such as '{"tenant": "acme"}'`, text)
	}
	for _, name := range ownClaims {
		if _, there := claims[name]; there {
			return nil, name + " is one that --as-user gives the token; leave it out"
		}
	}
	return claims, ""
}

// Settings are the settings that an explanation depends on, beside the request.
type Settings struct {
	Policy     *policy.Policy
	Identity   envoy.IdentityConfig
	ClientIP   authz.ClientIPResolver
	Configured bool
	Shadow     bool // denials are not enforced on any route
	// Attributes are the claims of tokens that become attributes.
	Attributes token.Attributes
	// RolesClaim and ActiveClaim are the claims of a token with the roles and the state of its user.
	// RolesClaim is "" if they are in the directory.
	RolesClaim, ActiveClaim string
	// NoSessions says that sessions.rule is none: no session is asked for.
	NoSessions bool
}

// settings reads the settings from the files.
func (o *options) settings(cmd *cobra.Command, p cli.Process) (Settings, error) {
	configPath := config.NamedFile(o.configPath, p.Env)
	if configPath == "" {
		routes, err := cli.LoadNamedPolicy(cmd, o.policyPath, p)
		return Settings{Policy: routes}, err
	}
	c, client, err := config.ReadDecisive(configPath, p.Env)
	if err != nil {
		return Settings{}, err
	}
	routes, err := cli.LoadPolicy(p, cmp.Or(o.policyPath, string(c.Policy)))
	if err != nil {
		return Settings{}, err
	}
	s := config.Settings{Sources: c.Sources(), Identity: c.IdentitySettings()}
	resolver, err := authz.NewClientIPResolver(client)
	return Settings{
		Policy: routes, Identity: s.IdentityConfig(), ClientIP: resolver, Configured: true, NoSessions: c.NoSessions(),
		RolesClaim: c.RolesClaim(), ActiveClaim: string(c.JWT.ActiveClaim), Attributes: c.JWT.Attributes,
	}, err
}

// explainSession is the session ID of --as-user.
const explainSession = "explain"

// explain decides one request by the engine and builds the response of the service.
func (o *options) explain(ctx context.Context, in *authv3.CheckRequest, s Settings) (*Explanation, error) {
	own := HeaderNames(in)
	store, verifier, err := o.credentials(in, s)
	if err != nil {
		return nil, err
	}
	if o.clientIP != "" {
		s.ClientIP = authz.ClientIPResolver{} // --client-ip gives the address, so the peer is the client
		SetPeer(in, o.clientIP)
	}
	if o.principal != "" {
		source(in).Principal = o.principal
	}
	engine, err := s.Identity.NewEngine(authz.Config{Policy: s.Policy, Tokens: verifier, Sessions: store, Users: store, APIKeys: store, Shadow: s.Shadow, UsersInTokens: s.RolesClaim != ""})
	if err != nil {
		return nil, err
	}
	var seen LastObservation
	// Use a long deadline, so that a slow machine does not change the result.
	server, err := envoy.NewServer(envoy.Config{Decider: engine, ClientIP: s.ClientIP, Identity: s.Identity, Observer: &seen, Deadline: time.Minute, HostOptional: o.checkRequest == ""})
	if err != nil {
		return nil, err
	}
	response, err := CheckWire(ctx, server, in)
	if err != nil {
		return nil, err
	}
	x := Answer{options: *o, Settings: s, OwnHeaders: own, Observation: seen.Observation, Response: response}
	e := New(x)
	e.addClose(x)
	return e, nil
}

// CheckWire sends a request to the server, with the request and the response encoded as between Envoy
// and the server.
func CheckWire(ctx context.Context, server *envoy.Server, in *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	wire, err := proto.Marshal(in)
	if err != nil {
		return nil, fmt.Errorf("the request cannot be encoded as an Envoy message: %w", err)
	}
	response := new(authv3.CheckResponse)
	if err := proto.Unmarshal(server.CheckWire(ctx, wire), response); err != nil {
		return nil, fmt.Errorf("the answer of the service cannot be decoded: %w", err)
	}
	return response, nil
}

// LastObservation is an observer that keeps the last observation.
type LastObservation struct{ envoy.Observation }

// Observed implements envoy.Observer.
func (l *LastObservation) Observed(_ context.Context, o envoy.Observation) { l.Observation = o }

// credentials adds the credentials of --as-user and --as-api-key to the request. It returns a
// store and a verifier that accept these credentials and no others.
func (o *options) credentials(in *authv3.CheckRequest, s Settings) (*memory.Store, *token.Verifier, error) {
	secret := []byte(rand.Text() + rand.Text()) // random: any token in a header fails
	c := token.Config{Keys: []token.Key{{Algorithm: "HS256", Secret: secret}}, Attributes: s.Attributes}
	if s.RolesClaim != "" {
		c.RolesClaim, c.ActiveClaim, c.ValidRole = s.RolesClaim, s.ActiveClaim, authz.ValidName
	}
	verifier, err := token.NewVerifier(c)
	if err != nil {
		return nil, nil, fmt.Errorf("jwt: %w", err)
	}
	store := memory.New(nil)
	tokens, apiKeys := s.Identity.Sources.All()
	if o.user != "" {
		roles, _ := authz.NewNames(o.roles)
		store.PutUser(o.user, authz.User{Active: true, Roles: roles, Attributes: o.givenAttributes()})
		store.PutSession(o.user, explainSession, 0)
		claims := jwt.MapClaims{}
		if o.claims != "" {
			claims, _ = readClaims(o.claims) // was checked before
		}
		if err := o.addUserClaims(claims, s); err != nil {
			return nil, nil, err
		}
		claims["sub"], claims["jti"], claims["exp"] = o.user, explainSession, time.Now().Add(time.Hour).Unix()
		signed, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(secret)
		if err != nil {
			return nil, nil, errors.New("the token of --as-user cannot be signed")
		}
		carry(in, tokens[0], signed)
	}
	if o.apiKey {
		key := "explain." + rand.Text()
		scopes, _ := authz.NewNames(o.scopes)
		store.PutAPIKey(authz.HashAPIKey(key), authz.APIKey{Prefix: "explain", Scopes: scopes, Active: true, Attributes: o.givenAttributes()})
		carry(in, apiKeys[0], key)
	}
	return store, verifier, nil
}

// addUserClaims adds the roles and the state of --as-user to the claims, if users are in tokens.
// Claims that are there already stay.
func (o *options) addUserClaims(claims jwt.MapClaims, s Settings) error {
	if s.RolesClaim == "" {
		return nil
	}
	put := func(path string, value any) error {
		if token.PutClaim(claims, path, value) {
			return nil
		}
		return fmt.Errorf("--claims: nothing can be put at %s, because a claim on the way to it is not an object", path)
	}
	switch there := token.HasClaim(claims, s.RolesClaim); {
	case there && len(o.roles) > 0:
		return fmt.Errorf("both --roles and %s in --claims give the roles of the user; leave one of them out", s.RolesClaim)
	case !there:
		roles, _ := authz.NewNames(o.roles)
		if err := put(s.RolesClaim, cli.SomeOrEmpty(roles)); err != nil {
			return err
		}
	}
	if s.ActiveClaim == "" || token.HasClaim(claims, s.ActiveClaim) {
		return nil
	}
	return put(s.ActiveClaim, true)
}
