package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"warder/policy"
)

// TestShared: routes that write the same share it, and those that write something similar do
// not: no list of names is mistaken for another one.
func TestShared(t *testing.T) {
	t.Parallel()
	lists := [][]string{{"a"}, {"a", "b"}, {"b", "a"}, {"a:b"}, {"1:a1:b"}, {"a1:b"}, {"1:a", "b"}, {"ab"}, {"3:a:b"}, {"a", "b", "c"}}
	var routes []string
	for i := range 3 * len(lists) {
		list := lists[i%len(lists)]
		quoted := make([]string, len(list))
		for j, name := range list {
			quoted[j] = fmt.Sprintf("%q", name)
		}
		kind := []string{"user: {roles: [%s]}", "user: {all_roles: [%s]}", "api_key: {scopes: [%s]}"}[i/len(lists)]
		routes = append(routes, fmt.Sprintf("{id: r%d, match: \"/%d/{x}\", allow: [{%s}]}", i, i, fmt.Sprintf(kind, strings.Join(quoted, ", "))))
	}
	n := len(routes)
	routes = append(routes,
		`{id: same, match: "GET,POST /same", allow: [{user: {roles: [a, b]}}], principals: ["spiffe://a/b", "spiffe://a/c"], cors: {allow_origins: [https://a.test]}, client_ips: [192.0.2.0/24, 198.51.100.1]}`,
		`{id: again, match: {hosts: [x.test], methods: [GET, POST], paths: [/again]}, allow: [{user: {roles: [a, b]}}], principals: ["spiffe://a/b", "spiffe://a/c"], cors: {allow_origins: [https://a.test]}, client_ips: [192.0.2.0/24, 198.51.100.1]}`,
		`{id: other, match: {hosts: [y.test], methods: [POST, GET], paths: [/other]}, allow: [{user: {roles: [a], all_roles: [b]}}], principals: ["spiffe://a/c"], cors: {allow_origins: [https://b.test]}, client_ips: [198.51.100.1]}`,
		`{id: none, match: /none, public: true}`)
	p := compile(t, routes...)
	for i, r := range p.Routes()[:n] {
		want := lists[i%len(lists)]
		user, key := policy.UserRule{}, policy.APIKeyRule{}
		if r.User != nil {
			user = *r.User
		}
		if r.APIKey != nil {
			key = *r.APIKey
		}
		got := [][]string{user.Roles, user.AllRoles, key.Scopes}
		for j, list := range got {
			if j == i/len(lists) && !slices.Equal(list, want) || j != i/len(lists) && list != nil {
				t.Errorf("route %s has %q, want %q at %d alone", r.ID, got, want, i/len(lists))
			}
		}
	}
	same, again, other, none := p.Route("same"), p.Route("again"), p.Route("other"), p.Route("none")
	if same.User != again.User || same.Principals != again.Principals || same.Origins != again.Origins || same.ClientIPs != again.ClientIPs {
		t.Error("two routes do not share what they have in common")
	}
	if same.User == other.User || same.Principals == other.Principals || same.Origins == other.Origins || same.ClientIPs == other.ClientIPs {
		t.Error("two routes share what they have not in common")
	}
	if got := fmt.Sprint(same.Methods, again.Methods, other.Methods, same.Hosts(), again.Hosts(), other.Hosts(), other.Principals.Patterns(), other.Origins.Origins(), other.ClientIPs.Names()); got !=
		"[GET POST] [GET POST] [POST GET] [] [x.test] [y.test] [spiffe://a/c] [https://b.test] [198.51.100.1]" {
		t.Error(got)
	}
	if none.User != nil || none.APIKey != nil || none.Principals != nil || none.Origins != nil || none.ClientIPs != nil || none.Methods != nil {
		t.Errorf("a route that writes nothing has %+v", none)
	}
}
