package provider

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/op"

	"warder/authz/jwks"
	"warder/authz/token"
)

// client and secret are those of a web application, and back is where a log-in returns to.
const (
	client = "warder-test"
	secret = "c4n4ry"
	back   = "http://localhost:9999/auth/callback"
)

// startProvider starts a provider and returns its URL, which is the issuer of its tokens.
func startProvider(t *testing.T) string {
	t.Helper()
	var handler http.Handler
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	t.Cleanup(server.Close)
	handler = exampleop.SetupServer(server.URL, clients{storage.NewStorageWithClients(
		storage.NewUserStore(server.URL), map[string]*storage.Client{client: storage.WebClient(client, secret, back)},
	)}, slog.New(slog.DiscardHandler), false)
	return server.URL
}

// clients are the clients of a provider that makes access tokens which are JWTs.
type clients struct{ *storage.Storage }

// GetClientByClientID implements op.Storage.
func (c clients) GetClientByClientID(ctx context.Context, id string) (op.Client, error) {
	found, err := c.Storage.GetClientByClientID(ctx, id)
	return jwtClient{found}, err
}

type jwtClient struct{ op.Client }

// AccessTokenType implements op.Client.
func (jwtClient) AccessTokenType() op.AccessTokenType { return op.AccessTokenTypeJWT }

// login logs a user in as a browser does, and returns the access token and the ID token.
func login(t *testing.T, issuer string) (access, id string) {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	var returned *url.URL
	browser := &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if r.URL.Port() == "9999" {
			returned = r.URL
			return http.ErrUseLastResponse
		}
		return nil
	}}
	page, err := browser.Get(issuer + "/auth?" + url.Values{
		"client_id": {client}, "redirect_uri": {back}, "response_type": {"code"}, "scope": {"openid"}, "state": {"s"}, "nonce": {"n"},
	}.Encode())
	if err != nil {
		t.Fatal(err)
	}
	defer page.Body.Close()
	request := page.Request.URL.Query().Get("authRequestID")
	done, err := browser.PostForm(issuer+"/login/username", url.Values{
		"username": {"test-user@127.0.0.1"}, "password": {"verysecure"}, "id": {request},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer done.Body.Close()
	if returned == nil {
		body, _ := io.ReadAll(done.Body)
		t.Fatalf("the log-in ends at %s: %s", done.Request.URL, body)
	}
	exchange, err := http.NewRequestWithContext(t.Context(), http.MethodPost, issuer+"/oauth/token", nil)
	if err != nil {
		t.Fatal(err)
	}
	exchange.URL.RawQuery = url.Values{"grant_type": {"authorization_code"}, "code": {returned.Query().Get("code")}, "redirect_uri": {back}}.Encode()
	exchange.SetBasicAuth(client, secret)
	exchange.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := http.DefaultClient.Do(exchange)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var tokens struct {
		AccessToken string `json:"access_token"`
		IDToken     string `json:"id_token"`
	}
	if err := json.NewDecoder(response.Body).Decode(&tokens); err != nil || tokens.IDToken == "" {
		t.Fatalf("status %d, %v", response.StatusCode, err)
	}
	return tokens.AccessToken, tokens.IDToken
}

// keysOf finds the keys of a provider by discovery.
func keysOf(t *testing.T, issuer string) []token.Key {
	t.Helper()
	source, err := jwks.New(jwks.Config{Issuer: issuer})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := source.Fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// detailOf returns what an error of a token leaves open.
func detailOf(err error) string {
	if rejection, ok := errors.AsType[*token.Rejection](err); ok {
		return rejection.Detail.String()
	}
	return ""
}

// A token of a log-in is verified with the keys that discovery finds. One of another provider
// with the same software is not, also when it uses the same kid.
func TestProvider(t *testing.T) {
	first, second := startProvider(t), startProvider(t)
	v, err := token.NewVerifier(token.Config{
		Issuers: []token.Issuer{
			{Name: first, Keys: keysOf(t, first), Audiences: []string{client}},
			{Name: second, Keys: keysOf(t, second), Audiences: []string{"another-client"}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	text, idToken := login(t, first)
	claims, err := v.Verify(text, time.Now())
	if err != nil || claims.UserID != "id1" {
		t.Fatalf("%+v %v (%v)", claims, err, detailOf(err))
	}
	if _, err := v.Verify(text, claims.ExpiresAt); !errors.Is(err, token.ErrExpired) {
		t.Errorf("after its end: %v", err)
	}
	if _, err := v.Verify(idToken, time.Now()); !errors.Is(err, token.ErrClaims) {
		t.Errorf("the ID token: %v", err)
	}
	if other, _ := login(t, second); !v.Signed(other) {
		t.Error("a token of the other provider is not signed with its keys")
	} else if _, err := v.Verify(other, time.Now()); !errors.Is(err, token.ErrClaims) || detailOf(err) != "aud "+client {
		t.Errorf("for another audience: %v (%s)", err, detailOf(err))
	}
	alone, err := token.NewVerifier(token.Config{Issuers: []token.Issuer{{Name: first, Keys: keysOf(t, second)}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := alone.Verify(text, time.Now()); !errors.Is(err, token.ErrSignature) && !errors.Is(err, token.ErrKeyUnknown) {
		t.Errorf("with the keys of another provider: %v", err)
	}
}
