package compare

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"warder/policy"
	"warder/policy/pattern"
)

// A call is a request with all that a decision looks at.
type call struct {
	method, host, path string
	addr               netip.Addr
	peer               string
	token              credential
	key                credential
	origin, requested  string // of a preflight
}

// A credential is absent, bad, or good for the names that its holder has.
type credential struct {
	sent, good bool
	names      []string
}

func (c call) String() string {
	return fmt.Sprintf("%s https://%s%s from %v through %q token %+v key %+v preflight %q %q", c.method, c.host, c.path, c.addr, c.peer, c.token, c.key, c.origin, c.requested)
}

// decides is the oracle: it walks through the checks as the engine does, and knows nothing
// of comparing.
func decides(p *policy.Policy, c call) bool {
	path, err := pattern.ParsePath(c.path)
	if err != nil {
		return false
	}
	preflight := false
	var r *policy.Route
	if c.method == "OPTIONS" && c.origin != "" && c.requested != "" {
		r = p.Preflight(c.origin, c.requested, c.host, path)
		preflight = r != nil
	}
	if r == nil {
		r = p.Match(c.method, c.host, path)
	}
	if r == nil || path.Forms()&^r.PathAllows != 0 {
		return false
	}
	if r.Shadow {
		return true
	}
	if r.ClientIPs != nil && (!c.addr.IsValid() || !r.ClientIPs.Contains(c.addr)) || r.Principals != nil && !r.Principals.Contains(c.peer) {
		return false
	}
	if preflight || r.Public {
		return true
	}
	token, key := r.User != nil && c.token.sent, r.APIKey != nil && c.key.sent
	switch {
	case token && key:
		return false
	case token:
		return c.token.good && passesRoles(p, r.User, c.token.names)
	case key:
		return c.key.good && passesScopes(r.APIKey, c.key.names)
	}
	return r.Anonymous
}

func passesRoles(p *policy.Policy, u *policy.UserRule, held []string) bool {
	if p.AdminRole() != "" && slices.Contains(held, p.AdminRole()) {
		return true
	}
	return holdsAny(held, u.Roles) && holdsAll(held, u.AllRoles)
}

func passesScopes(k *policy.APIKeyRule, held []string) bool {
	return holdsAll(held, k.Scopes) && holdsAny(held, k.AnyScopes)
}

func holdsAny(held, wanted []string) bool {
	return len(wanted) == 0 || slices.ContainsFunc(wanted, func(s string) bool { return slices.Contains(held, s) })
}

func holdsAll(held, wanted []string) bool {
	return !slices.ContainsFunc(wanted, func(s string) bool { return !slices.Contains(held, s) })
}

// A maker makes small policies and requests that meet in many ways.
type maker struct{ *rand.Rand }

func (m maker) oneOf(words ...string) string { return words[m.IntN(len(words))] }

// someOf returns at least one of the words, in YAML.
func (m maker) someOf(words ...string) string {
	m.Shuffle(len(words), func(i, j int) { words[i], words[j] = words[j], words[i] })
	return "[" + strings.Join(words[:1+m.IntN(len(words))], ", ") + "]"
}

var (
	makerPaths = []string{"/", "/a", "/a/b", "/a/{x}", "/{y}/b", "/a/**", "/**", "/a/{x}/c", "/a/{z}/**", "/{q}", "/a%3Bb", "/{w}/{v}",
		"/{m}-b", "/a-{n}", "/a/{m}.b", "/a/{m}.{n}", "/{m}%3Bb", "/{m}-{n}/b", "/a/b.{m}/**", "/a-b"}
	makerHosts   = []string{"h.ex", "'*.ex'", "'*.b.ex'", "a.b.ex"}
	makerMethods = []string{"GET", "POST", "HEAD", "OPTIONS", "PURGE"}
	makerLists   = []string{"one", "two", "three", "all"}
	makerPeers   = []string{"spiffe://t/a", "spiffe://t/b", "'spiffe://t/*'", "CN=x"}
	makerOrigins = []string{"https://one.ex", "https://two.ex"}
	makerForms   = []string{"semicolon", "encoded_slash"}
)

func (m maker) policy(t testing.TB) *policy.Policy {
	t.Helper()
	for range 1000 {
		text := m.text()
		if p, err := policy.Parse([]policy.File{{Name: "p.yaml", Data: []byte(text)}}, nil); err == nil {
			return p
		}
	}
	t.Fatal("no policy is valid")
	return nil
}

func (m maker) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "version: 1\nadmin_role: %s\nip_lists: {one: [10.0.0.0/8], two: [10.1.0.0/16, 192.0.2.7], three: ['2001:db8::/32'], all: [0.0.0.0/0, '::/0']}\nroutes:\n", m.oneOf("A", "B", "''"))
	for i := range 1 + m.IntN(4) {
		fmt.Fprintf(&b, "- id: r%d\n  match: {paths: ['%s']", i, makerPaths[m.IntN(len(makerPaths))])
		if m.IntN(3) == 0 {
			fmt.Fprintf(&b, ", hosts: %s", m.someOf(slices.Clone(makerHosts)...))
		}
		if m.IntN(2) == 0 {
			fmt.Fprintf(&b, ", methods: %s", m.someOf(slices.Clone(makerMethods)...))
		}
		b.WriteString("}\n" + m.rule())
		if m.IntN(4) == 0 {
			fmt.Fprintf(&b, "  client_ips: %s\n", m.someOf(slices.Clone(makerLists)...))
		}
		if m.IntN(6) == 0 {
			fmt.Fprintf(&b, "  principals: %s\n", m.someOf(slices.Clone(makerPeers)...))
		}
		if m.IntN(4) == 0 {
			fmt.Fprintf(&b, "  cors: {allow_origins: %s}\n", m.someOf(slices.Clone(makerOrigins)...))
		}
		if m.IntN(3) == 0 {
			fmt.Fprintf(&b, "  path_allows: %s\n", m.someOf(slices.Clone(makerForms)...))
		}
		if m.IntN(8) == 0 {
			b.WriteString("  shadow: true\n")
		}
	}
	return b.String()
}

func (m maker) rule() string {
	if m.IntN(6) == 0 {
		return "  public: true\n"
	}
	kinds := 1 + m.IntN(7)
	var ways []string
	if kinds&1 != 0 {
		ways = append(ways, "{user: {"+m.names("roles", "all_roles")+"}}")
	}
	if kinds&2 != 0 {
		ways = append(ways, "{api_key: {"+m.names("any_scopes", "scopes")+"}}")
	}
	if kinds&4 != 0 {
		ways = append(ways, "{anonymous: {}}")
	}
	return "  allow: [" + strings.Join(ways, ", ") + "]\n"
}

func (m maker) names(anyOf, all string) string {
	var keys []string
	if m.IntN(2) == 0 {
		keys = append(keys, anyOf+": "+m.someOf("A", "B", "C"))
	}
	if m.IntN(3) == 0 {
		keys = append(keys, all+": "+m.someOf("A", "B", "C"))
	}
	return strings.Join(keys, ", ")
}

func (m maker) call() call {
	c := call{
		method: m.oneOf("GET", "GET", "POST", "HEAD", "OPTIONS", "PURGE", "DELETE", "TRACE"),
		host:   m.oneOf("h.ex", "x.ex", "y.b.ex", "a.b.ex", "other", "", "z.a.b.ex"),
		path: m.oneOf("/", "/a", "/a/b", "/a/q", "/q/b", "/a/q/c", "/a/q/d/e", "/q", "/q/r/s", "/a%3Bb", "/a/q%2Fr", "/a/q;r", "/q;r", "/a/b/c", "/b", "/q/r",
			"/a-b", "/q-b", "/a-q", "/a--b", "/a-b-b", "/a/q.b", "/a/b.q", "/a/b.b", "/a/q.b.b", "/a/q.r", "/a/b.q/c", "/q-b/b", "/a-b/b", "/q%3Bb", "/a-q%3Bb", "/q%3Br-b", "/a-q%2Fr", "/a/q%2F.b", "/-b"),
		peer: m.oneOf("", "spiffe://t/a", "spiffe://t/b", "spiffe://t/c", "CN=x", "CN=y"),
	}
	if addr := m.oneOf("10.0.0.1", "10.1.0.1", "192.0.2.7", "2001:db8::1", "2001:db9::1", "203.0.113.1", ""); addr != "" {
		c.addr = netip.MustParseAddr(addr)
	}
	c.token, c.key = m.credential(), m.credential()
	if c.method == "OPTIONS" && m.IntN(2) == 0 {
		c.origin, c.requested = m.oneOf("https://one.ex", "https://two.ex", "https://three.ex"), m.oneOf("GET", "POST", "HEAD", "OPTIONS", "PURGE", "DELETE")
		c.token, c.key = credential{}, credential{} // browsers send none
	}
	return c
}

func (m maker) credential() credential {
	switch m.IntN(4) {
	case 0, 1:
		return credential{}
	case 2:
		return credential{sent: true}
	}
	c := credential{sent: true, good: true}
	for _, name := range []string{"A", "B", "C"} {
		if m.IntN(2) == 0 {
			c.names = append(c.names, name)
		}
	}
	return c
}

// reported reports whether a line of the diff speaks of the request.
func reported(d Diff, before, after *policy.Policy, c call, gained bool) bool {
	for _, change := range d.Changes {
		lines, passes, refuses := change.Gained, change.New, change.Old
		admin := change.NewAdmin
		if !gained {
			lines, passes, refuses, admin = change.Lost, change.Old, change.New, change.OldAdmin
		}
		for _, a := range lines {
			if speaksOf(change, a, passes, refuses, admin, before, after, c) {
				return true
			}
		}
	}
	return false
}

func speaksOf(change Change, a Access, passes, refuses *policy.Route, admin string, before, after *policy.Policy, c call) bool {
	path, _ := pattern.ParsePath(c.path)
	method := c.method
	if a.Who == WhoPreflight {
		if !slices.Contains(a.Origins, c.origin) || c.origin == "" {
			return false
		}
		method = c.requested
	} else {
		old, now := before.Match(method, c.host, path), after.Match(method, c.host, path)
		if c.origin != "" { // a preflight is decided like the request that it asks for
			o, n := before.Preflight(c.origin, c.requested, c.host, path), after.Preflight(c.origin, c.requested, c.host, path)
			if o != nil {
				old, method = o, c.requested
			}
			if n != nil {
				now, method = n, c.requested
			}
		}
		if old != change.Old || now != change.New {
			return false
		}
	}
	in := slices.ContainsFunc(change.Places, func(p Place) bool {
		e := policy.Entry{Host: p.Host, Methods: p.Methods, Pattern: p.pattern}
		return e.Takes(method, c.host, path)
	})
	if !in {
		return false
	}
	switch a.Who {
	case WhoAnybody:
		return true
	case WhoNoCredential:
		looked := passes.User != nil && c.token.sent || passes.APIKey != nil && c.key.sent
		return !looked
	case WhoUsers:
		return c.token.good && (a.Admin && slices.Contains(c.token.names, admin) || containsSet(a.Sets, c.token.names))
	case WhoAPIKeys:
		return c.key.good && containsSet(a.Sets, c.key.names)
	case WhoBadToken:
		return refuses.User != nil && c.token.sent && passes.User == nil
	case WhoBadKey:
		return refuses.APIKey != nil && c.key.sent && passes.APIKey == nil
	case WhoBoth:
		return c.token.sent && c.key.sent
	case WhoPreflight, WhoPasses:
		if a.From == nil && a.Through == nil && a.Forms == 0 {
			return true
		}
	}
	switch {
	case a.From != nil && a.From.Unlisted:
		return !c.addr.IsValid() || !refuses.ClientIPs.Contains(c.addr)
	case a.From != nil:
		return slices.ContainsFunc(a.From.Prefixes, func(p netip.Prefix) bool { return p.Contains(c.addr) })
	case a.Through != nil && a.Through.Unlisted:
		return !refuses.Principals.Contains(c.peer)
	case a.Through != nil:
		return slices.ContainsFunc(a.Through.Patterns, func(p string) bool {
			before, open := strings.CutSuffix(p, "*")
			return p == c.peer || open && strings.HasPrefix(c.peer, before)
		})
	}
	return path.Forms()&a.Forms != 0
}

// witness makes a request that a line speaks of and that passes the route.
func witness(change Change, place Place, a Access, passes, refuses *policy.Route, admin string) call {
	c := call{method: place.Example.Method, host: place.Example.Host, path: place.Example.Path}
	if passes.ClientIPs != nil {
		c.addr = passes.ClientIPs.Prefixes()[0].Addr()
	}
	if passes.Principals != nil {
		c.peer = strings.Replace(passes.Principals.Patterns()[0], "*", "z9", 1)
	}
	token := func(names ...string) { c.token = credential{true, true, names} }
	key := func(names ...string) { c.key = credential{true, true, names} }
	somebody := func() {
		switch {
		case passes.User != nil:
			token(leastSets(passes.User.AllRoles, passes.User.Roles)[0]...)
		case passes.APIKey != nil:
			key(scopeSets(passes.APIKey)[0]...)
		}
	}
	switch a.Who {
	case WhoAnybody:
		if refuses != nil && refuses.User != nil && refuses.Anonymous {
			c.token = credential{sent: true}
		} else if refuses != nil && refuses.APIKey != nil && refuses.Anonymous {
			c.key = credential{sent: true}
		}
	case WhoNoCredential:
	case WhoUsers:
		if len(a.Sets) > 0 {
			token(a.Sets[0]...)
		} else {
			token(admin)
		}
	case WhoAPIKeys:
		key(a.Sets[0]...)
	case WhoBadToken, WhoBadKey, WhoBoth:
		somebody()
		if a.Who != WhoBadKey && !c.token.sent {
			c.token = credential{sent: true}
		}
		if a.Who != WhoBadToken && !c.key.sent {
			c.key = credential{sent: true}
		}
	case WhoPreflight:
		c.requested, c.method, c.origin = c.method, "OPTIONS", a.Origins[0]
	case WhoPasses:
		somebody()
	}
	switch {
	case a.From != nil && len(a.From.Prefixes) > 0:
		c.addr = a.From.Prefixes[0].Addr()
	case a.From != nil:
		c.addr = netip.Addr{}
	case a.Through != nil && a.Through.Unlisted:
		c.peer = ""
	case a.Through != nil:
		c.peer = strings.Replace(a.Through.Patterns[0], "*", "z9", 1)
	}
	return c
}

// witnesses are requests of which one is what a line speaks of: those of witness, with the form
// of the line between each two parts of the path.
func witnesses(change Change, place Place, a Access, passes, refuses *policy.Route, admin string) []call {
	c := witness(change, place, a, passes, refuses, admin)
	if a.Forms == 0 {
		return []call{c}
	}
	form := "%2F"
	if a.Forms&pattern.Semicolon != 0 {
		form = ";"
	}
	var all []call
	for i := range c.path {
		for j := range c.path {
			for _, text := range []string{form, form + "x", "x" + form + "x"} {
				longer := c
				longer.path = c.path[:i+1] + text + c.path[j+1:]
				all = append(all, longer)
			}
		}
	}
	c.path = strings.TrimSuffix(c.path, "/") + "/x" + form + "x"
	return append(all, c)
}

// checkDiff holds a diff against the oracle, in both directions.
func checkDiff(t *testing.T, m maker, before, after *policy.Policy) {
	t.Helper()
	d, err := Policies(before, after)
	if err != nil {
		t.Fatal(err)
	}
	for range 300 {
		c := m.call()
		was, is := decides(before, c), decides(after, c)
		if was != is && !reported(d, before, after, c, is) {
			t.Fatalf("%v: passed %v, passes %v, and no line says so\n%+v", c, was, is, d.Changes)
		}
	}
	for _, change := range d.Changes {
		for _, place := range change.Places {
			for _, a := range change.Gained {
				all := witnesses(change, place, a, change.New, change.Old, change.NewAdmin)
				if !slices.ContainsFunc(all, func(c call) bool { return !decides(before, c) && decides(after, c) }) {
					t.Fatalf("gained %+v at %+v, while %v did not\n%+v", a, place, all, change)
				}
			}
			for _, a := range change.Lost {
				all := witnesses(change, place, a, change.Old, change.New, change.OldAdmin)
				if !slices.ContainsFunc(all, func(c call) bool { return decides(before, c) && !decides(after, c) }) {
					t.Fatalf("lost %+v at %+v, while %v did not\n%+v", a, place, all, change)
				}
			}
		}
	}
}

// TestDiffAgainstOracle compares random policies.
func TestDiffAgainstOracle(t *testing.T) {
	t.Parallel()
	for seed := range uint64(800) {
		m := maker{rand.New(rand.NewPCG(seed, 1))}
		before, after := m.policy(t), m.policy(t)
		if t.Run(fmt.Sprint(seed), func(t *testing.T) { checkDiff(t, m, before, after) }); t.Failed() {
			return
		}
	}
}

func FuzzDiff(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) {
		m := maker{rand.New(rand.NewPCG(seed, 2))}
		checkDiff(t, m, m.policy(t), m.policy(t))
	})
}
