package token

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"os"
	"testing"
	"time"
)

// vectors are an extract of Wycheproof's tests for JWS; see the file itself.
type vectors struct {
	TestGroups []struct {
		Group   int    `json:"group"`
		Comment string `json:"comment"`
		KID     string `json:"kid"`
		Alg     string `json:"alg"` // "" for a key that is not for signing
		K       string `json:"k"`   // base64url; "" for a key that is not symmetric
		Tests   []struct {
			ID      int    `json:"tcId"`
			Comment string `json:"comment"`
			JWS     string `json:"jws"`
			Result  string `json:"result"`
		} `json:"tests"`
	} `json:"testGroups"`
}

// corrected lists the vectors whose expected result differs from this package's, with the
// result and the reason.
var corrected = map[int]struct {
	accepted bool
	why      string
}{
	367: {true, "marked invalid, but byte for byte the valid 357"},
	370: {true, "marked invalid, but byte for byte the valid 357"},
	372: {false, "marked valid with a ? in its header segment, which base64url has not"},
	373: {false, "marked valid with a ? in its payload segment, which base64url has not"},
}

func readVectors(t *testing.T) vectors {
	t.Helper()
	text, err := os.ReadFile("testdata/wycheproof/json_web_signature.json")
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	var v vectors
	if err := dec.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// TestWycheproofSignature runs the vectors through the checks before that of the claims. Their
// payloads are not claims.
func TestWycheproofSignature(t *testing.T) {
	t.Parallel()
	accepted, refused := 0, 0
	for _, group := range readVectors(t).TestGroups {
		v := vectorVerifier(t, group.KID, group.K)
		for _, test := range group.Tests {
			want := test.Result == "valid" && group.Alg == "HS256"
			if c, found := corrected[test.ID]; found {
				want = c.accepted
			}
			err := verifySignature(v, test.JWS)
			if (err == nil) != want {
				t.Errorf("group %d (%s), tcId %d (%s): got %v, want accepted %v",
					group.Group, group.Comment, test.ID, test.Comment, err, want)
			}
			if err == nil {
				accepted++
			} else {
				refused++
			}
		}
	}
	// 1 of group 0, 7 of group 21, 2 of RFC 7520. The numbers show that the vectors were
	// read and the keys were used.
	if accepted != 10 || refused != 178 {
		t.Errorf("%d accepted, %d rejected", accepted, refused)
	}
}

// TestWycheproofToken verifies every vector as a bearer token. The payloads are not claims, so
// those with a valid signature are rejected too.
func TestWycheproofToken(t *testing.T) {
	t.Parallel()
	for _, group := range readVectors(t).TestGroups {
		v := vectorVerifier(t, group.KID, group.K)
		for _, test := range group.Tests {
			if _, err := v.Verify(test.JWS, time.Unix(1, 0)); err == nil {
				t.Errorf("group %d, tcId %d (%s): accepted", group.Group, test.ID, test.Comment)
			}
		}
	}
}

// vectorVerifier returns a Verifier with the key of a group. An asymmetric key is replaced by
// an HS256 key with the same id.
func vectorVerifier(t *testing.T, kid, k string) *Verifier {
	t.Helper()
	secret, err := base64.RawURLEncoding.DecodeString(k)
	if err != nil {
		t.Fatal(err)
	}
	if k == "" {
		secret = make([]byte, minSecret)
	}
	v, err := NewVerifier(Config{Keys: []Key{{ID: kid, Algorithm: "HS256", Secret: secret}}})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func verifySignature(v *Verifier, text string) error {
	jws, err := splitCompact(text)
	if err != nil {
		return err
	}
	head, err := parseHeader(jws.header)
	if err != nil {
		return err
	}
	return v.checkSignature(head, jws)
}
