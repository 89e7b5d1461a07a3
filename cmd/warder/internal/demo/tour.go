package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// A tourist is a client that performs the tour, one request per step.
type tourist struct {
	client http.Client
	url    string
	out    io.Writer
	steps  int
	wrong  int
}

// tourTime is the timeout of one step.
const tourTime = 10 * time.Second

// tour performs all steps of the tour. It returns an error if a step had an unexpected
// result.
func (d *demo) tour(ctx context.Context) error {
	v := &tourist{client: http.Client{Timeout: tourTime}, out: d.Stdout}
	if d.envoy != nil {
		v.url = "http://" + d.envoy.Listen
		fmt.Fprintf(d.Stdout, "A tour of warder: requests enter a real Envoy at %s.\n\n", v.url)
	} else {
		asking, err := newAskingTransport(d.warder.GRPC.String())
		if err != nil {
			return err
		}
		defer asking.Close()
		v.url, v.client.Transport = "http://"+d.appAt, asking
		fmt.Fprint(d.Stdout, "A tour of warder, without an Envoy: each request is asked about over gRPC.\n\n")
	}
	v.walk(ctx, d.keys)
	v.client.CloseIdleConnections()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if v.wrong > 0 {
		return fmt.Errorf("%d of %d steps had another result than expected", v.wrong, v.steps)
	}
	fmt.Fprintf(d.Stdout, "\nAll %d steps as expected.\n", v.steps)
	return nil
}

func (v *tourist) walk(ctx context.Context, keys apiKeys) {
	v.step(ctx, request{http.StatusUnauthorized, "a wrong password, which the application refuses", "POST /login", form("carl", "guess"), nil, nil})
	carl := v.signIn(ctx, "carl", "CONTROL")
	vera := v.signIn(ctx, "vera", "VIEWER")
	ada := v.signIn(ctx, "ada", "ADMIN")
	grace := v.signIn(ctx, "grace", "CONTROL, account closed")

	v.step(ctx, request{http.StatusUnauthorized, "no credential", "GET /echo", nil, nil, nil})
	v.step(ctx, request{http.StatusOK, "carl is let through, and the application is told who he is", "GET /echo", nil, with(carl),
		map[string]string{"x-warder-auth-method": "session", "x-warder-user": "2", "x-warder-roles": "CONTROL"}})
	v.step(ctx, request{http.StatusOK, "carl has the role for the reports", "GET /reports/7", nil, with(carl), map[string]string{"x-warder-user": "2"}})
	v.step(ctx, request{http.StatusForbidden, "vera has not", "GET /reports/7", nil, with(vera), nil})
	v.step(ctx, request{http.StatusOK, "ada has not either, but ADMIN passes every role check", "GET /reports/7", nil, with(ada), map[string]string{"x-warder-user": "1", "x-warder-roles": "ADMIN"}})
	v.step(ctx, request{http.StatusUnauthorized, "grace has a session and the role, and is not active", "GET /reports/7", nil, with(grace), nil})
	v.step(ctx, request{http.StatusUnauthorized, "carl's token with another signature", "GET /echo", nil, with(carl + "x"), nil})

	v.step(ctx, request{http.StatusOK, "an API key with the scope", "GET /reports/7", nil, withKey(keys.reports),
		map[string]string{"x-warder-auth-method": "api_key", "x-warder-key-prefix": "wk_reports", "x-warder-scopes": "reports:read", "x-api-key": ""}})
	v.step(ctx, request{http.StatusForbidden, "an API key without it", "GET /reports/7", nil, withKey(keys.other), nil})
	v.step(ctx, request{http.StatusUnauthorized, "an API key that has expired", "GET /reports/7", nil, withKey(keys.expired), nil})

	forged := with(carl)
	forged.Set("X-Warder-Roles", "ADMIN")
	forged.Set("X-Warder-User", "1")
	v.step(ctx, request{http.StatusForbidden, "carl says in a header that he is an ADMIN", "GET /admin/", nil, forged, nil})
	v.step(ctx, request{http.StatusOK, "and the application does not get to see it", "GET /echo", nil, forged, map[string]string{"x-warder-user": "2", "x-warder-roles": "CONTROL"}})
	v.step(ctx, request{http.StatusOK, "from this machine, to a route for this machine", "GET /desk", nil, nil, nil})
	v.step(ctx, request{http.StatusForbidden, "from this machine, to a route for the office", "GET /office", nil, nil, nil})
	v.step(ctx, request{http.StatusForbidden, "the same, with a forged address", "GET /office", nil, http.Header{"X-Forwarded-For": {"203.0.113.9"}}, nil})
	v.step(ctx, request{http.StatusBadRequest, "a path with two readings", "GET /reports/..%2fadmin", nil, with(carl), nil})
	v.step(ctx, request{http.StatusForbidden, "a path that no route has, even for an ADMIN", "GET /nowhere", nil, with(ada), nil})

	v.step(ctx, request{http.StatusNoContent, "carl signs out", "POST /logout", nil, with(carl), nil})
	v.step(ctx, request{http.StatusUnauthorized, "his token is refused at once", "GET /echo", nil, with(carl), nil})
	v.step(ctx, request{http.StatusOK, "and vera's is not", "GET /echo", nil, with(vera), map[string]string{"x-warder-user": "3"}})
}

// A request is a step of the tour with its expected result.
type request struct {
	status  int
	what    string
	line    string // METHOD PATH
	form    url.Values
	headers http.Header
	told    map[string]string // headers that the application must receive; "" means the header must be absent
}

func form(user, password string) url.Values {
	return url.Values{"user": {user}, "password": {password}}
}

func with(token string) http.Header {
	return http.Header{"Authorization": {"Bearer " + token}}
}

func withKey(key string) http.Header { return http.Header{"X-Api-Key": {key}} }

// signIn signs a user in and returns the token.
func (v *tourist) signIn(ctx context.Context, name, who string) string {
	return strings.TrimSpace(v.step(ctx, request{http.StatusOK, name + " (" + who + ") signs in", "POST /login", form(name, demoPassword), nil, nil}))
}

// step sends one request, prints a line, and returns the body of the response.
func (v *tourist) step(ctx context.Context, r request) string {
	v.steps++
	method, path, _ := strings.Cut(r.line, " ")
	status, body, err := v.send(ctx, method, path, r)
	verdict, problem := "ok   ", ""
	switch {
	case err != nil:
		problem = err.Error()
	case status != r.status:
		problem = "another status than expected"
	default:
		problem = untold(body, r.told)
	}
	if problem != "" {
		v.wrong++
		verdict, problem = "WRONG", "  <- "+problem
	}
	fmt.Fprintf(v.out, "%s  expected %d  got %d  %-24s %s%s\n", verdict, r.status, status, method+" "+path, r.what, problem)
	return body
}

func (v *tourist) send(ctx context.Context, method, path string, r request) (status int, body string, err error) {
	var content io.Reader
	if r.form != nil {
		content = strings.NewReader(r.form.Encode())
	}
	out, err := http.NewRequestWithContext(ctx, method, v.url+path, content)
	if err != nil {
		return 0, "", err
	}
	if r.headers != nil {
		out.Header = r.headers.Clone()
	}
	if r.form != nil {
		out.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	response, err := v.client.Do(out)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}

// untold describes how the headers that the application received differ from want.
func untold(body string, want map[string]string) string {
	if want == nil {
		return ""
	}
	var got echoed
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		return "the answer is not the application's"
	}
	for name, value := range want {
		if told := got.Headers[name]; told != value {
			return fmt.Sprintf("the application was told %s: %q, want %q", name, told, value)
		}
	}
	return ""
}

// printDenials prints the reasons of the denied steps from warder's decision log. The client
// does not receive them.
func printDenials(out io.Writer, decisions string) {
	fmt.Fprint(out, "\nWhat warder's log says of the refusals, and no client gets to know:\n\n")
	lines := bufio.NewScanner(strings.NewReader(decisions))
	for lines.Scan() {
		var d struct{ Log, Reason, Route, Method, Path, User string }
		if json.Unmarshal(lines.Bytes(), &d) == nil && d.Log == "" { // skip Envoy's access log
			fmt.Fprintf(out, "  %-20s %s %s", d.Reason, d.Method, d.Path)
			if d.User != "" {
				fmt.Fprintf(out, ", user %s", d.User)
			}
			fmt.Fprintln(out)
		}
	}
}
