package server

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"warder/authz"
	"warder/authz/authztest"
	"warder/authz/memory"
	"warder/authz/token"
	"warder/cmd/warder/internal/clitest"
	"warder/cmd/warder/internal/config"
	"warder/cmd/warder/internal/server/metrics"
	"warder/policy"
)

// reloading watches a policy until the test ends.
type reloading struct {
	*policyReloader
	out    *authztest.Buffer
	hangup chan os.Signal
}

func startReloading(t *testing.T, path string, with ...func(*policyReloader)) *reloading {
	t.Helper()
	files := newFileWatch([]string{path}, clitest.Discard())
	p, err := policy.Load(path, clitest.Environment())
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := token.NewVerifier(token.Config{Keys: []token.Key{{Algorithm: "HS256", Secret: []byte(clitest.Secret)}}})
	if err != nil {
		t.Fatal(err)
	}
	store := memory.New(nil)
	engine, err := authz.NewEngine(authz.Config{Policy: p, Tokens: verifier, Sessions: store, Users: store, APIKeys: store})
	if err != nil {
		t.Fatal(err)
	}
	r := &reloading{out: &authztest.Buffer{}, hangup: make(chan os.Signal)}
	r.policyReloader = &policyReloader{
		path: path, env: clitest.Environment(), engine: engine, files: files, settings: config.DefaultSettings(),
		status: newPolicyStatus(p.Hash(), time.Now()), routesGone: metrics.New(nil).RoutesGone,
		log: NewLogger(r.out, config.Log{Format: "text", Level: "debug"}),
	}
	for _, change := range with {
		change(r.policyReloader)
	}
	ctx, stop := context.WithCancel(context.Background()) //nolint:usetesting // t.Context ends before the cleanup that waits for the end
	done := make(chan error, 1)
	go func() { done <- r.watch(ctx, r.hangup) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("watch: %v", err)
		}
	})
	return r
}

func (r *reloading) routes() string {
	var ids []string
	for _, route := range r.engine.Policy().Routes() {
		ids = append(ids, route.ID)
	}
	return strings.Join(ids, " ")
}

func TestReload(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := clitest.WriteFile(t, dir, "policy.yaml", clitest.PolicyWith("a", "b"))
	r := startReloading(t, path)

	clitest.Replace(t, path, clitest.PolicyWith("b", "c", "d"))
	clitest.Eventually(t, "the new routes", func() bool { return r.routes() == "b c d" })
	clitest.Eventually(t, "a word about them", func() bool {
		return strings.Contains(r.out.String(), "policy reloaded") && strings.Contains(r.out.String(), "routes=3 added=2 removed=1 hash="+r.engine.Policy().Hash())
	})

	// An invalid policy changes nothing, and each problem is logged.
	good := r.engine.Policy()
	clitest.Replace(t, path, "version: 1\nroutes:\n  - {id: e, match: e, public: true}\n  - {id: f, match: /f, publik: true}\n")
	clitest.Eventually(t, "both problems", func() bool {
		return strings.Contains(r.out.String(), path+":3:") && strings.Contains(r.out.String(), path+":4:")
	})
	if r.engine.Policy() != good {
		t.Error("a bad policy replaced the good one")
	}

	// The same holds if the file is removed.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	clitest.Eventually(t, "a word about the file", func() bool { return strings.Contains(r.out.String(), "no such file") })
	if r.engine.Policy() != good {
		t.Error("the good policy went with its file")
	}

	// If it comes back unchanged, nothing is swapped, and the log says that the reload succeeded.
	clitest.WriteFile(t, dir, "policy.yaml", clitest.PolicyWith("b", "c", "d"))
	clitest.Eventually(t, "a word that all is well", func() bool {
		return strings.Contains(r.out.String(), "level=INFO msg=\"policy is good again, and unchanged\"")
	})
	if r.engine.Policy() != good {
		t.Error("an unchanged policy was swapped")
	}

	clitest.Replace(t, path, clitest.PolicyWith("z"))
	clitest.Eventually(t, "the routes after all that", func() bool { return r.routes() == "z" })
}

// TestReloadNamesRemovedRoutes checks that a reload that removes routes logs a warning with
// their names, or some of the names if there are many.
func TestReloadNamesRemovedRoutes(t *testing.T) {
	t.Parallel()
	path := clitest.WriteFile(t, t.TempDir(), "policy.yaml", clitest.PolicyWith("d", "c", "b", "a"))
	r := startReloading(t, path)
	clitest.Replace(t, path, clitest.PolicyWith("x", "b", "d", "c", "a"))
	clitest.Eventually(t, "a word about the reload", func() bool {
		return strings.Contains(r.out.String(), "level=INFO msg=\"policy reloaded\" routes=5 added=1 removed=0")
	})
	clitest.Replace(t, path, clitest.PolicyWith("b", "x"))
	clitest.Eventually(t, "the names", func() bool {
		return strings.Contains(r.out.String(), "level=WARN msg=\"policy reloaded, routes are gone\" routes=2 added=0 removed=3") &&
			strings.Contains(r.out.String(), `removed_routes="[\"a\",\"c\",\"d\"]"`)
	})
	var many []string
	for i := range 30 {
		many = append(many, fmt.Sprintf("r%02d", i))
	}
	clitest.Replace(t, path, clitest.PolicyWith(many...))
	clitest.Eventually(t, "many routes", func() bool { return strings.HasPrefix(r.routes(), "r00 r01") })
	clitest.Replace(t, path, clitest.PolicyWith("z"))
	clitest.Eventually(t, "some of many names", func() bool {
		return strings.Contains(r.out.String(), "added=1 removed=30") && strings.Contains(r.out.String(), `\"r18\",\"r19\"]"`)
	})
}

func TestReloadFolderOfKubernetes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	volume := &clitest.KubernetesVolume{Dir: dir}
	volume.Publish(t, map[string]string{"a.yaml": clitest.PolicyWith("a"), "b.yaml": clitest.PolicyWith("b")})
	r := startReloading(t, dir)
	if got := r.routes(); got != "a b" {
		t.Fatalf("routes %q", got)
	}
	volume.Publish(t, map[string]string{"a.yaml": clitest.PolicyWith("a", "c"), "b.yaml": clitest.PolicyWith("b")})
	clitest.Eventually(t, "the route of the new version", func() bool { return r.routes() == "a c b" })
	// Two files with the same id: refused as a whole.
	volume.Publish(t, map[string]string{"a.yaml": clitest.PolicyWith("a"), "b.yaml": clitest.PolicyWith("a")})
	clitest.Eventually(t, "a word about the duplicate", func() bool { return strings.Contains(r.out.String(), "policy not reloaded") })
	if got := r.routes(); got != "a c b" {
		t.Errorf("routes %q after a bad version", got)
	}
}

func TestReloadOnHangup(t *testing.T) {
	t.Parallel()
	path := clitest.WriteFile(t, t.TempDir(), "policy.yaml", clitest.PolicyWith("a"))
	r := startReloading(t, path)
	r.hangup <- os.Interrupt // any signal works
	clitest.Eventually(t, "a word that nothing changed", func() bool {
		return strings.Contains(r.out.String(), "level=INFO msg=\"policy unchanged\"")
	})
	if strings.Contains(r.out.String(), "policy reloaded") {
		t.Error("an unchanged policy was swapped")
	}
}

// TestReloadOnHangupWhenBad checks that a hangup logs problems only once, although the files are
// read a second time.
func TestReloadOnHangupWhenBad(t *testing.T) {
	t.Parallel()
	path := clitest.WriteFile(t, t.TempDir(), "policy.yaml", clitest.PolicyWith("a"))
	r := startReloading(t, path)
	said := func() int { return strings.Count(r.out.String(), "policy not reloaded") }
	clitest.Replace(t, path, "version: 2\n")
	clitest.Eventually(t, "both problems", func() bool { return said() == 2 })
	for n := range 2 {
		r.hangup <- os.Interrupt
		clitest.Eventually(t, "the second look", func() bool { return strings.Count(r.out.String(), "policy still has the problems") == n+1 })
		if want := 2 + 2*(n+1); said() != want {
			t.Errorf("%d problems after %d hangups, want %d", said(), n+1, want)
		}
	}
	// A different problem is logged after a hangup too.
	clitest.Replace(t, path, "version: 3\n")
	clitest.Eventually(t, "the other problem", func() bool { return strings.Contains(r.out.String(), `is \"3\"`) })
}

// TestReloadWarnsAboutClientIPs checks that the warning about client addresses is also logged
// at a reload, because that is when client_ips are added.
func TestReloadWarnsAboutClientIPs(t *testing.T) {
	t.Parallel()
	path := clitest.WriteFile(t, t.TempDir(), "policy.yaml", clitest.PolicyWith("a"))
	r := startReloading(t, path)
	clitest.Replace(t, path, "version: 1\nip_lists: {lan: [10.0.0.0/8]}\nroutes:\n  - {id: a, match: /a, public: true, client_ips: [lan]}\n")
	clitest.Eventually(t, "the warning", func() bool { return strings.Contains(r.out.String(), "client_ip.trusted_proxies is empty") })
}

func TestClientIPWarnings(t *testing.T) {
	t.Parallel()
	withLists := func(networks string) string {
		return "version: 1\nip_lists: {office: [" + networks + "]}\nroutes:\n  - {id: a, match: /a, public: true}\n  - {id: b, match: /b, public: true, client_ips: [office]}\n"
	}
	proxies := authz.ClientIPConfig{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
	for _, c := range []struct {
		want   string // "" for no warning
		policy string
		client authz.ClientIPConfig
	}{
		{"", clitest.PolicyWith("a"), authz.ClientIPConfig{}},
		{"p.yaml:5:", withLists("203.0.113.0/24"), authz.ClientIPConfig{}},
		{"p.yaml:5:", withLists("203.0.113.0/24"), authz.ClientIPConfig{Source: authz.SourceTrustedProxies}},
		{"open to everybody", withLists("203.0.113.0/24, 192.168.7.0/24"), authz.ClientIPConfig{}},
		{"open to everybody", withLists(`"fd00::/8"`), authz.ClientIPConfig{}},
		{"", withLists("10.0.0.0/8"), proxies},
		{"", withLists("10.0.0.0/8"), authz.ClientIPConfig{Source: authz.SourcePeer}},
		{"", withLists("10.0.0.0/8"), authz.ClientIPConfig{Source: authz.SourceTrustedHops}},
	} {
		p, err := policy.Parse([]policy.File{{Name: "p.yaml", Data: []byte(c.policy)}}, clitest.Environment())
		if err != nil {
			t.Fatal(err)
		}
		got := clientIPWarnings(p, "p.yaml", c.client)
		switch {
		case c.want == "" && len(got) > 0:
			t.Errorf("%+v: warned of %v", c.client, got)
		case c.want != "" && (len(got) != 1 || !strings.Contains(got[0].String(), c.want)):
			t.Errorf("%+v: %v, want a warning with %q", c.client, got, c.want)
		case c.want == "p.yaml:5:" && strings.Contains(got[0].String(), "everybody"):
			t.Errorf("a public network is called private: %v", got)
		}
	}
}

// TestReloadWithoutAPIKeys keeps the last good policy when the next one accepts API keys.
func TestReloadWithoutAPIKeys(t *testing.T) {
	t.Parallel()
	path := clitest.WriteFile(t, t.TempDir(), "policy.yaml", clitest.PolicyWith("a"))
	r := startReloading(t, path, func(p *policyReloader) { p.keysOff = true })
	clitest.Replace(t, path, "version: 1\nroutes:\n  - {id: keyed, match: /k, allow: [{api_key: {}}]}\n")
	clitest.Eventually(t, "the problem", func() bool {
		return strings.Contains(r.out.String(), "last good one stays") && strings.Contains(r.out.String(), "accepts API keys, and directory.api_keys is off")
	})
	if got := r.routes(); got != "a" {
		t.Errorf("the routes are %s, want those of the last good policy", got)
	}
	clitest.Replace(t, path, clitest.PolicyWith("a", "b"))
	clitest.Eventually(t, "the next good policy", func() bool { return r.routes() == "a b" })
}
