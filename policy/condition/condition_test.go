package condition_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"warder/authz/attribute"
	"warder/policy/condition"
	"warder/policy/pattern"
	"warder/policy/strict"
)

// fields are header fields, their names in lower case.
type fields [][2]string

func (f fields) Len() int                         { return len(f) }
func (f fields) Field(i int) (name, value string) { return f[i][0], f[i][1] }

// brokenFields panic when they are touched.
type brokenFields struct{}

func (brokenFields) Len() int                   { panic("broken") }
func (brokenFields) Field(int) (string, string) { panic("broken") }

// compile compiles the value of the key when in a file, for a route with these paths.
func compile(tb testing.TB, file string, paths ...string) (*condition.Condition, strict.Problems) {
	tb.Helper()
	f := strict.File{Name: "policy.yaml", Data: []byte(file)}
	v, problems := strict.Parse(f, strict.Limits{Bytes: 1 << 20, Hint: condition.HintYAML})
	var read struct {
		When condition.Source `json:"when"`
	}
	r := &strict.Reader{Lines: strict.Lines(f.Data)}
	r.Read("", v, &read)
	if problems = append(problems, r.Problems...); len(problems) > 0 {
		return nil, problems
	}
	var patterns []pattern.Pattern
	for _, path := range paths {
		p, wrong := pattern.Parse(path)
		if wrong != "" {
			tb.Fatal(path, wrong)
		}
		patterns = append(patterns, p)
	}
	return new(condition.Compiler).Compile(&read.When, patterns)
}

// conditionOf compiles a condition on a route with the paths.
func conditionOf(tb testing.TB, expression string, paths ...string) *condition.Condition {
	tb.Helper()
	if len(paths) == 0 {
		paths = []string{"/users/{user_id}"}
	}
	c, problems := compile(tb, "when: |-\n  "+strings.ReplaceAll(expression, "\n", "\n  ")+"\n", paths...)
	if err := problems.Err(); err != nil {
		tb.Fatal(err)
	}
	return c
}

func pathOf(tb testing.TB, raw string) pattern.Path {
	tb.Helper()
	p, err := pattern.ParsePath(raw)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func inputOf(tb testing.TB) *condition.Input {
	tb.Helper()
	return &condition.Input{
		Method: "GET", Host: "api.example.com", Path: pathOf(tb, "/users/42"), Query: "page=1", Fields: fields{{"x-tenant", "acme"}},
		ClientIP: netip.MustParseAddr("203.0.113.9"), Time: time.Date(2030, 1, 31, 12, 0, 0, 0, time.UTC),
		AuthMethod: "session", User: "42", Roles: []string{"CONTROL"}, HiddenFields: []string{"x-api-key", "X_User.Id"},
		Claims: func() (string, error) { return `{"tenant": "acme", "level": 3}`, nil },
	}
}

// twoLongTexts gives a request as much as a condition reads of it.
func twoLongTexts(in *condition.Input) {
	in.Query = "a=" + strings.Repeat("a", 4000) + "&b=" + strings.Repeat("b", 4000)
}

// tenantIs gives the principal an attribute.
func tenantIs(value string) func(*condition.Input) {
	return func(in *condition.Input) { in.Attributes = attribute.Of(map[string]string{"tenant": value}) }
}

// TestConditionNeverHoldsByMistake: whatever goes wrong, the answer is no.
func TestConditionNeverHoldsByMistake(t *testing.T) {
	t.Parallel()
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, row := range []struct {
		want  string // "" for true; else what the error says; "false" for none
		name  string
		c     *condition.Condition
		ctx   context.Context
		spoil func(*condition.Input)
	}{
		{"", "all is well", conditionOf(t, "params.user_id == principal.user"), t.Context(), nil},
		{"false", "false", conditionOf(t, "params.user_id != principal.user"), t.Context(), nil},
		{"never compiled", "the zero condition", new(condition.Condition), t.Context(), nil},
		{"canceled", "a cancelled request", conditionOf(t, "params.user_id == principal.user"), cancelled, nil},
		{"broken", "a panic", conditionOf(t, `request.headers["x-tenant"] == "acme"`), t.Context(), func(in *condition.Input) { in.Fields = brokenFields{} }},
		{"broken", "a panic under a negation", conditionOf(t, `!("x-tenant" in request.headers)`), t.Context(), func(in *condition.Input) { in.Fields = brokenFields{} }},
		{"principal.user is absent", "nobody", conditionOf(t, "principal.user != params.user_id"), t.Context(), func(in *condition.Input) { in.User = "" }},
		{"no such key: tenant", "no attribute", conditionOf(t, `principal.attributes.tenant != "x"`), t.Context(), nil},
		{"no such key: tenant", "no attribute under a negation", conditionOf(t, `!(principal.attributes.tenant == "x")`), t.Context(), nil},
		{"no such key: tenant", "no attribute in brackets", conditionOf(t, `principal.attributes["tenant"] != "x"`), t.Context(), nil},
		{"no such key: tenant", "no attribute and no parameter are not equal", conditionOf(t, `principal.attributes.tenant == principal.attributes.other`), t.Context(), nil},
		{"", "no attribute, asked for", conditionOf(t, `!has(principal.attributes.tenant) && !("tenant" in principal.attributes)`), t.Context(), nil},
		{"false", "an attribute, asked for", conditionOf(t, `!has(principal.attributes.tenant)`), t.Context(), tenantIs("acme")},
		{"", "an attribute", conditionOf(t, `principal.attributes.tenant == "acme" && "tenant" in principal.attributes`), t.Context(), tenantIs("acme")},
		{"false", "another attribute", conditionOf(t, `principal.attributes.tenant == "acme"`), t.Context(), tenantIs("Acme")},
		{"no such key: tenant", "an empty attribute", conditionOf(t, `principal.attributes.tenant != "x"`), t.Context(), tenantIs("")},
		{"attributes.tenant is unreadable", "an unreadable attribute", conditionOf(t, `principal.attributes.tenant != "x"`), t.Context(), tenantIs("a\nb")},
		{"attributes.tenant is unreadable", "an unreadable attribute, asked for", conditionOf(t, `!has(principal.attributes.tenant)`), t.Context(), tenantIs(" acme")},
		{"attributes.tenant is unreadable", "an unreadable attribute, asked for with in", conditionOf(t, `!("tenant" in principal.attributes)`), t.Context(), tenantIs(strings.Repeat("a", 1025))},
		{"more than its limit", "attributes that cost too much", conditionOf(t, `principal.roles.all(r, principal.attributes.tenant.matches("(a|aa)+$") || r == "x")`), t.Context(), func(in *condition.Input) {
			tenantIs(strings.Repeat("a", 1024))(in)
			in.Roles = strings.Split(strings.Repeat("x,", 300), ",")
		}},
		{"request.client_ip is absent", "no address", conditionOf(t, `request.client_ip != "203.0.113.9"`), t.Context(), func(in *condition.Input) { in.ClientIP = netip.Addr{} }},
		{"request.host is absent", "no host", conditionOf(t, `request.host != "x"`), t.Context(), func(in *condition.Input) { in.Host = "" }},
		{"request.host is absent", "a host that is none", conditionOf(t, `request.host != "x"`), t.Context(), func(in *condition.Input) { in.Host = strings.Repeat("a", 300) }},
		{"request.path is absent", "no path", conditionOf(t, `request.path != "/"`), t.Context(), func(in *condition.Input) { in.Path = pattern.Path{} }},
		{"none of the route's", "a path that the route has not", conditionOf(t, `params.user_id != "7"`), t.Context(), func(in *condition.Input) { in.Path = pathOf(t, "/other/7") }},
		{"no token", "claims that cannot be had", conditionOf(t, `principal.claims.tenant != "x"`), t.Context(), func(in *condition.Input) {
			in.Claims = func() (string, error) { return "", errors.New("no token") }
		}},
		{"not a JSON object", "claims that are none", conditionOf(t, `!has(principal.claims.tenant)`), t.Context(), func(in *condition.Input) {
			in.Claims = func() (string, error) { return "null", nil }
		}},
		{"is absent", "nothing at all", conditionOf(t, `principal.user != "1" && request.method != "GET"`), t.Context(), func(in *condition.Input) { *in = condition.Input{} }},
		{"no such key: x", "no headers", conditionOf(t, `request.headers.x != "1"`), t.Context(), func(in *condition.Input) { *in = condition.Input{} }},
		{"more than its limit", "a long query", conditionOf(t, `request.query.all(a, request.query.all(b, a != "1" || b != "2"))`), t.Context(), func(in *condition.Input) {
			for i := range 200 {
				in.Query += fmt.Sprintf("&n%d", i)
			}
		}},
		{"more than 256", "a query without end", conditionOf(t, `!("x" in request.query)`), t.Context(), func(in *condition.Input) { in.Query = strings.Repeat("a=1&", 300) }},
		{"more than", "a long query text", conditionOf(t, `!("x" in request.query)`), t.Context(), func(in *condition.Input) { in.Query = strings.Repeat("a", 9000) }},
		{"request.path is absent", "a long path", conditionOf(t, `request.path != "/"`), t.Context(), func(in *condition.Input) { in.Path = pathOf(t, "/users/"+strings.Repeat("a", 9000)) }},
		{"none of the route's", "no parameters, of which all are something", conditionOf(t, `params.all(n, params[n] != "7")`), t.Context(), func(in *condition.Input) { in.Path = pathOf(t, "/other/7") }},
		{"more than 8192", "a long path, whose parameters are not there", conditionOf(t, `params.all(n, params[n] != "0") && !(principal.user in params)`, "/users/{user_id}/**"), t.Context(), func(in *condition.Input) {
			in.Path = pathOf(t, "/users/0/"+strings.Repeat("a", 9000))
		}},
		{"longer than 8192", "a text made of two that is too long", conditionOf(t, `request.query.a.replace("", request.query.b) != "x"`), t.Context(), twoLongTexts},
		{"longer than 8192", "as often as the expression says", conditionOf(t, `request.query.a.replace("a", request.query.b, 3) != "x"`), t.Context(), twoLongTexts},
		{"", "and not oftener", conditionOf(t, `request.query.a.replace("a", request.query.b, 1).size() == 7999`), t.Context(), twoLongTexts},
		{"", "an empty text is at each character", conditionOf(t, `params.user_id.replace("", "-") == "-4-2-" && params.user_id.replace("2", "", -1) == "4"`), t.Context(), nil},
		{"longer than 8192", "a text put together", conditionOf(t, `[request.query.a, request.query.b, "aaaa"].join(", ".replace(" ", request.query.a)) != "x"`), t.Context(), twoLongTexts},
		{"", "and one that fits", conditionOf(t, `["a", "b"].join("-") == "a-b" && ["a", "b"].join() == "ab" && size([request.query.a, request.query.b].join()) == 8000`), t.Context(), twoLongTexts},
		{"more than 256", "a text in too many parts", conditionOf(t, `request.query.a.split("").size() > 0`), t.Context(), twoLongTexts},
		{"more than 256", "too many by a text", conditionOf(t, `request.query.a.split("a").size() > 0`), t.Context(), twoLongTexts},
		{"", "not by a limit", conditionOf(t, `request.query.a.split("a", 3)[1] == "" && request.query.b.split("a").size() == 1`), t.Context(), twoLongTexts},
		{"not a finite number", "no number", conditionOf(t, `!(double(request.query.n) > 100.0)`), t.Context(), func(in *condition.Input) { in.Query = "n=NaN" }},
		{"not a finite number", "more than any number", conditionOf(t, `double(request.query.n) > 100.0`), t.Context(), func(in *condition.Input) { in.Query = "n=1e999" }},
		{"not a finite number", "infinity", conditionOf(t, `double(request.query.n) > 100.0`), t.Context(), func(in *condition.Input) { in.Query = "n=%2BInfinity" }},
		{"", "a number", conditionOf(t, `double(request.query.n) > 100.0`), t.Context(), func(in *condition.Input) { in.Query = "n=1e3" }},
		{"out of range", "a claim that a double does not hold", conditionOf(t, `principal.claims.account == 9007199254740992`), t.Context(), func(in *condition.Input) {
			in.Claims = func() (string, error) { return `{"account": 9007199254740993.0}`, nil }
		}},
		{"more than 8192", "a long parameter", conditionOf(t, `params.user_id != "/"`), t.Context(), func(in *condition.Input) { in.Path = pathOf(t, "/users/"+strings.Repeat("a", 9000)) }},
		{"more than 8192", "a long header", conditionOf(t, `request.headers["x-tenant"] != "a"`), t.Context(), func(in *condition.Input) {
			in.Fields = fields{{"x-tenant", strings.Repeat("a", 9000)}}
		}},
		{"more than once", "two headers, and all are looked at", conditionOf(t, `size(request.headers) < 9`), t.Context(), func(in *condition.Input) {
			in.Fields = fields{{"x-a", "1"}, {"x_a", "1"}}
		}},
		{"false", "a pseudo-header", conditionOf(t, `params.user_id in request.headers`), t.Context(), func(in *condition.Input) {
			in.Path, in.Fields = pathOf(t, "/users/:path"), fields{{":path", "/"}}
		}},
		{"more than 256", "too many texts put together", conditionOf(t, `principal.roles.join() != ""`), t.Context(), func(in *condition.Input) { in.Roles = slices.Repeat([]string{"a"}, 257) }},
		{"contains a #", "a query that ends for some", conditionOf(t, `!("x" in request.query)`), t.Context(), func(in *condition.Input) { in.Query = "a=1#x=2" }},
		{"contains a ;", "a query in other parts for some", conditionOf(t, `!("x" in request.query)`), t.Context(), func(in *condition.Input) { in.Query = "a=1;x=2" }},
		{"another spelling", "a name of a query in another case", conditionOf(t, `!("x" in request.query)`), t.Context(), func(in *condition.Input) { in.Query = "X=2" }},
		{"another spelling", "a name of a query with a dot", conditionOf(t, `!("user_id" in request.query)`), t.Context(), func(in *condition.Input) { in.Query = "user.id=2" }},
		{"another spelling", "one header in another spelling", conditionOf(t, `request.headers["x-tenant"] == "acme"`), t.Context(), func(in *condition.Input) {
			in.Fields = fields{{"x_tenant", "acme"}}
		}},
		{"no such key", "a header that only warder sets", conditionOf(t, `request.headers["x-user-id"] == "42"`), t.Context(), func(in *condition.Input) {
			in.Fields = fields{{"x-user-id", "42"}}
		}},
		{"not UTF-8", "a header that is no text", conditionOf(t, `request.headers["x-tenant"] != "acme"`), t.Context(), func(in *condition.Input) {
			in.Fields = fields{{"x-tenant", "\xff"}}
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			in := inputOf(t)
			if row.spoil != nil {
				row.spoil(in)
			}
			holds, err := row.c.Holds(row.ctx, in)
			switch {
			case holds != (row.want == ""):
				t.Errorf("holds = %v, %v", holds, err)
			case row.want == "" || row.want == "false":
				if err != nil {
					t.Error(err)
				}
			case err == nil || !strings.Contains(err.Error(), row.want):
				t.Errorf("error %v, want one with %q", err, row.want)
			}
		})
	}
}

// TestConditionStops: an expression that runs for too long ends with the context of its check,
// and with its own limit, and the errors can be told apart.
func TestConditionStops(t *testing.T) {
	t.Parallel()
	c := conditionOf(t, `principal.claims.list.all(a, principal.claims.list.all(b, a != "x" || b != "x"))`)
	list := `{"list": [` + strings.TrimSuffix(strings.Repeat(`"a",`, 500), ",") + `]}`
	ctx, cancel := context.WithCancel(t.Context())
	for _, row := range []struct {
		want        string
		interrupted bool
		claims      func() (string, error)
	}{
		{"more than its limit", false, func() (string, error) { return list, nil }},
		{"was interrupted", true, func() (string, error) { cancel(); return list, nil }},
	} {
		in := inputOf(t)
		in.Claims = row.claims
		holds, err := c.Holds(ctx, in)
		if holds || err == nil || !strings.Contains(err.Error(), row.want) || errors.Is(err, context.Canceled) != row.interrupted {
			t.Errorf("holds %v with %v, want one with %q", holds, err, row.want)
		}
	}
}

// TestConditionClaimsAreLazy: a condition that reads no claims does not ask for them.
func TestConditionClaimsAreLazy(t *testing.T) {
	t.Parallel()
	in := inputOf(t)
	asked := 0
	in.Claims = func() (string, error) {
		asked++
		return `{"tenant": "acme"}`, nil
	}
	for _, row := range []struct {
		want int
		c    *condition.Condition
	}{
		{0, conditionOf(t, "params.user_id == principal.user")},
		{0, conditionOf(t, `params.user_id == principal.user || principal.claims.tenant == "acme"`)},
		{1, conditionOf(t, `principal.claims.tenant == "acme" && principal.claims["tenant"] != "x" && has(principal.claims.tenant)`)},
	} {
		asked = 0
		if holds, err := row.c.Holds(t.Context(), in); !holds || err != nil || asked != row.want {
			t.Errorf("%s: %v, %v, and claims were asked for %d times, want %d", row.c, holds, err, asked, row.want)
		}
	}
}

// TestConditionParams: the pattern that wins the path gives the parameters.
func TestConditionParams(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		want, path string
		paths      []string
	}{
		{"7", "/a/7", []string{"/a/{id}", "/{id}/**"}},
		{"a", "/a/7/8", []string{"/a/{id}", "/{id}/**"}},
		{"7", "/a/7", []string{"/{id}/**", "/a/{id}"}},
		{"b", "/b", []string{"/{id}/**", "/a/{id}"}},
		{"8", "/a/7/8/", []string{"/a/7/{id}", "/a/{id}/8", "/{x}/{y}/{id}"}},
		{"ü/%", "/a/%C3%BC%2F%25", []string{"/a/{id}"}},
	} {
		c := conditionOf(t, "params.id == principal.user", row.paths...)
		in := inputOf(t)
		in.Path, in.User = pathOf(t, row.path), row.want
		if holds, err := c.Holds(t.Context(), in); !holds || err != nil {
			t.Errorf("%s by %q: the parameter is not %q: %v", row.path, row.paths, row.want, err)
		}
	}
}

// FuzzConditionQuery: no query makes a condition hold that a plain reading of the same
// query would not, and none makes it panic.
func FuzzConditionQuery(f *testing.F) {
	for _, seed := range []string{"user=42", "user=42&user=43", "user=4%32", "user=42;user=43", "%75ser=42", "user=42&x=%zz", "user=42&&", "&", "user", "user=42#", "user=42\x00", "u\xffser=42", "user=%00", "a+b=c+d", "=", "user=42&user[]=43", "user%5B0]", "user==42"} {
		f.Add(seed)
	}
	is := conditionOf(f, `request.query.user == "42"`)
	isNot := conditionOf(f, `!(request.query.user == "42")`)
	has := conditionOf(f, `has(request.query.user)`)
	lacks := conditionOf(f, `!("user" in request.query)`)
	only := conditionOf(f, `request.query.all(n, n == "user")`)
	path := pathOf(f, "/users/42")
	f.Fuzz(func(t *testing.T, query string) {
		// url.ParseQuery refuses semicolons and bad escapes, and keeps all values.
		values, err := url.ParseQuery(query)
		readable := err == nil
		for name, more := range values {
			if strings.HasPrefix(name, "user[") {
				values["user"] = append(values["user"], more...)
				values["user"] = append(values["user"], "in brackets")
			}
		}
		for _, row := range []struct {
			c    *condition.Condition
			want bool // what may be true at most
		}{
			{is, slices.Equal(values["user"], []string{"42"})},
			{isNot, len(values["user"]) == 1 && values["user"][0] != "42"},
			{has, len(values["user"]) == 1},
			{lacks, len(values["user"]) == 0},
			{only, len(values) == 0 || len(values) == 1 && len(values["user"]) == 1},
		} {
			holds, err := row.c.Holds(t.Context(), &condition.Input{Path: path, Query: query})
			if holds && (!row.want || !readable) {
				t.Errorf("%s holds for %q", row.c, query)
			}
			if holds && err != nil {
				t.Errorf("%s holds for %q with %v", row.c, query, err)
			}
		}
	})
}

// FuzzConditionHeaders: no header field makes a condition hold that its one plain value
// would not, and none of warder's own or of the secret ones is seen.
func FuzzConditionHeaders(f *testing.F) {
	f.Add("x-tenant", "acme", "x-other", "evil", "x-tenant")
	f.Add("x-tenant", "acme", "x_tenant", "evil", "x.tenant")
	f.Add("x-warder-user", "acme", "authorization", "acme", "X-Warder_User")
	f.Add("x-tenant", "\xff", "", "", "")
	f.Add(":path", "/", "cookie", "a=b", "x-api-key")
	f.Add("x-tenant", "acme", "x!tenant", "evil", "x~tenant")
	f.Add("x!warder!user", "acme", "proxy+authorization", "acme", "x%warder%user")
	f.Add("x'api|key", "acme", "x*user^id", "acme", "x*user^id")
	is := conditionOf(f, `request.headers["x-tenant"] == "acme"`)
	lacks := conditionOf(f, `!("x-tenant" in request.headers)`)
	named := conditionOf(f, `params.user_id in request.headers`)
	path := pathOf(f, "/users/42")
	fold := func(name string) string {
		b := []byte(name)
		for i, c := range b {
			if ('a' > c || c > 'z') && ('0' > c || c > '9') {
				b[i] = '-'
			}
		}
		return string(b)
	}
	f.Fuzz(func(t *testing.T, name1, value1, name2, value2, asked string) {
		// As authz has them: in lower case.
		request := fields{{strings.ToLower(name1), value1}, {strings.ToLower(name2), value2}}
		var values []string
		exact := true
		for _, h := range request {
			if fold(h[0]) == "x-tenant" {
				values = append(values, h[1])
				exact = exact && h[0] == "x-tenant"
			}
		}
		in := &condition.Input{Path: path, Fields: request, HiddenFields: []string{"x-api-key", "X_User.Id"}}
		if holds, _ := is.Holds(t.Context(), in); holds && (!exact || !slices.Equal(values, []string{"acme"})) {
			t.Errorf("%s holds for %q", is, request)
		}
		if holds, _ := lacks.Holds(t.Context(), in); holds && len(values) > 0 {
			t.Errorf("%s holds for %q", lacks, request)
		}
		p, err := pattern.ParsePath("/users/" + url.PathEscape(asked))
		if err != nil || len(p.Segments()) != 2 {
			return
		}
		in.Path = p
		folded := fold(strings.ToLower(p.Segments()[1]))
		if holds, _ := named.Holds(t.Context(), in); holds {
			for _, hidden := range []string{"x-warder-", "authorization", "cookie", "proxy-authorization", "x-api-key", "x-user-id"} {
				if strings.HasPrefix(folded, hidden) && (strings.HasSuffix(hidden, "-") || folded == hidden) || strings.HasPrefix(p.Segments()[1], ":") {
					t.Errorf("%q is seen in %q", p.Segments()[1], request)
				}
			}
		}
	})
}

// FuzzCondition: no text of an expression makes the compiler panic or take long, and what
// compiles can be asked. What it says is one line.
func FuzzCondition(f *testing.F) {
	for _, seed := range []string{
		"params.user_id == principal.user", `"ADMIN" in principal.roles`, `request.query.all(n, n in ["a"])`, `has(principal.claims.a.b)`,
		`request.path.matches("^/a")`, `cidr("10.0.0.0/8").containsIP(request.client_ip)`, `request.time.getHours("UTC") < 3`, "((((((", `"`, "a.b.c(", "{",
		`[1].all(request, request == 1)`, "principal", "warder.request{}", `type(principal.user) == string`, "true ? request : principal", "not x", "\x00", "é", "`",
		`principal.roles.exists(r, r.split(",").exists(s, s == "a"))`, `dyn(principal.user) == 1`, "request.query == {}", `has(params.x)`, "-9223372036854775808 < size(params)",
		"request.headers.x-y == 1", "params[\"user_id\"]", `ip.isCanonical("::1")`, "cel.bind(x, 1, x)", "request . path", "request\n.\npth", "1 = 1",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, expression string) {
		quoted, ok := yamlQuoted(expression)
		if !ok {
			return
		}
		c, problems := compile(t, "when: "+quoted+"\n", "/users/{user_id}")
		if err := problems.Err(); err != nil {
			if strings.Count(err.Error(), "\n") != len(problems)-1 {
				t.Errorf("%q: %v", expression, err)
			}
			return
		}
		holds, err := c.Holds(t.Context(), &condition.Input{})
		if holds && err != nil {
			t.Errorf("%q holds with %v", expression, err)
		}
	})
}

// yamlQuoted writes a text in single quotes, when YAML can hold it there.
func yamlQuoted(s string) (string, bool) {
	for _, r := range s {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\uFFFD' || r == '\u2028' || r == '\u2029' || r == '\uFEFF' {
			return "", false
		}
	}
	return "'" + strings.ReplaceAll(s, "'", "''") + "'", true
}

// BenchmarkConditionLimit is the longest that a check can take.
func BenchmarkConditionLimit(b *testing.B) {
	for _, expression := range []string{
		`request.query.all(a, request.query.all(b, a != "1" || b != "2"))`,
		`request.headers["x-tenant"].matches("^(a|b|ab)*c?(a|b)*$")`,
		`principal.claims.list.all(a, !(a in principal.claims.list) || a.startsWith("n"))`,
	} {
		b.Run(expression, func(b *testing.B) {
			c, in := conditionOf(b, expression), inputOf(b)
			var list []string
			for i := range 250 {
				in.Query += fmt.Sprintf("&n%d", i)
				list = append(list, fmt.Sprintf(`"n%d"`, i))
			}
			in.Fields = fields{{"x-tenant", strings.Repeat("ab", 4_000) + "!"}}
			in.Claims = func() (string, error) { return `{"list": [` + strings.Join(list, ",") + `]}`, nil }
			for b.Loop() {
				_, _ = c.Holds(b.Context(), in)
			}
		})
	}
}

func BenchmarkCondition(b *testing.B) {
	for _, expression := range []string{
		"params.user_id == principal.user",
		`request.query.page == "1" && request.headers["x-tenant"] == "acme"`,
		`principal.claims.tenant == request.headers["x-tenant"]`,
		`request.method == "GET" || "ADMIN" in principal.roles`,
		`principal.roles.exists(r, r.startsWith("CON")) && cidr("203.0.113.0/24").containsIP(request.client_ip)`,
	} {
		b.Run(expression, func(b *testing.B) {
			c, in := conditionOf(b, expression), inputOf(b)
			b.ReportAllocs()
			for b.Loop() {
				if holds, err := c.Holds(b.Context(), in); !holds {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestConditionLines: whatever ends the lines of a file, a comment takes only its own.
func TestConditionLines(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"\n", "\r\n", "\r"} {
		c, problems := compile(t, strings.Join([]string{
			"when: |", "  params.user_id == principal.user // the owner", "    && request.method == \"PUT\"", "",
		}, end), "/users/{user_id}")
		if err := problems.Err(); err != nil {
			t.Fatal(err)
		}
		in := inputOf(t)
		for method, want := range map[string]bool{"GET": false, "PUT": true} {
			in.Method = method
			if holds, err := c.Holds(t.Context(), in); holds != want || err != nil {
				t.Errorf("%q: %s is %v, %v", end, method, holds, err)
			}
		}
	}
}
