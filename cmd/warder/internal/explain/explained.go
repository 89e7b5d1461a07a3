package explain

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"warder/authz"
	"warder/cmd/warder/internal/cli"
	"warder/cmd/warder/internal/routes"
	"warder/envoy"
	"warder/policy"
	"warder/policy/pattern"
)

// An Answer is the input of an explanation: the decision of the service and what it is
// based on.
type Answer struct {
	envoy.Observation

	options    options
	Settings   Settings
	OwnHeaders map[string]bool // fields of the request itself, not of --as-user or --as-api-key
	Response   *authv3.CheckResponse
}

// An Explanation is one decision with everything that led to it. It is also the JSON output.
type Explanation struct {
	Request   Request   `json:"request"`
	Decision  string    `json:"decision"` // allow, deny or would_deny
	Status    int       `json:"status"`   // HTTP status; 200 for an allowed request
	Reason    string    `json:"reason"`
	Route     *Route    `json:"route"` // null if no route matched
	Checks    []Check   `json:"checks"`
	Close     []Close   `json:"close"`
	CloseMore int       `json:"close_more"` // number of further routes that came close
	Upstream  *Upstream `json:"upstream"`   // set for an allowed request
	Client    *Client   `json:"client"`     // set for a denied request
	Notes     []string  `json:"notes"`
}

// A Request is the request that was decided.
type Request struct {
	Method   string `json:"method"`
	Host     string `json:"host"`
	Path     string `json:"path"`      // without the query
	ClientIP string `json:"client_ip"` // "" if unknown
}

// A Route is a route, described by the entry that matches a request or almost matches it.
type Route struct {
	ID      string   `json:"id"`
	Host    string   `json:"host"` // "*" for any
	Path    string   `json:"path"`
	Methods []string `json:"methods"`
	Who     []string `json:"who"`
	Ways    int      `json:"ways"` // the first Ways items of Who are alternatives; the rest are always required
	File    string   `json:"file"`
	Line    int      `json:"line"`
	Column  int      `json:"column"`
	listed  bool
}

// A Close is a route that came close, and why it lost.
type Close struct {
	Route
	Why string `json:"why"`
}

// A Check is one check that a request meets.
type Check struct {
	Check   string  `json:"check"`
	Outcome Outcome `json:"outcome"`
	Detail  string  `json:"detail"`
}

// An Outcome is the result of a check.
type Outcome string

// The outcomes of a check. A check that does not apply to the request is skipped. A check
// after a failed check is not reached.
const (
	Passed     Outcome = "passed"
	Failed     Outcome = "failed"
	Skipped    Outcome = "skipped"
	NotReached Outcome = "not_reached"
)

// An Upstream is what the application receives with an allowed request.
type Upstream struct {
	Set    []NameValue `json:"set"`
	Remove []string    `json:"remove"`
}

// A Client is the response that the client receives for a denied request.
type Client struct {
	Status  int         `json:"status"`
	Headers []NameValue `json:"headers"`
	Body    string      `json:"body"`
}

// A NameValue is one header field.
type NameValue struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// maxClose is the maximum number of routes that an explanation lists as close.
const maxClose = 5

// New returns an explanation without the routes that came close.
func New(x Answer) *Explanation {
	d := x.Decision
	e := &Explanation{
		Request:  Request{Method: x.Method, Host: x.Request.Host, Path: x.Path},
		Decision: d.Verdict(), Status: envoy.StatusOf(d.Reason()), Reason: d.Reason().String(),
		Close: []Close{}, Notes: x.notes(),
	}
	if d.ClientIP().IsValid() {
		e.Request.ClientIP = d.ClientIP().String()
	}
	route := x.route()
	if route != nil {
		e.Route = x.winner(route)
	}
	e.Checks = x.checks(route)
	if ok := x.Response.GetOkResponse(); ok != nil {
		e.Status = http.StatusOK
		e.Upstream = &Upstream{SentHeaders(ok.GetHeaders()), cli.SomeOrEmpty(ok.GetHeadersToRemove())}
	} else {
		no := x.Response.GetDeniedResponse()
		e.Client = &Client{int(no.GetStatus().GetCode()), SentHeaders(no.GetHeaders()), no.GetBody()}
	}
	return e
}

// addClose adds the routes that came close. It searches the whole policy for them.
func (e *Explanation) addClose(x Answer) {
	if x.Decision.Reason() == authz.ReasonRequestMalformed {
		return
	}
	near, more := x.Settings.Policy.Near(x.Method, x.Request.Host, x.Request.ParsedPath(), maxClose)
	for _, n := range near {
		e.Close = append(e.Close, Close{routeOf(n.Entry), whyLost(n, x, e.Route)})
	}
	e.CloseMore = more
}

// SentHeaders returns the header fields that options set.
func SentHeaders(options []*corev3.HeaderValueOption) []NameValue {
	fields := []NameValue{}
	for _, o := range options {
		h := o.GetHeader()
		fields = append(fields, NameValue{h.GetKey(), cmp.Or(h.GetValue(), string(h.GetRawValue()))})
	}
	return fields
}

// route returns the route that the engine decided by, or nil if no route matched.
func (x Answer) route() *policy.Route {
	return x.Settings.Policy.Route(x.Decision.Route())
}

// winner describes a route by the entry that matches the request.
func (x Answer) winner(route *policy.Route) *Route {
	for _, e := range x.Settings.Policy.Table() {
		if e.Route == route && e.Takes(x.Method, x.Request.Host, x.Request.ParsedPath()) {
			r := routeOf(e)
			return &r
		}
	}
	return nil
}

func routeOf(e policy.Entry) Route {
	row := routes.RowOf(0, e)
	return Route{row.Route, row.Host, row.Path, row.Methods, row.Who, row.Ways, row.File, row.Line, row.Column, row.MethodsListed}
}

// whyLost explains why an entry did not win.
func whyLost(n policy.Near, x Answer, won *Route) string {
	segments := x.Request.ParsedPath().Segments()
	var misses []string
	if !n.TakesPath {
		misses = append(misses, pathMiss(n, segments))
	}
	if !n.TakesHost {
		host := cmp.Or(x.Request.Host, "a request without a host")
		misses = append(misses, fmt.Sprintf("it is for the host %s, not %s", n.Host, host))
	}
	if !n.TakesMethod {
		misses = append(misses, fmt.Sprintf("it takes %s, not %s", methodsOf(n.Entry), x.Method))
	}
	if len(misses) > 0 {
		return strings.Join(misses, "; ")
	}
	if won == nil { // the most specific route does not accept this form of the path
		return "it matches the request too, and is not the most specific one"
	}
	switch n.LostBy {
	case policy.PartHost:
		return fmt.Sprintf("it matches the request too, but its host %s is less specific than %s of %s", cmp.Or(n.Host, "(any)"), won.Host, won.ID)
	case policy.PartPath:
		return fmt.Sprintf("it matches the request too, but its path is less specific at segment %d: %s against %s of %s",
			n.Segment+1, segmentAt(n.Path, n.Segment), segmentAt(won.Path, n.Segment), won.ID)
	default:
		return fmt.Sprintf("it matches the request too, but %s lists the method", won.ID)
	}
}

// segmentAt describes the segment of a policy path at index i.
func segmentAt(path string, i int) string {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	if i >= len(parts) || parts[i] == "" {
		return "its end"
	}
	return parts[i]
}

func methodsOf(e policy.Entry) string {
	if len(e.Methods) == 0 {
		return strings.Join(policy.UsualMethods(), ", ")
	}
	return strings.Join(e.Methods, ", ")
}

// pathMiss describes the first segment at which the path does not match.
func pathMiss(n policy.Near, segments []string) string {
	wants := segmentAt(n.Path, n.Segment)
	switch n.Alike {
	case policy.AlikeCase:
		return fmt.Sprintf("its path %s differs in capitals, which count", n.Path)
	case policy.AlikeLength:
		return fmt.Sprintf("its path %s is like it but for the number of segments: %d, where the request has %d", n.Path, len(n.Pattern.Segments()), len(segments))
	case policy.AlikeSegment, policy.AlikeNot: // the segment is named below
	}
	switch {
	case wants == "its end":
		return fmt.Sprintf("its path ends before segment %d, %q", n.Segment+1, segments[n.Segment])
	case n.Segment >= len(segments):
		return fmt.Sprintf("its path goes on with %s at segment %d, where the request ends", wants, n.Segment+1)
	}
	return fmt.Sprintf("its path has %s at segment %d, where the request has %q", wants, n.Segment+1, segments[n.Segment])
}

// The checks in the order in which a request meets them.
const (
	stepRequest = iota
	stepPath
	stepRoute
	stepClientIP
	stepPeer
	stepCredential
	stepSession
	stepDirectory
	stepRights
	stepCondition
	stepAll // all checks passed
	stepFault
)

var stepNames = [...]string{
	stepRequest: "request", stepPath: "path", stepRoute: "route", stepClientIP: "client_ip", stepPeer: "peer",
	stepCredential: "credential", stepSession: "session", stepDirectory: "directory", stepRights: "rights", stepCondition: "condition",
}

// stepOf returns the check at which a request with this reason was decided. It only maps the
// reason; the engine has made the decision.
func stepOf(reason authz.Reason) int {
	switch reason {
	case authz.ReasonPublic, authz.ReasonPreflight, authz.ReasonAnonymous, authz.ReasonSession, authz.ReasonAPIKey:
		return stepAll
	case authz.ReasonRequestMalformed:
		return stepRequest
	case authz.ReasonPathAmbiguous:
		return stepPath
	case authz.ReasonRouteUnmatched:
		return stepRoute
	case authz.ReasonClientIPDenied, authz.ReasonClientIPUnknown:
		return stepClientIP
	case authz.ReasonPeerDenied:
		return stepPeer
	case authz.ReasonCredentialsMissing, authz.ReasonCredentialsAmbiguous,
		authz.ReasonTokenMalformed, authz.ReasonTokenKeyUnknown, authz.ReasonTokenAlgorithm, authz.ReasonTokenSignature,
		authz.ReasonTokenExpired, authz.ReasonTokenNotYetValid, authz.ReasonTokenClaims, authz.ReasonKeysUnavailable,
		authz.ReasonAPIKeyMalformed:
		return stepCredential
	case authz.ReasonSessionRevoked, authz.ReasonSessionsUnavailable:
		return stepSession
	case authz.ReasonUserUnknown, authz.ReasonUserInactive, authz.ReasonDirectoryUnavailable,
		authz.ReasonAPIKeyUnknown, authz.ReasonAPIKeyInactive, authz.ReasonAPIKeyExpired:
		return stepDirectory
	case authz.ReasonRoleMissing, authz.ReasonScopeMissing:
		return stepRights
	case authz.ReasonConditionFalse:
		return stepCondition
	default: // internal, overloaded
		return stepFault
	}
}

// checks lists each check with its outcome. It includes the peer and condition checks only
// if the route has them.
func (x Answer) checks(route *policy.Route) []Check {
	at := stepOf(x.Decision.Reason())
	var list []Check
	for step, name := range stepNames {
		if step == stepPeer && step != at && (route == nil || route.Principals == nil) ||
			step == stepCondition && step != at && (route == nil || route.Condition == nil) {
			continue
		}
		c := Check{Check: name, Outcome: Passed}
		switch {
		case at == stepFault || step > at:
			c.Outcome = NotReached
		case step == at:
			c.Outcome, c.Detail = Failed, x.failure(route)
		default:
			c.Outcome, c.Detail = x.success(step, route)
		}
		list = append(list, c)
	}
	return list
}

// success describes the result of a check that did not decide the request.
func (x Answer) success(step int, route *policy.Route) (Outcome, string) {
	d := x.Decision
	who := d.Principal()
	if step >= stepCredential {
		switch {
		case d.Reason() == authz.ReasonPublic:
			return Skipped, "the route is public"
		case d.Reason() == authz.ReasonPreflight:
			return Skipped, "a preflight request has no credential"
		case step == stepCondition:
			return Passed, "true: " + route.Condition.String()
		case step > stepCredential && who.Method == authz.MethodAnonymous:
			return Skipped, "an anonymous request has no principal"
		}
	}
	isKey := who.Method == authz.MethodAPIKey || stepOf(d.Reason()) == stepDirectory && who.Method == authz.MethodNone
	switch step {
	case stepRequest:
		return Passed, "it is unambiguous"
	case stepPath:
		if forms := x.Request.ParsedPath().Forms(); forms != 0 {
			return Passed, fmt.Sprintf("it has a canonical form; the route allows %s", forms)
		}
		return Passed, "it has a canonical form"
	case stepRoute:
		return Passed, fmt.Sprintf("%s (%s:%d)", route.ID, route.Position.File, route.Position.Line)
	case stepClientIP:
		if route.ClientIPs == nil {
			return Passed, "any address is allowed"
		}
		return Passed, fmt.Sprintf("%s is in %s", d.ClientIP(), strings.Join(route.ClientIPs.Names(), " or "))
	case stepPeer:
		return Passed, "its principal is one of " + strings.Join(route.Principals.Patterns(), ", ")
	case stepCredential:
		switch {
		case who.Method == authz.MethodAnonymous:
			return Passed, "there is none, and the route allows anonymous requests"
		case isKey:
			return Passed, "an API key"
		}
		return Passed, "a bearer token of user " + who.UserID
	case stepSession:
		if isKey {
			return Skipped, "an API key has no session"
		}
		if x.Settings.NoSessions {
			return Skipped, "sessions.rule is none: no session is asked for"
		}
		return Passed, "it is alive"
	case stepDirectory:
		if isKey {
			return Passed, "the key is active" + withAttributes(who)
		}
		return Passed, "the user is active" + withAttributes(who)
	default:
		return Passed, x.rights(route)
	}
}

// withAttributes lists the attributes of a principal.
func withAttributes(who authz.Principal) string {
	var list []string
	for name, value := range who.Attributes.All() {
		list = append(list, name+"="+value)
	}
	if len(list) == 0 {
		return ""
	}
	return ", with the attributes " + strings.Join(list, ", ")
}

// rights describes the roles or scopes of the principal, as far as the route requires any.
func (x Answer) rights(route *policy.Route) string {
	who, admin := x.Decision.Principal(), x.Settings.Policy.AdminRole()
	switch {
	case who.Method == authz.MethodAPIKey && len(route.APIKey.Scopes)+len(route.APIKey.AnyScopes) == 0:
		return "any valid key may pass"
	case who.Method == authz.MethodAPIKey:
		return "the key has " + listOr(who.Scopes, "no scope")
	case len(route.User.Roles)+len(route.User.AllRoles) == 0:
		return "any user may pass"
	case x.Decision.Allowed() && admin != "" && who.Roles.Has(admin):
		return "the user has " + admin + ", which passes every role check"
	}
	return "the user has " + listOr(who.Roles, "no role")
}

func listOr(words []string, none string) string {
	if len(words) == 0 {
		return none
	}
	return strings.Join(words, ", ")
}

// failure describes the result of the check that decided the request.
func (x Answer) failure(route *policy.Route) string {
	d := x.Decision
	switch d.Reason() {
	case authz.ReasonRequestMalformed:
		return x.malformed()
	case authz.ReasonPathAmbiguous:
		return x.ambiguous()
	case authz.ReasonRouteUnmatched:
		return "no route matches the request"
	case authz.ReasonClientIPDenied:
		return fmt.Sprintf("%s is not in %s", d.ClientIP(), strings.Join(route.ClientIPs.Names(), " or "))
	case authz.ReasonClientIPUnknown:
		return fmt.Sprintf("the client's address is unknown, and only %s is allowed; give --client-ip", strings.Join(route.ClientIPs.Names(), " or "))
	case authz.ReasonPeerDenied:
		peer, allowed := x.Request.Principal, strings.Join(route.Principals.Patterns(), ", ")
		if peer == "" {
			return fmt.Sprintf("the connection has no principal, and only %s is allowed; give --principal", allowed)
		}
		return fmt.Sprintf("%s is not among %s", peer, allowed)
	case authz.ReasonCredentialsMissing:
		return withDetail("there is none; the route is for "+strings.Join(routes.WaysIn(route), " or "), d)
	case authz.ReasonCredentialsAmbiguous:
		return "there is more than one, and exactly one is allowed"
	case authz.ReasonTokenMalformed:
		return withDetail("the credential is not a well-formed token", d)
	case authz.ReasonTokenSignature, authz.ReasonTokenKeyUnknown, authz.ReasonTokenAlgorithm:
		return withDetail("the token is not signed with a key that is known here", d)
	case authz.ReasonAPIKeyUnknown:
		return "the API key is not known here"
	case authz.ReasonAPIKeyMalformed:
		return "the API key is not 8 to 256 characters of A-Z a-z 0-9 . _ ~ + / = -"
	case authz.ReasonRoleMissing, authz.ReasonScopeMissing:
		return withDetail(x.rights(route), d) + "; the route is for " + strings.Join(routes.WaysIn(route), " or ")
	case authz.ReasonConditionFalse:
		if fault := d.Fault(); fault != nil {
			return fmt.Sprintf("no result, and so not allowed (%v): %s", fault, route.Condition)
		}
		return withDetail("false", d) + ": " + route.Condition.String()
	default:
		return withDetail(d.Reason().String(), d)
	}
}

// withDetail returns a text with what the reason of a decision leaves open.
func withDetail(text string, d authz.Decision) string {
	if detail := d.Detail().String(); detail != "" {
		return text + " (" + detail + ")"
	}
	return text
}

// malformed explains why a request could not be read.
func (x Answer) malformed() string {
	if host := x.Request.Host; host != "" && !pattern.ValidHost(host) {
		return fmt.Sprintf("its host %q is not valid; a host is a name, an IPv4 address or an IPv6 address in brackets, with or without a port", host)
	}
	return "its method or its host is missing, or its headers are ambiguous, or they leave no room for those that are added (envoy.max_headers_count, envoy.max_request_headers_kb)"
}

// ambiguous explains why a path has no canonical form, or which form of it the route does
// not accept, and which setting would accept it.
func (x Answer) ambiguous() string {
	path, err := pattern.ParsePath(x.Request.Path)
	if err != nil {
		return err.Error() + "; no path_allows accepts that"
	}
	forms := path.Forms()
	route := x.Settings.Policy.Match(x.Method, x.Request.Host, path)
	if route == nil {
		return fmt.Sprintf("the path is written with %s, and no route matches it", forms)
	}
	return fmt.Sprintf("the path is written with %s; route %s (%s:%d) matches it, and would accept it with path_allows: [%s]",
		forms, route.ID, route.Position.File, route.Position.Line, forms|route.PathAllows)
}

// notes returns remarks about how the options of the explanation affect the result.
func (x Answer) notes() []string {
	notes := []string{}
	const unverified = "%s in the request is not verified: explain has neither your secrets nor your stores, and treats it as forged; use %s to ask for a good one"
	tokens, apiKeys := x.Settings.Identity.Sources.All()
	for _, s := range tokens {
		if s.Header != "" && x.OwnHeaders[strings.ToLower(s.Header)] {
			notes = append(notes, fmt.Sprintf(unverified, "the "+s.Header+" header", "--as-user"))
		}
	}
	for _, s := range apiKeys {
		if s.Header != "" && s.Scheme == "" && x.OwnHeaders[strings.ToLower(s.Header)] {
			notes = append(notes, fmt.Sprintf(unverified, "the API key", "--as-api-key"))
		}
	}
	if x.OwnHeaders["x-forwarded-for"] && !x.Settings.Configured && x.options.clientIP == "" {
		notes = append(notes, "X-Forwarded-For is ignored without --config, which names the trusted proxies; the client is the connection's peer")
	}
	if x.Decision.WouldDeny() {
		notes = append(notes, "the route is in shadow: the denial is logged and counted, and the request is forwarded without an identity and with its own credentials")
	}
	if r := x.route(); r != nil && !r.Public && x.options.user == "" && !x.options.apiKey && x.Decision.Reason() == authz.ReasonCredentialsMissing {
		notes = append(notes, "no credential was given; add --as-user or --as-api-key to ask for somebody")
	}
	return notes
}

// write writes the explanation in the given format.
func (e *Explanation) write(w io.Writer, output cli.OutputFormat) error {
	if output == cli.OutputJSON {
		return cli.WriteJSON(w, e)
	}
	if _, err := io.WriteString(w, e.text()); err != nil {
		return fmt.Errorf("writing the explanation: %w", err)
	}
	return nil
}

// text returns the explanation as human-readable text.
func (e *Explanation) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %d %s", strings.ToUpper(strings.ReplaceAll(e.Decision, "_", " ")), e.Status, e.Reason)
	if e.Route != nil {
		fmt.Fprintf(&b, ", by route %s (%s:%d)", e.Route.ID, e.Route.File, e.Route.Line)
	}
	client := cmp.Or(e.Request.ClientIP, "an unknown address")
	fmt.Fprintf(&b, "\n\nRequest\n  %s %s%s from %s\n", printable(e.Request.Method), printable(e.Request.Host), printable(e.Request.Path), client)
	if e.Route != nil {
		fmt.Fprintf(&b, "\nRoute\n  %s\n  %s\n", e.Route.line(), routes.WhoCell(e.Route.Who, e.Route.Ways))
	}
	b.WriteString("\nChecks\n")
	for _, c := range e.Checks {
		line := fmt.Sprintf("  %-11s  %-10s  %s", strings.ReplaceAll(string(c.Outcome), "_", " "), c.Check, printable(c.Detail))
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	if len(e.Close) > 0 {
		b.WriteString("\nCame close\n")
		for _, c := range e.Close {
			fmt.Fprintf(&b, "  %s\n    %s\n", c.line(), printable(c.Why))
		}
		if e.CloseMore > 0 {
			fmt.Fprintf(&b, "  and %d more\n", e.CloseMore)
		}
	}
	if e.Upstream != nil {
		b.WriteString("\nHeaders to the upstream\n")
		for _, h := range e.Upstream.Set {
			fmt.Fprintf(&b, "  set     %s: %s\n", h.Name, h.Value)
		}
		for _, name := range e.Upstream.Remove {
			fmt.Fprintf(&b, "  remove  %s\n", name)
		}
	}
	if e.Client != nil {
		fmt.Fprintf(&b, "\nAnswer to the client\n  %d %s\n", e.Client.Status, http.StatusText(e.Client.Status))
		for _, h := range e.Client.Headers {
			fmt.Fprintf(&b, "  %s: %s\n", h.Name, h.Value)
		}
		fmt.Fprintf(&b, "  %s\n", e.Client.Body)
	}
	if len(e.Notes) > 0 {
		b.WriteString("\nNotes\n")
		for _, n := range e.Notes {
			fmt.Fprintf(&b, "  %s\n", n)
		}
	}
	return b.String()
}

func (r Route) line() string {
	return fmt.Sprintf("%s (%s:%d)  %s %s %s", r.ID, r.File, r.Line, r.Host, routes.MethodsCell(r.Methods, r.listed), r.Path)
}

// printable replaces control characters, so that a request cannot control the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '\uFFFD'
		}
		return r
	}, s)
}
