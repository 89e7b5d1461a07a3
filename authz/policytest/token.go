package policytest

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"warder/authz"
	"warder/authz/token"
)

// A Token is the token of a case. It is valid unless the case changes it.
//
// The headers, the path and the API key of a case may contain placeholders: {token}, its
// parts {header}, {payload} and {signature}, {signature:other} with one bit changed,
// {signature:loose} with nonzero unused bits, {none} for an empty text, and {long} for a long
// one. If no placeholder is used, the token is sent in the first of jwt.sources, which is
// Authorization: Bearer by default.
type Token struct {
	// Claims override those of the file, and Without removes claims. exp, nbf and iat may be
	// relative to now, such as +1h.
	Claims  map[string]any `json:"claims"`
	Without []string       `json:"without"`
	// Payload is the text of the claims, which need not be JSON. It replaces all claims.
	// {now+1h} in it is a time relative to now.
	Payload string `json:"payload"`
	// Header is the text of the header. The default is {"alg":"HS256","typ":"JWT"}.
	Header string `json:"header"`
	// Secret is the signing secret. The default is that of the file's first key.
	// {public_key:NAME} in it is the public key of a signer, in PEM.
	Secret string `json:"secret"`
	// Signer is one of the file's signers, which signs instead of a secret. The default header
	// has the algorithm and the kid of the first key that it has.
	Signer string `json:"signer"`
	// Method is the signing algorithm, independent of Header. The default is HS256, or that of
	// the signer's key.
	Method string `json:"method"`
}

func (k *Token) check(f *File, report func(key, format string, args ...any)) {
	if k.Payload != "" && (k.Claims != nil || k.Without != nil) {
		report("token.payload", "replaces all claims and cannot be combined with claims or without; leave one of them out")
	}
	switch known := slices.Contains(token.Algorithms(), k.Method); {
	case k.Method == "":
	case !known:
		report("token.method", "%q is not a method; use %s", k.Method, strings.Join(token.Algorithms(), ", "))
	case strings.HasPrefix(k.Method, "HS") == (k.Signer != ""):
		report("token.method", "%q does not fit; a secret signs with HS256, HS384 or HS512, and a signer with another one", k.Method)
	}
	if _, known := f.Signers[k.Signer]; k.Signer != "" && !known {
		report("token.signer", "%q is none of the file's signers", k.Signer)
	}
	if k.Signer != "" && k.Secret != "" {
		report("token.signer", "cannot be combined with secret; leave one of them out")
	}
}

// A Request is the request of a case.
type Request struct {
	Method, Path, Host string
	Headers            [][2]string // in order, names as written
	Peer               netip.Addr  // the zero Addr if the peer has no address
	Principal          string      // "" if the client has no certificate
	ChosenRoute        *string     // nil if the proxy selects no route
	Secrets            []string    // credentials that must not be in a response
}

// Build builds the request of the case. Relative times in its token are relative to now.
func (c *Case) Build(now time.Time) (Request, error) {
	r := Request{Host: c.Host, Peer: c.peer(), Principal: c.Principal, ChosenRoute: c.ChosenRoute}
	expand := strings.NewReplacer("{none}", "", "{long}", strings.Repeat("A", 9000))
	sends := c.Token != nil || c.AsUser != ""
	if sends {
		head, payload, signature, err := c.mint(now)
		if err != nil {
			return r, err
		}
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
	tokens, apiKeys := c.file.Sources().All()
	if sends && !placed {
		r.carry(tokens[0], expand.Replace("{token}"))
	}
	if c.APIKey != "" {
		key := expand.Replace(c.APIKey)
		r.carry(apiKeys[0], key)
		if !c.file.isPrefix(key) {
			r.Secrets = append(r.Secrets, key)
		}
	}
	return r, nil
}

// carry adds a credential to the request.
func (r *Request) carry(source authz.Source, credential string) {
	fields, query := source.Carry(credential)
	for _, f := range fields {
		r.Headers = append(r.Headers, [2]string{f.Name, f.Value})
	}
	if query != "" {
		r.Path = authz.AddQuery(r.Path, query)
	}
}

// isPrefix reports whether text is the public prefix of a key, which is not secret.
func (f *File) isPrefix(text string) bool {
	return slices.ContainsFunc(f.APIKeys, func(k APIKey) bool { return k.Prefix == text })
}

// mint returns the three segments of the token.
func (c *Case) mint(now time.Time) (header, payload, signature string, err error) {
	k := c.Token
	if k == nil {
		k = new(Token)
	}
	signs, algorithm := c.file.signingKey(k.Signer), "HS256"
	if c.AsUser != "" || k.Signer != "" {
		algorithm = signs.Algorithm
	}
	method := cmp.Or(k.Method, algorithm)
	text := k.Header
	if text == "" {
		fields := map[string]string{"alg": algorithm, "typ": "JWT"}
		if (c.AsUser != "" || k.Signer != "") && signs.ID != "" {
			fields["kid"] = signs.ID
		}
		encoded, _ := json.Marshal(fields) // strings cannot fail
		text = string(encoded)
	}
	header = base64.RawURLEncoding.EncodeToString([]byte(text))
	claims, err := c.payload(k, now)
	if err != nil {
		return "", "", "", fmt.Errorf("the claims of the token cannot be written as JSON: %w", err)
	}
	payload = base64.RawURLEncoding.EncodeToString(claims)
	var key any = []byte(c.file.withPublicKeys(cmp.Or(k.Secret, signs.Secret)))
	if signs.Signer != "" {
		key = c.file.Signers[signs.Signer].private
	}
	signed, err := jwt.GetSigningMethod(method).Sign(header+"."+payload, key)
	if err != nil {
		return "", "", "", fmt.Errorf("the token cannot be signed: %w", err)
	}
	return header, payload, base64.RawURLEncoding.EncodeToString(signed), nil
}

var fromNow = regexp.MustCompile(`\{now([+-][0-9]+[smhd])\}`)

func (c *Case) payload(k *Token, now time.Time) ([]byte, error) {
	if k.Payload != "" {
		return fromNow.ReplaceAllFunc([]byte(k.Payload), func(s []byte) []byte {
			after, _ := relativeTime(string(fromNow.FindSubmatch(s)[1]))
			return strconv.AppendInt(nil, now.Add(after).Unix(), 10)
		}), nil
	}
	own, err := c.userClaims()
	if err != nil {
		return nil, err
	}
	claims := map[string]any{}
	maps.Copy(claims, c.file.Claims)
	maps.Copy(claims, own)
	maps.Copy(claims, k.Claims)
	for _, name := range k.Without {
		delete(claims, name)
	}
	for _, name := range []string{"exp", "nbf", "iat"} {
		text, ok := claims[name].(string)
		if !ok {
			continue
		}
		if at, ok := timeFrom(now, text); ok {
			claims[name] = at.Unix()
		}
	}
	return json.Marshal(claims)
}

// userClaims returns the claims of a valid token of the user in as_user.
func (c *Case) userClaims() (map[string]any, error) {
	if c.AsUser == "" {
		return nil, nil
	}
	jwt := c.file.Config.JWT
	session := testSession
	if i := slices.IndexFunc(c.file.Sessions, func(s Session) bool { return s.User == c.AsUser }); i >= 0 {
		session = c.file.Sessions[i].Session
	}
	claims := map[string]any{cmp.Or(jwt.UserClaim, "sub"): c.AsUser, cmp.Or(jwt.SessionClaim, "jti"): session, "exp": "+1h"}
	if jwt.Issuer != "" {
		claims["iss"] = jwt.Issuer
	}
	if len(jwt.Audiences) > 0 {
		claims["aud"] = jwt.Audiences[0]
	}
	if !c.file.UsersInTokens() {
		return claims, nil
	}
	for _, u := range c.file.Users {
		if u.ID != c.AsUser {
			continue
		}
		if column := u.Column(); column != "" && !token.PutClaim(claims, c.file.rolesClaim(), json.RawMessage(column)) {
			return nil, fmt.Errorf("no roles can be put at %s", c.file.rolesClaim())
		}
		if active := jwt.ActiveClaim; active != "" && !token.PutClaim(claims, active, u.Flag()) {
			return nil, fmt.Errorf("no state can be put at %s", active)
		}
	}
	return claims, nil
}

// otherBit changes one bit of a segment and keeps it canonical.
func otherBit(segment string) string {
	b, _ := base64.RawURLEncoding.DecodeString(segment) // a signature is never empty
	b[0] ^= 1
	return base64.RawURLEncoding.EncodeToString(b)
}

// looseBits returns a noncanonical encoding of the same bytes, in which unused bits of the
// last character are not zero. The encodings of 32, 64 and 256 bytes have unused bits.
func looseBits(segment string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, segment[len(segment)-1])
	return segment[:len(segment)-1] + string(alphabet[last|1])
}
