package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"

	"warder/authz"
	"warder/authz/authztest"
	"warder/authz/jwks"
	"warder/authz/mask"
	"warder/authz/memory"
	"warder/cmd/warder/internal/clitest"
	"warder/cmd/warder/internal/config"
)

// An idProvider is an issuer of tokens with OpenID Connect Discovery over TLS.
type idProvider struct {
	*httptest.Server
	caFile string

	mu       sync.Mutex
	keys     map[string]*ecdsa.PrivateKey // by kid
	down     bool
	requests int
}

func newIDProvider(t *testing.T, kids ...string) *idProvider {
	t.Helper()
	authority := clitest.NewAuthority(t, "id")
	p := &idProvider{caFile: clitest.WriteFile(t, t.TempDir(), "ca.pem", string(authority.PEM)), keys: map[string]*ecdsa.PrivateKey{}}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, p.URL, p.URL+"/keys")
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.requests++
		if p.down {
			http.Error(w, "c4n4ry", http.StatusBadGateway)
			return
		}
		_, _ = fmt.Fprint(w, p.set(t))
	})
	p.Server = httptest.NewUnstartedServer(mux)
	p.Config.ErrorLog = nil
	p.TLS = &tls.Config{Certificates: []tls.Certificate{authority.Pair(t, "id")}, MinVersion: tls.VersionTLS12}
	p.StartTLS()
	t.Cleanup(p.Close)
	for _, kid := range kids {
		p.add(t, kid)
	}
	return p
}

func (p *idProvider) set(t *testing.T) string {
	var keys []string
	for kid, k := range p.keys {
		point, err := k.PublicKey.Bytes()
		if err != nil {
			t.Error(err)
		}
		b64 := base64.RawURLEncoding.EncodeToString
		keys = append(keys, fmt.Sprintf(`{"kty":"EC","crv":"P-256","alg":"ES256","use":"sig","kid":%q,"x":%q,"y":%q}`, kid, b64(point[1:33]), b64(point[33:])))
	}
	return `{"keys":[` + strings.Join(keys, ",") + `]}`
}

func newES256(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (p *idProvider) add(t *testing.T, kid string) *ecdsa.PrivateKey {
	t.Helper()
	k := newES256(t)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys[kid] = k
	return k
}

func (p *idProvider) remove(kid string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.keys, kid)
}

func (p *idProvider) setDown(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
}

// signES256 makes a token of user 42 and session s1 by an issuer.
func signES256(t *testing.T, k *ecdsa.PrivateKey, kid, issuer string) string {
	t.Helper()
	token := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{"sub": "42", "sid": "s1", "aud": "api", "iss": issuer, "exp": time.Now().Add(time.Hour).Unix()})
	token.Header["kid"] = kid
	text, err := token.SignedString(k)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func (p *idProvider) issuer(maxAge time.Duration, discovery bool) config.JWTIssuer {
	remote := &jwks.Config{Issuer: p.URL, CAFile: p.caFile, MaxAge: maxAge}
	if !discovery {
		remote.URL = p.URL + "/keys"
	}
	return config.JWTIssuer{Name: p.URL, Audiences: []string{"api"}, SessionClaim: "sid", Remote: remote}
}

// An asker asks a running server.
type asker struct {
	*running
	conn *grpc.ClientConn
}

func (a *asker) ask(t *testing.T, token string) codes.Code {
	t.Helper()
	code, err := a.check(a.conn, "/user", map[string]string{"authorization": "Bearer " + token})
	if err != nil {
		t.Error(err)
	}
	return code
}

func (a *asker) eventually(t *testing.T, token string, want codes.Code) {
	t.Helper()
	clitest.Eventually(t, want.String(), func() bool { return a.ask(t, token) == want })
}

func startAsker(t *testing.T, s *config.Settings) *asker {
	t.Helper()
	store := memory.New(nil)
	store.PutUser("42", authz.User{Active: true})
	store.PutSession("42", "s1", 0)
	s.Deadline = 10 * time.Second // not what is tested here
	r := start(t, s, MemoryStores(store))
	return &asker{r, r.dial(insecure.NewCredentials())}
}

// Keys are rotated without refusing a good token or accepting one of a key that is gone, by
// discovery and by URL.
func TestIssuerRotates(t *testing.T) {
	t.Parallel()
	for _, discovery := range []bool{true, false} {
		t.Run(fmt.Sprint("discovery ", discovery), func(t *testing.T) {
			t.Parallel()
			p := newIDProvider(t)
			first := p.add(t, "1")
			s := testSettings(t)
			s.JWT.Issuers = []config.JWTIssuer{p.issuer(2*time.Second, discovery)}
			a := startAsker(t, s)
			old := signES256(t, first, "1", p.URL)
			for range 2 { // the second one is remembered
				if got := a.ask(t, old); got != codes.OK {
					t.Fatalf("a token of the provider: %v\n%s", got, a.log)
				}
			}
			if got := a.ask(t, mint(t)); got != codes.OK {
				t.Errorf("a token of the own key: %v", got)
			}
			second := p.add(t, "2")
			fresh := signES256(t, second, "2", p.URL)
			if got := a.ask(t, fresh); got != codes.OK {
				t.Errorf("a token of a key that is new: %v\n%s", got, a.log)
			}
			if got := a.ask(t, old); got != codes.OK {
				t.Errorf("a token of the key before: %v", got)
			}
			p.remove("1")
			a.eventually(t, old, codes.Unauthenticated)
			if got := a.ask(t, fresh); got != codes.OK {
				t.Errorf("a token of the new key: %v", got)
			}
			// A key of the same name that another has made, and the own secret.
			forger := newES256(t)
			for name, text := range map[string]string{
				"another key":       signES256(t, forger, "2", p.URL),
				"an unknown key":    signES256(t, forger, "3", p.URL),
				"the own secret":    authztest.Mint(t, authztest.Token{Secret: []byte(clitest.Secret), Claims: map[string]any{"sub": "42", "jti": "s1", "sid": "s1", "aud": "api", "iss": p.URL, "exp": time.Now().Add(time.Hour).Unix()}}),
				"without an issuer": signES256(t, second, "2", ""),
				"another issuer":    signES256(t, second, "2", "https://other.example.com"),
			} {
				if got := a.ask(t, text); got != codes.Unauthenticated {
					t.Errorf("%s: %v", name, got)
				}
			}
			p.setDown(true)
			a.eventually(t, fresh, codes.Unavailable) // too old
			if got := a.ask(t, mint(t)); got != codes.OK {
				t.Errorf("a token of the own key while the provider is down: %v", got)
			}
			if code, text := a.readyz(); code != 200 || !strings.Contains(text, "the keys of "+p.URL+": they were read at") {
				t.Errorf("/readyz: %d %s", code, text)
			}
			p.setDown(false)
			a.eventually(t, fresh, codes.OK)
			if code, text := a.readyz(); code != 200 || text != "ready" {
				t.Errorf("/readyz: %d %s", code, text)
			}
			if strings.Contains(a.log.String(), "c4n4ry") {
				t.Error("the log has what the provider said")
			}
		})
	}
}

// A flood of unknown kids has the provider asked once in ten seconds.
func TestIssuerFlood(t *testing.T) {
	t.Parallel()
	p := newIDProvider(t)
	first := p.add(t, "1")
	s := testSettings(t)
	s.JWT.Issuers = []config.JWTIssuer{p.issuer(0, false)}
	a := startAsker(t, s)
	forger := newES256(t)
	for i := range 200 {
		if got := a.ask(t, signES256(t, forger, fmt.Sprint("kid-", i), p.URL)); got != codes.Unauthenticated {
			t.Fatalf("a forged token: %v", got)
		}
	}
	p.mu.Lock()
	requests := p.requests
	p.mu.Unlock()
	if requests > 4 { // two, and one more for each ten seconds of a slow machine
		t.Errorf("%d requests", requests)
	}
	if got := a.ask(t, signES256(t, first, "1", p.URL)); got != codes.OK {
		t.Errorf("a good token: %v", got)
	}
}

// Without the keys of an issuer the server is not ready, and its tokens are a 503. The keys of
// a server with another certificate are not taken.
func TestNotReadyWithoutKeys(t *testing.T) {
	t.Parallel()
	p := newIDProvider(t)
	first := p.add(t, "1")
	p.setDown(true)
	other := newIDProvider(t, "1")
	s := testSettings(t)
	s.JWT.Issuers = []config.JWTIssuer{p.issuer(0, true), other.issuer(0, false)}
	s.JWT.Issuers[1].Remote.CAFile = p.caFile
	ready := make(chan struct{})
	log := &authztest.Buffer{}
	srv, err := New(s, Options{
		Stdout: &authztest.Buffer{}, Log: NewLogger(log, config.Log{Level: "debug"}), Stores: MemoryStores(memory.New(nil)),
		OnReady: func(Addresses) { close(ready) },
	})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- srv.Run(t.Context()) }()
	clitest.Eventually(t, "both were tried", func() bool {
		return strings.Count(log.String(), "so its tokens cannot be checked") == 2
	})
	if is, text := srv.ready.state(); is || text != "not ready: waiting for the keys of "+p.URL+", the keys of "+other.URL {
		t.Errorf("ready %v: %s", is, text)
	}
	if _, err := srv.tokens.Verify(signES256(t, first, "1", p.URL), time.Now()); err == nil || !strings.Contains(err.Error(), "not known") {
		t.Errorf("%v", err)
	}
	p.setDown(false)
	clitest.Eventually(t, "the keys of one are known", func() bool {
		is, text := srv.ready.state()
		return !is && text == "not ready: waiting for the keys of "+other.URL
	})
	if !strings.Contains(log.String(), "certificate signed by unknown authority") {
		t.Errorf("the log does not say why:\n%s", log)
	}
	select {
	case <-ready:
		t.Error("ready without keys")
	default:
	}
}

// A previous secret of the own key does not prove a token of an issuer, and neither does a
// file that was just written.
func TestPreviousSecretOfOtherIssuer(t *testing.T) {
	t.Parallel()
	p := newIDProvider(t, "1")
	s := config.DefaultSettings().JWT
	s.Keys = []config.JWTKey{{Algorithm: "HS256", Secret: mask.New(secretOf("a"))}}
	s.Issuers = []config.JWTIssuer{p.issuer(0, false)}
	v, err := newTokenVerifier(s, time.Second, clitest.Discard())
	if err != nil {
		t.Fatal(err)
	}
	replace(t, v, "b")
	forged := authztest.Mint(t, authztest.Token{Secret: []byte(secretOf("a")), Claims: map[string]any{
		"sub": "42", "jti": "s1", "sid": "s1", "aud": "api", "iss": p.URL, "exp": time.Now().Add(time.Hour).Unix(),
	}})
	for range 2 {
		if claims, err := v.Verify(forged, time.Now()); err == nil {
			t.Errorf("accepted: %+v", claims)
		}
		if payload, err := v.Payload(forged, time.Now()); err == nil {
			t.Errorf("accepted: %s", payload)
		}
	}
	if _, err := v.Verify(signedWith(t, secretOf("a"), time.Now().Add(time.Hour), ""), time.Now()); err != nil {
		t.Errorf("its own token: %v", err)
	}
}

// A file with public keys is read again when it changes. The keys before are accepted for
// jwt.overlap, or not at all.
func TestKeySetFileRotates(t *testing.T) {
	t.Parallel()
	for _, overlap := range []time.Duration{time.Hour, 0} {
		t.Run(overlap.String(), func(t *testing.T) {
			t.Parallel()
			p := newIDProvider(t)
			first := p.add(t, "1")
			path := clitest.WriteFile(t, t.TempDir(), "keys.json", p.set(t)+"\n")
			s := testSettings(t)
			s.JWT.Overlap = overlap
			s.JWT.Issuers = []config.JWTIssuer{{Name: "file", Audiences: []string{"api"}, SessionClaim: "sid"}}
			file := config.SecretFile{Key: "jwt.issuers[0].jwks_file", Path: path, Public: true}
			content, err := file.Read()
			if err != nil {
				t.Fatal(err)
			}
			s.JWT.Keys = append(s.JWT.Keys, config.JWTKey{Kind: config.KeySetFile, Secret: content, File: file, Issuer: 1, Field: file.Key})
			a := startAsker(t, s)
			old := signES256(t, first, "1", "file")
			if got := a.ask(t, old); got != codes.OK {
				t.Fatalf("%v\n%s", got, a.log)
			}
			p.remove("1")
			second := p.add(t, "2")
			clitest.Replace(t, path, `{"keys":[`) // a write that is not complete
			if got := a.ask(t, signES256(t, second, "2", "file")); got != codes.Unauthenticated {
				t.Errorf("half a file: %v", got)
			}
			clitest.Replace(t, path, p.set(t))
			a.eventually(t, signES256(t, second, "2", "file"), codes.OK)
			want := codes.OK
			if overlap == 0 {
				want = codes.Unauthenticated
			}
			if got := a.ask(t, old); got != want {
				t.Errorf("a token of the key before: %v, want %v", got, want)
			}
			if got := a.ask(t, mint(t)); got != codes.OK {
				t.Errorf("a token of the own key: %v", got)
			}
		})
	}
}

// The metrics of the keys name the issuer and what is known of its keys.
func TestKeyMetrics(t *testing.T) {
	t.Parallel()
	p := newIDProvider(t, "1", "2")
	s := testSettings(t)
	s.JWT.Issuers = []config.JWTIssuer{p.issuer(0, false)}
	a := startAsker(t, s)
	scrape := a.scrape()
	label := fmt.Sprintf("{issuer=%q}", p.URL)
	for name, want := range map[string]float64{"warder_jwks_keys": 2, "warder_jwks_last_refresh_successful": 1} {
		if got := scrape.Series[name+label]; got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if at := scrape.Series["warder_jwks_last_refresh_timestamp_seconds"+label]; time.Since(time.Unix(int64(at), 0)) > time.Minute {
		t.Errorf("last read at %v", at)
	}
	if got := scrape.Series[fmt.Sprintf(`warder_jwks_refreshes_total{issuer=%q,result="ok"}`, p.URL)]; got != 1 {
		t.Errorf("%v refreshes", got)
	}
}
