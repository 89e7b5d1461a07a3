package authz_test

import (
	"context"
	"testing"
	"time"

	"warder/authz"
	"warder/authz/authztest"
	"warder/authz/policytest"
)

const corpusDir = "../testdata/decisions"

// TestCorpus runs the decision corpus against the engine alone.
func TestCorpus(t *testing.T) {
	t.Parallel()
	authztest.RunCorpus(t, corpusDir, func(t *testing.T, f *policytest.File) policytest.Depth {
		resolver, err := authz.NewClientIPResolver(f.ClientIPConfig())
		if err != nil {
			t.Fatal(err)
		}
		return &engineDepth{opened: authztest.Open(t, f, time.Now()), clientIP: resolver}
	})
}

// An engineDepth runs cases against an engine.
type engineDepth struct {
	opened   *policytest.Opened
	clientIP authz.ClientIPResolver
}

func (*engineDepth) Kind() policytest.DepthKind { return policytest.DepthEngine }

func (e *engineDepth) Do(ctx context.Context, c *policytest.Case) (policytest.Outcome, error) {
	r, err := e.opened.Build(c)
	if err != nil {
		return policytest.Outcome{}, err
	}
	headers := make(authz.Headers, 0, len(r.Headers))
	for _, h := range r.Headers {
		headers = append(headers, authz.Header{Name: lowerASCII(h[0]), Value: h[1]})
	}
	a := authz.Attributes{
		Method: r.Method, Host: r.Host, Path: r.Path, Headers: headers, ClientIP: e.clientIP.Resolve(r.Peer, headers),
		Principal: r.Principal,
	}
	if r.ChosenRoute != nil {
		a.RouteChosen, a.RouteID = true, *r.ChosenRoute
	}
	d := e.opened.Engine.Decide(ctx, authz.NewRequest(a))
	who, route := d.Principal(), d.Route()
	got := policytest.Outcome{Allowed: d.Allowed() || d.WouldDeny(), Shadow: d.Shadow(), Reason: d.Reason().String(), Route: &route, Principal: &who}
	if d.ClientIP().IsValid() {
		got.ClientIP = d.ClientIP().String()
	}
	return got, nil
}

func lowerASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// TestCorpusCoversReasons checks that the corpus has a case for every reason, so that
// every reason is tested.
func TestCorpusCoversReasons(t *testing.T) {
	t.Parallel()
	elsewhere := map[authz.Reason]string{
		authz.ReasonOverloaded:           "an overloaded store: TestDecideOverloaded",
		authz.ReasonSessionsUnavailable:  "a failing store: TestDecideFailingStores",
		authz.ReasonDirectoryUnavailable: "a failing store: TestDecideFailingStores",
		authz.ReasonKeysUnavailable:      "an issuer that does not answer: TestDecideKeysUnknown",
		authz.ReasonInternal:             "a fault in warder: package envoy",
	}
	files := authztest.LoadCorpus(t, corpusDir)
	covered := map[authz.Reason]bool{}
	for _, f := range files {
		for _, c := range f.Cases {
			covered[c.Wanted(policytest.DepthWire).Reason] = true
		}
	}
	for _, reason := range authz.Reasons() {
		switch why, listed := elsewhere[reason]; {
		case listed && covered[reason]:
			t.Errorf("%s has a case; remove it from the list (%s)", reason, why)
		case !listed && !covered[reason]:
			t.Errorf("%s has no case", reason)
		}
	}
}
