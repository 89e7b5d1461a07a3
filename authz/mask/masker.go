package mask

import (
	"bytes"
	"fmt"
)

// MaxLine is the greatest length in bytes of a line that a [Writer] does not truncate.
const MaxLine = 1 << 20

// A Masker finds secrets in text and replaces them with [Replacement]. It is immutable and safe
// for concurrent use. A nil *Masker and the zero Masker use the built-in list of sensitive
// keys.
//
// The following is masked. The examples in the left columns are masked, and similar texts in
// the right columns are kept. In case of doubt, text is masked.
//
// Keys. The normal form of a key is in lower case and without _ - . and spaces. A key is
// sensitive if its normal form ends with a listed word. A word of up to three letters counts
// only as a whole word of the key, and a plural only as the whole key. A longer word may be
// followed by one or two digits, and every word by [] or a number in brackets.
//
//	DB_PASSWORD dbPassword db.password X-Api-Key     passwordless secretary author
//	pin user_pin userPin userPIN                     spin shipping pin1
//	tokens password2 user[password]                  max_tokens token_count
//
// Some keys are sensitive only in a query or a form, because elsewhere they name other things.
// Some values show that they are no secret: messages, counts, identifiers of sessions and
// objects in prose, and switches (see harmless.go).
//
//	?code=abcdef&sig=x  code=abcdef&a=b              {"code": 404}  sig=11
//	token: invalid x  tokens: abc  session_id=0x1f   token: unexpected end of input  tokens: 812
//	session: abc                                     sessionid: 0x14ed93111f20027
//	pass=x  pass: 1234                               pass: 12  csrf=true
//
// JSON, also with text around it, over several lines, in a JSON string, and truncated. The
// value of a sensitive key, of any type, becomes a string. Everything else is kept byte for
// byte. Strings are masked as text. In an array, a sensitive flag masks the next string. A
// "name" whose value is a sensitive key masks the "value" of its object. Values nested in more than
// 64 objects and arrays, and texts nested in more than 6 strings, are replaced as a whole.
//
//	{"password": {"a": [1]}}     becomes {"password": "***FILTERED***"}
//	{"p\u0061ssword": "x          becomes {"p\u0061ssword": "***FILTERED***
//	{"a": "{\"pin\": 1}"}         becomes {"a": "{\"pin\": \"***FILTERED***\"}"}
//	["--token", "x"]             becomes ["--token", "***FILTERED***"]
//	{"name": "pin", "value": 1}  becomes {"name": "pin", "value": "***FILTERED***"}
//	{"loc": ["body", "password"], "max_tokens": 5}   is kept
//
// Keys in text, followed by one of = : == := =>, with optional blanks and quotes; dictionaries
// and tuples of Python, flags, queries and forms.
//
//	password=x  token: x  api key: x  "pin" => 1     password reset for bob
//	password='a b'  password="a \"b\""               passwordless: true
//	{'password': b'x', 'pin': 1}  ('token', 'x')     ('body', 'password')
//	--password x  --token='a b'  -token x            --password-file x
//	?a=1&p%61ssword=x  user%5Bpassword%5D=x          ?max_tokens=5
//	User(name=bob, password=x)  Server=db;Pwd=x      TokenFilter.java:42
//	Key (token)=(x)  PASSWORD 'x'                    FATAL: password authentication failed
//	<password>x</password>  <a key="pin" value="x"/> usage: login <user> <password>
//	[[b'cookie', b'x']]                              ['password', 'email']
//	db:1433;password=x  redis://h:6379,password=x    redis://h:6379,db=1
//	{'loc': ('body', 'password'), 'input': 'x'}      {'loc': ('body', 'name'), 'input': 'x'}
//
// Terminal colours between a key, its sign and its value are ignored. The entities of HTML and
// XML (&lt; &gt; &quot; &apos; &amp; and numeric references to ASCII characters) are unescaped,
// also twice.
//
//	&lt;password&gt;x&lt;/password&gt;   {&quot;pin&quot;:&quot;x&quot;}   login &lt;user&gt; &lt;password&gt;
//
// Header fields in Envoy's debug log, each in a line of its own.
//
//	'x-api-key', 'x'                                 ':authority', 'example.com'
//
// An unquoted value ends at white space, at , ; & before another key, and at a bracket or quote
// that closes one around it. After key: at the beginning of a line, it ends at the end of the
// line or before another key. The value of Cookie, Set-Cookie and Authorization ends at the end
// of the line, or of the quotes around the field. A known scheme of Authorization is kept. An
// unknown one is masked with the credentials.
//
//	Cookie: a=b; c=d                 becomes Cookie: ***FILTERED***
//	Authorization: Bearer x          becomes Authorization: Bearer ***FILTERED***
//	passphrase: correct horse        becomes passphrase: ***FILTERED***
//	login, password: x for bob       becomes login, password: ***FILTERED*** for bob
//
// Values in the lines after their key: a part of a multipart form with a sensitive name, up to
// the next line that begins with --; private keys in PEM; block scalars of YAML after a
// sensitive key (password: |); XML elements; and a value whose name is in the line before or
// after it (- name: DB_PASSWORD, and then value: x).
//
// Secrets without a key: JWTs, credentials, passwords in URLs and after curl -u, and API keys
// of warder; secrets with the prefix of a provider, URLs of webhooks, hashes of passwords, and the
// flags of tools that take a password. The keys of warder have the form wk_name_tail, with a tail of at least 20 letters and digits,
// or of at least 10 with a digit among them.
//
//	eyJhbGciOiJub25lIn0.e30.             eyJhbGciOiJub25lIn0
//	Bearer abc123  Basic Ym9iOng=        Bearer token required  Basic usage of
//	postgres://bob:x@db  redis://:x@db   http://session:8080  ssh://git@host
//	https://x@host                       https://git@host  postgres://bob@db
//	curl -u bob:x                        docker run -u 1000:1000
//	wk_reports_<26 letters and digits>   wk_reports
//	ghp_<36 letters and digits>          ghp_  sk-learn
//	$2b$12$<53 characters>               $2b$12$
//	redis-cli -a x  mysql -px            ssh -p 22
//
// Masking is idempotent. It takes linear time: a text that needs more than a fixed number of
// steps per byte is replaced line by line.
type Masker struct {
	words *words // nil means builtinWords
}

// NewMasker returns a Masker with the given sensitive keys in addition to the built-in ones.
// The error describes the first invalid key.
func NewMasker(keys ...string) (*Masker, error) { return NewMaskerKeeping(keys, nil) }

// NewMaskerKeeping is like [NewMasker], but the values of the keys in keep are not masked for
// their key. A key is kept as a whole: with "session_id" kept, sessionId is kept, and
// user_session_id is masked. Keys that end with password, authorization, cookie or secret
// cannot be kept. A secret that is recognized without a key, such as a JWT, is masked in any
// value.
func NewMaskerKeeping(keys, keep []string) (*Masker, error) {
	if len(keys) == 0 && len(keep) == 0 {
		return &Masker{}, nil
	}
	w, err := configuredWords(keys, keep)
	if err != nil {
		return nil, err
	}
	return &Masker{w}, nil
}

func (m *Masker) list() *words {
	if m == nil || m.words == nil {
		return builtinWords
	}
	return m.words
}

// SensitiveKey reports whether key is sensitive.
func (m *Masker) SensitiveKey(key string) bool {
	return m.list().sensitive([]byte(key))
}

// SensitiveInQuery reports whether the values of key are masked only in queries and forms.
func (m *Masker) SensitiveInQuery(key string) bool {
	return m.list().inQuery([]byte(key), 0, len(key))
}

// KeptWarning is the warning for a key that is kept.
func KeptWarning(key string) string {
	return fmt.Sprintf("the values of %q are not masked, also where they are secrets", key)
}

// String masks a text, which may have several lines. It returns s itself if there is nothing to
// mask.
func (m *Masker) String(s string) string {
	t := []byte(s)
	masked := m.Bytes(t)
	if bytes.Equal(masked, t) {
		return s
	}
	return string(masked)
}

// Bytes is like [Masker.String] for bytes. It does not change b, which it may return.
func (m *Masker) Bytes(b []byte) []byte {
	s := scanner{words: m.list()}
	s.lines(b)
	if s.n == 0 && !s.spent() {
		return b
	}
	return s.settle(nil, b)
}

// Append appends the masked line to dst. It usually does not allocate if dst has room.
func (m *Masker) Append(dst, line []byte) []byte {
	s := scanner{words: m.list()}
	return s.append(dst, line)
}
