package token_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"warder/authz/mask"
	"warder/authz/token"
)

const canary = `c4n/ary+"Secret"=7Qz, long enough for a key`

// leaks returns the encodings of the canary that a text contains.
func leaks(text string) []string {
	reversed := []byte(canary)
	slices.Reverse(reversed)
	quoted, _ := json.Marshal(canary)
	spellings := map[string]string{
		"plain":     canary,
		"part":      canary[:8],
		"reversed":  string(reversed),
		"json":      strings.Trim(string(quoted), `"`),
		"hex":       hex.EncodeToString([]byte(canary)),
		"HEX":       strings.ToUpper(hex.EncodeToString([]byte(canary))),
		"spaced":    fmt.Sprintf("% x", canary),
		"bytes":     strings.Trim(fmt.Sprintf("%d", []byte(canary)), "[]"),
		"go bytes":  fmt.Sprintf("%#v", []byte(canary[:4]))[len("[]byte{") : len("[]byte{")+len("0x63, 0x34")],
		"base64":    base64.RawStdEncoding.EncodeToString([]byte(canary)),
		"base64url": base64.RawURLEncoding.EncodeToString([]byte(canary)),
	}
	var found []string
	for name, spelling := range spellings {
		if strings.Contains(text, spelling) {
			found = append(found, name)
		}
	}
	return found
}

func hidden(t *testing.T, how, text string) {
	t.Helper()
	if found := leaks(text); found != nil {
		t.Errorf("%s: leaks the secret (%v): %s", how, found, text)
	}
}

func TestKeyPrintsMasked(t *testing.T) {
	t.Parallel()
	k := token.Key{ID: "a", Algorithm: "HS256", Secret: []byte(canary)}
	c := token.Config{Keys: []token.Key{k}}
	v := newVerifier(t, c)
	values := map[string]any{
		"Key": k, "*Key": &k, "[]Key": c.Keys, "map": map[string]token.Key{"a": k}, "struct": struct{ K token.Key }{k},
		"Config": c, "*Config": &c, "*Verifier": v, "Verifier": *v, "holder": struct{ v *token.Verifier }{v}, "inner": struct{ v token.Verifier }{*v},
	}
	for name, value := range values {
		for _, verb := range "vsqxXdtbcoOUeEfFgG" {
			for _, flags := range []string{"", "+", "#", "-", " ", "0", "3", "60", ".2"} {
				format := "%" + flags + string(verb)
				hidden(t, name+" "+format, fmt.Sprintf(format, value))
			}
		}
		text, _ := json.Marshal(value)
		hidden(t, name+" in JSON", string(text))
		text, _ = xml.Marshal(value)
		hidden(t, name+" in XML", string(text))
		var out bytes.Buffer
		slog.New(slog.NewJSONHandler(&out, nil)).With("with", value).Info("message", "attr", value)
		slog.New(slog.NewTextHandler(&out, nil)).With("with", value).Info("message", "attr", value)
		hidden(t, name+" in slog", out.String())
	}

	const want = `Key{ID: "a", Algorithm: "HS256", Secret: ` + mask.Replacement + `}`
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if got := fmt.Sprintf(verb, k); got != want {
			t.Errorf("%s: got %s", verb, got)
		}
	}
	var out bytes.Buffer
	slog.New(slog.NewJSONHandler(&out, nil)).Info("", "key", k)
	if !strings.Contains(out.String(), `"key":{"id":"a","algorithm":"HS256","secret":"`+mask.Replacement+`"}`) {
		t.Errorf("got %s", out.String())
	}
}
