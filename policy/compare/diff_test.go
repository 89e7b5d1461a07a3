package compare

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"warder/policy"
	"warder/policy/condition"
	"warder/policy/pattern"
)

// said writes a diff in short, a line for each access: sign, who, where, from which route to
// which.
func said(d Diff) string {
	var lines []string
	for _, c := range d.Changes {
		for i, list := range [][]Access{c.Gained, c.Lost} {
			for _, a := range list {
				line := fmt.Sprintf("%c %s", "+-"[i], shortAccess(a))
				for _, p := range c.Places {
					line += " | " + shortPlace(p)
				}
				lines = append(lines, fmt.Sprintf("%s | %s>%s", line, idOf(c.Old), idOf(c.New)))
			}
		}
	}
	return strings.Join(lines, "\n")
}

func shortAccess(a Access) string {
	word := []string{"anybody", "no credential", "users", "keys", "bad token", "bad key", "both", "preflights", "all"}[a.Who]
	for _, set := range a.Sets {
		word += fmt.Sprint(" ", set)
	}
	if a.Admin {
		word += " admin"
	}
	for _, o := range a.Origins {
		word += " " + o
	}
	if a.From != nil {
		word += fmt.Sprint(" from ", a.From.Prefixes)
		if a.From.Unlisted {
			word += " unlisted"
		}
	}
	if a.Through != nil {
		word += fmt.Sprint(" through ", a.Through.Patterns)
		if a.Through.Unlisted {
			word += " unlisted"
		}
	}
	if a.Forms != 0 {
		word += " with " + a.Forms.String()
	}
	if a.When {
		word += " when"
	}
	return word
}

func shortPlace(p Place) string {
	text := p.Path
	if len(p.Methods) < len(policy.UsualMethods()) {
		text = strings.Join(p.Methods, ",") + " " + text
	}
	if p.Host != "" {
		text += " on " + p.Host
	}
	if p.Partly {
		text += " partly"
	}
	return text
}

// TestDiff: the lines that a change of a policy comes to, then the routes before and after.
func TestDiff(t *testing.T) {
	t.Parallel()
	tests := []struct{ want, before, after string }{
		{"", "a: /a user", "a: /a user"},
		{"+ anybody | GET,HEAD /a | >b", "x: /x user", "x: /x user\nb: GET /a public"},
		{"+ anybody | /a | a>a", "a: /a user", "a: /a public"},
		{"- anybody | /a | a>a", "a: /a public", "a: /a user"},
		{"", "a: /a public", "a: /a anonymous"},
		{"+ no credential | /a | a>a", "a: /a user", "a: /a anonymous user"},
		{"- bad token\n- both", "a: /a anonymous api_key", "a: /a anonymous api_key user"},
		{"+ users [AUDIT] | /a | a>a", "a: /a user{roles: [CONTROL]}", "a: /a user{roles: [CONTROL, AUDIT]}"},
		{"+ users [] | /a | a>a", "a: /a user{roles: [CONTROL]}", "a: /a user"},
		{"+ users [A] | /a | a>a", "a: /a user{all_roles: [A, B]}", "a: /a user{all_roles: [A]}"},
		{"+ users [B]\n- users [A]", "a: /a user{roles: [A]}", "a: /a user{roles: [B]}"},
		{"", "a: /a user{roles: [A], all_roles: [A]}", "a: /a user{all_roles: [A]}"},
		{"", "a: /a user{roles: [ADMIN]}", "a: /a user{all_roles: [ADMIN]}"},
		{"+ keys [x] | /a | a>a\n- both | /a | a>a", "a: /a user", "a: /a user api_key{scopes: [x]}"},
		{"- keys [x] | /a | a>a", "a: /a api_key{scopes: [x]}", "a: /a api_key{scopes: [x, y]}"},
		{"+ keys [y]", "a: /a api_key{any_scopes: [x]}", "a: /a api_key{any_scopes: [x, y]}"},
		{"- all from [0.0.0.0/5 8.0.0.0/7 11.0.0.0/8 12.0.0.0/6 16.0.0.0/4 32.0.0.0/3 64.0.0.0/2 128.0.0.0/1 ::/0] unlisted", "a: /a user", "a: /a user; client_ips: [ten]"},
		{"+ all from [192.0.2.7/32]", "a: /a user; client_ips: [ten]", "a: /a user; client_ips: [ten, one]"},
		{"", "a: /a user; client_ips: [ten]", "a: /a user; client_ips: [halves]"},
		{"- all from [10.0.0.0/16 10.2.0.0/15 10.4.0.0/14 10.8.0.0/13 10.16.0.0/12 10.32.0.0/11 10.64.0.0/10 10.128.0.0/9]", "a: /a user; client_ips: [ten]", "a: /a user; client_ips: [part]"},
		{"- all through [] unlisted", "a: /a user", "a: /a user; principals: [CN=x]"},
		{"+ all through [spiffe://t/*]", "a: /a user; principals: ['spiffe://t/a']", "a: /a user; principals: ['spiffe://t/*']"},
		{"", "a: /a user; principals: ['spiffe://t/*']", "a: /a user; principals: ['spiffe://t/*', 'spiffe://t/a']"},
		{"+ all with encoded_slash | /a/{x} | a>a", "a: /a/{x} user", "a: /a/{x} user; path_allows: [encoded_slash]"},
		{"", "a: /a user", "a: /a user; path_allows: [encoded_slash]"},
		{"+ anybody | /a%3Bb | a>b", "a: /{x} public", "a: /{x} public\nb: /a;b public; path_allows: [semicolon]"},
		{"+ preflights https://one.ex https://two.ex | /a | >a", "a: /a user", "a: /a user; cors: {allow_origins: [https://one.ex, https://two.ex]}"},
		{"", "a: /a public", "a: /a public; cors: {allow_origins: [https://one.ex]}"},

		{"+ all when | /a | a>a", "a: /a user; when: request.method == 'GET'", "a: /a user"},
		{"- all when | /a | a>a", "a: /a user", "a: /a user; when: request.method == 'GET'"},
		{"+ all when\n- all when", "a: /a user; when: request.method == 'GET'", "a: /a user; when: request.method == 'PUT'"},
		{"", "a: /a user; when: request.method == 'GET'", "a: /a user; when: request.method == 'GET'"},
		{"+ all when\n- all when", "a: /a user; when: principal.user == 'a  b'", "a: /a user; when: principal.user == 'a b'"},
		{"+ all when\n- anybody", "a: /a anonymous; when: '\"A\" in principal.roles'", "a: /a anonymous user; when: '\"A\" in principal.roles'"},
		{"+ all when\n- bad key\n- both", "a: /a anonymous user; when: size(principal.scopes) > 0", "a: /a anonymous user api_key; when: size(principal.scopes) > 0"},
		{"+ keys []\n- both", "a: /a user; when: request.method == 'GET'", "a: /a user api_key; when: request.method == 'GET'"},
		{"", "a: /{x}/y user; when: request.path == '/1'", "a: /{z}/y user; when: request.path == '/1'"},
		{"+ all when\n- all when", "a: /{x}/{y} user; when: params.x == '1'", "a: /{y}/{x} user; when: params.x == '1'"},
		{"", "a: /a user; cors: {allow_origins: [https://one.ex]}", "a: /a user; cors: {allow_origins: [https://one.ex]}"},
		{"+ anybody | /a | a>a", "a: /a user", "a: /a user; shadow: true"},
		{"- anybody | /a | a>a", "a: /a user{roles: [A]}; shadow: true", "a: /a user{roles: [A]}"},
		{"", "a: /a public", "a: /a user{roles: [A]}; shadow: true"},
		{"", "a: /a user; shadow: true", "a: /a user{roles: [A]}; shadow: true"},
		{"+ all from [0.0.0.0/5 8.0.0.0/7 11.0.0.0/8 12.0.0.0/6 16.0.0.0/4 32.0.0.0/3 64.0.0.0/2 128.0.0.0/1 ::/0] unlisted", "a: /a public; client_ips: [ten]", "a: /a public; shadow: true"},

		// Where: the narrower of what the two take, and what is left of the wider one.
		{"+ anybody | /a/b | a>b", "a: /a/{x} user", "a: /a/{x} user\nb: /a/b public"},
		{"+ anybody | /a/** partly | a>a", "a: /a/** user\nb: /a/b/c user", "a: /a/** public\nb: /a/b/c user"},
		{"- users [] | /a/{x}/** | b>", "b: /a/{x}/** user\nc: /c user", "c: /c user"},
		{"+ anybody | /a/b | a>b", "a: /a/{x} user\nc: /{y}/b user", "a: /a/{x} user\nc: /{y}/b user\nb: /a/b public"},
		{"+ anybody | /a on a.ex | a>b", "a: /a user", "a: /a user\nb: /a on a.ex public"},
		{"+ anybody | /a on *.b.ex | a>b", "a: /a on '*.ex' user", "a: /a on '*.ex' user\nb: /a on '*.b.ex' public"},
		{"+ anybody | /a/{b}.json | a>b", "a: /a/{x} user", "a: /a/{x} user\nb: /a/{b}.json public"},
		{"+ anybody | /a/{b}.json partly | a>b", "a: /a/{x} user\nc: /a/c.json user", "a: /a/{x} user\nb: /a/{b}.json public\nc: /a/c.json user"},
		{"", "a: /a/{x} user\nb: /a/{y}.json user", "a: /a/{x} user\nb: /a/{z}.json user"},
		{"+ anybody | /a/x.json | b>b\n+ anybody | /a/{b}.json partly | a>b\n- users [] | /a/{b}.{c} partly | a>", "a: /a/{b}.{c} user\nb: /a/x.json user", "b: /a/{b}.json public"},
		{"- users [] | /a-{x} partly | a>\n+ anybody | /{x}-b partly | >b\n+ anybody | /{x}-b partly | a>b", "a: /a-{x} user", "b: /{x}-b public"},
		{"+ anybody | /a/{x}.json/** | a>b", "a: /a/** user", "a: /a/** user\nb: /a/{x}.json/** public"},
		{"+ all with semicolon | /{x}-b | a>a", "a: /{x}-b user", "a: /{x}-b user; path_allows: [semicolon]"},
		{"+ all when\n- all when", "a: /{x}-{y} user; when: params.x == '1'", "a: /{y}-{x} user; when: params.x == '1'"},
		{"- users [] | GET,HEAD /a | a>", "a: GET,POST /a user", "a: POST /a user"},
		{"+ users [A] | HEAD /a | a>b", "a: GET /a user{roles: [B]}", "a: GET /a user{roles: [B]}\nb: HEAD /a user{roles: [A, B]}"},
		{"+ users [] | PURGE /a | >b", "a: /a user", "a: /a user\nb: PURGE /a user"},
		{"+ users [B] | GET,HEAD /a on h.ex | h>g", "g: GET /a user{roles: [A, B]}\nh: GET,POST /a on h.ex user{roles: [A]}", "g: GET /a user{roles: [A, B]}\nh: POST /a on h.ex user{roles: [A]}"},
	}
	for _, test := range tests {
		d := diffOf(t, shortPolicy(t, test.before), shortPolicy(t, test.after))
		got := said(d)
		if !strings.Contains(test.want, "|") { // only who
			lines := strings.Split(got, "\n")
			for i, line := range lines {
				lines[i], _, _ = strings.Cut(line, " |")
			}
			got = strings.Join(lines, "\n")
		}
		if got != test.want {
			t.Errorf("%s\n->\n%s\ngot\n%s\nwant\n%s", test.before, test.after, got, test.want)
		}
	}
}

func diffOf(t *testing.T, before, after *policy.Policy) Diff {
	t.Helper()
	d, err := Policies(before, after)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// shortPolicy makes a policy of lines like "id: GET,POST /path on host user{…} api_key; more".
func shortPolicy(t *testing.T, short string) *policy.Policy {
	t.Helper()
	text := "version: 1\nip_lists: {ten: [10.0.0.0/8], one: [192.0.2.7], halves: [10.0.0.0/9, 10.128.0.0/9], part: [10.1.0.0/16]}\nroutes:\n"
	for line := range strings.Lines(short) {
		line, more, _ := strings.Cut(strings.TrimSpace(line), "; ")
		id, rest, _ := strings.Cut(line, ": ")
		words := strings.Fields(rest)
		match, allow := "", ""
		if words[0][0] != '/' {
			match, words = "methods: ["+words[0]+"], ", words[1:]
		}
		match, words = match+"paths: ['"+words[0]+"']", words[1:]
		if words[0] == "on" {
			match, words = match+", hosts: ["+words[1]+"]", words[2:]
		}
		for way := range strings.SplitSeq(strings.NewReplacer(" user", "\nuser", " api_key", "\napi_key").Replace(" "+strings.Join(words, " ")), "\n") {
			switch name, rule, ruled := strings.Cut(strings.TrimSpace(way), "{"); {
			case name == "public":
				allow = "public: true"
			case name == "":
			case !ruled:
				allow += "{" + name + ": {}}, "
			default:
				allow += "{" + name + ": {" + rule + "}, "
			}
		}
		if allow != "public: true" {
			allow = "allow: [" + strings.TrimSuffix(allow, ", ") + "]"
		}
		text += fmt.Sprintf("- id: %s\n  match: {%s}\n  %s\n", id, match, allow)
		if more != "" {
			text += "  " + more + "\n"
		}
	}
	p, err := policy.Parse([]policy.File{{Name: "short.yaml", Data: []byte(text)}}, nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return p
}

// TestDiffKnowsAllOfARoute: each field of a route is compared, or is listed here as one that
// lets nobody pass. A new field has to find its place in gains.
func TestDiffKnowsAllOfARoute(t *testing.T) {
	t.Parallel()
	same := map[string]string{
		"ID":       "a name: Moved and GoneIDs have it",
		"Position": "where it stands",
		"Methods":  "part of which requests it takes: cells have it",
		"written":  "part of which requests it takes: cells have it",

		"TokenQuery":  "a place for a token: who may pass stays the same",
		"APIKeyQuery": "a place for an API key: who may pass stays the same",
		"Denials":     "how a denial is written",
	}
	base := func() policy.Route {
		return policy.Route{User: &policy.UserRule{Roles: []string{"A"}}}
	}
	limited := shortPolicy(t, "a: /a user; client_ips: [ten]\nb: /b user; principals: [CN=x]").Routes()
	changed := map[string]func(*policy.Route){
		"Public":     func(r *policy.Route) { r.Public, r.User = true, nil },
		"User":       func(r *policy.Route) { r.User = &policy.UserRule{Roles: []string{"B"}} },
		"APIKey":     func(r *policy.Route) { r.APIKey = new(policy.APIKeyRule) },
		"Anonymous":  func(r *policy.Route) { r.Anonymous = true },
		"ClientIPs":  func(r *policy.Route) { r.ClientIPs = limited[0].ClientIPs },
		"Principals": func(r *policy.Route) { r.Principals = limited[1].Principals },
		"PathAllows": func(r *policy.Route) { r.PathAllows = pattern.Semicolon },
		"Condition":  func(r *policy.Route) { r.Condition = new(condition.Condition) },
		"Shadow":     func(r *policy.Route) { r.Shadow = true },
		"Origins":    nil, // compared in preflights
	}
	for field := range reflect.TypeFor[policy.Route]().Fields() {
		change, compared := changed[field.Name]
		switch _, irrelevant := same[field.Name]; {
		case irrelevant:
		case !compared:
			t.Errorf("Route.%s is new: compare it in gains, or list it here with a reason", field.Name)
		case change != nil:
			before, after := base(), base()
			change(&after)
			from, to := side{route: &before}.enforced(), side{route: &after}.enforced()
			if len(gains(from, to, true))+len(gains(to, from, true)) == 0 {
				t.Errorf("Route.%s makes no difference", field.Name)
			}
		}
	}
	for _, rule := range []reflect.Type{reflect.TypeFor[policy.UserRule](), reflect.TypeFor[policy.APIKeyRule]()} {
		var names []string
		for field := range rule.Fields() {
			names = append(names, field.Name)
		}
		if known := []string{"Roles", "AllRoles", "Scopes", "AnyScopes"}; slices.ContainsFunc(names, func(n string) bool { return !slices.Contains(known, n) }) {
			t.Errorf("%v has a field that leastSets does not know: %v", rule, names)
		}
	}
}

// TestDiffMoved: routes that changed their name only.
func TestDiffMoved(t *testing.T) {
	t.Parallel()
	d := diffOf(t, shortPolicy(t, "a: /a user\nb: /b user"), shortPolicy(t, "a: /a user\nc: /b user"))
	if len(d.Changes) != 0 || len(d.Moved) != 1 || d.Moved[0].Old.ID != "b" || d.Moved[0].New.ID != "c" || !slices.Equal(d.GoneIDs, []string{"b"}) {
		t.Errorf("got %+v", d)
	}
}

// TestDiffOtherIDs: ids that changed places are other rules to a proxy that chooses by id.
func TestDiffOtherIDs(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		want          []string
		before, after string
	}{
		{[]string{"a", "b"}, "a: /a user\nb: /b public", "b: /a user\na: /b public"},
		{[]string{"a", "b"}, "a: GET /a user\nb: POST /a user", "b: GET /a user\na: POST /a user"},
		{nil, "a: /a user\nb: /b user", "b: /a user\na: /b user"},
		{nil, "a: /a user", "a: /a public"},
	} {
		if d := diffOf(t, shortPolicy(t, test.before), shortPolicy(t, test.after)); !slices.Equal(d.OtherIDs, test.want) || len(d.Changes) > 0 != (test.want == nil && strings.Contains(test.after, "public")) {
			t.Errorf("%s -> %s: got %v, %v", test.before, test.after, d.OtherIDs, said(d))
		}
	}
}

// TestDiffAdminRole: the role that passes every check touches each route that checks one.
func TestDiffAdminRole(t *testing.T) {
	t.Parallel()
	parse := func(role string) *policy.Policy {
		text := "version: 1\nadmin_role: " + role + "\nroutes: [{id: a, match: /a, allow: [{user: {roles: [A]}}]}, {id: b, match: /b, allow: [{user: {}}]}, {id: c, match: /c, allow: [{user: {roles: [ROOT]}}]}]\n"
		p, err := policy.Parse([]policy.File{{Name: "p.yaml", Data: []byte(text)}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	want := "+ users admin | /a | a>a\n- users admin | /a | a>a\n- users admin | /c | c>c"
	if got := said(diffOf(t, parse("ADMIN"), parse("ROOT"))); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := said(diffOf(t, parse("ADMIN"), parse("''"))); got != "- users admin | /a | a>a\n- users admin | /c | c>c" {
		t.Errorf("got\n%s", got)
	}
}

// TestDiffIsBounded: patterns that overlap in too many ways are refused, not walked through.
func TestDiffIsBounded(t *testing.T) {
	t.Parallel()
	var short strings.Builder
	for i := range 24 {
		segments := make([]string, 24)
		for j := range segments {
			segments[j] = fmt.Sprintf("{p%d}", j)
		}
		segments[i] = "x"
		fmt.Fprintf(&short, "r%d: /%s user\n", i, strings.Join(segments, "/"))
	}
	p := shortPolicy(t, short.String())
	if _, err := Policies(p, p); err != ErrTooManyCells { //nolint:errorlint // it is returned as it is
		t.Errorf("got %v", err)
	}
}
