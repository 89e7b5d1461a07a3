package token_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"warder/authz/token"
)

func TestNewVerifier(t *testing.T) {
	t.Parallel()
	good := token.Key{Algorithm: "HS256", Secret: secret}
	keys := func(keys ...token.Key) token.Config { return token.Config{Keys: keys} }
	with := func(c token.Config) token.Config { c.Keys = []token.Key{good}; return c }
	pem := "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----\n"
	for _, test := range []struct {
		want   []string // parts of the error's lines; none if the configuration is valid
		config token.Config
	}{
		{nil, keys(good)},
		{nil, keys(good, good, token.Key{Algorithm: "HS512", Secret: secret2})},
		{nil, keys(good, token.Key{ID: "a", Algorithm: "HS384", Secret: secret})},
		{nil, keys(token.Key{Algorithm: "HS256", Secret: make([]byte, 32)})},
		{nil, keys(token.Key{ID: "*", Algorithm: "HS256", Secret: secret}, token.Key{ID: "*", Algorithm: "HS256", Secret: secret2})},
		{nil, with(token.Config{RefusedUses: []string{"kiosk", "one day"}, AcceptedUses: []string{"mfa", "IDToken"}})},
		{nil, with(token.Config{Leeway: 5 * time.Minute})},
		{nil, with(token.Config{Issuer: "i", Audiences: []string{"a"}, UserClaim: "uid", SessionClaim: "sub"})},
		{nil, with(token.Config{UserClaim: "jti", SessionClaim: "sub"})},
		{nil, with(token.Config{Attributes: token.Attributes{"tenant": "org.id", "e_mail": "https://example.com/email"}})},

		{[]string{`attributes: "Tenant" is not the name of an attribute`}, with(token.Config{Attributes: token.Attributes{"Tenant": "org"}})},
		{[]string{`attributes.tenant: is empty`}, with(token.Config{Attributes: token.Attributes{"tenant": ""}})},
		{[]string{`attributes.tenant: "org." has no name before or after a dot`}, with(token.Config{Attributes: token.Attributes{"tenant": "org."}})},
		{[]string{`attributes.tenant: " org" has leading or trailing white space`}, with(token.Config{Attributes: token.Attributes{"tenant": " org"}})},
		{[]string{`attributes.tenant: "ISS" differs from the claim "iss" only in case`}, with(token.Config{Attributes: token.Attributes{"tenant": "ISS"}})},
		{[]string{`attributes: has 33 attributes; want at most 32`}, with(token.Config{Attributes: manyAttributes(33)})},
		{[]string{`issuers[0].attributes.tenant: is empty`}, with(token.Config{Issuers: []token.Issuer{{Name: "a", Keys: []token.Key{good}, Attributes: token.Attributes{"tenant": ""}}, {Name: "b", Keys: []token.Key{good}}}})},

		{[]string{"keys: none is given"}, token.Config{}},
		{[]string{"keys[0]: secret is empty"}, keys(token.Key{Algorithm: "HS256"})},
		{[]string{"keys[1]: secret has 31 bytes; want at least 32"}, keys(good, token.Key{Algorithm: "HS512", Secret: secret[:31]})},
		{[]string{"keys[0]: secret has 1 bytes"}, keys(token.Key{Algorithm: "HS256", Secret: []byte("!")})},
		{[]string{"keys[0]: secret is a public key"}, keys(token.Key{Algorithm: "HS256", Secret: []byte(pem)})},
		{[]string{"keys[0]: secret is a public key"}, keys(token.Key{Algorithm: "HS256", Secret: []byte("\n" + strings.ReplaceAll(pem, "PUBLIC KEY", "RSA PUBLIC KEY"))})},
		{[]string{"keys[0]: secret is a public key"}, keys(token.Key{Algorithm: "HS256", Secret: []byte(strings.ReplaceAll(pem, "PUBLIC KEY", "CERTIFICATE"))})},
		{[]string{`keys[0]: algorithm "" is not known; want HS256, HS384,`}, keys(token.Key{Secret: secret})},
		{[]string{`algorithm "none"`}, keys(token.Key{Algorithm: "none", Secret: secret})},
		{[]string{`algorithm "hs256"`}, keys(token.Key{Algorithm: "hs256", Secret: secret})},
		{[]string{`algorithm RS256 needs a public key`}, keys(token.Key{Algorithm: "RS256", Secret: secret})},
		{[]string{`keys[2]: kid "a" is also the kid of keys[1]`}, keys(good,
			token.Key{ID: "a", Algorithm: "HS256", Secret: secret}, token.Key{ID: "a", Algorithm: "HS512", Secret: secret2})},
		{[]string{"leeway: is -1ns; want 0s to 5m0s"}, with(token.Config{Leeway: -1})},
		{[]string{"leeway: is 5m0.000000001s"}, with(token.Config{Leeway: 5*time.Minute + 1})},
		{[]string{"audiences: one is empty"}, with(token.Config{Audiences: []string{"a", ""}})},
		{[]string{`session_claim: is "jti", the same as user_claim`}, with(token.Config{UserClaim: "jti"})},
		{[]string{`session_claim: is "sub", the same as user_claim`}, with(token.Config{SessionClaim: "sub"})},
		{[]string{`session_claim: is "uid", the same as user_claim`}, with(token.Config{UserClaim: "UID", SessionClaim: "uid"})},
		{[]string{`user_claim: " " has leading or trailing white space`}, with(token.Config{UserClaim: " "})},
		{[]string{`session_claim: "sid\n" has leading or trailing white space`}, with(token.Config{SessionClaim: "sid\n"})},
		{[]string{`user_claim: "Sub" differs from the claim "sub" only in case`}, with(token.Config{UserClaim: "Sub"})},
		{[]string{`refused_uses[1]: "token" names no kind of token`}, with(token.Config{RefusedUses: []string{"kiosk", "token"}})},
		{[]string{`refused_uses[0]: "access_token" is what access tokens declare`}, with(token.Config{RefusedUses: []string{"access_token"}})},
		{[]string{`accepted_uses[0]: "" names no kind of token`}, with(token.Config{AcceptedUses: []string{""}})},
		{[]string{`accepted_uses[0]: "Kiosk" is also in refused_uses`}, with(token.Config{RefusedUses: []string{"kiosk"}, AcceptedUses: []string{"Kiosk"}})},

		// All problems at once.
		{
			[]string{"keys[0]: secret is empty", `keys[1]: algorithm "x"`, "keys[1]: secret has 3 bytes", "keys[1]: kid", "audiences", "the same as user_claim", "leeway"},
			token.Config{
				Keys:      []token.Key{{ID: "a", Algorithm: "HS256"}, {ID: "a", Algorithm: "x", Secret: []byte("c0r")}},
				Audiences: []string{""}, Leeway: time.Hour, UserClaim: "x", SessionClaim: "x",
			},
		},
	} {
		v, err := token.NewVerifier(test.config)
		if len(test.want) == 0 {
			if err != nil || v == nil {
				t.Errorf("%v: got %v", test.config, err)
			}
			continue
		}
		if err == nil || v != nil {
			t.Errorf("%v: accepted; want %q", test.config, test.want)
			continue
		}
		lines := strings.Split(err.Error(), "\n")
		if len(lines) != len(test.want) {
			t.Errorf("%v: got %q; want %q", test.config, lines, test.want)
			continue
		}
		for i, line := range lines {
			if !strings.Contains(line, test.want[i]) {
				t.Errorf("%v: got %q; want %q in it", test.config, line, test.want[i])
			}
		}
		if _, typed := errors.AsType[*token.ConfigError](err); !typed {
			t.Errorf("%v: %T is not a ConfigError", test.config, err)
		}
		for _, k := range test.config.Keys {
			if len(k.Secret) > 0 && strings.Contains(err.Error(), string(k.Secret)) {
				t.Errorf("the error contains the secret: %v", err)
			}
		}
	}
}
