package casetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"warder/authz/policytest"
	"warder/cmd/warder/internal/cli"
	"warder/cmd/warder/internal/config"
	"warder/cmd/warder/internal/explain"
	"warder/policy"
	"warder/policy/strict"
)

// options holds the flags of warder test.
type options struct {
	policyPath, configPath string
	output                 testOutput
	run                    caseNames
	verbose                bool
	coverage               bool
	least                  percent
}

// NewCommand returns the command warder test.
func NewCommand(p cli.Process) *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "test FILE…",
		Short: "Run the cases of policy tests and report those that do not get the decision they want",
		Long: `test runs files of cases. A case is a request and the decision that it must get. Each request
goes through the engine and the answer of the service, with stores in memory that hold the data
of the file. Nothing uses the network. The exit code is 0 when every case passed, 1 when a case
failed or a file is not valid, 2 for wrong usage.

A file names its policy in policy_file (a path relative to the folder of the file), or holds the
policy as text in policy. A file with neither uses the policy of --policy, of the configuration
in --config, or of WARDER_POLICY. With --config, the tests also use client_ip, identity, api_key,
strip_headers, directory.users and the claims of jwt from the configuration. Its secrets are not read; tokens are
signed with a key for tests. A policy or config in a file wins over WARDER_POLICY and
WARDER_CONFIG, and is an error together with --policy or --config.

  users:                              # the users in the store; sessions and api_keys work the same way
    - {id: "42", roles: [VIEWER]}
  api_keys:
    - {key: wk_test_0123456789, scopes: ["assets:read"], expires: +30d}
  now: 2026-01-31T12:00:00Z           # default: the real time; a case may set its own
  cases:
    - {name: a viewer may not audit, want: deny role_missing, request: GET /audit, as_user: "42"}

want is allow, deny or would_deny (a denial in shadow), optionally followed by the reason. These
keys of a case describe the request: request (METHOD PATH), host, peer, headers, as_user (sends a
valid token of the user, with the roles of the user where directory.users is token), token (its claims, or what is wrong with it), api_key, principal,
chosen_route, now. These check the answer: status, route (the id of the route that wins, "" for
none), upstream and upstream_absent (headers that the application gets), identity (all identity
headers), response (headers of a denial), want_client_ip, challenge, cors. skip gives the reason
why the case is not run. Unknown keys are errors.

The full name of a case is FILE/NAME, with the file's name without folder and .yaml. --verbose
lists these names.

--coverage reports which items of each route the passed cases reached: a request that the route
allowed and one that it denied; each way in (each name in roles and in any_scopes is an item, which
an allowed caller must hold; all_roles is one item, and so is scopes); client_ips and principals,
with a request that matches and one that does not; when, true and not true; each path and each
listed method, with a request that the route won. With --coverage-min, the command fails when
fewer items of a policy are reached.

In JSON: {ok, passed, failed, skipped, cases: [{file, name, line, column, outcome, skipped, error,
want, got: {decision, reason, status, route} or null, differences: [{field, want, got}], why,
explain, seconds}], problems: [{file, line, column, field, message}], coverage: [{policy, percent,
covered, total, routes: [{route, file, line, column, items: [{item, covered}]}]}] or null}.
outcome is passed, failed or skipped.`,
		Example: `  warder test policy_test.yaml
  warder test -p policy.yaml tests/*.yaml --coverage --coverage-min 90
  warder test policy_test.yaml --run 'policy_test/.*viewer' -v
  warder test policy_test.yaml -o junit > report.xml`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cli.WrongUsage(cmd, errors.New("no file is named; name one or more test files, as in: warder test policy_test.yaml"))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			o.coverage = o.coverage || o.least > 0
			t := &run{Process: p, options: o, runner: policytest.NewRunner(), now: time.Now(), policies: map[string]*testedPolicy{}}
			return t.all(cmd.Context(), args)
		},
	}
	cli.AddPolicyFlag(cmd, &o.policyPath)
	cli.AddConfigFlag(cmd, &o.configPath)
	flags := cmd.Flags()
	o.output = testText
	flags.VarP(&o.output, "output", "o", "the format of the result")
	flags.Var(&o.run, "run", "run only the cases whose `file/name` matches this regular expression")
	flags.BoolVarP(&o.verbose, "verbose", "v", false, "list all cases, including those that passed")
	flags.BoolVar(&o.coverage, "coverage", false, "report which items of each route no passed case reaches")
	flags.Var(&o.least, "coverage-min", "fail when the cases of a policy reach less than this `percent` of its items")
	return cmd
}

// A testOutput is the value of the flag -o.
type testOutput string

const (
	testText  testOutput = "text"
	testJSON  testOutput = "json"
	testJUnit testOutput = "junit"
)

var _, _, _ pflag.Value = new(testOutput), new(caseNames), new(percent)

func (o *testOutput) String() string { return string(*o) }
func (o *testOutput) Type() string   { return "text|json|junit" }
func (o *testOutput) Set(s string) error {
	switch f := testOutput(s); f {
	case testText, testJSON, testJUnit:
		*o = f
		return nil
	}
	return errors.New("use text, json or junit")
}

// caseNames is the value of the flag --run. Its zero value selects every case.
type caseNames struct{ *regexp.Regexp }

func (p *caseNames) String() string {
	if p.Regexp == nil {
		return ""
	}
	return p.Regexp.String()
}
func (p *caseNames) Type() string { return "regexp" }
func (p *caseNames) Set(s string) (err error) {
	p.Regexp, err = regexp.Compile(s)
	return err
}

func (p *caseNames) takes(name string) bool { return p.Regexp == nil || p.MatchString(name) }

// A percent is the value of the flag --coverage-min.
type percent float64

func (p *percent) String() string { return strconv.FormatFloat(float64(*p), 'f', -1, 64) }
func (p *percent) Type() string   { return "percent" }
func (p *percent) Set(s string) error {
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || !(n > 0 && n <= 100) {
		return errors.New("use more than 0 and at most 100, as in 90")
	}
	*p = percent(n)
	return nil
}

// A run is one run of the command.
type run struct {
	cli.Process
	options options
	runner  *policytest.Runner
	now     time.Time

	configPath string // --config, or WARDER_CONFIG
	config     *policytest.Config
	fallback   string // the policy of the configuration, or of WARDER_POLICY

	policies map[string]*testedPolicy // by path, or by the file that holds the text
	results  []testResult
	problems cli.Problems
	unrun    int // the number of files that did not run
}

// A testedPolicy is a policy with the coverage by the cases of all files.
type testedPolicy struct {
	path     string // "" for a text in a file of cases
	name     string
	routes   *policy.Policy
	coverage *policytest.Coverage
	failed   error
}

// A testResult is the result of one case, with what the report says about it.
type testResult struct {
	policytest.Result
	explanation *explain.Explanation // nil when the case did not run
	hint        string               // the command that explains the request, "" when none can
	took        time.Duration
}

// all runs every file and writes the report.
func (t *run) all(ctx context.Context, paths []string) error {
	t.fallback, _ = t.Env("WARDER_POLICY")
	t.configPath = config.NamedFile(t.options.configPath, t.Env)
	if t.configPath != "" {
		if err := t.readConfig(); err != nil {
			return err
		}
	}
	read := map[string]bool{}
	for _, path := range paths {
		if read[filepath.Clean(path)] {
			continue
		}
		read[filepath.Clean(path)] = true
		f, err := policytest.Load(path)
		if err == nil {
			err = t.file(ctx, f)
		}
		if err != nil {
			t.unrun++
			t.problems = append(t.problems, cli.ProblemsOf(path, err)...)
		}
	}
	t.problems = t.problems.Sorted()
	if len(t.results) == 0 && len(t.problems) == 0 {
		return fmt.Errorf("no case matches --run %q; the names are FILE/NAME, as --verbose lists them", t.options.run.String())
	}
	return t.report()
}

// readConfig reads the settings that change decisions from the configuration. It reads no
// secrets.
func (t *run) readConfig() error {
	c, client, err := config.ReadDecisive(t.configPath, t.Env)
	if err != nil {
		return err
	}
	t.fallback = string(c.Policy)
	var out policytest.Config
	out.JWT.Issuer, out.JWT.Audiences, out.JWT.Leeway = string(c.JWT.Issuer), c.JWT.Audiences, c.JWT.Leeway
	out.JWT.UserClaim, out.JWT.SessionClaim = c.JWT.UserClaim, c.JWT.SessionClaim
	out.JWT.Attributes, out.Identity.Attributes = c.JWT.Attributes, c.IdentitySettings().Attributes
	if c.UsersInTokens() {
		out.Directory.Users, out.JWT.RolesClaim, out.JWT.ActiveClaim = "token", c.RolesClaim(), string(c.JWT.ActiveClaim)
		if c.OwnersKnown() {
			out.Directory.UsersQuery = c.Directory.UsersQuery
		}
	}
	out.Sessions.Rule = string(c.Sessions.Rule)
	if absent := c.Revocations(); absent != nil {
		out.Sessions.KeyTemplate, out.Sessions.RevokedBefore = absent.KeyTemplates, absent.RevokedBefore
	}
	sources := c.Sources()
	for _, s := range sources.Tokens {
		out.JWT.Sources = append(out.JWT.Sources, policytest.Source(s))
	}
	for _, s := range sources.APIKeys {
		out.APIKey.Sources = append(out.APIKey.Sources, policytest.Source(s))
	}
	out.APIKey.Header = sources.APIKeyHeader
	out.ClientIP.Source, out.ClientIP.TrustedProxies = client.Source, client.TrustedProxies
	out.ClientIP.TrustedHops, out.ClientIP.Header = client.TrustedHops, client.Header
	identity := c.IdentitySettings()
	out.Identity.Headers, out.Identity.RemoveAPIKey = identity.Headers, &identity.RemoveAPIKey
	out.Identity.RemoveAuthorization, out.StripHeaders = identity.RemoveAuthorization, identity.StripHeaders
	out.Identity.RemoveCredentials = identity.RemoveCredentials
	t.config = &out
	return nil
}

// file runs the cases of one file.
func (t *run) file(ctx context.Context, f *policytest.File) error {
	if t.config != nil {
		switch at, has := f.HasConfig(); {
		case has && t.options.configPath != "":
			return policy.Problems{{Position: at, Field: "config", Message: "cannot be used together with --config; leave one of them out"}}
		case has: // it wins over WARDER_CONFIG, as a file's own policy wins over WARDER_POLICY
		default:
			if err := f.SetConfig(*t.config); err != nil {
				return cli.Problems{{Position: strict.Position{File: t.configPath}, Message: err.Error()}}
			}
		}
	}
	tested, err := t.policyOf(f)
	if err != nil {
		return err
	}
	depth, err := newWireDepth(f, tested, t.now)
	if err != nil {
		return err
	}
	run := t.runner.File(f, depth)
	for _, c := range f.Cases {
		if !t.options.run.takes(f.Name + "/" + c.Name) {
			continue
		}
		started := time.Now()
		result := testResult{Result: run.Case(ctx, c)}
		result.took = time.Since(started)
		if x, ran := depth.answers[c]; ran {
			result.explanation = explain.New(x)
			result.hint = t.explainCommand(c, x, tested)
			if !result.Failed() {
				tested.coverage.Add(x.Request, x.Decision)
			}
		}
		t.results = append(t.results, result)
	}
	return nil
}

// policyOf returns the policy that a file tests. It loads a policy only once, even if
// several files name it.
func (t *run) policyOf(f *policytest.File) (*testedPolicy, error) {
	at, field, own := f.HasPolicy()
	path := f.PolicyPath()
	switch given := cmp.Or(t.options.policyPath, t.fallback); {
	case own && t.options.policyPath != "":
		return nil, policy.Problems{{Position: at, Field: field, Message: "cannot be used together with --policy; leave one of them out"}}.Err()
	case own:
	case given == "":
		return nil, cli.Problems{{Position: strict.Position{File: f.Path}, Message: "names no policy; write policy_file: policy.yaml into it, or give --policy"}}
	default:
		path = given
	}
	tested := &testedPolicy{path: path, name: path}
	key := filepath.Clean(path)
	if path == "" {
		tested.name, key = f.Path, "text of "+f.Path
	}
	if known := t.policies[key]; known != nil {
		return known, known.failed
	}
	t.policies[key] = tested
	if own {
		tested.routes, tested.failed = f.LoadPolicy(t.Env)
	} else {
		tested.routes, tested.failed = cli.LoadPolicy(t.Process, path)
	}
	if tested.failed == nil {
		tested.coverage = policytest.NewCoverage(tested.routes)
	}
	return tested, tested.failed
}

// report writes the results of the run. It returns an error if the run failed.
func (t *run) report() error {
	var err error
	switch t.options.output {
	case testJSON:
		err = cli.WriteJSON(t.Stdout, t.jsonReport())
	case testJUnit:
		err = t.writeJUnit(t.Stdout)
	case testText:
		_, err = io.WriteString(t.Stdout, t.textReport())
	}
	if err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	for _, problem := range t.problems {
		if t.options.output == testText {
			fmt.Fprintln(t.Stderr, problem)
		}
	}
	for _, line := range t.tooLittle() {
		fmt.Fprintln(t.Stderr, "warder: "+line)
	}
	if !t.ok() {
		return cli.ErrReported
	}
	return nil
}

func (t *run) ok() bool {
	_, failed, _ := t.counts()
	return failed == 0 && len(t.problems) == 0 && len(t.tooLittle()) == 0
}

func (t *run) counts() (passed, failed, skipped int) {
	for _, r := range t.results {
		switch {
		case r.Skipped != "":
			skipped++
		case r.Failed():
			failed++
		default:
			passed++
		}
	}
	return passed, failed, skipped
}
