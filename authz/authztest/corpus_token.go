package authztest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// A CorpusToken is the token of a case, right unless the case makes it wrong.
//
// Headers, the path and the key of a case may hold {token}, or its parts {header},
// {payload} and {signature}, for spellings of their own: {signature:other} has one
// bit changed, {signature:loose} ends in bits that decode to nothing, {none} is
// empty, {long} a long text. A token that stands nowhere is sent as Authorization:
// Bearer.
type CorpusToken struct {
	// Claims are put over those of the file; Without takes some away. exp, nbf and iat
	// may be a time from now, as +1h.
	Claims  map[string]any `yaml:"claims"`
	Without []string       `yaml:"without"`
	// Payload is the JSON text of the claims instead, whatever it is. Times from now
	// stand in it as {now+1h}.
	Payload string `yaml:"payload"`
	// Header is the JSON text of the header; absent: {"alg":"HS256","typ":"JWT"}.
	Header string `yaml:"header"`
	// Secret signs instead of the first key of the file.
	Secret string `yaml:"secret"`
	// Method is how it is signed, whatever the header says; absent: HS256.
	Method string `yaml:"method"`
}

func (k *CorpusToken) problems() (problems []string) {
	if k.Payload != "" && (k.Claims != nil || k.Without != nil) {
		problems = append(problems, "token: payload stands for all claims, so that claims and without have no place beside it")
	}
	if _, known := signers[k.method()]; !known {
		problems = append(problems, fmt.Sprintf("token.method: %q; want HS256, HS384 or HS512", k.Method))
	}
	return problems
}

func (k *CorpusToken) method() string {
	if k.Method == "" {
		return "HS256"
	}
	return k.Method
}

var signers = map[string]*jwt.SigningMethodHMAC{
	"HS256": jwt.SigningMethodHS256, "HS384": jwt.SigningMethodHS384, "HS512": jwt.SigningMethodHS512,
}

// A CorpusRequest is what a case sends.
type CorpusRequest struct {
	Method, Path, Host string
	Headers            [][2]string // in order, names as written
	Peer               netip.Addr  // the zero Addr when the peer has none
	Principal          string      // "" when the client has no certificate
	Route              *string     // nil when the proxy chooses none
	Secrets            []string    // what must not be in any answer
}

// Build makes the request of the case, with tokens that are as old as now says.
func (c *Case) Build(t testing.TB, now time.Time) CorpusRequest {
	t.Helper()
	r := CorpusRequest{Host: c.Host, Peer: c.peer(), Principal: c.Principal, Route: c.Route}
	expand := strings.NewReplacer("{none}", "", "{long}", strings.Repeat("A", 9000))
	if c.Token != nil {
		head, payload, signature := c.mint(t, now)
		token := head + "." + payload + "." + signature
		r.Secrets = append(r.Secrets, token, signature)
		expand = strings.NewReplacer(
			"{none}", "", "{long}", strings.Repeat("A", 9000),
			"{token}", token, "{header}", head, "{payload}", payload, "{signature}", signature,
			"{signature:other}", otherBit(signature), "{signature:loose}", looseBits(signature),
		)
	}
	r.Method, r.Path, _ = strings.Cut(expand.Replace(c.Request), " ")
	placed := expand.Replace(c.Request) != c.Request
	for _, h := range c.Headers {
		value := expand.Replace(h[1])
		placed = placed || value != h[1]
		r.Headers = append(r.Headers, [2]string{h[0], value})
	}
	if c.Token != nil && !placed {
		r.Headers = append(r.Headers, [2]string{"Authorization", expand.Replace("Bearer {token}")})
	}
	if c.APIKey != "" {
		key := expand.Replace(c.APIKey)
		r.Headers = append(r.Headers, [2]string{c.file.APIKeyHeader(), key})
		if !c.file.isPrefix(key) {
			r.Secrets = append(r.Secrets, key)
		}
	}
	return r
}

// isPrefix reports whether a text is the public part of a key, which may be told.
func (f *CorpusFile) isPrefix(text string) bool {
	return slices.ContainsFunc(f.APIKeys, func(k CorpusAPIKey) bool { return k.Prefix == text })
}

// mint makes the three segments of the token.
func (c *Case) mint(t testing.TB, now time.Time) (header, payload, signature string) {
	t.Helper()
	k := c.Token
	text := k.Header
	if text == "" {
		text = `{"alg":"HS256","typ":"JWT"}`
	}
	header = base64.RawURLEncoding.EncodeToString([]byte(text))
	payload = base64.RawURLEncoding.EncodeToString([]byte(c.payload(t, now)))
	secret := k.Secret
	if secret == "" {
		secret = c.file.Config.JWT.Keys[0].Secret
	}
	mac, err := signers[k.method()].Sign(header+"."+payload, []byte(secret))
	if err != nil {
		t.Fatalf("signing a token: %v", err)
	}
	return header, payload, base64.RawURLEncoding.EncodeToString(mac)
}

var fromNow = regexp.MustCompile(`\{now([+-][0-9]+[smhd])\}`)

func (c *Case) payload(t testing.TB, now time.Time) string {
	t.Helper()
	k := c.Token
	if k.Payload != "" {
		return fromNow.ReplaceAllStringFunc(k.Payload, func(s string) string {
			after, _ := relativeTime(fromNow.FindStringSubmatch(s)[1])
			return strconv.FormatInt(now.Add(after).Unix(), 10)
		})
	}
	claims := map[string]any{}
	maps.Copy(claims, c.file.Claims)
	maps.Copy(claims, k.Claims)
	for _, name := range k.Without {
		delete(claims, name)
	}
	for _, name := range []string{"exp", "nbf", "iat"} {
		text, ok := claims[name].(string)
		if !ok {
			continue
		}
		if after, ok := relativeTime(text); ok {
			claims[name] = now.Add(after).Unix()
		}
	}
	encoded, err := json.Marshal(claims)
	if err != nil {
		t.Fatalf("encoding claims: %v", err)
	}
	return string(encoded)
}

// otherBit changes one bit of a segment and keeps it canonical.
func otherBit(segment string) string {
	b, _ := base64.RawURLEncoding.DecodeString(segment)
	b[0] ^= 1
	return base64.RawURLEncoding.EncodeToString(b)
}

// looseBits spells the same bytes in another way: the bits of the last character
// that decode to nothing are not zero. Signatures of 32 and 64 bytes have such.
func looseBits(segment string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, segment[len(segment)-1])
	return segment[:len(segment)-1] + string(alphabet[last|1])
}
