package envoy

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"warder/authz"
)

// TestValidLocation: what a browser could read as another host is no location.
func TestValidLocation(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		want     bool
		location string
	}{
		{true, "/"},
		{true, "/login?next=%2Fa"},
		{true, "https://id.example.com/login?rd=https://app.example.com%2Fa"},
		{true, "http://127.0.0.1:8080/login"},
		{false, ""},
		{false, "login"},
		{false, "//evil.example"},
		{false, `/\evil.example`},
		{false, `\\evil.example`},
		{false, "javascript:alert(1)"},
		{false, " /login"},
		{false, "/login\r\nset-cookie: a=b"},
		{false, "/login\x00"},
		{false, "/l\u00f6schen"},
		{false, "/login#x"},
		{false, "/login\"><script>"},
	} {
		if got := validLocation(c.location); got != c.want {
			t.Errorf("%q: %v", c.location, got)
		}
	}
}

func FuzzMedium(f *testing.F) {
	for _, accept := range []string{"text/html", "text/html;q=0.1, */*", ";;;q=,", "text/html;q=+Inf", "text/plain;q=1e-400,text/html;q=0x1p-2"} {
		f.Add(accept, accept)
	}
	f.Fuzz(func(t *testing.T, first, second string) {
		got := mediumFor(authz.Headers{{Name: "accept", Value: first}, {Name: "accept", Value: second}})
		if got != authz.MediumJSON && !strings.Contains(lower(first+second), "html") && !strings.Contains(lower(first+second), "text/plain") {
			t.Errorf("%q, %q: medium %d, which the client does not name", first, second, got)
		}
	})
}

// TestGuardOfPages: the guard lets no page through that a policy could not have made.
func TestGuardOfPages(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, Config{})
	about := metadata{authz.VerdictDeny}
	html := page{contentType: "text/html; charset=utf-8", body: "<p>"}
	for _, c := range []struct {
		want   bool // it passes
		name   string
		status int
		as     form
		page   page
	}{
		{true, "a body", http.StatusForbidden, formProblem, html},
		{true, "a redirect", http.StatusUnauthorized, formProblem, page{location: "/login"}},
		{false, "a redirect of a 403", http.StatusForbidden, formProblem, page{location: "/login"}},
		{false, "a redirect of a 503", http.StatusServiceUnavailable, formProblem, page{location: "/login"}},
		{false, "a redirect to another host", http.StatusUnauthorized, formProblem, page{location: "//evil.example"}},
		{false, "a redirect with a body", http.StatusUnauthorized, formProblem, page{location: "/login", body: "x", contentType: "text/plain"}},
		{false, "a body without a type", http.StatusForbidden, formProblem, page{body: "x"}},
		{false, "a type without a body", http.StatusForbidden, formProblem, page{contentType: "text/html"}},
		{false, "a body that is not UTF-8", http.StatusForbidden, formProblem, page{contentType: "text/html", body: "\xff"}},
		{false, "a body for gRPC", http.StatusForbidden, formGRPC, html},
	} {
		response := denyResponse(c.status, "Bearer", c.as, "", about)
		response.page = c.page
		out, err := s.Guard(t.Context(), &CheckRequest{}, checkInfo, func(context.Context, any) (any, error) { return response, nil })
		if passed := out == any(response); err != nil || passed != c.want {
			t.Errorf("%s: passes %v, %v", c.name, passed, err)
		}
	}
}
