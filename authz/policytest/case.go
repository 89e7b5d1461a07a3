package policytest

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"warder/authz"
	"warder/policy"
	"warder/policy/strict"
)

// A Case is one request and its expected result.
type Case struct {
	Name string `json:"name"`
	// Want is a verdict, or a verdict and a reason, as in "deny session_revoked".
	Want string `json:"want"`
	Skip string `json:"skip"` // why the case is skipped

	Request     string  `json:"request"`      // METHOD PATH, with the query
	Host        string  `json:"host"`         // default api.example.com
	Peer        string  `json:"peer"`         // default 127.0.0.1; "none" for a unix socket
	Principal   string  `json:"principal"`    // of the client's certificate, if it has one
	ChosenRoute *string `json:"chosen_route"` // id of the route that the proxy selected, if any
	Headers     Headers `json:"headers"`      // in order; may contain the placeholders of Token
	AsUser      string  `json:"as_user"`      // send a token of this user, with a live session
	Token       *Token  `json:"token"`        // sent as Authorization: Bearer unless a placeholder is used
	APIKey      string  `json:"api_key"`      // sent in the API key header
	Now         string  `json:"now"`          // overrides the file's

	// Route is the id of the expected route, "" for none.
	Route  *string `json:"route"`
	Status int     `json:"status"` // default: the status of the reason
	// As is the name of one of the file's identities, which the upstream must receive.
	// Identity specifies the identity itself. Fields that it lacks must not be sent.
	As       string            `json:"as"`
	Identity map[string]string `json:"identity"`
	// WantClientIP is the expected client address, or "unknown". The default is the peer.
	WantClientIP string `json:"want_client_ip"`
	// UpstreamAbsent lists headers that must not reach the upstream in any spelling.
	// Upstream lists headers that must reach it with the given values.
	UpstreamAbsent []string          `json:"upstream_absent"`
	Upstream       map[string]string `json:"upstream"`
	// Response lists header fields of the response to a denial.
	Response map[string]string `json:"response"`
	// Body is the body of a denial that the policy writes itself.
	Body      *string `json:"body"`
	Challenge string  `json:"challenge"` // default Bearer
	// CORS is the origin whose scripts may read the response to a denial.
	CORS string `json:"cors"`

	Engine Exception `json:"engine"`
	Envoy  Exception `json:"envoy"` // differences with a real Envoy

	file  *File
	field string // such as cases[3]
	at    policy.Position
	want  verdict
}

// An Exception overrides parts of a case at one depth.
type Exception struct {
	Skip         string `json:"skip"`           // why the case is skipped
	Status       int    `json:"status"`         // the proxy itself rejects the request with this status
	Want         string `json:"want"`           // another verdict
	As           string `json:"as"`             // another identity
	WantClientIP string `json:"want_client_ip"` // another address
}

// File returns the file of the case.
func (c *Case) File() *File { return c.file }

// Position returns the position of the case in its file.
func (c *Case) Position() policy.Position { return c.at }

// Field returns the name of the case by its index, such as cases[3].
func (c *Case) Field() string { return c.field }

// Allows reports whether the case wants its request to be allowed, the reason that it
// wants, and whether it names that reason.
func (c *Case) Allows() (allow bool, reason authz.Reason, named bool) {
	return c.want.allow, c.want.reason, c.want.named
}

// Skipped returns why the case is skipped at a depth, or "" if it is not.
func (c *Case) Skipped(depth DepthKind) string {
	if c.Skip != "" {
		return c.Skip
	}
	return c.exception(depth).Skip
}

func (c *Case) exception(depth DepthKind) Exception {
	switch depth {
	case DepthEngine:
		return c.Engine
	case DepthEnvoy:
		return c.Envoy
	default:
		return Exception{}
	}
}

func (c *Case) peer() netip.Addr {
	switch c.Peer {
	case "":
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	case "none":
		return netip.Addr{}
	default:
		addr, _ := netip.ParseAddr(c.Peer) // checked by complete
		return addr
	}
}

// complete fills in defaults and checks the case.
func (c *Case) complete(report func(key, format string, args ...any)) {
	if c.Host == "" {
		c.Host = "api.example.com"
	}
	c.completeRequest(report)
	var wrong string
	if c.want, wrong = parseWant(c.Want); wrong != "" {
		report("want", "%s", wrong)
		return
	}
	c.checkWanted(report)
	for key, e := range map[string]Exception{"engine": c.Engine, "envoy": c.Envoy} {
		if _, wrong := parseWant(e.Want); e.Want != "" && wrong != "" {
			report(key+".want", "%s", wrong)
		}
		c.checkAs(key+".as", e.As, report)
	}
	if c.Engine.Status != 0 {
		report("engine.status", "applies to a proxy, and the engine has none; leave it out")
	}
}

func (c *Case) completeRequest(report func(key, format string, args ...any)) {
	method, _, ok := strings.Cut(c.Request, " ")
	switch {
	case c.Request == "":
		report("", "has no request; write one such as request: GET /api/v1/assets/7")
	case !ok || method == "":
		report("request", "%q is not a request; write METHOD PATH, as in GET /api/v1/assets/7", c.Request)
	}
	if _, err := netip.ParseAddr(c.Peer); c.Peer != "" && c.Peer != "none" && err != nil {
		report("peer", "%q is not an address; write one such as 203.0.113.9, or none for a unix socket", c.Peer)
	}
	if _, ok := parseTime(c.Now); c.Now != "" && !ok {
		report("now", "%q is not a time; write one such as 2026-01-31T12:00:00Z", c.Now)
	}
	for i, h := range c.Headers {
		if h[0] == "" || strings.HasPrefix(h[0], ":") {
			report(strict.Index("headers", i), "%q is not a header name; write the method and the path in request, and the host in host", h[0])
		}
	}
	if c.AsUser != "" && !slices.ContainsFunc(c.file.Users, func(u User) bool { return u.ID == c.AsUser }) {
		report("as_user", "%q is not among the users of the file; %s", c.AsUser, theUsers(c.file.Users))
	}
	if c.Token != nil {
		c.Token.check(c.file, report)
		if c.AsUser != "" && c.Token.Payload != "" {
			report("token.payload", "replaces all claims and cannot be combined with as_user; leave one of them out")
		}
	}
}

func theUsers(users []User) string {
	if len(users) == 0 {
		return `it has none; add users: [{id: "42", roles: [CONTROL]}]`
	}
	ids := make([]string, len(users))
	for i, u := range users {
		ids[i] = u.ID
	}
	return "add it there, or use one of " + strings.Join(ids, ", ")
}

// checkWanted reports expectations that contradict each other.
func (c *Case) checkWanted(report func(key, format string, args ...any)) {
	w := c.want
	switch {
	case c.Status == 0:
	case w.passes() && c.Status != 200:
		report("status", "%d is not the status of a request that is let through, which is 200; leave it out, or want a denial", c.Status)
	case c.Status == 302 && !w.passes() && (!w.named || statusOf(w.reason) == 401): // a redirect to a login page
	case !w.passes() && w.named && c.Status != statusOf(w.reason):
		report("status", "%d is not the status of %s, which is %d; correct one of them, or leave the status out", c.Status, w.reason, statusOf(w.reason))
	case !w.passes() && !slices.Contains([]int{400, 401, 403, 503}, c.Status):
		report("status", "%d is not the status of a denial; use 400, 401, 403 or 503, or 302 for a redirect to a login page", c.Status)
	}
	identified := c.As != "" || c.Identity != nil
	somebody := w.allow && (!w.named || w.reason == authz.ReasonSession || w.reason == authz.ReasonAPIKey)
	if identified && !somebody {
		report(firstOf("as", c.As != "", "identity"), "is the identity sent to the upstream, and with %q there is none; leave it out", c.Want)
	}
	if c.As != "" && c.Identity != nil {
		report("identity", "cannot be combined with as; leave one of them out")
	}
	c.checkAs("as", c.As, report)
	c.file.checkIdentityFields("identity", c.Identity, report)
	if !w.passes() && (c.UpstreamAbsent != nil || c.Upstream != nil) {
		report(firstOf("upstream", c.Upstream != nil, "upstream_absent"), "applies to requests that reach the upstream, and a denied request does not; leave it out")
	}
	if w.passes() && (c.CORS != "" || c.Response != nil || c.Body != nil || c.Challenge != "") {
		key := firstOf("cors", c.CORS != "", firstOf("response", c.Response != nil, "challenge"))
		report(key, "applies to the response to a denial, and this request is not denied; leave it out")
	}
	if c.Challenge != "" && c.Challenge != "Bearer" && c.Challenge != "ApiKey" {
		report("challenge", "%q is not a challenge; use Bearer or ApiKey", c.Challenge)
	}
	if _, err := netip.ParseAddr(c.WantClientIP); c.WantClientIP != "" && c.WantClientIP != "unknown" && err != nil {
		report("want_client_ip", "%q is not an address; write one such as 203.0.113.9, or unknown", c.WantClientIP)
	}
}

func firstOf(key string, given bool, other string) string {
	if given {
		return key
	}
	return other
}

func (c *Case) checkAs(key, as string, report func(key, format string, args ...any)) {
	if _, known := c.file.Identities[as]; as != "" && !known {
		names := slices.Sorted(maps.Keys(c.file.Identities))
		if len(names) == 0 {
			report(key, "%q is not among the identities of the file, which has none; as_user sends the token of a user", as)
			return
		}
		report(key, "%q is not among the identities of the file; use %s", as, strings.Join(names, ", "))
	}
}

// A verdict is the parsed form of Case.Want.
type verdict struct {
	allow  bool
	shadow bool // a denial that is not enforced
	reason authz.Reason
	named  bool // the reason is given
}

// passes reports whether the request reaches the upstream.
func (v verdict) passes() bool { return v.allow || v.shadow }

// takes reports whether the verdict can have the reason. Some denials are enforced in
// shadow mode too.
func (v verdict) takes(r authz.Reason) bool {
	if v.shadow && slices.Contains([]string{"request_malformed", "path_ambiguous", "internal"}, r.String()) {
		return false
	}
	return r.Allows() == v.allow
}

// verdicts are the first words of Case.Want.
var verdicts = map[string]verdict{
	"allow":      {allow: true},
	"deny":       {allow: false},
	"would_deny": {shadow: true},
}

func parseWant(want string) (v verdict, wrong string) {
	const example = `write allow, deny or would_deny, or one with its reason such as "deny role_missing"`
	if want == "" {
		return v, "has no verdict; " + example
	}
	word, name, _ := strings.Cut(want, " ")
	v, known := verdicts[word]
	if !known {
		return v, fmt.Sprintf("%q does not begin with a verdict; %s", want, example)
	}
	if name == "" {
		return v, ""
	}
	for _, r := range authz.Reasons() {
		if r.String() != name {
			continue
		}
		if !v.takes(r) {
			return v, fmt.Sprintf("%s is not a reason to %s; reasons to %s are %s", name, word, word, strings.Join(reasons(v), ", "))
		}
		v.reason, v.named = r, true
		return v, ""
	}
	if near := strict.Nearest(name, reasons(v)); near != "" {
		return v, fmt.Sprintf("%q is not a reason to %s; did you mean %s?", name, word, near)
	}
	return v, fmt.Sprintf("%q is not a reason to %s; use %s", name, word, strings.Join(reasons(v), ", "))
}

func reasons(v verdict) (names []string) {
	for _, r := range authz.Reasons() {
		if v.takes(r) {
			names = append(names, r.String())
		}
	}
	return names
}

// statusOf returns the documented status for a reason. It is independent of the table in the
// code under test.
func statusOf(reason authz.Reason) int {
	name := reason.String()
	switch {
	case reason.Allows():
		return 200
	case name == "request_malformed" || name == "path_ambiguous":
		return 400
	case slices.Contains([]string{"route_unmatched", "client_ip_denied", "client_ip_unknown", "peer_denied", "role_missing", "scope_missing", "condition_false"}, name):
		return 403
	case slices.Contains([]string{"sessions_unavailable", "directory_unavailable", "keys_unavailable", "overloaded", "internal"}, name):
		return 503
	default:
		return 401
	}
}
