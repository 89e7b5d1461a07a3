package policytest

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"warder/authz"
)

// A Difference is a difference between the expected and the actual result of a case.
type Difference struct {
	Field string `json:"field"` // verdict, reason, status, route, a header name, and others
	Want  string `json:"want"`
	Got   string `json:"got"`
}

func (d Difference) String() string {
	return fmt.Sprintf("%s: wanted %s, got %s", d.Field, d.Want, d.Got)
}

// A comparison collects the differences of one case.
type comparison struct {
	c        *Case
	w        Wanted
	got      Outcome
	complete bool
	found    []Difference
}

func (x *comparison) add(field, want, got string) {
	x.found = append(x.found, Difference{field, want, got})
}

func (x *comparison) equal(field, want, got string) {
	if want != got {
		x.add(field, orNothing(want), orNothing(got))
	}
}

func orNothing(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// compare compares an outcome with what the case wants at a depth.
func (r *Runner) compare(c *Case, depth DepthKind, got Outcome) []Difference {
	x := &comparison{c: c, w: c.wanted(depth, reasonNamed(got.Reason)), got: got, complete: r.Complete}
	if got.word() != x.w.word() {
		x.add("verdict", x.w.String(), got.verdict())
		return x.found
	}
	if got.Reason != "" && !x.w.ByProxy {
		x.equal("reason", x.w.Reason.String(), got.Reason)
	}
	if status := statusOf(x.w.Reason); (status == 400 || status == 503) && !x.w.Named && !x.w.ByProxy && c.Status == 0 {
		// Without a named reason, a mistake in the request or a fault in warder must not
		// count as a denial by the policy.
		x.add("reason", "a denial by the policy; to want a malformed request or a fault, name its reason", got.Reason)
	}
	if got.Status != 0 {
		x.equal("status", strconv.Itoa(x.w.Status), strconv.Itoa(got.Status))
	}
	if got.Route != nil && c.Route != nil {
		x.equal("route", *c.Route, *got.Route)
	}
	x.principal()
	if !x.w.Allow {
		if n := got.HitsAfter - got.HitsBefore; n != 0 {
			x.add("requests at the upstream", "0", strconv.FormatInt(n, 10))
		}
		if got.Status != 0 && !x.w.ByProxy {
			x.denial(r)
		}
		return x.found
	}
	if got.Upstream == nil {
		return x.found
	}
	if n := got.HitsAfter - got.HitsBefore; n != 1 {
		x.add("requests at the upstream", "1", strconv.FormatInt(n, 10))
	}
	x.upstream()
	return x.found
}

func reasonNamed(word string) authz.Reason {
	for _, r := range authz.Reasons() {
		if r.String() == word {
			return r
		}
	}
	return authz.ReasonInternal
}

func (o Outcome) verdict() string { return strings.TrimSpace(o.word() + " " + o.Reason) }

// word returns the verdict without the reason. A request that was let through with a reason
// to deny was denied in shadow mode.
func (o Outcome) word() string {
	switch {
	case !o.Allowed:
		return authz.VerdictDeny
	case o.Reason != "" && !reasonNamed(o.Reason).Allows():
		return authz.VerdictWouldDeny
	}
	return authz.VerdictAllow
}

// principal compares the principal with the expected identity, at depths without an upstream.
func (x *comparison) principal() {
	who := x.got.Principal
	if who == nil {
		return
	}
	if x.c.WantClientIP != "" || x.complete && x.w.Allow {
		x.equal("client address", x.w.ClientIP, x.got.ClientIP)
	}
	if !x.w.Allow || x.w.Shadow || x.w.Identity == nil {
		return
	}
	fields := map[string]string{
		"auth_method": who.Method.String(),
		"user":        who.UserID,
		"roles":       strings.Join(who.Roles, ","),
		"session":     who.SessionID,
		"key_prefix":  who.KeyPrefix,
		"scopes":      strings.Join(who.Scopes, ","),
		"client_ip":   x.got.ClientIP,
	}
	for name := range x.c.file.Config.Identity.Attributes {
		fields[attributePrefix+name] = who.Attributes.Get(name)
	}
	for _, field := range slices.Sorted(maps.Keys(fields)) {
		x.equal("principal "+field, x.w.Identity[field], fields[field])
	}
}

// upstream checks that each expected identity header reached the upstream once with its
// value, and that no other header could be taken for one.
func (x *comparison) upstream() {
	f := x.c.file
	wanted := map[string]string{}   // by name
	open := map[string]bool{}       // identity headers that the case does not specify
	reserved := map[string]string{} // reasons, by folded name
	for _, field := range f.identityFields() {
		name := f.IdentityHeader(field)
		reserved[authz.FoldHeader(name)] = "an identity header"
		if x.w.Identity == nil {
			open[name] = true
		} else if value := x.w.Identity[field]; value != "" {
			wanted[name] = value
		}
	}
	x.reserve(reserved)
	values := map[string][]string{}
	for _, h := range x.got.Upstream {
		name := strings.ToLower(h[0])
		values[name] = append(values[name], h[1])
		if _, ok := wanted[name]; ok || open[name] && len(values[name]) == 1 {
			continue
		}
		folded := authz.FoldHeader(name)
		if why, found := reserved[folded]; found {
			x.add(name, "absent at the upstream: "+why, h[1])
		} else if strings.HasPrefix(folded, "x-warder-") {
			x.add(name, "absent at the upstream: not set by warder", h[1])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		if got := values[name]; len(got) != 1 || got[0] != wanted[name] {
			x.add(name, wanted[name], orNothing(strings.Join(got, " and ")))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(x.c.Upstream)) {
		value := x.c.Upstream[name]
		if got := values[strings.ToLower(name)]; !slices.Contains(got, value) {
			x.add("upstream "+strings.ToLower(name), value, orNothing(strings.Join(got, " and ")))
		}
	}
	if x.c.WantClientIP != "" && x.w.Identity == nil {
		x.equal("client address", x.w.ClientIP, strings.Join(values[f.IdentityHeader("client_ip")], " and "))
	}
}

// reserve adds the other headers that must not reach the upstream.
func (x *comparison) reserve(reserved map[string]string) {
	f := x.c.file
	shadow := x.w.Shadow || x.got.Shadow // the application checks the credentials itself
	tokens, apiKeys := f.Sources().All()
	for _, s := range apiKeys {
		if s.Header != "" && s.Scheme == "" && !f.KeepsAPIKey() && !shadow {
			reserved[authz.FoldHeader(s.Header)] = "the API key"
		}
	}
	for _, s := range tokens {
		if s.Header != "" && f.Config.Identity.RemoveCredentials && !shadow {
			reserved[authz.FoldHeader(s.Header)] = "the token"
		}
	}
	if f.Config.Identity.RemoveAuthorization && !shadow {
		reserved["authorization"] = "the credential"
	}
	strip := f.Config.StripHeaders
	if strip == nil {
		strip = []string{"x-original-url", "x-rewrite-url", "x-http-method-override", "x-http-method", "x-method-override"}
	}
	for _, name := range strip {
		reserved[authz.FoldHeader(name)] = "a header that is stripped"
	}
	for _, name := range x.c.UpstreamAbsent {
		reserved[authz.FoldHeader(name)] = "listed in upstream_absent"
	}
}
