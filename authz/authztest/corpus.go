package authztest

import (
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"warder/authz"
	"warder/authz/policytest"
	"warder/policy"
)

// RunCorpus runs every case of a corpus at one depth, in the order of the files. open is
// called once for each file.
func RunCorpus(t *testing.T, dir string, open func(t *testing.T, f *policytest.File) policytest.Depth) {
	t.Helper()
	runner := policytest.NewRunner()
	runner.Complete = true
	for _, f := range LoadCorpus(t, dir) {
		t.Run(f.Name, func(t *testing.T) {
			depth := open(t, f)
			run := runner.File(f, depth)
			for _, c := range f.Cases {
				if c.Skipped(depth.Kind()) != "" {
					continue
				}
				t.Run(c.Name, func(t *testing.T) {
					result := run.Case(t.Context(), c)
					if result.Err != nil {
						t.Fatal(result.Err)
					}
					for _, d := range result.Differences {
						t.Error(d)
					}
				})
			}
		})
	}
}

// LoadCorpus reads every *.yaml file of a folder, sorted by name. It fails the test if a file
// does not meet the additional rules for a corpus.
func LoadCorpus(t *testing.T, dir string) []*policytest.File {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) == 0 {
		t.Fatalf("%s: no *.yaml file; a corpus has at least one", dir)
	}
	var files []*policytest.File
	for _, path := range paths {
		f, err := policytest.Load(path)
		if err != nil {
			t.Fatal(err)
		}
		checkCorpus(t, f)
		files = append(files, f)
	}
	return files
}

// checkCorpus checks that each case specifies its whole result, and that it runs at every
// depth or gives a reason for an exception.
func checkCorpus(t *testing.T, f *policytest.File) {
	t.Helper()
	if f.About == "" || f.Policy == "" {
		t.Errorf("%s: about or policy is missing", f.Path)
	}
	for _, c := range f.Cases {
		report := func(message string) { t.Errorf("%s: %s: %s", c.Position(), c.Field(), message) }
		allow, reason, named := c.Allows()
		if !named {
			report("want has no reason")
		}
		if allow && (reason == authz.ReasonSession || reason == authz.ReasonAPIKey) && c.As == "" && c.Identity == nil {
			report("as or identity is missing: an allowed request with a principal must specify the identity")
		}
		if c.Envoy.Skip != "" || c.Envoy.Status != 0 {
			continue
		}
		peer, err := netip.ParseAddr(c.Peer)
		if c.Peer != "" && (err != nil || !peer.Is4() || !peer.IsLoopback()) {
			report("peer: no client can connect to Envoy from there; want an address of 127.0.0.0/8, or envoy: {skip: why}")
		}
		if c.Now != "" || f.Now != "" {
			report("now: Envoy's clock cannot be set; want envoy: {skip: why}")
		}
	}
}

// Open opens a file of the corpus. Its policy has no environment variables.
func Open(t *testing.T, f *policytest.File, now time.Time) *policytest.Opened {
	t.Helper()
	routes, err := policy.Parse([]policy.File{{Name: f.Name, Data: []byte(f.Policy)}}, func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	opened, err := f.Open(routes, now)
	if err != nil {
		t.Fatal(err)
	}
	return opened
}
