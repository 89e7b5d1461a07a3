package policy

import (
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"warder/policy/strict"
)

// Denials are how denials are written for clients that do not expect a problem document. The nil
// Denials has neither a login URL nor a body.
type Denials struct {
	login  *loginURL
	bodies map[bodyKey]string
}

// A Medium is a kind of content that a client may ask for.
type Medium uint8

// The media of the bodies of denials.
const (
	MediumJSON Medium = iota // also for clients that do not say what they take
	MediumHTML
	MediumText
)

type bodyKey struct {
	status int
	medium Medium
}

// A loginURL is the URL of a login page, cut at {return_to}.
type loginURL struct {
	before, after string
	returns       bool // there is a {return_to}
}

// deniedStatuses are the HTTP statuses of denials.
var deniedStatuses = []int{400, 401, 403, 503}

// titles are the names of the statuses (RFC 9110 section 15).
var titles = map[int]string{400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 503: "Service Unavailable"}

// Body returns the body of a denial with a status, in UTF-8, if there is one of the medium.
func (d *Denials) Body(status int, medium Medium) (string, bool) {
	if d == nil {
		return "", false
	}
	body, found := d.bodies[bodyKey{status, medium}]
	return body, found
}

// HasLogin reports whether there is a login page.
func (d *Denials) HasLogin() bool { return d != nil && d.login != nil }

// maxTarget bounds the way back in a login URL, in bytes. Browsers and proxies refuse longer URLs.
const maxTarget = 2000

// Login returns the URL of the login page for a request of a path and query, or "" if there is
// none or the request is for the login page itself. The path is canonical, so that the way back
// begins with one slash and leads to the same host. A way back that is too long loses its query.
func (d *Denials) Login(path, query string) string {
	if !d.HasLogin() || path == "" || d.login.is(path) {
		return ""
	}
	if !d.login.returns {
		return d.login.before
	}
	target := path
	if query != "" {
		target += "?" + query
	}
	switch {
	case len(target) <= maxTarget:
	case len(path) <= maxTarget:
		target = path
	default:
		target = "/"
	}
	return d.login.before + url.QueryEscape(target) + d.login.after
}

// is reports whether the login page is at a path, on the host of the request.
func (l *loginURL) is(path string) bool {
	own, _, _ := strings.Cut(l.before, "?")
	return own == path
}

// A denialsEntry is how denials are written for browsers and other clients. APIs get a problem document (RFC 9457) unless there is a JSON body.
type denialsEntry struct {
	// Where a browser is sent that gets a 401 for a GET of a page: a path, or an https URL. {return_to} in its query stands for the path and query that the browser asked for.
	LoginURL *loginText `json:"login_url" jsonschema:"example=/login?next={return_to}"`
	// Bodies by status and by what the client asks for.
	Bodies []bodyEntry `json:"bodies" jsonschema:"minItems=1"`
}

// A bodyEntry is the bodies of some statuses: at least one of html, text and json. {status} and {title} stand for the status and its name.
type bodyEntry struct {
	// The statuses that the bodies are for. Absent: all of them.
	Statuses []statusNumber `json:"statuses" jsonschema:"minItems=1,uniqueItems=true,example=403"`
	// For a client that asks for HTML, as browsers do.
	HTML *bodyText `json:"html"`
	// For a client that asks for plain text.
	Text *bodyText `json:"text"`
	// For all others, instead of the problem document.
	JSON *bodyText `json:"json"`
}

// The scalars of denials.
type (
	loginText    strict.String
	bodyText     strict.String
	statusNumber int
)

const exampleLogin = `"/login?next={return_to}"`

// ReadValue reads the URL of a login page.
func (l *loginText) ReadValue(r *strict.Reader, field string, v strict.Value) {
	text, ok := r.Text(field, v, exampleLogin)
	if wrong := wrongLogin(text); ok && wrong != "" {
		r.Fail(v.At, field, "%s %s", strict.Quote(text), wrong)
	}
	*l = loginText{Text: text, At: v.At, Field: field}
}

const returnTo = "{return_to}"

// wrongLogin says why a text is not the URL of a login page, or returns "".
func wrongLogin(s string) string {
	path, query, _ := strings.Cut(s, "?")
	scheme, rest, absolute := strings.Cut(path, "://")
	host, _, _ := strings.Cut(rest, "/")
	switch {
	case s == "":
		return "is empty; write a URL such as " + exampleLogin
	case len(s) > maxTarget:
		return "is longer than " + strconv.Itoa(maxTarget) + " bytes"
	case strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c >= 0x7f || strings.ContainsRune("\"<>\\^`|#", c) }):
		return "has a character that is not in a URL, or a fragment; escape it, as in %20"
	case strings.Contains(path, "{") || strings.Contains(path, "}"):
		return "has a brace before the query; write the way back as a parameter, as in " + exampleLogin
	case strings.Count(query, returnTo) > 1:
		return "has more than one {return_to}; write it once"
	case strings.ContainsAny(strings.Replace(query, returnTo, "", 1), "{}"):
		return "has a brace that is not of {return_to}; write " + exampleLogin
	case strings.HasPrefix(s, "//"):
		return "begins with //, which is another host; write a path such as " + exampleLogin + ", or the URL with https://"
	case strings.HasPrefix(s, "/"):
		return ""
	case !absolute:
		return "is neither a path nor a URL; write one such as " + exampleLogin
	case scheme != "https" && scheme != "http":
		return "has a scheme that is not https; write a URL such as https://id.example.com/login"
	case host == "" || strings.Contains(host, "@"):
		return "has no host, or a user before it; write a URL such as https://id.example.com/login"
	}
	if u, err := url.Parse(s); err != nil || u.Host != host {
		return "is not a URL; write one such as https://id.example.com/login"
	}
	return ""
}

// ReadValue reads a status.
func (s *statusNumber) ReadValue(r *strict.Reader, field string, v strict.Value) {
	n, ok := v.Whole()
	if !ok || !slices.Contains(deniedStatuses, n) {
		r.Fail(v.At, field, "is not a status of denials; write 400, 401, 403 or 503")
	}
	*s = statusNumber(n)
}

// maxBody bounds a body of a denial, in bytes. It is sent with every denial.
const maxBody = 16 << 10

// ReadValue reads a body.
func (b *bodyText) ReadValue(r *strict.Reader, field string, v strict.Value) {
	text, ok := r.Text(field, v, `"<h1>{title}</h1>"`)
	switch {
	case !ok:
	case text == "":
		r.Fail(v.At, field, "is empty; write a text such as <h1>{title}</h1>, or leave it out")
	case len(text) > maxBody:
		r.Fail(v.At, field, "has %d bytes, and is sent with each denial; use at most %d, and link the rest", len(text), maxBody)
	case strings.Contains(text, "{reason}"):
		r.Fail(v.At, field, "has {reason}, which no client may learn; use {status} or {title}")
	}
	*b = bodyText{Text: text, At: v.At, Field: field}
}

// ReadValue reads the bodies of some statuses.
func (b *bodyEntry) ReadValue(r *strict.Reader, field string, v strict.Value) {
	type keys bodyEntry
	r.Read(field, v, (*keys)(b))
	if v.Kind != strict.Group || v.Partial {
		return
	}
	if b.HTML == nil && b.Text == nil && b.JSON == nil {
		r.Fail(v.At, field, "has no body; write html, text or json")
	}
	if b.JSON != nil && b.JSON.Text != "" {
		for _, status := range b.statuses() {
			if !json.Valid([]byte(expand(b.JSON.Text, status))) {
				r.Fail(b.JSON.At, b.JSON.Field, `is not JSON; write a value such as {"error": "{title}"}`)
				break
			}
		}
	}
}

// statuses returns the statuses that the bodies are for.
func (b *bodyEntry) statuses() []int {
	if b.Statuses == nil {
		return deniedStatuses
	}
	list := make([]int, len(b.Statuses))
	for i, s := range b.Statuses {
		list[i] = int(s)
	}
	return list
}

// expand fills in what a body says of its status. The values need no escaping in HTML or JSON.
func expand(body string, status int) string {
	return strings.NewReplacer("{status}", strconv.Itoa(status), "{title}", titles[status]).Replace(body)
}

// denials compiles an entry. The result is nil for an entry that is absent.
func (c *compiler) denials(e *denialsEntry) *Denials {
	if e == nil {
		return nil
	}
	d := &Denials{bodies: map[bodyKey]string{}}
	if e.LoginURL != nil {
		d.login = new(loginURL)
		d.login.before, d.login.after, d.login.returns = strings.Cut(e.LoginURL.Text, returnTo)
	}
	for _, b := range e.Bodies {
		for medium, text := range map[Medium]*bodyText{MediumHTML: b.HTML, MediumText: b.Text, MediumJSON: b.JSON} {
			if text == nil {
				continue
			}
			for _, status := range b.statuses() {
				key := bodyKey{status, medium}
				if _, twice := d.bodies[key]; twice {
					c.fail(text.At, text.Field, "is a second body for status %d; give each status one, with statuses: [%d]", status, status)
					break
				}
				d.bodies[key] = expand(text.Text, status)
			}
		}
	}
	return d
}
