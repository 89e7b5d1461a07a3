package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/golang-jwt/jwt/v5"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"warder/authz"
	"warder/authz/memory"
	"warder/authz/token"
	"warder/envoy"
	"warder/policy"
)

// explainOptions are the command line of explain.
type explainOptions struct {
	policyPath, configPath string
	checkRequest           string // a file; "-" for standard input
	headers                []string
	clientIP, principal    string
	user                   string
	roles                  []string
	claims                 string // JSON
	apiKey                 bool
	scopes                 []string
}

func newExplainCommand(p process) *cobra.Command {
	var o explainOptions
	var output outputFormat
	cmd := &cobra.Command{
		Use:   "explain METHOD URL",
		Short: "Say how one request would be decided, and why",
		Long: `explain decides one request as the service would, and shows which route won, which
others came close and why they lost, each check in order, and the headers that would be
sent. It exits 0 whatever the answer is.

It asks no Redis and no Postgres. --as-user makes the request one of an active user with a
live session, --as-api-key one with an active API key; without them there is no
credential. --claims adds to the token of --as-user what a condition (when:) may read. A token or a key in a --header cannot be verified, since explain has neither your
secrets nor your stores: it is refused as a forged one would be.

The client's address is what --client-ip says, else the peer of a captured request, read as
client_ip in --config says. With --config the renamed headers count too.

--check-request takes a captured envoy.service.auth.v3.CheckRequest in JSON instead of
METHOD and URL; the other flags add to it.

A route in shadow answers would_deny where it would deny: the request goes on all the same.

In JSON: {request: {method, host, path, client_ip}, decision, status, reason, route: {id, host,
path, methods, who, file, line, column} or null, checks: [{check, outcome, detail}], close:
[{route, host, path, methods, who, file, line, column, why}], close_more, upstream: {set: [{name,
value}], remove} or null, client: {status, headers: [{name, value}], body} or null, notes}. An
outcome is passed, failed, skipped (this request needs it not) or not_reached (an earlier one
failed). upstream is there for what goes on, client for a no.`,
		Example: `  warder explain -p policy.yaml GET https://api.example.com/api/v1/assets/7
  warder explain -p policy.yaml DELETE /admin/users/7 --as-user 42 --roles CONTROL --client-ip 203.0.113.9
  warder explain -p policy.yaml GET /t/acme/x --as-user 42 --claims '{"tenant": "acme"}'
  warder explain -p policy.yaml GET /api/v1/assets --as-api-key --scopes assets:read -o json
  warder explain -p policy.yaml --check-request captured.json`,
		Args: func(cmd *cobra.Command, args []string) error { return o.check(cmd, args) },
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.configPath == "" {
				routes, err := loadPolicyFor(cmd, o.policyPath, p.env)
				if err != nil {
					return err
				}
				return explain(cmd.Context(), p, o, explainSettings{routes: routes, apiKeyHeader: envoy.DefaultAPIKeyHeader}, args, output)
			}
			s, err := configuredExplain(o, p.env)
			if err != nil {
				return err
			}
			return explain(cmd.Context(), p, o, s, args, output)
		},
	}
	addPolicyFlag(cmd, &o.policyPath)
	addConfigFlag(cmd, &o.configPath)
	addOutputFlag(cmd, &output)
	flags := cmd.Flags()
	flags.StringVar(&o.checkRequest, "check-request", "", "a captured CheckRequest in JSON: a `file`, or - for standard input")
	flags.StringArrayVar(&o.headers, "header", nil, "a `'Name: value'` of the request; can be given more than once")
	flags.StringVar(&o.clientIP, "client-ip", "", "the `address` that the client comes from")
	flags.StringVar(&o.principal, "principal", "", "the mTLS `name` of the connection's other end, as spiffe://…")
	flags.StringVar(&o.user, "as-user", "", "send the credential of this user, by `id`")
	flags.StringSliceVar(&o.roles, "roles", nil, "the roles of --as-user, separated by commas")
	flags.StringVar(&o.claims, "claims", "", "other claims of the token of --as-user, as a `JSON` object, for when:")
	flags.BoolVar(&o.apiKey, "as-api-key", false, "send an API key")
	flags.StringSliceVar(&o.scopes, "scopes", nil, "the scopes of --as-api-key, separated by commas")
	return cmd
}

// check finds what is wrong with the command line.
func (o *explainOptions) check(cmd *cobra.Command, args []string) error {
	wrong := func(format string, a ...any) error { return &usageError{cmd.CommandPath(), fmt.Errorf(format, a...)} }
	switch {
	case o.checkRequest != "" && len(args) > 0:
		return wrong("both --check-request and %q name a request; give one", args[0])
	case o.checkRequest == "" && len(args) != 2:
		return wrong("%d arguments given, want METHOD URL, as in: GET https://api.example.com/x", len(args))
	case len(o.roles) > 0 && o.user == "":
		return wrong("--roles are those of --as-user; give it too")
	case cmd.Flags().Changed("claims") && o.user == "":
		return wrong("--claims are those of the token of --as-user; give it too")
	case len(o.scopes) > 0 && !o.apiKey:
		return wrong("--scopes are those of --as-api-key; give it too")
	case cmd.Flags().Changed("as-user") && !authz.ValidID(o.user):
		return wrong("--as-user: %q can be no user's id; use 1 to 128 of A-Z a-z 0-9 . _ @ | + = ~ -", o.user)
	}
	if cmd.Flags().Changed("claims") {
		if _, why := readClaims(o.claims); why != "" {
			return wrong("--claims: %s", why)
		}
	}
	for _, list := range []struct {
		flag  string
		names []string
	}{{"--roles", o.roles}, {"--scopes", o.scopes}} {
		for _, name := range list.names {
			if !authz.ValidName(name) {
				return wrong("%s: %q can be held by nobody; write names without spaces at their ends, separated by commas", list.flag, name)
			}
		}
	}
	if o.clientIP != "" {
		if addr, err := netip.ParseAddr(o.clientIP); err != nil || addr.Zone() != "" {
			return wrong("--client-ip: %q is no address; write one such as 203.0.113.9", o.clientIP)
		}
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

// ownClaims are the claims of --as-user's token that --claims cannot change.
var ownClaims = []string{"sub", "jti", "exp", "nbf", "iat"}

// readClaims reads the JSON of --claims, or says why it is none.
func readClaims(text string) (claims jwt.MapClaims, why string) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&claims); err != nil || claims == nil || d.More() {
		return nil, fmt.Sprintf(`%q is no JSON object; write one such as '{"tenant": "acme"}'`, text)
	}
	for _, name := range ownClaims {
		if _, there := claims[name]; there {
			return nil, name + " is one that --as-user gives the token; leave it out"
		}
	}
	return claims, ""
}

// splitHeader takes 'Name: value' apart, or says why it is none.
func splitHeader(h string) (name, value, why string) {
	name, value, found := strings.Cut(h, ":")
	value = strings.Trim(value, " \t")
	switch {
	case h != "" && h[0] == ':':
		return "", "", "is a pseudo-header; the method, the host and the path are those of METHOD URL"
	case !found:
		return "", "", "has no colon; write 'Name: value'"
	case !isHeaderName(name):
		return "", "", "does not begin with the name of a header; write 'Name: value'"
	case strings.EqualFold(name, "host"):
		return "", "", "names a host; it is the one of URL"
	case strings.ContainsAny(value, "\r\n\x00"):
		return "", "", "has a line end or a zero byte, which no header can hold"
	}
	return name, value, ""
}

func isHeaderName(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
}

// requestLine makes the HTTP part of a check of METHOD URL. The URL is taken apart at
// its first slash and no further: what Envoy would see is what is decided.
func requestLine(method, url string) (_ *authv3.AttributeContext_HttpRequest, why string) {
	rest := url
	if scheme, after, found := strings.Cut(url, "://"); found && !strings.ContainsAny(scheme, "/?#") {
		if !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") {
			return nil, fmt.Sprintf("%q is no http:// or https:// URL", url)
		}
		rest = after
	} else if !strings.HasPrefix(url, "/") {
		return nil, fmt.Sprintf("%q is no URL; write https://HOST/PATH, or /PATH for a request without a host", url)
	}
	host, path := rest, "/"
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		host, path = rest[:i], rest[i:]
		if path[0] != '/' {
			path = "/" + path
		}
	}
	switch {
	case !isHeaderName(method):
		return nil, fmt.Sprintf("%q is no method; write METHOD URL, as in: GET https://api.example.com/x", method)
	case strings.Contains(host, "@"):
		return nil, fmt.Sprintf("%q has a user name, which no request sends; use --as-user or --header", url)
	case host == "" && rest != url:
		return nil, fmt.Sprintf("%q has no host; write https://HOST/PATH", url)
	case strings.ToValidUTF8(url, "") != url:
		return nil, "the URL is not UTF-8; write its bytes percent-encoded"
	}
	return &authv3.AttributeContext_HttpRequest{Method: method, Host: host, Path: path}, ""
}

// explainSettings are what the answer depends on beside the request.
type explainSettings struct {
	routes       *policy.Policy
	apiKeyHeader string
	identity     envoy.IdentityConfig
	clientIP     authz.ClientIPResolver
	configured   bool
}

// configuredExplain takes them from a configuration.
func configuredExplain(o explainOptions, env lookupEnv) (explainSettings, error) {
	c := readConfig(o.configPath, env)
	if o.policyPath != "" {
		c.policy = o.policyPath
	}
	s, _, err := c.resolve()
	if err != nil {
		return explainSettings{}, problemsOf(o.configPath, err).err()
	}
	routes, err := policy.Load(s.Policy, env)
	if err != nil {
		return explainSettings{}, problemsOf(s.Policy, err).err()
	}
	resolver, err := authz.NewClientIPResolver(s.ClientIP)
	if err != nil {
		return explainSettings{}, err
	}
	return explainSettings{routes, s.APIKeyHeader, s.identity(), resolver, true}, nil
}

// explainSession is the session of --as-user.
const explainSession = "explain"

// explain runs one request through the engine and the answer of the service.
func explain(ctx context.Context, p process, o explainOptions, s explainSettings, args []string, output outputFormat) error {
	in, err := o.request(p, args)
	if err != nil {
		return err
	}
	for _, h := range o.headers {
		name, value, _ := splitHeader(h)
		addHeader(in, name, value)
	}
	own := headerNames(in)
	store, verifier, err := o.credentials(in, s.apiKeyHeader)
	if err != nil {
		return err
	}
	if o.clientIP != "" {
		s.clientIP = authz.ClientIPResolver{} // the address is known: the peer is the client
		setPeer(in, o.clientIP)
	}
	if o.principal != "" {
		source(in).Principal = o.principal
	}
	if s.apiKeyHeader == "" {
		s.apiKeyHeader = envoy.DefaultAPIKeyHeader
	}
	engine, err := authz.NewEngine(authz.Config{
		Policy: s.routes, Tokens: verifier, Sessions: store, Users: store, APIKeys: store, APIKeyHeader: s.apiKeyHeader,
	})
	if err != nil {
		return err
	}
	var seen lastObservation
	// A person reads this: no deadline of a busy machine may change the answer.
	server, err := envoy.NewServer(envoy.Config{Decider: engine, ClientIP: s.clientIP, Identity: s.identity, Observer: &seen, Deadline: time.Minute})
	if err != nil {
		return err
	}
	wire, err := proto.Marshal(in)
	if err != nil {
		return fmt.Errorf("the request cannot be written as Envoy would: %w", err)
	}
	response := new(authv3.CheckResponse)
	if err := proto.Unmarshal(server.CheckWire(ctx, wire), response); err != nil {
		return fmt.Errorf("the answer cannot be read: %w", err)
	}
	x := newExplanation(explained{options: o, settings: s, own: own, Observation: seen.Observation, response: response})
	if output == outputJSON {
		return writeJSON(p.stdout, x)
	}
	if _, err := io.WriteString(p.stdout, x.text()); err != nil {
		return fmt.Errorf("writing the explanation: %w", err)
	}
	return nil
}

// lastObservation keeps what the server tells of the one check.
type lastObservation struct{ envoy.Observation }

// Observed implements envoy.Observer.
func (l *lastObservation) Observed(_ context.Context, o envoy.Observation) { l.Observation = o }

// request makes the check of METHOD URL, or reads a captured one.
func (o *explainOptions) request(p process, args []string) (*authv3.CheckRequest, error) {
	if o.checkRequest == "" {
		line, _ := requestLine(args[0], args[1]) // it was checked before
		return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{Http: line}}}, nil
	}
	var data []byte
	var err error
	name := o.checkRequest
	if name == "-" {
		name = "standard input"
		data, err = io.ReadAll(io.LimitReader(p.stdin, maxCaptured+1))
	} else {
		data, err = os.ReadFile(name)
	}
	if err != nil {
		return nil, problems{{File: name, Message: fmt.Sprintf("cannot be read: %v", cause(err))}}
	}
	if len(data) > maxCaptured {
		return nil, problems{{File: name, Message: "is larger than 16 MiB, which no CheckRequest is"}}
	}
	in := new(authv3.CheckRequest)
	// As on the wire, fields of a later Envoy are passed over.
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(data, in); err != nil {
		return nil, problems{{File: name, Message: fmt.Sprintf("is no envoy.service.auth.v3.CheckRequest in JSON: %s", withoutPrefix(err))}}
	}
	if in.GetAttributes().GetRequest().GetHttp() == nil {
		return nil, problems{{File: name, Message: "holds no attributes.request.http; write an envoy.service.auth.v3.CheckRequest as protojson does"}}
	}
	return in, nil
}

const maxCaptured = 16 << 20

// withoutPrefix takes off what protojson puts before its messages, with a space that
// changes from build to build.
func withoutPrefix(err error) string {
	text := strings.ReplaceAll(err.Error(), "\u00a0", " ")
	return strings.TrimSpace(strings.TrimPrefix(text, "proto:"))
}

// credentials adds to the request what --as-user and --as-api-key say, and makes the
// stores that know of it, and of nothing else.
func (o *explainOptions) credentials(in *authv3.CheckRequest, apiKeyHeader string) (*memory.Store, *token.Verifier, error) {
	secret := []byte(rand.Text() + rand.Text()) // nobody's: a token in a header is not verified
	verifier, err := token.NewVerifier(token.Config{Keys: []token.Key{{Algorithm: "HS256", Secret: secret}}})
	if err != nil {
		return nil, nil, err
	}
	store := memory.New(nil)
	if o.user != "" {
		roles, _ := authz.NewNames(o.roles)
		store.PutUser(o.user, authz.User{Active: true, Roles: roles})
		store.PutSession(o.user, explainSession, 0)
		claims := jwt.MapClaims{}
		if o.claims != "" {
			claims, _ = readClaims(o.claims) // it was checked before
		}
		claims["sub"], claims["jti"], claims["exp"] = o.user, explainSession, time.Now().Add(time.Hour).Unix()
		signed, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(secret)
		if err != nil {
			return nil, nil, errors.New("the token of --as-user cannot be signed")
		}
		addHeader(in, "authorization", "Bearer "+signed)
	}
	if o.apiKey {
		key := "explain." + rand.Text()
		scopes, _ := authz.NewNames(o.scopes)
		store.PutAPIKey(authz.HashAPIKey(key), authz.APIKey{Prefix: "explain", Scopes: scopes, Active: true})
		addHeader(in, apiKeyHeader, key)
	}
	return store, verifier, nil
}

// addHeader adds a field as Envoy would have sent it: beside the others where they
// are raw, joined with a comma where they are a map, and in both where both are filled.
func addHeader(in *authv3.CheckRequest, name, value string) {
	http := in.Attributes.Request.Http
	name = strings.ToLower(name)
	if http.HeaderMap != nil || len(http.Headers) == 0 {
		if http.HeaderMap == nil {
			http.HeaderMap = new(corev3.HeaderMap)
		}
		http.HeaderMap.Headers = append(http.HeaderMap.Headers, &corev3.HeaderValue{Key: name, RawValue: []byte(value)})
	}
	if len(http.Headers) == 0 {
		return
	}
	for key, before := range http.Headers {
		if strings.EqualFold(key, name) {
			http.Headers[key] = before + "," + value
			return
		}
	}
	http.Headers[name] = value
}

// headerNames returns the fields that came with the request, in lower case.
func headerNames(in *authv3.CheckRequest) map[string]bool {
	http, names := in.GetAttributes().GetRequest().GetHttp(), map[string]bool{}
	for key := range http.GetHeaders() {
		names[strings.ToLower(key)] = true
	}
	for _, h := range http.GetHeaderMap().GetHeaders() {
		names[strings.ToLower(h.GetKey())] = true
	}
	return names
}

func setPeer(in *authv3.CheckRequest, addr string) {
	source(in).Address = &corev3.Address{Address: &corev3.Address_SocketAddress{
		SocketAddress: &corev3.SocketAddress{Address: addr, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 1}},
	}}
}

// source is the other end of the connection, made when it is not there.
func source(in *authv3.CheckRequest) *authv3.AttributeContext_Peer {
	if in.Attributes.Source == nil {
		in.Attributes.Source = &authv3.AttributeContext_Peer{}
	}
	return in.Attributes.Source
}
