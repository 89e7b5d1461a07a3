package policy_test

import (
	"net/url"
	"strings"
	"testing"

	"warder/policy"
)

// TestLogin: the way back is the path and query of the request, whatever these are.
func TestLogin(t *testing.T) {
	t.Parallel()
	long := "/" + strings.Repeat("a", 2500)
	for _, c := range []struct {
		want, login, path, query string
	}{
		{"/login?next=%2Fa", "/login?next={return_to}", "/a", ""},
		{"/login?next=%2Fa%3Fb%3D1%26c%3D%2520", "/login?next={return_to}", "/a", "b=1&c=%20"},
		{"/login?next=%2Fa%252F%252Fevil.example", "/login?next={return_to}", "/a%2F%2Fevil.example", ""},
		{"/login?next=%2Fa%3Fnext%3D%7Breturn_to%7D", "/login?next={return_to}", "/a", "next={return_to}"},
		{"/login?next=%2Fa%0D%0Aset-cookie%3A+x", "/login?next={return_to}", "/a\r\nset-cookie: x", ""},
		{"/login?next=%2Fa&x=1", "/login?next={return_to}&x=1", "/a", ""},
		{"/login?next=%2Fa", "/login?next={return_to}", "/a", strings.Repeat("b", 2000)},
		{"/login?next=%2F", "/login?next={return_to}", long, ""},
		{"https://id.example.com/login?rd=https://app.example.com%2Fa", "https://id.example.com/login?rd=https://app.example.com{return_to}", "/a", ""},
		{"/login", "/login", "/a", "b=1"},
		{"", "/login?next={return_to}", "/login", "next=%2Fa"},
		{"", "/login", "/login", ""},
		{"", "/login?next={return_to}", "", ""}, // no canonical path
	} {
		p, err := policy.Parse([]policy.File{{Name: "p", Data: []byte("version: 1\ndenials: {login_url: \"" + c.login + "\"}\nroutes: [{id: a, match: /a, allow: [{user: {}}]}]\n")}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		got := p.Route("a").Denials.Login(c.path, c.query)
		if got != c.want {
			t.Errorf("%s for %s?%s: %s, want %s", c.login, c.path, c.query, got, c.want)
		}
		if u, err := url.Parse(got); err != nil || u.Fragment != "" {
			t.Errorf("%s for %s?%s: %s is no URL without a fragment: %v", c.login, c.path, c.query, got, err)
		}
	}
}

// TestDenialsOfFiles: a route's denials replace its file's, and only those of one file are for
// requests that no route matches.
func TestDenialsOfFiles(t *testing.T) {
	t.Parallel()
	file := func(name, denials string) policy.File {
		return policy.File{Name: name, Data: []byte("version: 1\n" + denials + "routes: [{id: " + name + ", match: /" + name + ", allow: [{user: {}}]}, {id: " + name + "-own, match: /" + name + "/own, allow: [{user: {}}], denials: {}}]\n")}
	}
	one := "denials: {login_url: /login}\n"
	for _, c := range []struct {
		unmatched, a, b bool
		files           []policy.File
	}{
		{false, false, false, []policy.File{file("a", ""), file("b", "")}},
		{true, true, false, []policy.File{file("a", one), file("b", "")}},
		{true, false, true, []policy.File{file("a", ""), file("b", one)}},
		{false, true, true, []policy.File{file("a", one), file("b", one)}},
	} {
		p, err := policy.Parse(c.files, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Denials().HasLogin(); got != c.unmatched {
			t.Errorf("no route: %v, want %v", got, c.unmatched)
		}
		if a, b := p.Route("a").Denials.HasLogin(), p.Route("b").Denials.HasLogin(); a != c.a || b != c.b {
			t.Errorf("routes: %v %v, want %v %v", a, b, c.a, c.b)
		}
		if p.Route("a-own").Denials.HasLogin() || p.Route("b-own").Denials.HasLogin() {
			t.Error("denials: {} does not lift those of the file")
		}
	}
}
