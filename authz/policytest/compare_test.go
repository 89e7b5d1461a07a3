package policytest

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"warder/authz"
)

const comparePolicy = `
policy: |
  version: 1
  routes:
    - {id: a, match: /a, allow: [{user: {}}, {api_key: {}}]}
users: [{id: "1", roles: [USER]}]
cases:
`

// fixed gives every case the same outcome.
type fixed struct{ Outcome }

func (fixed) Kind() DepthKind                              { return DepthWire }
func (f fixed) Do(context.Context, *Case) (Outcome, error) { return f.Outcome, nil }

// TestCompare checks that each unmet expectation is reported, and nothing else.
func TestCompare(t *testing.T) {
	t.Parallel()
	a := "a"
	allowed := func(change func(*Outcome)) Outcome {
		o := Outcome{
			Allowed: true, Reason: "session", Status: 200, Route: &a, HitsAfter: 1,
			Upstream: [][2]string{
				{"authorization", "Bearer x"}, {"x-warder-auth-method", "session"}, {"x-warder-user", "1"}, {"x-warder-client-ip", "127.0.0.1"},
			},
		}
		change(&o)
		return o
	}
	denied := func(change func(*Outcome)) Outcome {
		o := Outcome{
			Reason: "role_missing", Status: 403, Route: &a, Principal: &authz.Principal{}, ClientIP: "127.0.0.1",
			Response: [][2]string{{"content-type", "application/problem+json"}}, Body: "no", Secrets: []string{"s3cr3t"},
		}
		change(&o)
		return o
	}
	asIs := func(*Outcome) {}
	header := func(name, value string) func(*Outcome) {
		return func(o *Outcome) {
			o.Upstream, o.Response = append(o.Upstream, [2]string{name, value}), append(o.Response, [2]string{name, value})
		}
	}
	watched := func(change func(*Outcome)) Outcome {
		o := Outcome{
			Allowed: true, Reason: "role_missing", Status: 200, Route: &a, Shadow: true, HitsAfter: 1,
			Upstream: [][2]string{{"authorization", "Bearer x"}, {"x-api-key", "wk_0123456789"}},
		}
		change(&o)
		return o
	}
	const identity = `identity: {auth_method: session, user: "1"}`
	for _, test := range []struct {
		want     string // the fields that differ
		theCase  string
		got      Outcome
		complete bool
	}{
		{"", `want: allow`, allowed(asIs), false},
		{"", `want: allow session, ` + identity, allowed(asIs), true},
		{"verdict", `want: deny`, allowed(asIs), false},
		{"", `want: would_deny`, watched(asIs), false},
		{"", `want: would_deny role_missing`, watched(asIs), true},
		{"reason", `want: would_deny scope_missing`, watched(asIs), false},
		{"reason", `want: would_deny`, watched(func(o *Outcome) { o.Reason = "sessions_unavailable" }), false},
		{"verdict", `want: allow`, watched(asIs), false},
		{"verdict", `want: deny`, watched(asIs), false},
		{"verdict", `want: would_deny`, allowed(asIs), false},
		{"verdict", `want: would_deny`, denied(asIs), false},
		{"x-warder-user", `want: would_deny`, watched(header("x-warder-user", "1")), false},
		{"x-warder-client-ip", `want: would_deny`, watched(header("x-warder-client-ip", "127.0.0.1")), false},
		{"x-original-url", `want: would_deny`, watched(header("x-original-url", "/")), false},
		{"verdict", `want: allow`, denied(asIs), false},
		{"reason", `want: allow api_key`, allowed(asIs), false},
		{"route", `want: allow, route: b`, allowed(asIs), false},
		{"", `want: allow, route: a`, allowed(asIs), false},
		{"status", `want: allow`, allowed(func(o *Outcome) { o.Status = 204 }), false},
		{"requests at the upstream", `want: allow`, allowed(func(o *Outcome) { o.HitsAfter = 2 }), false},
		{"requests at the upstream", `want: allow`, allowed(func(o *Outcome) { o.HitsAfter = 0 }), false},
		{"upstream x-warder-user", `want: allow, upstream: {X-Warder-User: "2"}`, allowed(asIs), false},
		{"", `want: allow, upstream: {X-Warder-User: "1"}`, allowed(asIs), false},
		{"authorization", `want: allow, upstream_absent: [Authorization]`, allowed(asIs), false},
		{"x_trace", `want: allow, upstream_absent: [X-Trace]`, allowed(header("X_Trace", "1")), false},
		{"x-warder-user", `want: allow, identity: {auth_method: session, user: "2"}`, allowed(asIs), false},
		{"x-warder-roles", `want: allow, ` + identity, allowed(header("x-warder-roles", "ADMIN")), false},
		{"x-warder-user", `want: allow`, allowed(header("X-Warder-User", "2")), false},
		{"x_warder_user", `want: allow`, allowed(header("x_warder_user", "2")), false},
		{"x!warder~user", `want: allow`, allowed(header("x!warder~user", "2")), false},
		{"x'original+url", `want: allow`, allowed(header("x'Original+URL", "/")), false},
		{"x|trace", `want: allow, upstream_absent: [X-Trace]`, allowed(header("X|Trace", "1")), false},
		{"x-warder-admin", `want: allow`, allowed(header("X-Warder-Admin", "2")), false},
		{"x-api-key", `want: allow`, allowed(header("X-API-Key", "k")), false},
		{"x-original-url", `want: allow`, allowed(header("X-Original-URL", "/")), false},
		{"client address", `want: allow, want_client_ip: 127.0.0.2`, allowed(asIs), false},
		{"", `want: allow, want_client_ip: 127.0.0.1`, allowed(asIs), false},

		{"", `want: deny`, denied(asIs), false},
		{"", `want: deny role_missing, status: 403`, denied(asIs), true},
		{"reason", `want: deny scope_missing`, denied(asIs), false},
		{"status", `want: deny`, denied(func(o *Outcome) { o.Status = 401; o.Body = bodies[401] }), false},
		{"status", `want: deny, status: 400`, denied(asIs), false},
		{"reason", `want: deny`, denied(func(o *Outcome) { o.Reason, o.Status = "internal", 503 }), false},
		{"reason", `want: deny`, denied(func(o *Outcome) { o.Reason, o.Status = "path_ambiguous", 400 }), false},
		{"", `want: deny, status: 400`, denied(func(o *Outcome) { o.Reason, o.Status = "path_ambiguous", 400 }), false},
		{"", `want: deny internal`, denied(func(o *Outcome) { o.Reason, o.Status = "internal", 503 }), false},
		{"requests at the upstream", `want: deny`, denied(func(o *Outcome) { o.HitsAfter = 1 }), false},
		{"response content-type", `want: deny, response: {Content-Type: text/plain}`, denied(asIs), false},
		{"client address", `want: deny, want_client_ip: 127.0.0.2`, denied(asIs), false},
		{"www-authenticate", `want: deny`, denied(header("WWW-Authenticate", "Bearer")), true},
		{"", `want: deny`, denied(header("WWW-Authenticate", "Bearer")), false},
		{"access-control-allow-origin", `want: deny`, denied(header("access-control-allow-origin", "*")), true},
		{"access-control-allow-origin access-control-allow-credentials vary", `want: deny, cors: "https://a.test"`, denied(asIs), false},
		{"body", `want: deny`, denied(func(o *Outcome) { o.Reason, o.Status = "user_unknown", 401 }), false},
		{"body", `want: deny`, denied(func(o *Outcome) { o.Body = "no s3cr3t" }), false},
		{"response x-echo", `want: deny`, denied(header("X-Echo", "a s3cr3t")), false},
	} {
		f, err := Parse("compare.yaml", []byte(comparePolicy+"  - {name: a, request: GET /a, "+test.theCase+"}\n"))
		if err != nil {
			t.Fatal(err)
		}
		r := NewRunner()
		r.Complete = test.complete
		result := r.File(f, fixed{test.got}).Case(t.Context(), f.Cases[0])
		var fields []string
		for _, d := range result.Differences {
			fields = append(fields, d.Field)
		}
		if got := strings.Join(fields, " "); got != test.want || result.Failed() != (test.want != "") {
			t.Errorf("%s: differs in %q, want %q", test.theCase, got, test.want)
		}
	}
}

// TestDenialsAreTheSame checks that responses with the same status are compared.
func TestDenialsAreTheSame(t *testing.T) {
	t.Parallel()
	f, err := Parse("same.yaml", []byte(comparePolicy+"  - {name: a, request: GET /a, want: deny}\n  - {name: b, request: GET /a, want: deny}\n"))
	if err != nil {
		t.Fatal(err)
	}
	r := NewRunner()
	for i, body := range []string{"no", "No"} {
		o := Outcome{Reason: "role_missing", Status: 403, Body: body}
		result := r.File(f, fixed{o}).Case(t.Context(), f.Cases[i])
		if result.Failed() != (i == 1) {
			t.Errorf("case %d: %v", i, result.Differences)
		}
	}
}

// TestAllowAfterDenial checks that a case that passed before is sent again after a denial.
func TestAllowAfterDenial(t *testing.T) {
	t.Parallel()
	f, err := Parse("good.yaml", []byte(comparePolicy+`
  - {name: a, request: GET /a, want: allow}
  - {name: b, request: GET /a, want: deny}
  - {name: c, request: GET /a, want: allow}
`))
	if err != nil {
		t.Fatal(err)
	}
	allowed := Outcome{Allowed: true, Reason: "session"}
	denied := Outcome{Reason: "role_missing"}
	for _, test := range []struct {
		failed string // which of the cases fail
		got    []Outcome
	}{
		{"", []Outcome{allowed, denied, allowed, allowed}},
		{"b", []Outcome{allowed, denied, denied, allowed}},
		{"a", []Outcome{denied, denied, allowed}}, // a case that failed is not sent again
	} {
		depth := &inTurn{left: test.got}
		run := NewRunner().File(f, depth)
		failed := ""
		for _, c := range f.Cases {
			if run.Case(t.Context(), c).Failed() {
				failed += c.Name
			}
		}
		if failed != test.failed || len(depth.left) > 0 {
			t.Errorf("%v: %q fail, want %q; %d outcomes are left", test.got, failed, test.failed, len(depth.left))
		}
	}
}

// inTurn returns one outcome after the other.
type inTurn struct{ left []Outcome }

func (*inTurn) Kind() DepthKind { return DepthWire }
func (d *inTurn) Do(context.Context, *Case) (Outcome, error) {
	o := d.left[0]
	d.left = d.left[1:]
	return o, nil
}

// TestCoverage checks which items each request covers.
func TestCoverage(t *testing.T) {
	t.Parallel()
	f, err := Parse("coverage.yaml", []byte(`
policy: |
  version: 1
  ip_lists: {here: [127.0.0.1/32]}
  cors: {allow_origins: ["https://a.test"]}
  routes:
    - {id: public, match: GET /public, public: true}
    - id: both
      match: {methods: [GET, POST], paths: [/b, "/b/{id}", "/b/**"]}
      allow: [{user: {roles: [A, B]}}, {api_key: {any_scopes: [x, y]}}]
      client_ips: [here]
    - {id: open, match: /open, allow: [{anonymous: {}}, {user: {}}, {api_key: {scopes: [x, y]}}]}
    - {id: mesh, match: /mesh, public: true, principals: ["spiffe://a/b"]}
users: [{id: "1", roles: [A]}, {id: "2", roles: [ADMIN]}, {id: "3"}]
api_keys: [{key: wk_x_0123456789, scopes: [x, y]}]
cases:
  - {name: public, want: allow, request: GET /public}
  - {name: head, want: allow, request: HEAD /public}
  - {name: preflight, want: allow, request: OPTIONS /public, headers: {Origin: "https://a.test", Access-Control-Request-Method: GET}}
  - {name: role, want: allow, request: GET /b, as_user: "1"}
  - {name: admin, want: allow, request: POST /b/7, as_user: "2"}
  - {name: none, want: deny, request: GET /b/7/8, as_user: "3"}
  - {name: key, want: allow, request: GET /b, api_key: wk_x_0123456789}
  - {name: elsewhere, want: deny, request: GET /b, peer: 127.0.0.2}
  - {name: open, want: allow, request: GET /open}
  - {name: open user, want: allow, request: GET /open, as_user: "3"}
  - {name: open key, want: allow, request: GET /open, api_key: wk_x_0123456789}
  - {name: nowhere, want: deny, request: GET /nowhere}
  - {name: mesh, want: allow, request: GET /mesh, principal: "spiffe://a/b"}
  - {name: no mesh, want: deny, request: GET /mesh}
`))
	if err != nil {
		t.Fatal(err)
	}
	routes, err := f.LoadPolicy(func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"public":    "public: allowed, path /public, method GET",
		"head":      "public: allowed, path /public",
		"preflight": "",
		"role":      "both: allowed, user with role A, client in here, path /b, method GET",
		"admin":     "both: allowed, client in here, path /b/{id}, method POST",
		"none":      "both: denied, client in here, path /b/**, method GET",
		"key":       "both: allowed, API key with scope x, API key with scope y, client in here, path /b, method GET",
		"elsewhere": "both: denied, client not in here, path /b, method GET",
		"open":      "open: allowed, anonymous, path /open",
		"open user": "open: allowed, user, path /open",
		"open key":  "open: allowed, API key, path /open",
		"nowhere":   "",
		"mesh":      "mesh: allowed, principal listed, path /mesh",
		"no mesh":   "mesh: denied, principal not listed, path /mesh",
	}
	total := NewCoverage(routes)
	for _, c := range f.Cases {
		o, err := f.Open(routes, time.Unix(1_800_000_000, 0))
		if err != nil {
			t.Fatal(err)
		}
		r, err := o.Build(c)
		if err != nil {
			t.Fatal(err)
		}
		a := authz.Attributes{Method: r.Method, Host: r.Host, Path: r.Path, ClientIP: r.Peer, Principal: r.Principal}
		for _, h := range r.Headers {
			a.Headers = append(a.Headers, authz.Header{Name: lowerASCII(h[0]), Value: h[1]})
		}
		request := authz.NewRequest(a)
		d := o.Engine.Decide(t.Context(), request)
		if d.Allowed() != c.want.allow {
			t.Errorf("%s: %s %s", c.Name, d.Verdict(), d.Reason())
		}
		one := NewCoverage(routes)
		one.Add(request, d)
		total.Add(request, d)
		if got := reached(one); got != want[c.Name] {
			t.Errorf("%s reaches %q, want %q", c.Name, got, want[c.Name])
		}
	}
	var missing []string
	for _, r := range total.Routes {
		for _, name := range r.Missing() {
			missing = append(missing, r.Route.ID+" "+name)
		}
	}
	if want := []string{"both user with role B", "open denied"}; !slices.Equal(missing, want) {
		t.Errorf("missing %q, want %q", missing, want)
	}
	if covered, all := total.Count(); all-covered != 2 || all != 27 {
		t.Errorf("%d of %d", covered, all)
	}
}

func reached(c *Coverage) string {
	var lines []string
	for _, r := range c.Routes {
		var names []string
		for _, item := range r.Items {
			if item.Covered {
				names = append(names, item.Name)
			}
		}
		if names != nil {
			lines = append(lines, r.Route.ID+": "+strings.Join(names, ", "))
		}
	}
	return strings.Join(lines, "\n")
}
