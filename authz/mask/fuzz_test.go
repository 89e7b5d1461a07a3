package mask_test

import (
	"encoding/json"
	"fmt"
	"html"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"warder/authz/mask"
)

// secretKeys are sensitive keys in various forms.
var secretKeys = []string{
	"password", "PASSWORD", "db_password", "DB_PASSWORD", "db-password", "db.password", "dbPassword", "user_pin", "userPin", "pin",
	"X-Api-Key", "apiKey", "api_key", "access_token", "Secret", "client_secret", "session_id", "Set-Cookie", "jwt", "creditCard", "passphrase", "pwd",
	"db_pass", "SMTP_PASS", "password_hash", "csrf", "connect.sid", "AccountKey", "code_verifier",
}

// secretForms return a text with a key and a secret that needs no quotes.
var secretForms = []func(key, secret string) string{
	func(k, s string) string { return k + "=" + s },
	func(k, s string) string { return "msg=x " + k + "=" + s + " user=bob" },
	func(k, s string) string { return k + " = " + s },
	func(k, s string) string { return k + ": " + s },
	func(k, s string) string { return "login failed, " + k + ": " + s },
	func(k, s string) string { return k + `="a ` + s + ` b"` },
	func(k, s string) string { return k + `='a ` + s + ` b'` },
	func(k, s string) string { return k + `="a \"` + s + ` b"` },
	func(k, s string) string { return k + `="unclosed ` + s },
	func(k, s string) string { return "tool --" + k + " " + s },
	func(k, s string) string { return "tool --" + k + "=" + s + " --name bob" },
	func(k, s string) string { return "tool --" + k + " 'a " + s + "'" },
	func(k, s string) string { return `["tool", "--` + k + `", "a ` + s + `"]` },
	func(k, s string) string { return `['tool', '--` + k + `', 'a ` + s + `']` },
	func(k, s string) string { return `{"` + k + `":"a ` + s + `"}` },
	func(k, s string) string { return `{"` + k + `": ["a", {"b": "` + s + `"}], "n": 1}` },
	func(k, s string) string { return `{"a":[{"b":{"` + k + `":{"c":"` + s + `"}}}]}` },
	func(k, s string) string { return `{"` + unicodeEscaped(k) + `":"` + s + `"}` },
	func(k, s string) string { return `{"` + unicodeEscaped(k) + `":"` + s },
	func(k, s string) string { return `{"` + k + `": "a ` + s },
	func(k, s string) string { return `{"` + k + `": {"a": ["` + s },
	func(k, s string) string { return `{"user": bob, "` + k + `": "a ` + s + `"}` },
	func(k, s string) string { return `{"msg":"x ` + k + `=` + s + `","n":1}` },
	func(k, s string) string { return `{"name":"` + k + `","value":"a ` + s + `"}` },
	func(k, s string) string { return `12:00:00 INFO got {"` + k + `":"a ` + s + `"} from bob` },
	func(k, s string) string { return `{'` + k + `': 'a ` + s + `', 'n': 1}` },
	func(k, s string) string { return `{b'` + k + `': b'a ` + s + `'}` },
	func(k, s string) string { return `{'` + k + `': {'a': ('b', 'c ` + s + `')}}` },
	func(k, s string) string { return `('` + k + `', 'a ` + s + `')` },
	func(k, s string) string { return `[(b'` + k + `', b'a ` + s + `')]` },
	func(k, s string) string { return `{"` + k + `"=>"a ` + s + `"}` },
	func(k, s string) string {
		return `    f(user='bob', ` + strings.NewReplacer("-", "_").Replace(k) + `='a ` + s + `')`
	},
	func(k, s string) string { return "User(name=bob, " + k + "=" + s + ", id=3)" },
	func(k, s string) string { return "GET /x?a=1&" + k + "=" + s + "&b=2 HTTP/1.1" },
	func(k, s string) string { return "GET /x?a=1&" + percentEscaped(k) + "=" + s + "&b=2 HTTP/1.1" },
	func(k, s string) string { return "GET /x?next=" + url.QueryEscape("/y?"+k+"="+s+"&z=1") + " HTTP/1.1" },
	func(k, s string) string { return "a=1&user%5B" + k + "%5D=" + s + "&b=2" },
	func(k, s string) string {
		return "--x\r\nContent-Disposition: form-data; name=\"" + k + "\"\r\n\r\na " + s + "\r\n--x--"
	},
	func(k, s string) string { return "jdbc:sqlserver://db:1433;user=sa;" + k + "=" + s },
	func(k, s string) string { return "url=http://vault:8200," + k + "=" + s },
	func(k, s string) string { return "/x?a=http://h," + k + "=" + s },
	func(k, s string) string { return "\x1b[36m" + k + "\x1b[0m=" + s },
	func(k, s string) string { return "\x1b[36m" + k + "=\x1b[0m\x1b[35m" + s + "\x1b[0m ok" },
	func(k, s string) string { return "\x1b[1;32m" + k + "\x1b[0m: \x1b[2m'" + s + " x'\x1b[0m" },
	func(k, s string) string { return "[[b'" + k + "', b'" + s + "'], [b'a', b'b']]" },
	func(k, s string) string { return "x [['a', 'b'], ['" + k + "', 'c " + s + "']]" },
	func(k, s string) string { return `[["a","b"],["` + k + `","a ` + s + `"]]` },
	func(k, s string) string { return `{"headers":[["` + k + `",["` + s + `"]]]}` },
	func(k, s string) string {
		return `[{"type":"string_too_short","loc":["body","` + k + `"],"msg":"x","input":"a ` + s + `"}]`
	},
	func(k, s string) string {
		return `[{'type': 'string_type', 'loc': ('body', '` + k + `', 0), 'msg': 'x', 'input': 'a ` + s + `'}]`
	},
	func(k, s string) string {
		return "1 validation error\n" + strings.ReplaceAll(k, ".", "_") + "\n  Too short [type=x, input_value='a " + s + "', input_type=str]"
	},
	func(k, s string) string { return "<" + k + ">" + s + "</" + k + ">" },
	func(k, s string) string { return `<a><n:` + k + ` type="x">a ` + s + `</n:` + k + `><b>c</b></a>` },
	func(k, s string) string { return "got\n<" + k + ">\n  " + s + "\n</" + k + ">" },
	func(k, s string) string { return `<a id="1" ` + k + `="` + s + `"/>` },
	func(k, s string) string { return `<add key="` + k + `" value="` + s + `"/>` },
	func(k, s string) string { return `<property name="` + k + `">` + s + `</property>` },
	func(k, s string) string {
		return k + "=-----BEGIN PRIVATE KEY-----\n" + s + "\n-----END PRIVATE KEY-----"
	},
	func(k, s string) string {
		return "export " + k + "=\"-----BEGIN EC PRIVATE KEY-----\n" + s + "\n" + s + "\n-----END EC PRIVATE KEY-----\""
	},
	func(k, s string) string { return "a:\n  " + k + ": |\n    " + s + "\n    " + s + "\n  b: c" },
	func(k, s string) string { return "redis://h:6379,db=1," + k + "=" + s },
	func(k, s string) string { return "env:\n- name: " + k + "\n  value: " + s + "\n- name: a\n  value: b" },
	func(k, s string) string { return "env:\n  - value: \"a " + s + "\"\n    name: " + k + "\n" },
	func(k, s string) string {
		return "env:\n  - name: " + k + "\n    # x\n    value: |\n      " + s + "\n  - name: a"
	},
	func(k, s string) string {
		return "env:\n  {\n    \"name\": \"" + k + "\",\n    \"value\": \"a " + s + "\"\n  },"
	},
	func(k, s string) string { return `{"value":"a ` + s + `","n":1,"name":"` + k + `"}` },
	func(k, s string) string { return `{"value":{"stringValue":"a ` + s + `"},"key":"` + k + `"}` },
	func(k, s string) string { return `{"rawHeaders":["a","b","` + k + `","c ` + s + `"]}` },
	func(k, s string) string { return "&EnvVar{Name:" + k + ",Value:" + s + ",ValueFrom:nil,}" },
	func(k, s string) string { return k + "=$argon2id$v=19$m=65536,t=3,p=4$c2FsdA$" + s + " user=bob" },
	func(k, s string) string { return k + ": {SSHA}" + s },
	func(_, s string) string { return "GET /cb?code=" + s + "&state=7 HTTP/1.1" },
	func(_, s string) string { return "grant_type=authorization_code&code=" + s + "&a=b" },
	func(_, s string) string { return "redis-cli -h db -a " + s + " ping" },
	func(_, s string) string { return "mysql -u root -p" + s + " app" },
	func(_, s string) string { return "sshpass -p '" + s + "' ssh -p 22 host" },
	func(_, s string) string { return "https://hooks.slack.com/services/T0/B0/" + s },
	func(_, s string) string { return "authorization=Custom " + s + " user=bob" },
	func(_, s string) string { return "clone https://" + s + "@example.com/x.git" },
	func(_, s string) string { return "Authorization: Custom " + s + " x" },
	func(_, s string) string { return "Cookie: a=b; c=" + s + "; d=e" },
	func(_, s string) string { return "curl -u bob:" + s + " https://example.com" },
	func(k, s string) string { return "curl -u " + k + "=" + s + " https://example.com" },
	func(_, s string) string { return "postgres://bob:" + s + "@db/app" },
	func(_, s string) string { return "redis://:" + s + "@db:6379/0" },
	func(_, s string) string { return "got Bearer " + s + "0 from bob" },
	func(_, s string) string { return "got Basic " + s + "== from bob" },
	func(_, s string) string { return "got eyJhbGciOiJub25lIn0." + s + " from bob" },
	func(_, s string) string { return "got eyJhbGciOiJub25lIn0." + s + ". from bob" },
	func(_, s string) string { return "got wk_reports_" + s + "0123456789abcdef from bob" },
}

// nestings embed a text in another one.
var nestings = []func(text string) string{
	func(text string) string { return text },
	func(text string) string { return `{"level":"INFO","msg":` + quoteJSON(text) + `,"n":1}` },
	func(text string) string {
		return `{"log":` + quoteJSON(`{"body":`+quoteJSON(text)+`}`+"\n") + `,"stream":"stdout"}`
	},
	func(text string) string {
		return `{"a":` + quoteJSON(`{"b":`+quoteJSON(`{"c":`+quoteJSON(text)+`}`)+`}`) + `}`
	},
	func(text string) string { return `{"level":"INFO","msg":` + quoteJSON(text) },
	func(text string) string { return `level=info msg=` + strconv.Quote(text) + ` n=1` },
	func(text string) string { return `[INFO] ` + text },
	func(text string) string { return `x ` + url.PathEscape(text) + ` y` },
	func(text string) string { return `x ` + url.QueryEscape("é "+text) + ` y` },
	func(text string) string { return html.EscapeString(text) },
	func(text string) string { return `<input value="` + named.Replace(text) + `">` },
	func(text string) string { return `{"html":` + quoteJSON("<a>"+named.Replace(text)+"</a>") + `}` },
	func(text string) string { return `x ` + named.Replace(html.EscapeString(text)) },
}

// named escapes a text with the named entities of XML.
var named = strings.NewReplacer("<", "&lt;", ">", "&gt;", "&", "&amp;", `"`, "&quot;", "'", "&apos;")

func quoteJSON(text string) string {
	quoted, _ := json.Marshal(text)
	return string(quoted)
}

func unicodeEscaped(key string) string {
	return fmt.Sprintf(`%s\u%04x%s`, key[:1], key[1], key[2:])
}

func percentEscaped(key string) string { return fmt.Sprintf(`%s%%%02X%s`, key[:1], key[1], key[2:]) }

// FuzzSecretNeverSurvives inserts a secret in each form, with each key and nesting.
func FuzzSecretNeverSurvives(f *testing.F) {
	n := 0
	for form := range secretForms {
		for nesting := range nestings {
			for key := range secretKeys {
				if n++; form < 3 || nesting < 2 || n%7 == 0 { // a part of the combinations; the test covers all
					f.Add(uint8(form), uint8(nesting), uint8(key), "c4n4ry")
				}
			}
		}
	}
	f.Add(uint8(1), uint8(0), uint8(0), "a)b")
	f.Add(uint8(0), uint8(1), uint8(0), "a,b;c&d")
	f.Fuzz(func(t *testing.T, form, nesting, key uint8, secret string) {
		// The secret has an X at each end, so that it is found in the text.
		secret = "X7" + keepOnly(secret, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.~+/") + "7X"
		planted(t, int(form)%len(secretForms), int(nesting)%len(nestings), int(key)%len(secretKeys), secret)
	})
}

func keepOnly(text, allowed string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(allowed, r) {
			return r
		}
		return -1
	}, text)
}

// planted fails the test if an inserted secret, or its beginning or end, is in the result.
func planted(t *testing.T, form, nesting, key int, secret string) {
	t.Helper()
	if shape := secretForms[form]("key", "s"); strings.Contains(shape, "eyJ") || strings.Contains(shape, "wk_") { // these have a limited alphabet
		secret = strings.NewReplacer(".", "", "~", "", "+", "", "/", "").Replace(secret)
	}
	text := nestings[nesting](secretForms[form](secretKeys[key], secret))
	got := (*mask.Masker)(nil).String(text)
	for _, part := range []string{secret, secret[:min(len(secret), 4)], secret[max(0, len(secret)-4):], url.QueryEscape(secret)} {
		if strings.Contains(got, part) {
			t.Fatalf("form %d, nesting %d, key %s: %q survives:\n  in  %s\n  out %s", form, nesting, secretKeys[key], part, text, got)
		}
	}
	if json.Valid([]byte(text)) && !json.Valid([]byte(got)) {
		t.Fatalf("form %d, nesting %d: no longer JSON:\n  in  %s\n  out %s", form, nesting, text, got)
	}
	if again := (*mask.Masker)(nil).String(got); again != got {
		t.Fatalf("form %d, nesting %d: masked again:\n  in    %s\n  out   %s\n  again %s", form, nesting, text, got, again)
	}
}

func TestSecretNeverSurvives(t *testing.T) {
	t.Parallel()
	for form := range secretForms {
		for nesting := range nestings {
			for key := range secretKeys {
				planted(t, form, nesting, key, "X7c4n4ry7X")
			}
		}
	}
}

// FuzzAnyText checks the properties that hold for every text.
func FuzzAnyText(f *testing.F) {
	for _, c := range corpus(f) {
		f.Add(c.in)
	}
	f.Add(`{"a":"\ud800"}`)                                  // half of a surrogate pair
	f.Add(`{"password":`)                                    // a missing value
	f.Add(`password='a\`)                                    // an incomplete escape
	f.Add(strings.Repeat(`{"a":`, 70))                       // too deep
	f.Add(strings.Repeat(`[`, 70) + strings.Repeat(`]`, 70)) // too deep but complete
	f.Add("\"password\":\n\n{\"a\":\n\"b\"\n")               // a value in later lines
	f.Add("password==***FILTERED***=\xff\xfe")               // not UTF-8
	f.Fuzz(func(t *testing.T, text string) {
		m := &mask.Masker{}
		got := m.String(text)
		if again := m.String(got); again != got {
			t.Errorf("masked again:\n  in    %q\n  out   %q\n  again %q", text, got, again)
		}
		if json.Valid([]byte(text)) && !json.Valid([]byte(got)) {
			t.Errorf("no longer JSON:\n  in  %q\n  out %q", text, got)
		}
		if q := m.Query(text); m.Query(q) != q {
			t.Errorf("query masked again:\n  in    %q\n  out   %q\n  again %q", text, q, m.Query(q))
		}
		for _, create := range []newWriter{mask.NewWriter, mask.NewJSONWriter} {
			whole := throughWriter(t, create, m, text, len(text))
			if pieces := throughWriter(t, create, m, text, 3); pieces != whole {
				t.Errorf("in pieces:\n  in     %q\n  whole  %q\n  pieces %q", text, whole, pieces)
			}
		}
		if whole := throughWriter(t, mask.NewWriter, m, text, len(text)); strings.Count(whole, "\n") != strings.Count(text, "\n") {
			t.Errorf("lines lost:\n  in  %q\n  out %q", text, whole)
		}
		if lines := throughWriter(t, mask.NewWriter, m, text, 1<<20); !strings.Contains(text, "\n") && lines != got {
			t.Errorf("one line:\n  in     %q\n  String %q\n  Writer %q", text, got, lines)
		}
	})
}

// Masking is idempotent for texts truncated at any position.
func TestCutAnywhere(t *testing.T) {
	t.Parallel()
	m := &mask.Masker{}
	for _, c := range corpus(t) {
		for n := range len(c.in) {
			got := m.String(c.in[:n])
			if again := m.String(got); again != got {
				t.Errorf("masked again:\n  in    %q\n  out   %q\n  again %q", c.in[:n], got, again)
			}
		}
	}
}

// A truncated secret after its key is masked, however short it is.
func TestCutSecret(t *testing.T) {
	t.Parallel()
	const secret = "ZZZZZZZZ" // a letter that occurs in no form and no escape
	for number, form := range secretForms {
		// Credentials without a key are recognized only if they are long enough.
		shape := form("key", "")
		if strings.Contains(shape, "got ") && !strings.Contains(shape, "key") || strings.Contains(shape, "curl") || strings.Contains(shape, "://") ||
			// A value before its name is known to be secret only with the name, one in a list of headers
			// only in a complete list, and a code only with five bytes.
			strings.Contains(shape, "- value:") || strings.Contains(shape, "rawHeaders") || strings.Contains(shape, `{"value":`) || strings.Contains(shape, "code=") {
			continue
		}
		for nesting := range nestings {
			for _, key := range []string{"db_password", "userPin"} {
				text := nestings[nesting](form(key, secret))
				start := strings.Index(text, secret)
				for n := start; n <= start+len(secret); n++ {
					if got := (*mask.Masker)(nil).String(text[:n]); strings.Contains(got, "Z") {
						t.Fatalf("form %d, nesting %d:\n  in  %s\n  out %s", number, nesting, text[:n], got)
					}
				}
			}
		}
	}
}
