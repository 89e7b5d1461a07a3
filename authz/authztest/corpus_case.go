package authztest

import (
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"warder/authz"
)

// A Case is one request and the answer that it must get.
type Case struct {
	Name string `yaml:"name"`
	// Want is a verdict and its reason, as in "deny session_revoked".
	Want string `yaml:"want"`

	Request   string           `yaml:"request"`   // METHOD PATH, with the query
	Host      string           `yaml:"host"`      // absent: api.example.com
	Peer      string           `yaml:"peer"`      // absent: 127.0.0.1; "none" for a unix socket
	Principal string           `yaml:"principal"` // of the client's certificate; absent: it has none
	Route     *string          `yaml:"route"`     // chosen by the proxy; absent: it chooses none
	Headers   [][2]string      `yaml:"headers"`   // in order; placeholders as in CorpusToken
	Token     *CorpusToken     `yaml:"token"`     // sent as Authorization: Bearer unless the case places it
	APIKey    string           `yaml:"api_key"`   // sent in the header for API keys
	Expect    `yaml:",inline"` // what to expect beside Want
	Engine    Exception        `yaml:"engine"`
	Envoy     Exception        `yaml:"envoy"` // what a real Envoy in front changes

	file   *CorpusFile
	allow  bool
	reason authz.Reason
}

// Expect is what a request must lead to beside the verdict.
type Expect struct {
	// As names what the upstream is told, one of the file's identities; Identity
	// gives it in place. Public and anonymous requests need neither.
	As       string            `yaml:"as"`
	Identity map[string]string `yaml:"identity"`
	ClientIP string            `yaml:"client_ip"` // absent: the peer; "unknown" when it cannot be known
	// Absent must not reach the upstream in any spelling; Present must, as given.
	Absent    []string          `yaml:"absent"`
	Present   map[string]string `yaml:"present"`
	Challenge string            `yaml:"challenge"` // absent: Bearer
	// CORS is the origin whose scripts may read the denial.
	CORS string `yaml:"cors"`
}

// An Exception is what one depth makes of a case.
type Exception struct {
	Skip     string `yaml:"skip"`      // why the case cannot be there
	Status   int    `yaml:"status"`    // the proxy itself refuses with this status
	Want     string `yaml:"want"`      // another verdict, and
	As       string `yaml:"as"`        // another identity
	ClientIP string `yaml:"client_ip"` // another address
}

// A Wanted is what a case wants at one depth.
type Wanted struct {
	Allow  bool
	Reason authz.Reason
	Status int // the client's; 200 when the request goes on
	// ByProxy says that the proxy answers without asking, so that there is no reason.
	ByProxy bool

	// Identity is what the upstream is told, by field, complete. Nil on a denial.
	Identity map[string]string
	// ClientIP is "" when it is not known.
	ClientIP string
	// Challenge is the WWW-Authenticate value of a 401.
	Challenge string
}

// File returns the file of the case.
func (c *Case) File() *CorpusFile { return c.file }

// Skip says why the case cannot run at a depth; "" when it can.
func (c *Case) Skip(depth DepthKind) string { return c.exception(depth).Skip }

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

// Wanted returns what the case wants at a depth.
func (c *Case) Wanted(depth DepthKind) Wanted {
	e := c.exception(depth)
	if e.Status != 0 {
		return Wanted{ByProxy: true, Status: e.Status}
	}
	w := Wanted{Allow: c.allow, Reason: c.reason, ClientIP: c.ClientIP}
	if e.Want != "" {
		w.Allow, w.Reason, _ = parseWant(e.Want)
	}
	if e.ClientIP != "" {
		w.ClientIP = e.ClientIP
	}
	switch w.ClientIP {
	case "":
		if peer := c.peer(); peer.IsValid() {
			w.ClientIP = peer.Unmap().String()
		}
	case "unknown":
		w.ClientIP = ""
	}
	w.Status = statusOf(w.Reason)
	if w.Allow {
		w.Identity = c.identity(w, e.As)
	}
	if w.Status == http.StatusUnauthorized {
		w.Challenge = c.Challenge
		if w.Challenge == "" {
			w.Challenge = "Bearer"
		}
		if w.Reason != authz.ReasonCredentialsMissing {
			w.Challenge += ` error="invalid_token"`
		}
	}
	return w
}

func (c *Case) identity(w Wanted, as string) map[string]string {
	identity := map[string]string{}
	switch {
	case as != "":
		maps.Copy(identity, c.file.Identities[as])
	case w.Reason == authz.ReasonPublic || w.Reason == authz.ReasonPreflight:
	case w.Reason == authz.ReasonAnonymous:
		identity["auth_method"] = "anonymous"
	default:
		maps.Copy(identity, c.file.Identities[c.As])
		maps.Copy(identity, c.Identity)
	}
	if w.ClientIP != "" {
		identity["client_ip"] = w.ClientIP
	}
	return identity
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
func (c *Case) complete() (problems []string) {
	report := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	var err error
	if c.allow, c.reason, err = parseWant(c.Want); err != nil {
		report("want: %v", err)
	}
	if c.Host == "" {
		c.Host = "api.example.com"
	}
	if method, _, ok := strings.Cut(c.Request, " "); !ok || method == "" {
		report("request is %q; want METHOD PATH", c.Request)
	}
	if c.Peer != "" && c.Peer != "none" {
		if _, err := netip.ParseAddr(c.Peer); err != nil {
			report("peer: %v", err)
		}
	}
	if peer := c.peer(); (!peer.Is4() || !peer.IsLoopback()) && c.Envoy.Skip == "" && c.Envoy.Status == 0 {
		report("peer: no client can connect to Envoy from %q; want an address of 127.0.0.0/8, or envoy: {skip: why}", c.Peer)
	}
	if c.Principal != "" && c.Envoy.Skip == "" && c.Envoy.Status == 0 {
		report("principal: no client has a certificate for this Envoy; want envoy: {skip: why}")
	}
	identified := c.As != "" || c.Identity != nil
	switch wants := c.allow && (c.reason == authz.ReasonSession || c.reason == authz.ReasonAPIKey); {
	case wants && !identified:
		report("as or identity is missing: a request that is let through for somebody has to say for whom")
	case identified && !wants:
		report("as and identity are for requests that are let through for somebody")
	}
	for _, as := range []string{c.As, c.Envoy.As, c.Engine.As} {
		if _, known := c.file.Identities[as]; as != "" && !known {
			report("as: %q is not among the identities of the file", as)
		}
	}
	problems = append(problems, unknownFields(c.Identity)...)
	if !c.allow && (c.Absent != nil || c.Present != nil) {
		report("absent and present are for requests that are let through")
	}
	if c.allow && c.CORS != "" {
		report("cors is for denials: what is let through, the application answers")
	}
	if c.Challenge != "" && c.Challenge != "ApiKey" {
		report("challenge: %q; want ApiKey, or nothing for Bearer", c.Challenge)
	}
	for _, e := range []Exception{c.Engine, c.Envoy} {
		if e.Want == "" {
			continue
		}
		if _, _, err := parseWant(e.Want); err != nil {
			report("want of a depth: %v", err)
		}
	}
	if c.Engine.Status != 0 {
		report("engine: there is no proxy at this depth")
	}
	if c.Token != nil {
		problems = append(problems, c.Token.problems()...)
	}
	return problems
}

func parseWant(want string) (allow bool, reason authz.Reason, err error) {
	verdict, name, _ := strings.Cut(want, " ")
	all := authz.Reasons()
	i := slices.IndexFunc(all, func(r authz.Reason) bool { return r.String() == name })
	if i < 0 || verdict != "allow" && verdict != "deny" {
		return false, authz.ReasonInternal, fmt.Errorf(`%q is no verdict and reason; want one such as "deny role_missing"`, want)
	}
	allow = verdict == "allow"
	if allow != all[i].Allows() {
		return false, authz.ReasonInternal, fmt.Errorf("%q: %s is no reason to %s", want, name, verdict)
	}
	return allow, all[i], nil
}

// statusOf is the contract's table from reason to status, by the words of the
// reasons, so that it does not follow the code that it tests.
func statusOf(reason authz.Reason) int {
	name := reason.String()
	switch {
	case reason.Allows():
		return http.StatusOK
	case name == "request_malformed" || name == "path_ambiguous":
		return http.StatusBadRequest
	case slices.Contains([]string{"route_unmatched", "client_ip_denied", "client_ip_unknown", "peer_denied", "role_missing", "scope_missing", "condition_false"}, name):
		return http.StatusForbidden
	case slices.Contains([]string{"sessions_unavailable", "directory_unavailable", "overloaded", "internal"}, name):
		return http.StatusServiceUnavailable
	default:
		return http.StatusUnauthorized
	}
}
