package authztest

import (
	"testing"
	"time"

	"warder/authz"
	"warder/authz/memory"
	"warder/authz/token"
	"warder/policy"
)

// Engine makes the engine that the file describes, on stores in memory and with a
// clock that stands.
func (f *CorpusFile) Engine(t testing.TB, now time.Time) *authz.Engine {
	t.Helper()
	store := memory.New(nil)
	for _, u := range f.Users {
		store.PutUser(u.ID, u.User())
	}
	for _, k := range f.APIKeys {
		store.PutAPIKey(k.Hash(), k.APIKey(now))
	}
	for _, s := range f.Sessions {
		store.PutSession(s.User, s.Session, 0)
	}
	tokens, err := token.NewVerifier(f.TokenConfig())
	if err != nil {
		t.Fatal(err)
	}
	routes, err := policy.Parse([]policy.File{{Name: f.Name, Data: []byte(f.Policy)}}, func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	engine, err := authz.NewEngine(authz.Config{
		Policy: routes, Tokens: tokens, Sessions: store, Users: store, APIKeys: store,
		APIKeyHeader: f.Config.APIKey.Header, Now: func() time.Time { return now },
	})
	if err != nil {
		t.Fatal(err)
	}
	return engine
}
