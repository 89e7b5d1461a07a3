package jwks_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"warder/authz/jwks"
	"warder/authz/token"
)

const (
	issuer  = "https://id.example.com"
	keysURL = "https://id.example.com/keys"
)

// jwkOf returns a public key that is made of its kid.
func jwkOf(kid string) string {
	seed := sha256.Sum256([]byte(kid))
	public := ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey)
	return fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","kid":%q,"x":%q}`, kid, base64.RawURLEncoding.EncodeToString(public))
}

func setOf(kids ...string) string {
	var keys []string
	for _, kid := range kids {
		keys = append(keys, jwkOf(kid))
	}
	return `{"keys":[` + strings.Join(keys, ",") + `]}`
}

// A provider answers requests for keys. The zero provider answers with an empty 200.
type provider struct {
	mu       sync.Mutex
	body     string
	header   http.Header
	status   int
	fault    error
	slow     time.Duration
	moved    string            // where /keys redirects to
	other    map[string]string // bodies at other paths
	requests []string          // the path, with the condition if there is one
}

func (p *provider) set(change func(p *provider)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(p)
}

func (p *provider) keys(kids ...string) {
	p.set(func(p *provider) { p.body, p.status, p.fault = setOf(kids...), 0, nil })
}

func (p *provider) asked() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.requests)
}

func (p *provider) RoundTrip(r *http.Request) (*http.Response, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	asked := r.URL.Path
	if condition := r.Header.Get("If-None-Match"); condition != "" {
		asked += " " + condition
	}
	p.requests = append(p.requests, asked)
	body, slow, fault := p.body, p.slow, p.fault
	if at, found := p.other[r.URL.String()]; found {
		body = at
	}
	response := &http.Response{StatusCode: max(p.status, 200), Header: p.header.Clone(), Request: r}
	if p.moved != "" && r.URL.Path == "/keys" {
		response.StatusCode, response.Header = http.StatusFound, http.Header{"Location": {p.moved}}
	}
	if etag := p.header.Get("ETag"); etag != "" && r.Header.Get("If-None-Match") == etag {
		response.StatusCode, body = http.StatusNotModified, ""
	}
	response.Body = io.NopCloser(strings.NewReader(body))
	p.mu.Unlock()
	defer p.mu.Lock()
	select {
	case <-time.After(slow):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	if fault != nil {
		return nil, fault
	}
	return response, nil
}

// A lockedBuffer is a buffer for a log.
type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

// A rig is a source that runs, and what it gave to its user.
type rig struct {
	*jwks.Source
	provider *provider
	log      lockedBuffer

	mu   sync.Mutex
	used []string // the kids of each use
}

func (r *rig) now() string {
	var kids []string
	for _, k := range r.Keys() {
		kids = append(kids, k.ID)
	}
	return strings.Join(kids, " ")
}

func (r *rig) uses() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.used, ", ")
}

func newRig(t *testing.T, p *provider, c jwks.Config) *rig {
	t.Helper()
	r := &rig{provider: p}
	if c.Issuer == "" {
		c.Issuer, c.URL = issuer, keysURL
	}
	c.Log = slog.New(slog.NewTextHandler(&r.log, nil))
	c.Use = func(keys []token.Key) {
		r.mu.Lock()
		defer r.mu.Unlock()
		text := "none"
		if keys != nil {
			text = fmt.Sprint(len(keys))
			for _, k := range keys {
				text += " " + k.ID
			}
		}
		r.used = append(r.used, text)
	}
	var err error
	if r.Source, err = jwks.New(c); err != nil {
		t.Fatal(err)
	}
	r.SetTransport(p)
	return r
}

// run runs the source in a bubble, and what do does.
func run(t *testing.T, p *provider, c jwks.Config, do func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, p, c)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = r.Run(ctx)
		}()
		synctest.Wait()
		do(t, r)
		cancel()
		<-ended
	})
}

func ask(t *testing.T, r *rig, patience time.Duration) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return r.Ask(ctx)
}

// The keys follow the provider, and are used until they are too old when it is down.
func TestRefresh(t *testing.T) {
	t.Parallel()
	p := &provider{body: setOf("a")}
	run(t, p, jwks.Config{MaxAge: 2 * time.Hour, Issuer: issuer, URL: keysURL}, func(t *testing.T, r *rig) {
		step := func(after time.Duration, want string) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			if got := r.now(); got != want {
				t.Errorf("keys %q, want %q", got, want)
			}
		}
		step(0, "a")
		select {
		case <-r.First():
		default:
			t.Error("First is not closed")
		}
		p.keys("a", "b")
		step(jwks.DefaultRefresh-time.Second, "a")
		step(2*time.Second, "a b")
		p.keys("b")
		step(jwks.DefaultRefresh, "b") // read at 30m
		p.set(func(p *provider) { p.fault = errors.New("down") })
		step(2*time.Hour-4*time.Second, "b")
		if s := r.Status(); s.Failed.IsZero() || s.Fault == "" || s.Keys != 1 {
			t.Errorf("status %+v", s)
		}
		step(4*time.Second, "")
		// Back within two seconds.
		p.keys("c")
		step(2*time.Second, "c")
		if want := "1 a, 2 a b, 1 b, none, 1 c"; r.uses() != want {
			t.Errorf("used %q, want %q", r.uses(), want)
		}
		if got := strings.Count(r.log.String(), "last good ones stay"); got != 1 {
			t.Errorf("the outage is logged %d times:\n%s", got, r.log.String())
		}
	})
}

// At the start without keys, the source tries again soon, and First stays open.
func TestStartWithoutKeys(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(p *provider){
		"down":       func(p *provider) { p.fault = errors.New("refused") },
		"status 500": func(p *provider) { p.status = 500 },
		"status 404": func(p *provider) { p.status = 404 },
		"status 304": func(p *provider) { p.status = 304 },
		"no body":    func(p *provider) { p.body = "" },
		"a page":     func(p *provider) { p.body = "<html>sign in</html>" },
		"no keys":    func(p *provider) { p.body = `{"keys":[]}` },
		"a kid twice": func(p *provider) {
			p.body = `{"keys":[` + jwkOf("a") + `,` + strings.Replace(jwkOf("b"), `"b"`, `"a"`, 1) + `]}`
		},
		"only a secret":    func(p *provider) { p.body = `{"keys":[{"kty":"oct","k":"AAAAAAAA","kid":"a"}]}` },
		"only encryption":  func(p *provider) { p.body = strings.Replace(setOf("a"), `"kty"`, `"use":"enc","kty"`, 1) },
		"only private":     func(p *provider) { p.body = strings.Replace(setOf("a"), `"kty"`, `"d":"AA","kty"`, 1) },
		"a name twice":     func(p *provider) { p.body = strings.Replace(setOf("a"), `"kty"`, `"kty":"RSA","kty"`, 1) },
		"too long":         func(p *provider) { p.body = setOf("a") + strings.Repeat(" ", jwks.MaxBody) },
		"slower than 10 s": func(p *provider) { p.slow = time.Hour },
		"another host":     func(p *provider) { p.moved = "https://evil.example.com/v2/keys" },
		"not encrypted":    func(p *provider) { p.moved = "http://id.example.com/v2/keys" },
		"another port":     func(p *provider) { p.moved = "https://id.example.com:444/v2/keys" },
		"a loop":           func(p *provider) { p.status, p.header = 301, http.Header{"Location": {"/keys"}} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &provider{body: setOf("a")}
			change(p)
			run(t, p, jwks.Config{}, func(t *testing.T, r *rig) {
				time.Sleep(jwks.FetchTimeout + time.Minute)
				select {
				case <-r.First():
					t.Error("First is closed")
				default:
				}
				status := r.Status()
				if r.Keys() != nil || r.uses() != "" || status.Keys != 0 || status.Failed.IsZero() || !status.Read.IsZero() {
					t.Errorf("keys %q, used %q, %+v", r.now(), r.uses(), status)
				}
				if strings.Contains(r.log.String(), "?") {
					t.Error(r.log.String())
				}
				p.set(func(p *provider) { p.slow, p.header, p.moved = 0, nil, "" })
				p.keys("a")
				time.Sleep(jwks.FetchTimeout + 2*time.Second)
				if r.now() != "a" {
					t.Errorf("keys %q after it is well again: %s", r.now(), r.log.String())
				}
			})
		})
	}
}

// What a provider answers later replaces no good keys either, unless it is a key set.
func TestBadAnswerKeepsKeys(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(p *provider){
		"status 500":   func(p *provider) { p.status = 500 },
		"no body":      func(p *provider) { p.body = "" },
		"a page":       func(p *provider) { p.body = "<html>sign in</html>" },
		"no keys":      func(p *provider) { p.body = `{"keys":[]}` },
		"only secrets": func(p *provider) { p.body = `{"keys":[{"kty":"oct","k":"AAAAAAAA","kid":"b"}]}` },
		"too long":     func(p *provider) { p.body = setOf("b") + strings.Repeat(" ", jwks.MaxBody) },
		"another host": func(p *provider) { p.body, p.moved = setOf("b"), "https://evil.example.com/v2/keys" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &provider{body: setOf("a")}
			run(t, p, jwks.Config{Issuer: issuer, URL: keysURL, MaxAge: 2 * time.Hour}, func(t *testing.T, r *rig) {
				p.set(change)
				time.Sleep(jwks.DefaultRefresh + time.Minute)
				if s := r.Status(); r.now() != "a" || r.uses() != "1 a" || s.Failed.IsZero() {
					t.Errorf("keys %q, used %q, %+v", r.now(), r.uses(), s)
				}
				time.Sleep(2 * time.Hour)
				if r.now() != "" {
					t.Errorf("keys %q after max_age", r.now())
				}
			})
		})
	}
}

// A redirect on the same host is followed.
func TestRedirect(t *testing.T) {
	t.Parallel()
	p := &provider{body: setOf("a"), moved: "/v2/keys"}
	run(t, p, jwks.Config{}, func(t *testing.T, r *rig) {
		if r.now() != "a" || !slices.Equal(p.requests, []string{"/keys", "/v2/keys"}) {
			t.Error(p.requests, r.log.String())
		}
	})
}

// Cache-Control counts within bounds.
func TestCacheControl(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		want   time.Duration
		maxAge time.Duration
		header http.Header
	}{
		{jwks.DefaultRefresh, 0, nil},
		{10 * time.Minute, 0, http.Header{"Cache-Control": {"public, max-age=600, must-revalidate"}}},
		{10 * time.Minute, 0, http.Header{"Cache-Control": {"public", `Max-Age="600"`}}},
		{5 * time.Minute, 0, http.Header{"Cache-Control": {"max-age=600"}, "Age": {"300"}}},
		{jwks.MinRefresh, 0, http.Header{"Cache-Control": {"max-age=600"}, "Age": {"900"}}},
		{jwks.MinRefresh, 0, http.Header{"Cache-Control": {"max-age=1"}}},
		{jwks.MinRefresh, 0, http.Header{"Cache-Control": {"no-store"}}},
		{jwks.MinRefresh, 0, http.Header{"Cache-Control": {"no-cache, max-age=600"}}},
		{jwks.MaxRefresh, 0, http.Header{"Cache-Control": {"max-age=31536000"}}},
		{jwks.DefaultRefresh, 0, http.Header{"Cache-Control": {"max-age=99999999999999999999"}}},
		{jwks.DefaultRefresh, 0, http.Header{"Cache-Control": {"max-age=-1"}}},
		{jwks.DefaultRefresh, 0, http.Header{"Cache-Control": {"max-age"}}},
		{30 * time.Second, time.Minute, http.Header{"Cache-Control": {"max-age=600"}}},
		{time.Second, 2 * time.Second, nil},
	} {
		p := &provider{body: setOf("a"), header: row.header}
		run(t, p, jwks.Config{Issuer: issuer, URL: keysURL, MaxAge: row.maxAge}, func(t *testing.T, _ *rig) {
			time.Sleep(row.want - time.Millisecond)
			before := p.asked()
			time.Sleep(2 * time.Millisecond)
			synctest.Wait()
			if after := p.asked(); before != 1 || after != 2 {
				t.Errorf("%v: %d requests before %v, %d after", row.header, before, row.want, after)
			}
		})
	}
}

// With an ETag, unchanged keys are not sent again, and are as fresh as those that are.
func TestETag(t *testing.T) {
	t.Parallel()
	p := &provider{body: setOf("a"), header: http.Header{"Etag": {`"1"`}}}
	run(t, p, jwks.Config{Issuer: issuer, URL: keysURL, MaxAge: time.Hour}, func(t *testing.T, r *rig) {
		time.Sleep(5 * time.Hour)
		if r.now() != "a" || r.uses() != "1 a" {
			t.Errorf("keys %q, used %q", r.now(), r.uses())
		}
		p.set(func(p *provider) { p.body, p.header = setOf("b"), http.Header{"Etag": {`"2"`}} })
		time.Sleep(jwks.DefaultRefresh + time.Second)
		if r.now() != "b" {
			t.Errorf("keys %q", r.now())
		}
		// When the keys are too old, an answer that they are unchanged brings them back.
		p.set(func(p *provider) { p.fault = errors.New("down") })
		time.Sleep(2 * time.Hour)
		if r.now() != "" {
			t.Errorf("keys %q after their time", r.now())
		}
		p.set(func(p *provider) { p.fault = nil })
		time.Sleep(2 * time.Second)
		if r.now() != "b" {
			t.Errorf("keys %q", r.now())
		}
		if !slices.Contains(p.requests, `/keys "1"`) || !slices.Contains(p.requests, `/keys "2"`) {
			t.Errorf("requests %q", p.requests)
		}
	})
}

// The order of the keys is no change, and neither is the same answer again.
func TestUnchanged(t *testing.T) {
	t.Parallel()
	p := &provider{body: setOf("a", "b")}
	run(t, p, jwks.Config{}, func(t *testing.T, r *rig) {
		p.keys("b", "a")
		time.Sleep(3 * time.Hour)
		if r.uses() != "2 a b" {
			t.Errorf("used %q", r.uses())
		}
	})
}

// A token with an unknown kid has the keys fetched, once in ten seconds.
func TestAsk(t *testing.T) {
	t.Parallel()
	p := &provider{body: setOf("a")}
	run(t, p, jwks.Config{}, func(t *testing.T, r *rig) {
		p.keys("a", "b")
		if !ask(t, r, time.Second) || r.now() != "a b" {
			t.Fatalf("keys %q", r.now())
		}
		before := p.asked()
		for range 10_000 {
			if !ask(t, r, time.Second) {
				t.Fatal("not current within ten seconds")
			}
		}
		if got := p.asked() - before; got != 0 {
			t.Errorf("%d requests by a flood", got)
		}
		// A key that comes within the ten seconds is there after them, without another token.
		p.keys("b", "c")
		time.Sleep(jwks.AskEvery + time.Second)
		if r.now() != "b c" {
			t.Errorf("keys %q", r.now())
		}
		// A flood of an hour costs a request in ten seconds.
		before = p.asked()
		for range 3600 {
			time.Sleep(time.Second)
			_ = ask(t, r, time.Second)
		}
		if got := p.asked() - before; got > 3600/10+5 {
			t.Errorf("%d requests in an hour", got)
		}
	})
}

// While the provider is down, it is not known whether an unknown kid is good.
func TestAskDown(t *testing.T) {
	t.Parallel()
	p := &provider{body: setOf("a")}
	run(t, p, jwks.Config{}, func(t *testing.T, r *rig) {
		time.Sleep(time.Second)
		p.set(func(p *provider) { p.fault = errors.New("down") })
		before := p.asked()
		for range 100 {
			if ask(t, r, time.Second) {
				t.Fatal("current without an answer")
			}
		}
		if got := p.asked() - before; got != 1 {
			t.Errorf("%d requests", got)
		}
		if r.now() != "a" {
			t.Errorf("keys %q", r.now())
		}
		p.keys("b")
		time.Sleep(jwks.AskEvery)
		if !ask(t, r, time.Second) || r.now() != "b" {
			t.Errorf("keys %q", r.now())
		}
	})
}

// Requests wait for a slow provider no longer than they want, and only some wait.
func TestAskSlow(t *testing.T) {
	t.Parallel()
	p := &provider{body: setOf("a")}
	run(t, p, jwks.Config{}, func(t *testing.T, r *rig) {
		p.set(func(p *provider) { p.slow, p.body = 5*time.Second, setOf("b") })
		var mu sync.Mutex
		took := map[time.Duration]int{}
		begin := time.Now()
		var all sync.WaitGroup
		for range 10 * jwks.MaxWaiting {
			all.Go(func() {
				if ask(t, r, 100*time.Millisecond) {
					t.Error("current before the answer")
				}
				mu.Lock()
				took[time.Since(begin)]++
				mu.Unlock()
			})
		}
		all.Wait()
		if took[100*time.Millisecond] != jwks.MaxWaiting || took[0] != 9*jwks.MaxWaiting {
			t.Errorf("waited: %v", took)
		}
		time.Sleep(5 * time.Second)
		if !ask(t, r, time.Second) || r.now() != "b" {
			t.Errorf("keys %q", r.now())
		}
	})
}

// A fetch that is in flight may have begun before the provider had the key, so that another one
// follows.
func TestAskDuringRefresh(t *testing.T) {
	t.Parallel()
	p := &provider{body: setOf("a")}
	run(t, p, jwks.Config{}, func(t *testing.T, r *rig) {
		p.set(func(p *provider) { p.slow = time.Second })
		time.Sleep(jwks.DefaultRefresh + 100*time.Millisecond) // the second fetch has the old answer
		p.keys("b")
		if !ask(t, r, 3*time.Second) || r.now() != "b" {
			t.Errorf("keys %q", r.now())
		}
	})
}

func TestDiscovery(t *testing.T) {
	t.Parallel()
	const at = issuer + "/tenant/.well-known/openid-configuration"
	for _, row := range []struct{ want, issuer, body string }{
		{"", issuer + "/tenant/", `{"issuer":"` + issuer + `/tenant/","jwks_uri":"` + keysURL + `"}`},
		{"", issuer + "/tenant", `{"issuer":"` + issuer + `/tenant","jwks_uri":"https://keys.example.net/keys","token_endpoint":1}`},
		{"calls itself", issuer + "/tenant", `{"issuer":"` + issuer + `/tenant/","jwks_uri":"` + keysURL + `"}`},
		{"calls itself", issuer + "/tenant", `{"issuer":"https://evil.example.com","jwks_uri":"` + keysURL + `"}`},
		{"calls itself", issuer + "/tenant", `{"jwks_uri":"` + keysURL + `"}`},
		{"jwks_uri is not a URL", issuer + "/tenant", `{"issuer":"` + issuer + `/tenant"}`},
		{"jwks_uri is not encrypted", issuer + "/tenant", `{"issuer":"` + issuer + `/tenant","jwks_uri":"http://id.example.com/keys"}`},
		{"jwks_uri is not a URL", issuer + "/tenant", `{"issuer":"` + issuer + `/tenant","jwks_uri":"file:///etc/passwd"}`},
		{"jwks_uri is no https URL", issuer + "/tenant", `{"issuer":"` + issuer + `/tenant","jwks_uri":"ftp://id.example.com/keys"}`},
		{"is not the JSON", issuer + "/tenant", `<html>`},
		{"is not the JSON", issuer + "/tenant", `{"issuer":7}`},
	} {
		p := &provider{body: setOf("a"), other: map[string]string{at: row.body}}
		run(t, p, jwks.Config{Issuer: row.issuer}, func(t *testing.T, r *rig) {
			fault := r.Status().Fault
			if (row.want == "") != (r.now() == "a") || !strings.Contains(fault, row.want) {
				t.Errorf("%s: keys %q, %s; want %q", row.body, r.now(), fault, row.want)
			}
		})
	}
}

func TestFetch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, &provider{body: setOf("a")}, jwks.Config{})
		keys, err := r.Fetch(t.Context())
		if err != nil || len(keys) != 1 {
			t.Errorf("%v %v", keys, err)
		}
		r = newRig(t, &provider{fault: errors.New("canary")}, jwks.Config{})
		if keys, err := r.Fetch(t.Context()); err == nil || keys != nil || !strings.Contains(err.Error(), "id.example.com does not answer") {
			t.Errorf("%v %v", keys, err)
		}
		time.Sleep(48 * time.Hour) // the timer of the keys
	})
}

// A key that must not be in a set is not used, and is logged once.
func TestRefusedKeys(t *testing.T) {
	t.Parallel()
	p := &provider{body: `{"keys":[` + jwkOf("a") + `,{"kty":"oct","kid":"s","k":"c4n4ry","alg":"HS256"}]}`}
	run(t, p, jwks.Config{}, func(t *testing.T, r *rig) {
		time.Sleep(3 * time.Hour)
		if r.now() != "a" {
			t.Errorf("keys %q", r.now())
		}
		if got := strings.Count(r.log.String(), "is a symmetric key"); got != 1 || strings.Contains(r.log.String(), "c4n4ry") {
			t.Errorf("logged %d times:\n%s", got, r.log.String())
		}
	})
}

func TestConfigProblems(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		want string
		c    jwks.Config
	}{
		{"", jwks.Config{Issuer: issuer}},
		{"", jwks.Config{Issuer: "name", URL: keysURL}},
		{"", jwks.Config{Issuer: issuer, URL: "http://127.0.0.1:8080/keys"}},
		{"", jwks.Config{Issuer: "http://localhost:8080/realms/a"}},
		{"", jwks.Config{Issuer: issuer, URL: "http://[::1]:8080/keys", MaxAge: time.Minute, Algorithms: []string{"RS256"}}},
		{`issuer: "name" is not a URL`, jwks.Config{Issuer: "name"}},
		{"jwks_url: is not a URL", jwks.Config{URL: "/keys"}},
		{"jwks_url: is not a URL", jwks.Config{URL: "https:///keys"}},
		{"jwks_url: is not a URL", jwks.Config{URL: "https://:443/keys"}},
		{"jwks_url: is not encrypted", jwks.Config{URL: "http://id.example.com/keys"}},
		{"jwks_url: is not encrypted", jwks.Config{URL: "http://127.0.0.1.example.com/keys"}},
		{"jwks_url: is no https URL", jwks.Config{URL: "ftp://id.example.com/keys"}},
		{"jwks_url: contains a user name", jwks.Config{URL: "https://me:c4n4ry@id.example.com/keys"}},
		{"jwks_url: contains a #", jwks.Config{URL: "https://id.example.com/#keys"}},
		{"max_age: is 999ms", jwks.Config{Issuer: issuer, MaxAge: 999 * time.Millisecond}},
		{"max_age: is -1s", jwks.Config{Issuer: issuer, MaxAge: -time.Second}},
		{"max_age: is 169h", jwks.Config{Issuer: issuer, MaxAge: 169 * time.Hour}},
		{`algorithms[1]: "HS256" is no algorithm with a public key`, jwks.Config{Issuer: issuer, Algorithms: []string{"RS256", "HS256"}}},
		{`algorithms[0]: "none"`, jwks.Config{Issuer: issuer, Algorithms: []string{"none"}}},
		{"ca_file: /nowhere cannot be read", jwks.Config{Issuer: issuer, CAFile: "/nowhere"}},
		{"ca_file: doc.go contains no certificate", jwks.Config{Issuer: issuer, CAFile: "doc.go"}},
	} {
		_, err := jwks.New(row.c)
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.HasPrefix(err.Error(), row.want)) {
			t.Errorf("%+v: %v, want %q", row.c, err, row.want)
		}
		if err != nil && strings.Contains(err.Error(), "c4n4ry") {
			t.Errorf("the error has the password: %v", err)
		}
	}
}
