package mask

import "bytes"

// MaxLine is the length in bytes from which a [Writer] cuts a line.
const MaxLine = 1 << 20

// A Masker knows which keys are sensitive, and replaces their values. Immutable,
// safe for concurrent use. A nil *Masker and the zero Masker mask with the
// built-in list.
//
// What follows is masked, each with a text that is like it and is kept. Where it
// is in doubt what a text means, more is masked.
//
// Keys. The normal form of a key is in lower case and without _ - . and spaces. A
// key is sensitive when its normal form ends with a listed word; words of up to
// three letters count only as a whole word of the key, a plural only as the whole
// key. One or two digits may follow a longer word, and [0] or [] any.
//
//	DB_PASSWORD dbPassword db.password X-Api-Key     passwordless secretary author
//	pin user_pin userPin userPIN                     spin shipping pin1
//	tokens password2 user[password]                  max_tokens token_count
//
// JSON, also with text around it, over lines, in a string of JSON, and when it is
// cut off: a sensitive key's value of any type becomes a string. It is scanned,
// and whatever is outside of masked values is kept byte for byte. Strings are
// masked as text. A string of an array that is a flag masks the next one, and
// "name" with a sensitive key masks the "value" behind it. Values under more than
// 64 brackets, and texts in more than 6 strings, are replaced as a whole.
//
//	{"password": {"a": [1]}}     becomes {"password": "***FILTERED***"}
//	{"p\u0061ssword": "x          becomes {"p\u0061ssword": "***FILTERED***
//	{"a": "{\"pin\": 1}"}         becomes {"a": "{\"pin\": \"***FILTERED***\"}"}
//	["--token", "x"]             becomes ["--token", "***FILTERED***"]
//	{"name": "pin", "value": 1}  becomes {"name": "pin", "value": "***FILTERED***"}
//	{"loc": ["body", "password"], "max_tokens": 5}   is kept
//
// Keys in text, with the signs = : == := => and blanks around them, in any quotes
// or none; Python's dictionaries and pairs, flags, queries, forms.
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
// Colours of a terminal between a key, its sign and its value are passed over. What is
// escaped as HTML and XML are (&lt; &gt; &quot; &apos; &amp; and numbers of ASCII) is read
// as what it spells, also when it is escaped twice.
//
//	&lt;password&gt;x&lt;/password&gt;   {&quot;pin&quot;:&quot;x&quot;}   login &lt;user&gt; &lt;password&gt;
//
//	'x-api-key', 'x' as a line, as Envoy logs fields ':authority', 'example.com'
//
// A value without quotes ends at white space, at , ; & in front of another key,
// and at a bracket or quote that closes one around it. With key: at the beginning
// of a line it ends with the line or in front of another key. A field Cookie,
// Set-Cookie or Authorization ends with the line, or with the quotes that it is
// in; the scheme of Authorization is kept when it is a known one, and replaced with what
// follows it when it is not.
//
//	Cookie: a=b; c=d                 becomes Cookie: ***FILTERED***
//	Authorization: Bearer x          becomes Authorization: Bearer ***FILTERED***
//	passphrase: correct horse        becomes passphrase: ***FILTERED***
//	login, password: x for bob       becomes login, password: ***FILTERED*** for bob
//
// Values in lines of their own: of a multipart form's part with a sensitive name,
// up to the next line that begins with --, private keys in PEM, blocks of YAML behind a
// sensitive key (password: |), and elements of XML.
//
// Without any key: what is shaped like a JWT, credentials, passwords in URLs and
// of curl -u, and API keys of warder, which are wk_, a name, _, and at least 20
// letters and digits, or at least 10 with a digit among them.
//
//	eyJhbGciOiJub25lIn0.e30.             eyJhbGciOiJub25lIn0
//	Bearer abc123  Basic Ym9iOng=        Bearer token required  Basic usage of
//	postgres://bob:x@db  redis://:x@db   http://session:8080  ssh://git@host
//	https://x@host                       https://git@host  postgres://bob@db
//	curl -u bob:x                        docker run -u 1000:1000
//	wk_reports_<26 letters and digits>   wk_reports
//
// Masking what is masked changes nothing. The work is linear in the length of the
// text, whatever the text: one that takes more than a fixed number of steps a byte
// is replaced line by line.
type Masker struct {
	words *words // nil: the built-in ones
}

// NewMasker returns a masker that knows the given keys besides the built-in ones.
func NewMasker(keys ...string) (*Masker, error) {
	if len(keys) == 0 {
		return &Masker{}, nil
	}
	w, err := configuredWords(keys)
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

// SensitiveKey reports whether the value of a key is masked.
func (m *Masker) SensitiveKey(key string) bool {
	return m.list().sensitive([]byte(key))
}

// String masks text that may span several lines. It returns s itself when there
// is nothing to mask.
func (m *Masker) String(s string) string {
	t := []byte(s)
	masked := m.Bytes(t)
	if bytes.Equal(masked, t) {
		return s
	}
	return string(masked)
}

// Bytes is String for bytes. It never changes b.
func (m *Masker) Bytes(b []byte) []byte {
	s := scanner{words: m.list()}
	s.lines(b)
	if s.n == 0 && !s.spent() {
		return b
	}
	return s.settle(nil, b)
}

// Append appends the masked text to dst. It allocates nothing when dst has room
// and the line holds nothing exotic.
func (m *Masker) Append(dst, line []byte) []byte {
	s := scanner{words: m.list()}
	return s.append(dst, line)
}
