package policytest

import (
	"maps"

	"warder/authz"
)

// A Wanted is the expected result of a case at one depth.
type Wanted struct {
	Allow  bool // the request is let through
	Shadow bool // it is let through although it is denied, because of shadow mode
	Reason authz.Reason
	Named  bool // the case names the reason; otherwise any reason is accepted
	Status int  // the client's status; 200 if the request is let through
	// ByProxy says that the proxy rejects the request without calling warder, so that there
	// is no reason.
	ByProxy bool

	// Identity is the complete identity sent to the upstream, by field. It is nil on a
	// denial and if the case does not specify it.
	Identity map[string]string
	// ClientIP is "" if the address is unknown.
	ClientIP string
	// Challenge is the WWW-Authenticate value of a 401.
	Challenge string
}

// Wanted returns the expected result of the case at a depth.
func (c *Case) Wanted(depth DepthKind) Wanted { return c.wanted(depth, authz.ReasonInternal) }

// wanted is Wanted with the actual reason, which is used if the case names none.
func (c *Case) wanted(depth DepthKind, given authz.Reason) Wanted {
	e := c.exception(depth)
	if e.Status != 0 {
		return Wanted{ByProxy: true, Status: e.Status}
	}
	v := c.want
	if e.Want != "" {
		v, _ = parseWant(e.Want) // checked by complete
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
	w.Challenge = c.Challenge // "" unless the status is that of a 401, or of a redirect in its place
	if w.Status == 401 || w.Status == 302 {
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
		return identity // in shadow mode no identity is sent
	}
	switch {
	case as != "":
		maps.Copy(identity, c.file.Identities[as])
	case c.As != "" || c.Identity != nil: // for any reason
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
		return "a rejection by the proxy"
	case w.Named:
		return w.word() + " " + w.Reason.String()
	}
	return w.word()
}

// word returns the verdict without the reason.
func (w Wanted) word() string {
	switch {
	case w.Shadow:
		return authz.VerdictWouldDeny
	case w.Allow:
		return authz.VerdictAllow
	}
	return authz.VerdictDeny
}
