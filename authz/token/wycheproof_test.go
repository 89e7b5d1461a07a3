package token

import (
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"os"
	"testing"
	"time"
)

// A vectorGroup is a group of Wycheproof's tests for JWS and JWK, with its public or symmetric
// key, or a set of them.
type vectorGroup struct {
	Comment string          `json:"comment"`
	Key     json.RawMessage `json:"key"`
	Tests   []struct {
		ID      int    `json:"tcId"`
		Comment string `json:"comment"`
		JWS     string `json:"jws"`
		Result  string `json:"result"`
	} `json:"tests"`
}

// A primitive is a group of Wycheproof's tests of the signatures themselves.
type primitive struct {
	File, Alg, PEM string
	Tests          []struct {
		ID      int    `json:"tcId"`
		Comment string `json:"comment"`
		Msg     []byte `json:"msg"`
		Sig     []byte `json:"sig"`
		Result  string `json:"result"`
	} `json:"tests"`
}

// corrected lists the vectors whose expected result differs from this package's, with the
// result and the reason.
var corrected = map[int]struct {
	accepted bool
	why      string
}{
	259: {false, "an empty payload holds no claims"},
	264: {false, "as 259"},
	268: {false, "as 259"},
	272: {false, "as 259"},
	320: {false, "as 259"},
	325: {false, "as 259"},
	346: {false, "the header has PS384, and the key is for PS256"},
	347: {false, "the key is for ES521, which is no algorithm"},
	350: {false, "as 346"},
	351: {false, "as 347"},
	367: {true, "marked invalid, but byte for byte the valid 357"},
	370: {true, "marked invalid, but byte for byte the valid 357"},
	372: {false, "marked valid with a ? in its header segment, which base64url has not"},
	373: {false, "marked valid with a ? in its payload segment, which base64url has not"},
}

// correctedKeys is like corrected, for the tests of keys.
var correctedKeys = map[int]struct {
	accepted bool
	why      string
}{
	1:  {true, "a set with a secret is refused as a whole by its reader, but secrets and public keys may be configured side by side"},
	11: {true, "a secret of 47 bytes for HS384; at least 32 are required"},
	12: {true, "a secret of 63 bytes for HS512; at least 32 are required"},
}

func readVectors[T any](t *testing.T, name string) []T {
	t.Helper()
	file, err := os.Open("testdata/wycheproof/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	text, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	var all struct {
		TestGroups []T `json:"testGroups"`
	}
	if err := json.NewDecoder(text).Decode(&all); err != nil {
		t.Fatal(err)
	}
	return all.TestGroups
}

// vectorKeys returns the keys of a group, the asymmetric ones as a key set reads them.
func vectorKeys(t *testing.T, group vectorGroup) []Key {
	t.Helper()
	var symmetric struct {
		Kty, Kid, Alg, K string
		Keys             []struct{ Kty, Kid, Alg, K string }
	}
	if err := json.Unmarshal(group.Key, &symmetric); err != nil {
		t.Fatal(err)
	}
	if symmetric.Kty != "" {
		symmetric.Keys = append(symmetric.Keys, struct{ Kty, Kid, Alg, K string }{symmetric.Kty, symmetric.Kid, symmetric.Alg, symmetric.K})
	}
	set, err := ParseKeySet(group.Key, nil)
	if err != nil {
		t.Logf("%s: %v", group.Comment, err)
		return nil
	}
	for _, k := range symmetric.Keys {
		if k.Kty != "oct" {
			continue
		}
		secret, err := base64.RawURLEncoding.DecodeString(k.K)
		if err != nil {
			t.Fatal(err)
		}
		set.Keys = append(set.Keys, Key{ID: k.Kid, Algorithm: k.Alg, Secret: secret})
	}
	return set.Keys
}

// vectorVerifier returns a Verifier with the keys of a group, or nil if they are refused.
func vectorVerifier(t *testing.T, group vectorGroup) *Verifier {
	t.Helper()
	v, err := NewVerifier(Config{Keys: vectorKeys(t, group)})
	if err != nil {
		return nil
	}
	return v
}

// TestWycheproofSignature runs the vectors through the checks before that of the claims. Their
// payloads are not claims.
func TestWycheproofSignature(t *testing.T) {
	t.Parallel()
	accepted, refused := 0, 0
	for _, group := range readVectors[vectorGroup](t, "json_web_signature.json.gz") {
		v := vectorVerifier(t, group)
		for _, test := range group.Tests {
			want := test.Result == "valid"
			if c, found := corrected[test.ID]; found {
				want = c.accepted
			}
			err := verifySignature(v, test.JWS)
			if (err == nil) != want {
				t.Errorf("%s, tcId %d (%s): got %v, want accepted %v", group.Comment, test.ID, test.Comment, err, want)
			}
			if err == nil {
				accepted++
			} else {
				refused++
			}
		}
	}
	// The numbers show that the vectors were read and the keys were used.
	if accepted+refused != 401 || accepted < 30 {
		t.Errorf("%d accepted, %d refused", accepted, refused)
	}
}

// TestWycheproofKeys loads the keys of the vectors. A key that must not be used verifies
// nothing.
func TestWycheproofKeys(t *testing.T) {
	t.Parallel()
	accepted := 0
	for _, group := range readVectors[vectorGroup](t, "json_web_key.json.gz") {
		v := vectorVerifier(t, group)
		for _, test := range group.Tests {
			want := test.Result == "valid"
			if c, found := correctedKeys[test.ID]; found {
				want = c.accepted
			}
			err := verifySignature(v, test.JWS)
			if (err == nil) != want {
				t.Errorf("%s, tcId %d (%s): got %v, want accepted %v", group.Comment, test.ID, test.Comment, err, want)
			}
			if err == nil {
				accepted++
			}
		}
	}
	if accepted != 8 {
		t.Errorf("%d accepted", accepted)
	}
}

// TestWycheproofPrimitives verifies signatures of the other vectors by the keys of this package.
func TestWycheproofPrimitives(t *testing.T) {
	t.Parallel()
	accepted, refused := map[string]int{}, map[string]int{}
	for _, group := range readVectors[primitive](t, "signatures.json.gz") {
		public, err := ParsePublicKey([]byte(group.PEM))
		if err != nil {
			t.Fatalf("%s: %v", group.File, err)
		}
		k := Key{Algorithm: group.Alg, Public: public}
		if found := k.problems(); found != nil {
			t.Fatalf("%s: %v", group.File, found)
		}
		checked := k.compile()
		for _, test := range group.Tests {
			err := checked.verify(string(test.Msg), test.Sig)
			if err == nil {
				accepted[group.Alg]++
			} else {
				refused[group.Alg]++
			}
			if test.Result != "acceptable" && (err == nil) != (test.Result == "valid") {
				t.Errorf("%s, tcId %d (%s): got %v, want %s", group.File, test.ID, test.Comment, err, test.Result)
			}
		}
	}
	for _, name := range []string{"ES256", "ES384", "ES512", "EdDSA", "RS256", "PS256"} {
		if accepted[name] == 0 || refused[name] == 0 {
			t.Errorf("%s: %d accepted, %d refused", name, accepted[name], refused[name])
		}
	}
}

// TestWycheproofToken verifies every vector as a bearer token. The payloads are not claims, so
// those with a valid signature are rejected too.
func TestWycheproofToken(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"json_web_signature.json.gz", "json_web_key.json.gz"} {
		for _, group := range readVectors[vectorGroup](t, name) {
			v := vectorVerifier(t, group)
			if v == nil {
				continue
			}
			for _, test := range group.Tests {
				if _, err := v.Verify(test.JWS, time.Unix(1, 0)); err == nil {
					t.Errorf("%s, tcId %d (%s): accepted", group.Comment, test.ID, test.Comment)
				}
			}
		}
	}
}

// verifySignature checks a token up to its signature. A nil Verifier has no key.
func verifySignature(v *Verifier, text string) error {
	jws, err := splitCompact(text)
	if err != nil {
		return err
	}
	head, err := parseHeader(jws.header)
	if err != nil {
		return err
	}
	if v == nil {
		return ErrKeyUnknown
	}
	return v.own.checkSignature(head, jws)
}
