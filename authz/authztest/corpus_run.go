package authztest

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"warder/authz"
)

// A DepthKind is how much of warder a run of the corpus goes through.
type DepthKind string

const (
	DepthEngine DepthKind = "engine" // the decision alone
	DepthGRPC   DepthKind = "grpc"   // Envoy's protocol, without an Envoy
	DepthEnvoy  DepthKind = "envoy"  // a real Envoy and an upstream
)

// A Depth sends the cases of one file and tells what came of them. It is opened
// anew for each file, with the file's policy, configuration and facts.
type Depth interface {
	Kind() DepthKind
	// Do sends [Case.Build]'s request once.
	Do(t *testing.T, c *Case) Outcome
}

// An Outcome is what came of one request.
type Outcome struct {
	Allowed bool
	Reason  string // "" where it cannot be seen
	Status  int    // the client's; 0 where there is none

	// Principal and ClientIP are who was proven, where no upstream is told.
	Principal *authz.Principal
	ClientIP  string

	// HitsBefore and HitsAfter count the requests that reached the upstream, ever.
	HitsBefore, HitsAfter int64
	// Upstream are the fields that reached it, each as often as it did; nil where
	// there is no upstream.
	Upstream [][2]string

	// Response are the fields of warder's answer to the client, and Body its body,
	// on a denial. What the proxy adds to every answer is left out.
	Response [][2]string
	Body     string
}

// RunCorpus runs every case of a corpus at one depth, in the order of the files. open is
// called once for each file.
func RunCorpus(t *testing.T, dir string, open func(t *testing.T, f *CorpusFile) Depth) {
	t.Helper()
	files, err := LoadCorpus(dir)
	if err != nil {
		t.Fatal(err)
	}
	denials := map[int]denial{}
	for _, f := range files {
		t.Run(f.Name, func(t *testing.T) {
			r := corpusRun{depth: open(t, f), denials: denials}
			r.good = f.knownGood(r.depth.Kind())
			for _, c := range f.Cases {
				if why := c.Skip(r.depth.Kind()); why != "" {
					continue
				}
				t.Run(c.Name, func(t *testing.T) { r.run(t, c) })
			}
		})
	}
}

type corpusRun struct {
	depth   Depth
	denials map[int]denial // what a denial looks like, by status
	good    *Case
}

// A denial is what a client gets to see of one, the challenge aside.
type denial struct {
	name     string // of the first case with the status
	response [][2]string
	body     string
}

// knownGood returns the first case that is let through for somebody.
func (f *CorpusFile) knownGood(depth DepthKind) *Case {
	i := slices.IndexFunc(f.Cases, func(c *Case) bool {
		w := c.Wanted(depth)
		return w.Allow && w.Reason != authz.ReasonPublic && c.Skip(depth) == ""
	})
	if i < 0 {
		return nil
	}
	return f.Cases[i]
}

func (r *corpusRun) run(t *testing.T, c *Case) {
	w := c.Wanted(r.depth.Kind())
	got := r.depth.Do(t, c)
	r.check(t, c, w, got)
	if w.Allow || r.good == nil {
		return
	}
	// A denial leaves nothing behind that changes the next answer.
	if again := r.depth.Do(t, r.good); !again.Allowed {
		t.Errorf("after this case %q is denied: %s", r.good.Name, again.Reason)
	}
}

func (r *corpusRun) check(t *testing.T, c *Case, w Wanted, got Outcome) {
	if got.Allowed != w.Allow {
		t.Errorf("allowed = %v (%s), want %s", got.Allowed, got.Reason, c.describe(w))
		return
	}
	if got.Reason != "" && !w.ByProxy && got.Reason != w.Reason.String() {
		t.Errorf("reason = %s, want %s", got.Reason, w.Reason)
	}
	if got.Status != 0 && got.Status != w.Status {
		t.Errorf("status = %d, want %d", got.Status, w.Status)
	}
	if got.Principal != nil {
		checkPrincipal(t, c, w, got)
	}
	if !w.Allow {
		if got.HitsAfter != got.HitsBefore {
			t.Errorf("denied, and %d requests reached the upstream", got.HitsAfter-got.HitsBefore)
		}
		if got.Status != 0 && !w.ByProxy {
			r.checkDenial(t, c, w, got)
		}
		return
	}
	if got.Upstream == nil {
		return
	}
	if n := got.HitsAfter - got.HitsBefore; n != 1 {
		t.Errorf("allowed, and %d requests reached the upstream", n)
	}
	checkUpstream(t, c, w, got.Upstream)
}

func (c *Case) describe(w Wanted) string {
	if w.ByProxy {
		return "a refusal by the proxy"
	}
	if w.Allow {
		return "allow " + w.Reason.String()
	}
	return "deny " + w.Reason.String()
}

// checkPrincipal holds who was proven against what the upstream would be told.
func checkPrincipal(t *testing.T, c *Case, w Wanted, got Outcome) {
	t.Helper()
	if said := w.Allow || c.ClientIP != ""; said && got.ClientIP != w.ClientIP {
		t.Errorf("client address = %q, want %q", got.ClientIP, w.ClientIP)
	}
	if !w.Allow {
		return
	}
	who := got.Principal
	fields := map[string]string{
		"auth_method": who.Method.String(),
		"user":        who.UserID,
		"roles":       strings.Join(who.Roles, ","),
		"session":     who.SessionID,
		"key_prefix":  who.KeyPrefix,
		"scopes":      strings.Join(who.Scopes, ","),
		"client_ip":   got.ClientIP,
	}
	maps.DeleteFunc(fields, func(_, value string) bool { return value == "" })
	if diff := cmp.Diff(w.Identity, fields); diff != "" {
		t.Errorf("principal (-want +got):\n%s", diff)
	}
}

// checkUpstream: each identity header is there once, with its value, and nothing
// else could be taken for one.
func checkUpstream(t *testing.T, c *Case, w Wanted, upstream [][2]string) {
	t.Helper()
	f := c.file
	wanted := map[string]string{}   // by name
	reserved := map[string]string{} // from a folded name to why it is
	for field := range identityFields {
		name := f.IdentityHeader(field)
		reserved[foldHeader(name)] = "an identity header"
		if value := w.Identity[field]; value != "" {
			wanted[name] = value
		}
	}
	if !f.KeepsAPIKey() {
		reserved[foldHeader(f.APIKeyHeader())] = "the API key"
	}
	if f.Config.Identity.RemoveAuthorization {
		reserved["authorization"] = "the credential"
	}
	strip := f.Config.StripHeaders
	if strip == nil {
		strip = []string{"x-original-url", "x-rewrite-url", "x-http-method-override", "x-http-method", "x-method-override"}
	}
	for _, name := range strip {
		reserved[foldHeader(name)] = "a header that is stripped"
	}
	for _, name := range c.Absent {
		reserved[foldHeader(name)] = "a header that must be absent"
	}

	values := map[string][]string{}
	for _, h := range upstream {
		name := strings.ToLower(h[0])
		values[name] = append(values[name], h[1])
		if _, ok := wanted[name]; ok {
			continue
		}
		folded := foldHeader(name)
		if why, found := reserved[folded]; found {
			t.Errorf("%s: %s reached the upstream: %s", name, h[1], why)
		} else if strings.HasPrefix(folded, "x-warder-") {
			t.Errorf("%s: %s reached the upstream and is not warder's", name, h[1])
		}
	}
	for name, value := range wanted {
		if got := values[name]; len(got) != 1 || got[0] != value {
			t.Errorf("%s: the upstream has %q, want %q once", name, got, value)
		}
	}
	for name, value := range c.Present {
		if got := values[strings.ToLower(name)]; !slices.Contains(got, value) {
			t.Errorf("%s: the upstream has %q, want %q", name, got, value)
		}
	}
}

// foldHeader makes equal what an application may take for one header.
func foldHeader(name string) string {
	return strings.NewReplacer("_", "-", ".", "-").Replace(strings.ToLower(name))
}
