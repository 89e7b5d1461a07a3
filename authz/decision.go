package authz

import (
	"net/netip"
	"strings"

	"warder/authz/token"
	"warder/policy"
)

// A Decision is the outcome for one request. The zero Decision is a denial with
// [ReasonInternal]. Only this package can make a Decision that allows.
type Decision struct {
	allowed   bool
	reason    Reason
	route     string
	challenge Challenge
	principal Principal
	clientIP  netip.Addr
	origin    string
	shadow    bool
	fault     error // why the condition could not be evaluated
	detail    token.Detail
	hash      string // of the policy that decided
	denials   *policy.Denials
	bare      bool // the query of the request may contain a credential
}

// A Challenge names the credential that a 401 response asks for.
type Challenge uint8

const (
	ChallengeBearer Challenge = iota // Authorization: Bearer
	ChallengeAPIKey                  // the route accepts only API keys
)

// allow is the only function that makes a Decision that allows. With a reason that
// does not allow, the Decision is a denial.
func allow(reason Reason, who Principal) Decision {
	return Decision{allowed: reason.Allows(), reason: reason, principal: who}
}

// Deny returns a denial. A reason that allows is a bug in the caller and becomes
// ReasonInternal.
func Deny(reason Reason) Decision {
	if reason.Allows() {
		reason = ReasonInternal
	}
	return Decision{reason: reason}
}

// about returns d with the principal. It is for denials made after a credential was
// at least partly verified.
func (d Decision) about(who Principal) Decision {
	d.principal = who
	return d
}

// because returns d with the error from evaluating the condition, or nil when the
// condition was false.
func (d Decision) because(fault error) Decision {
	d.fault = fault
	return d
}

// Allowed reports whether the request may go on.
func (d Decision) Allowed() bool { return d.allowed && d.reason.Allows() }

// Shadow reports whether the decision was made in shadow mode: a denial is not
// enforced, except for a few reasons, and the application's own checks still apply.
// See [Decision.WouldDeny].
func (d Decision) Shadow() bool { return d.shadow }

// WouldDeny reports whether the decision is a denial that is not enforced. The
// request goes to the upstream without a principal.
func (d Decision) WouldDeny() bool { return d.shadow && !d.Allowed() && !d.reason.always() }

// The results of [Decision.Verdict].
const (
	VerdictAllow     = "allow"
	VerdictDeny      = "deny"
	VerdictWouldDeny = "would_deny" // a denial that is not enforced
)

// Verdict returns the name of the decision in logs, metrics and metadata.
func (d Decision) Verdict() string {
	switch {
	case d.Allowed():
		return VerdictAllow
	case d.WouldDeny():
		return VerdictWouldDeny
	}
	return VerdictDeny
}

// Reason returns the reason for the decision.
func (d Decision) Reason() Reason { return d.reason }

// Route returns the id of the route whose checks ran. It is "" when no route
// matched and when the request was denied before the route's checks.
func (d Decision) Route() string { return d.route }

// PolicyHash returns the [policy.Policy.Hash] of the policy that decided. It is "" when the
// request was denied before a policy was asked.
func (d Decision) PolicyHash() string { return d.hash }

// Challenge returns the credential to ask for when the response is a 401.
func (d Decision) Challenge() Challenge { return d.challenge }

// Principal returns the principal that the credential proves, or the zero Principal
// when it proves none. A denial has a principal when it was made after the credential
// was read, for example when a role is missing or the session is revoked.
func (d Decision) Principal() Principal { return d.principal }

// Origin returns the CORS origin whose scripts may read the response to a denial,
// or "" when there is none.
func (d Decision) Origin() string { return d.origin }

// Detail returns what the reason leaves open, such as which claim of a token is missing. It
// is for logs and people and must not reach a client.
func (d Decision) Detail() token.Detail { return d.detail }

// Denials returns how a denial is written, or nil for the standard way.
func (d Decision) Denials() *Denials { return d.denials }

// Login returns the URL of the login page for the request that was denied, or "" if there is none.
// It contains the path and query of the request, without a query that may contain a credential.
func (d Decision) Login(r *Request) string {
	if !d.denials.HasLogin() {
		return ""
	}
	_, query, _ := strings.Cut(r.Path, "?")
	query, _, _ = strings.Cut(query, "#")
	if d.bare {
		query = ""
	}
	return d.denials.Login(r.path.Raw(), query)
}

// The types of package policy for how denials are written, for packages that do not import it.
type (
	Denials = policy.Denials
	Medium  = policy.Medium
)

// The media of the bodies of denials.
const (
	MediumJSON = policy.MediumJSON
	MediumHTML = policy.MediumHTML
	MediumText = policy.MediumText
)

// Fault returns why the route's condition could not be evaluated. It is nil when the
// condition was true or false or was not evaluated. The error is for logs and people
// only: its text may hold data that the client sent.
func (d Decision) Fault() error { return d.fault }

// ClientIP returns the resolved client address, or the zero Addr when it is unknown.
func (d Decision) ClientIP() netip.Addr { return d.clientIP }
