package policytest

import (
	"maps"

	"warder/authz"
)

// A Wanted is what a case wants at one depth.
type Wanted struct {
	Allow  bool // the request goes on
	Shadow bool // although it is denied, since the denial is not enforced
	Reason authz.Reason
	Named  bool // the case names the reason; else any will do
	Status int  // the client's; 200 when the request goes on
	// ByProxy says that the proxy answers without asking, so that there is no reason.
	ByProxy bool

	// Identity is what the upstream is told, by field, complete. Nil on a denial, and
	// when the case leaves it open.
	Identity map[string]string
	// ClientIP is "" when it is not known.
	ClientIP string
	// Challenge is the WWW-Authenticate value of a 401.
	Challenge string
}

// Wanted returns what the case wants at a depth.
func (c *Case) Wanted(depth DepthKind) Wanted { return c.wanted(depth, authz.ReasonInternal) }

// wanted takes the reason that was given where the case leaves it open.
func (c *Case) wanted(depth DepthKind, given authz.Reason) Wanted {
	e := c.exception(depth)
	if e.Status != 0 {
		return Wanted{ByProxy: true, Status: e.Status}
	}
	v := c.want
	if e.Want != "" {
		v, _ = parseWant(e.Want) // checked on loading
	}
	w := Wanted{Allow: v.passes(), Shadow: v.shadow, Reason: v.reason, Named: v.named, ClientIP: c.WantClientIP}
	if !v.named && given.Allows() == v.allow {
		w.Reason = given
	}
	if e.WantClientIP != "" {
		w.ClientIP = e.WantClientIP
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
	if w.Shadow {
		w.Status = 200
	}
	if c.Status != 0 {
		w.Status = c.Status
	}
	if w.Allow {
		w.Identity = c.identity(w, e.As)
	}
	w.Challenge = c.Challenge // which another status than 401 has not
	if w.Status == 401 {
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
	if w.Shadow {
		return identity // the upstream is told nothing
	}
	switch {
	case as != "":
		maps.Copy(identity, c.file.Identities[as])
	case c.As != "" || c.Identity != nil: // whatever the reason is
		maps.Copy(identity, c.file.Identities[c.As])
		maps.Copy(identity, c.Identity)
	case w.Reason == authz.ReasonPublic || w.Reason == authz.ReasonPreflight:
	case w.Reason == authz.ReasonAnonymous:
		identity["auth_method"] = "anonymous"
	default:
		return nil
	}
	if w.ClientIP != "" {
		identity["client_ip"] = w.ClientIP
	}
	return identity
}

func (w Wanted) String() string {
	switch {
	case w.ByProxy:
		return "a refusal by the proxy"
	case w.Named:
		return w.word() + " " + w.Reason.String()
	}
	return w.word()
}

// word is the verdict alone.
func (w Wanted) word() string {
	switch {
	case w.Shadow:
		return authz.VerdictWouldDeny
	case w.Allow:
		return authz.VerdictAllow
	}
	return authz.VerdictDeny
}
