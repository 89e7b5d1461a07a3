package authz

import "net/netip"

// A Decision is the answer to one request. Its zero value is a denial with
// [ReasonInternal]; nothing outside this package can make it a yes.
type Decision struct {
	allowed   bool
	reason    Reason
	route     string
	challenge Challenge
	principal Principal
	clientIP  netip.Addr
	origin    string
	shadow    bool
	fault     error // why a condition had no answer
}

// A Challenge names the credential that a client is asked for in a 401.
type Challenge uint8

const (
	ChallengeBearer Challenge = iota // Authorization: Bearer
	ChallengeAPIKey                  // only API keys are accepted
)

// allow is the only way to a yes. A reason that is none for a yes stays a denial.
func allow(reason Reason, who Principal) Decision {
	return Decision{allowed: reason.Allows(), reason: reason, principal: who}
}

// Deny makes a denial. A reason for a yes is a mistake of the caller and
// becomes ReasonInternal.
func Deny(reason Reason) Decision {
	if reason.Allows() {
		reason = ReasonInternal
	}
	return Decision{reason: reason}
}

// about notes who was proven, on a denial that came after the proof.
func (d Decision) about(who Principal) Decision {
	d.principal = who
	return d
}

// because notes why a condition had no answer; nil when it had one.
func (d Decision) because(fault error) Decision {
	d.fault = fault
	return d
}

// Allowed reports whether the request may go on.
func (d Decision) Allowed() bool { return d.allowed && d.reason.Allows() }

// Shadow reports whether the request was decided beside the application's own checks:
// those go on, and a denial is not enforced.
func (d Decision) Shadow() bool { return d.shadow }

// WouldDeny reports whether the decision is a denial that is not enforced: the request
// goes on in the name of nobody.
func (d Decision) WouldDeny() bool { return d.shadow && !d.Allowed() && !d.reason.always() }

// The words of [Decision.Verdict].
const (
	VerdictAllow     = "allow"
	VerdictDeny      = "deny"
	VerdictWouldDeny = "would_deny" // a denial that is not enforced
)

// Verdict is the word for the decision in logs, metrics and metadata.
func (d Decision) Verdict() string {
	switch {
	case d.Allowed():
		return VerdictAllow
	case d.WouldDeny():
		return VerdictWouldDeny
	}
	return VerdictDeny
}

// Reason says why.
func (d Decision) Reason() Reason { return d.reason }

// Route returns the id of the route that won, or "" when none did.
func (d Decision) Route() string { return d.route }

// Challenge returns the credential to ask for when the answer is a 401.
func (d Decision) Challenge() Challenge { return d.challenge }

// Principal returns who was proven: the zero Principal when nobody was. A
// denied request has one when the denial came after the proof (a role missing).
func (d Decision) Principal() Principal { return d.principal }

// Origin returns the origin whose scripts may read a denial; "" when none may.
func (d Decision) Origin() string { return d.origin }

// Fault says why the condition of the route was neither true nor false; nil when it was
// one of them, or was not asked. It is for people: it may hold what the client sent.
func (d Decision) Fault() error { return d.fault }

// ClientIP returns the resolved client address; the zero Addr is unknown.
func (d Decision) ClientIP() netip.Addr { return d.clientIP }
