package policytest

import (
	"maps"
	"slices"
	"strings"
)

// bodies are the documented response bodies, by status.
var bodies = map[int]string{
	401: `{"type":"about:blank","title":"Unauthorized","status":401,"detail":"Authentication required."}`,
}

// A denial is the response to a denial, without the challenge and the CORS headers.
type denial struct {
	name     string // of the first case with the status
	response [][2]string
	body     string
}

// denial checks that the response reveals only the status. All responses with the same status
// must be identical, except for the challenge of a 401 and the three CORS headers.
func (x *comparison) denial(r *Runner) {
	seen := denial{name: x.c.file.Name + "/" + x.c.Name, body: x.got.Body}
	values := map[string][]string{}
	cors := map[string]string{}
	for _, h := range x.got.Response {
		name := strings.ToLower(h[0])
		values[name] = append(values[name], h[1])
		switch name {
		case "www-authenticate":
		case "access-control-allow-origin", "access-control-allow-credentials", "vary":
			cors[name] += h[1]
		default:
			seen.response = append(seen.response, [2]string{name, h[1]})
		}
	}
	slices.SortFunc(seen.response, func(a, b [2]string) int { return strings.Compare(a[0]+": "+a[1], b[0]+": "+b[1]) })

	if x.complete || x.c.Challenge != "" {
		x.equal("www-authenticate", x.w.Challenge, strings.Join(values["www-authenticate"], " and "))
	}
	x.cors(cors)
	for _, name := range slices.Sorted(maps.Keys(x.c.Response)) {
		x.equal("response "+strings.ToLower(name), x.c.Response[name], strings.Join(values[strings.ToLower(name)], " and "))
	}
	switch {
	case x.c.Body != nil && !strings.HasPrefix(x.c.Request, "HEAD "):
		x.equal("body", *x.c.Body, x.got.Body)
	case x.c.Body == nil:
		x.same(r, seen)
	}
	x.secrets()
}

func (x *comparison) cors(got map[string]string) {
	want := map[string]string{}
	switch {
	case x.c.CORS != "":
		want = map[string]string{"access-control-allow-origin": x.c.CORS, "access-control-allow-credentials": "true", "vary": "Origin"}
	case !x.complete:
		return
	}
	for _, name := range []string{"access-control-allow-origin", "access-control-allow-credentials", "vary"} {
		x.equal(name, want[name], got[name])
	}
}

// same compares a denial with the first one with the same status.
func (x *comparison) same(r *Runner, seen denial) {
	first, known := r.denials[x.got.Status]
	switch head := strings.HasPrefix(x.c.Request, "HEAD "); {
	case head && x.got.Body == "" && known:
		seen.body = first.body // a response to HEAD has no body (RFC 9110 section 9.3.2)
	case head && x.got.Body == "":
		return
	case !known:
		r.denials[x.got.Status] = seen
		first = seen
	}
	if body, fixed := bodies[x.got.Status]; fixed {
		x.equal("body", body, seen.body)
	}
	x.equal("body, the same as of "+first.name, first.body, seen.body)
	x.equal("response, the same as of "+first.name, lines(first.response), lines(seen.response))
}

func lines(fields [][2]string) string {
	out := make([]string, len(fields))
	for i, h := range fields {
		out[i] = h[0] + ": " + h[1]
	}
	return strings.Join(out, "; ")
}

// secrets checks that the response contains no credential of the request.
func (x *comparison) secrets() {
	for _, secret := range x.got.Secrets {
		for _, h := range x.got.Response {
			if strings.Contains(h[1], secret) {
				x.add("response "+strings.ToLower(h[0]), "no credential", "a credential of the request")
			}
		}
		if strings.Contains(x.got.Body, secret) {
			x.add("body", "no credential", "a credential of the request")
		}
	}
}
