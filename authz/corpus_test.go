package authz_test

import (
	"testing"
	"time"

	"warder/authz"
	"warder/authz/authztest"
)

const corpusDir = "../testdata/decisions"

// TestCorpus plays the decision corpus on the engine alone.
func TestCorpus(t *testing.T) {
	t.Parallel()
	authztest.RunCorpus(t, corpusDir, func(t *testing.T, f *authztest.CorpusFile) authztest.Depth {
		resolver, err := authz.NewClientIPResolver(f.ClientIPConfig())
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		return &engineDepth{engine: f.Engine(t, now), clientIP: resolver, now: now}
	})
}

// An engineDepth asks the engine, at one moment.
type engineDepth struct {
	engine   *authz.Engine
	clientIP authz.ClientIPResolver
	now      time.Time
}

func (*engineDepth) Kind() authztest.DepthKind { return authztest.DepthEngine }

func (e *engineDepth) Do(t *testing.T, c *authztest.Case) authztest.Outcome {
	r := c.Build(t, e.now)
	headers := make(authz.Headers, 0, len(r.Headers))
	for _, h := range r.Headers {
		headers = append(headers, authz.Header{Name: lowerASCII(h[0]), Value: h[1]})
	}
	a := authz.Attributes{
		Method: r.Method, Host: r.Host, Path: r.Path, Headers: headers, ClientIP: e.clientIP.Resolve(r.Peer, headers),
		Principal: r.Principal,
	}
	if r.Route != nil {
		a.RouteChosen, a.RouteID = true, *r.Route
	}
	d := e.engine.Decide(t.Context(), authz.NewRequest(a))
	who := d.Principal()
	got := authztest.Outcome{Allowed: d.Allowed(), Reason: d.Reason().String(), Principal: &who}
	if d.ClientIP().IsValid() {
		got.ClientIP = d.ClientIP().String()
	}
	return got
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

// TestCorpusCoversReasons: a reason that no case has is a rule that nothing holds.
func TestCorpusCoversReasons(t *testing.T) {
	t.Parallel()
	elsewhere := map[authz.Reason]string{
		authz.ReasonOverloaded:           "a store that refuses: TestDecideOverloaded",
		authz.ReasonSessionsUnavailable:  "a failing store: TestDecideFailingStores",
		authz.ReasonDirectoryUnavailable: "a failing store: TestDecideFailingStores",
		authz.ReasonInternal:             "a fault of warder: package envoy",
	}
	files, err := authztest.LoadCorpus(corpusDir)
	if err != nil {
		t.Fatal(err)
	}
	covered := map[authz.Reason]bool{}
	for _, f := range files {
		for _, c := range f.Cases {
			covered[c.Wanted(authztest.DepthGRPC).Reason] = true
		}
	}
	for _, reason := range authz.Reasons() {
		switch why, listed := elsewhere[reason]; {
		case listed && covered[reason]:
			t.Errorf("%s has a case: take it off the list (%s)", reason, why)
		case !listed && !covered[reason]:
			t.Errorf("%s has no case", reason)
		}
	}
}
