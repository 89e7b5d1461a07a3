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

// A Case is one request and the answer that it must get.
type Case struct {
	Name string `json:"name"`
	// Want is a verdict, or a verdict and its reason, as in "deny session_revoked".
	Want string `json:"want"`
	Skip string `json:"skip"` // why the case does not run

	Request     string  `json:"request"`      // METHOD PATH, with the query
	Host        string  `json:"host"`         // absent: api.example.com
	Peer        string  `json:"peer"`         // absent: 127.0.0.1; "none" for a unix socket
	Principal   string  `json:"principal"`    // of the client's certificate; absent: it has none
	ChosenRoute *string `json:"chosen_route"` // by the proxy; absent: it chooses none
	Headers     Headers `json:"headers"`      // in order; placeholders as in Token
	AsUser      string  `json:"as_user"`      // sends the token of this user, with a live session
	Token       *Token  `json:"token"`        // sent as Authorization: Bearer unless the case places it
	APIKey      string  `json:"api_key"`      // sent in the header for API keys
	Now         string  `json:"now"`          // instead of the file's

	// Route is the id of the route that must win, "" for none.
	Route  *string `json:"route"`
	Status int     `json:"status"` // absent: that of the reason
	// As names what the upstream is told, one of the file's identities; Identity
	// gives it in place. It is complete: what is not said is not told.
	As       string            `json:"as"`
	Identity map[string]string `json:"identity"`
	// WantClientIP is the address that warder finds; absent: the peer; "unknown" when
	// it cannot be known.
	WantClientIP string `json:"want_client_ip"`
	// UpstreamAbsent must not reach the upstream in any spelling; Upstream must, as given.
	UpstreamAbsent []string          `json:"upstream_absent"`
	Upstream       map[string]string `json:"upstream"`
	// Response are fields of a denial.
	Response  map[string]string `json:"response"`
	Challenge string            `json:"challenge"` // absent: Bearer
	// CORS is the origin whose scripts may read the denial.
	CORS string `json:"cors"`

	Engine Exception `json:"engine"`
	Envoy  Exception `json:"envoy"` // what a real Envoy in front changes

	file  *File
	field string // cases[3]
	at    policy.Position
	want  verdict
}

// An Exception is what one depth makes of a case.
type Exception struct {
	Skip         string `json:"skip"`           // why the case cannot be there
	Status       int    `json:"status"`         // the proxy itself refuses with this status
	Want         string `json:"want"`           // another verdict, and
	As           string `json:"as"`             // another identity
	WantClientIP string `json:"want_client_ip"` // another address
}

// File returns the file of the case.
func (c *Case) File() *File { return c.file }

// Position is where the case stands, and Field which one it is, as cases[3].
func (c *Case) Position() policy.Position { return c.at }
func (c *Case) Field() string             { return c.field }

// Allows reports whether the case wants its request to be let through, and the reason
// that it names, if it does.
func (c *Case) Allows() (allow bool, reason authz.Reason, named bool) {
	return c.want.allow, c.want.reason, c.want.named
}

// Skipped says why the case does not run at a depth; "" when it does.
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
		addr, _ := netip.ParseAddr(c.Peer) // checked on loading
		return addr
	}
}

// complete checks the case and takes it apart.
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
		report("engine.status", "is the answer of a proxy, and the engine has none; leave it out")
	}
}

func (c *Case) completeRequest(report func(key, format string, args ...any)) {
	method, _, ok := strings.Cut(c.Request, " ")
	switch {
	case c.Request == "":
		report("", "has no request; write one such as request: GET /api/v1/assets/7")
	case !ok || method == "":
		report("request", "%q is no request; write METHOD PATH, as in GET /api/v1/assets/7", c.Request)
	}
	if _, err := netip.ParseAddr(c.Peer); c.Peer != "" && c.Peer != "none" && err != nil {
		report("peer", "%q is no address; write one such as 203.0.113.9, or none for a unix socket", c.Peer)
	}
	if _, ok := parseTime(c.Now); c.Now != "" && !ok {
		report("now", "%q is no time; write one such as 2026-01-31T12:00:00Z", c.Now)
	}
	for i, h := range c.Headers {
		if h[0] == "" || strings.HasPrefix(h[0], ":") {
			report(strict.Index("headers", i), "%q is no header; the method and the path are those of request, the host is that of host", h[0])
		}
	}
	if c.AsUser != "" && !slices.ContainsFunc(c.file.Users, func(u User) bool { return u.ID == c.AsUser }) {
		report("as_user", "%q is not among the users of the file; %s", c.AsUser, theUsers(c.file.Users))
	}
	if c.Token != nil {
		c.Token.check(report)
		if c.AsUser != "" && c.Token.Payload != "" {
			report("token.payload", "stands for all claims, so that as_user has no place beside it; leave one of them out")
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

// checkWanted finds what cannot be wanted together.
func (c *Case) checkWanted(report func(key, format string, args ...any)) {
	w := c.want
	switch {
	case c.Status == 0:
	case w.passes() && c.Status != 200:
		report("status", "%d is no status of a request that goes on, which warder answers with 200; leave it out, or want a denial", c.Status)
	case !w.passes() && w.named && c.Status != statusOf(w.reason):
		report("status", "%d is not the status of %s, which is %d; mend one of them, or leave the status out", c.Status, w.reason, statusOf(w.reason))
	case !w.passes() && !slices.Contains([]int{400, 401, 403, 503}, c.Status):
		report("status", "%d is no status of a denial; use 400, 401, 403 or 503", c.Status)
	}
	identified := c.As != "" || c.Identity != nil
	somebody := w.allow && (!w.named || w.reason == authz.ReasonSession || w.reason == authz.ReasonAPIKey)
	if identified && !somebody {
		report(firstOf("as", c.As != "", "identity"), "says whom the upstream is told, and %q lets nobody through who is proven; leave it out", c.Want)
	}
	if c.As != "" && c.Identity != nil {
		report("identity", "stands beside as; give one of them")
	}
	c.checkAs("as", c.As, report)
	checkIdentityFields("identity", c.Identity, report)
	if !w.passes() && (c.UpstreamAbsent != nil || c.Upstream != nil) {
		report(firstOf("upstream", c.Upstream != nil, "upstream_absent"), "is about what the application gets, and a denied request never reaches it; leave it out")
	}
	if w.passes() && (c.CORS != "" || c.Response != nil || c.Challenge != "") {
		key := firstOf("cors", c.CORS != "", firstOf("response", c.Response != nil, "challenge"))
		report(key, "is about the answer to a denial, and what is let through the application answers; leave it out")
	}
	if c.Challenge != "" && c.Challenge != "Bearer" && c.Challenge != "ApiKey" {
		report("challenge", "%q is no challenge; use Bearer or ApiKey", c.Challenge)
	}
	if _, err := netip.ParseAddr(c.WantClientIP); c.WantClientIP != "" && c.WantClientIP != "unknown" && err != nil {
		report("want_client_ip", "%q is no address; write one such as 203.0.113.9, or unknown", c.WantClientIP)
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

// A verdict is what a case wants first of all.
type verdict struct {
	allow  bool
	shadow bool // a denial that is not enforced
	reason authz.Reason
	named  bool // the reason is wanted too
}

// passes reports whether the request goes on.
func (v verdict) passes() bool { return v.allow || v.shadow }

// takes reports whether a reason can be one for the verdict. Some denials are enforced
// in shadow too.
func (v verdict) takes(r authz.Reason) bool {
	if v.shadow && slices.Contains([]string{"request_malformed", "path_ambiguous", "internal"}, r.String()) {
		return false
	}
	return r.Allows() == v.allow
}

// verdicts are the words that a want begins with.
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
		return v, fmt.Sprintf("%q begins with no verdict; %s", want, example)
	}
	if name == "" {
		return v, ""
	}
	for _, r := range authz.Reasons() {
		if r.String() != name {
			continue
		}
		if !v.takes(r) {
			return v, fmt.Sprintf("%s is no reason to %s; reasons to %s are %s", name, word, word, strings.Join(reasons(v), ", "))
		}
		v.reason, v.named = r, true
		return v, ""
	}
	if near := strict.Nearest(name, reasons(v)); near != "" {
		return v, fmt.Sprintf("%q is no reason to %s; did you mean %s?", name, word, near)
	}
	return v, fmt.Sprintf("%q is no reason to %s; use %s", name, word, strings.Join(reasons(v), ", "))
}

func reasons(v verdict) (names []string) {
	for _, r := range authz.Reasons() {
		if v.takes(r) {
			names = append(names, r.String())
		}
	}
	return names
}

// statusOf is the contract's table from reason to status, by the words of the
// reasons, so that it does not follow the code that it tests.
func statusOf(reason authz.Reason) int {
	name := reason.String()
	switch {
	case reason.Allows():
		return 200
	case name == "request_malformed" || name == "path_ambiguous":
		return 400
	case slices.Contains([]string{"route_unmatched", "client_ip_denied", "client_ip_unknown", "peer_denied", "role_missing", "scope_missing", "condition_false"}, name):
		return 403
	case slices.Contains([]string{"sessions_unavailable", "directory_unavailable", "overloaded", "internal"}, name):
		return 503
	default:
		return 401
	}
}
