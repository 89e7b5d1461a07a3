package mask_test

import (
	"strings"
	"sync"
	"testing"

	"warder/authz/mask"
)

func TestSensitiveKey(t *testing.T) {
	t.Parallel()
	configured, err := mask.NewMasker("customer number", "iban", "Tax-ID", "id", "пароль")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		m    *mask.Masker
		want bool
		keys string
	}{
		{nil, true, "password passwd passphrase pwd secret secret_key token authorization api_key access_key private_key credit_card card_number cvv ssn cookie set_cookie session session_id jwt otp pin"},
		{nil, true, "PASSWORD Password pass_word pass-word pass.word passWord db_password DB_PASSWORD db-password db.password dbPassword DBPassword dbpassword"},
		{nil, true, "X-Api-Key x_api_key apikey APIKEY apiKey awsSecretAccessKey aws_secret_access_key Set-Cookie setCookie PHPSESSIONID jsessionid"},
		{nil, true, "user_pin userPin user.pin user-pin PIN UserPIN loginOTP user_ssn userSSN my-jwt idJWT card.cvv db_pwd DbPwd"},
		{nil, true, "passwords secrets tokens cookies sessions jwts pins api_keys --tokens"},
		{nil, true, "password1 password2 secret_2 user[password] user[tokens] passwords[] tokens[0] user.password[12] to\u212aen ſecret"},
		{nil, false, "token_count max_tokens maxTokens passwordless author authorized secretary tokenizer pinned spin SPIN shipping shippin opinion session_count"},
		{nil, false, "keys key id cookies_enabled user_sessions jwt_issuer hotpot botp mypwd upwd pin1 otp2 token123 a b 1 _ - . ***FILTERED*** xssn password\x00"},
		{nil, false, "customer_number iban"},
		{configured, true, "customer_number customerNumber CUSTOMER-NUMBER first.customer.number iban IBAN from_iban TaxID tax_id taxid id user_id userId user.ID пароль ПАРОЛЬ user_Пароль password pin"},
		{configured, false, "customer number_of_customers grid idle userid valid ibans_seen tax"},
	} {
		for key := range strings.FieldsSeq(test.keys) {
			if got := test.m.SensitiveKey(key); got != test.want {
				t.Errorf("SensitiveKey(%q) = %v", key, got)
			}
			// A key is treated alike in every format.
			if strings.ContainsAny(key, "*\x00[") || strings.HasPrefix(key, "-") || key == "." || key == "_" {
				continue
			}
			for _, form := range secretForms[:4] {
				if in := form(key, "c4n4ry"); (test.m.String(in) != in) != test.want {
					t.Errorf("%q becomes %q", in, test.m.String(in))
				}
			}
			if in := `{"` + key + `":1}`; (test.m.String(in) != in) != test.want {
				t.Errorf("%q becomes %q", in, test.m.String(in))
			}
		}
	}
	for _, key := range []string{"api key", "credit card number", "Session ID", ""} {
		if got, want := (&mask.Masker{}).SensitiveKey(key), key != ""; got != want {
			t.Errorf("SensitiveKey(%q) = %v", key, got)
		}
	}
}

// TestKeep: a key is kept as the whole key, in every format, and other secrets in its value are
// masked.
func TestKeep(t *testing.T) {
	t.Parallel()
	m, err := mask.NewMaskerKeeping([]string{"iban"}, []string{"session_id", "code", "tokens"})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ in, want string }{
		{"session_id=abc sessionId: abc SESSION-ID=abc", ""},
		{`{"session_id":"abc","sessionId":["abc"],"tokens":"abc"}`, ""},
		{"GET /cb?code=abcdef&session_id=abc HTTP/1.1", ""},
		{"tool --session-id abc --tokens abc", ""},
		{"- name: session_id\n  value: abc", ""},
		{"user_session_id=abc jsessionid=abc", "user_session_id=***FILTERED*** jsessionid=***FILTERED***"},
		{"user session id: abc", "user session id: ***FILTERED***"},
		{"session_id=eyJhbGciOiJub25lIn0.e30.", "session_id=***FILTERED***"},
		{"session=abc iban=abc token=abc", "session=***FILTERED*** iban=***FILTERED*** token=***FILTERED***"},
	} {
		if test.want == "" {
			test.want = test.in
		}
		if got := m.String(test.in); got != test.want {
			t.Errorf("%q becomes %q, want %q", test.in, got, test.want)
		}
	}
	for _, key := range []string{"password", "DB_PASSWORD", "Proxy-Authorization", "set_cookie", "client.secret", "passwords", "cookies", "iban"} {
		if m, err := mask.NewMaskerKeeping([]string{"IBAN"}, []string{"token", key}); err == nil || m != nil || !strings.Contains(err.Error(), "kept key 2") {
			t.Errorf("%s: %v, %v; want an error", key, m, err)
		}
	}
	if !(&mask.Masker{}).SensitiveInQuery("Code") || (&mask.Masker{}).SensitiveInQuery("zip_code") || (&mask.Masker{}).SensitiveKey("code") {
		t.Error("code is a key of queries only")
	}
}

func TestNewMaskerErrors(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]string{
		"":                            `sensitive key 2 is "", which has no letter or digit`,
		" _-. ":                       `sensitive key 2 is " _-. ", which has no letter or digit`,
		"a=b":                         `a key cannot contain '='`,
		"a\nb":                        `a key cannot contain '\n'`,
		"\xff":                        `which is not UTF-8`,
		strings.Repeat("abcdef", 5e3): `more than 16384 bytes in total`,
	} {
		m, err := mask.NewMasker("good", key)
		if err == nil || m != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("NewMasker(%.20q) = %v, %v; want …%s…", key, m, err, want)
		}
	}
	many := make([]string, 500)
	for i := range many {
		many[i] = strings.Repeat(string(rune('a'+i%26)), 2+i/26) + "key"
	}
	if m, err := mask.NewMasker(many...); err != nil || !m.SensitiveKey(many[499]) || !m.SensitiveKey("password") {
		t.Errorf("500 keys: %v", err)
	}
}

func TestHeader(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, value, want string }{
		{"Authorization", "Bearer abc", "Bearer ***FILTERED***"},
		{"authorization", "bearer  abc", "bearer ***FILTERED***"},
		{"Authorization", "Basic Ym9iOng=", "Basic ***FILTERED***"},
		{"Proxy-Authorization", `Digest username="bob", response="x"`, "Digest ***FILTERED***"},
		{"Authorization", "abc", "***FILTERED***"},
		{"Authorization", "abc def", "***FILTERED***"},
		{"Authorization", "Bearer", "***FILTERED***"},
		{"Authorization", "Bearer ***FILTERED***", "Bearer ***FILTERED***"},
		{"Authorization", "", ""},
		{"Cookie", "a=b; c=d", "***FILTERED***"},
		{"set-cookie", "a=b; Path=/", "***FILTERED***"},
		{"X-API-Key", "Bearer abc", "***FILTERED***"},
		{"x-warder-session", "abc", "***FILTERED***"},
		{"Referer", "https://example.com/?token=abc&x=1", "https://example.com/?token=***FILTERED***&x=1"},
		{"Access-Control-Allow-Credentials", "true", "true"},
		{"X-Data", "eyJhbGciOiJub25lIn0.e30.", "***FILTERED***"},
		{"Accept", "*/*", "*/*"},
		{"User-Agent", "curl/8.5.0 (token)", "curl/8.5.0 (token)"},
	} {
		if got := (*mask.Masker)(nil).Header(test.name, test.value); got != test.want {
			t.Errorf("Header(%q, %q) = %q, want %q", test.name, test.value, got, test.want)
		}
	}
}

func TestQuery(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ in, want string }{
		{"/x?a=1&password=abc&b=2", "/x?a=1&password=***FILTERED***&b=2"},
		{"/x?p%61ssword=abc", "/x?p%61ssword=***FILTERED***"},
		{"/x?%70%69%6e=1#frag", "/x?%70%69%6e=***FILTERED***#frag"},
		{"/x?api+key=abc", "/x?api+key=***FILTERED***"},
		{"/x?user%5Bpassword%5D=abc", "/x?user%5Bpassword%5D=***FILTERED***"},
		{"/x?password=a;b?c&d=1", "/x?password=***FILTERED***&d=1"},
		{"/x?a=1;password=abc;d", "/x?a=1;password=***FILTERED***"},
		{"/x?password=a=b=c", "/x?password=***FILTERED***"},
		{"/cb?next=%2Flogin%3Fpassword%3Dx&y=1", "/cb?next=***FILTERED***&y=1"},
		{"/cb?next=%252Flogin%253Fpassword%253Dx&y=1", "/cb?next=***FILTERED***&y=1"},
		{"/cb?next=/login?password=x&y=1", "/cb?next=/login?password=***FILTERED***&y=1"},
		{"/x?filter=%7B%22password%22%3A%22a%20b%22%7D&y=1", "/x?filter=***FILTERED***&y=1"},
		{`/x?filter={"password":"abc"}&y=1`, "/x?filter=***FILTERED***&y=1"},
		{"/x?filter=%7B%22password%22%3A+%22a+b%22%7D&y=1", "/x?filter=***FILTERED***&y=1"},
		{"/x?q=Bearer+abc123&y=1", "/x?q=***FILTERED***&y=1"},
		{"/x?eyJhbGciOiJub25lIn0.e30.&y=1", "/x?***FILTERED***&y=1"},
		{"/cb#access_token=abc&expires_in=1", "/cb#access_token=***FILTERED***&expires_in=1"},
		{"/v/eyJhbGciOiJub25lIn0.eyJhIjoxfQ.c2ln/x", "/v/***FILTERED***/x"},
		{"https://bob:abc@example.com/x?y=1", "https://bob:***FILTERED***@example.com/x?y=1"},
		{"https://bob:abc@example.com/x", "https://bob:***FILTERED***@example.com/x"},
		{"a=1&password=abc", "a=1&password=***FILTERED***"},
		{"/x?password=", "/x?password="},
		{"/x?password=***FILTERED***", "/x?password=***FILTERED***"},
		{"/x?password", "/x?password"},
		{"/x?a=%zz&b=%&c=%2", "/x?a=%zz&b=%&c=%2"},
		{"/api/v1/x?page=2&sort=desc&since=12:30&max_tokens=5", "/api/v1/x?page=2&sort=desc&since=12:30&max_tokens=5"},
		{"/password/reset?next=%2Ftokens", "/password/reset?next=%2Ftokens"},
		{"/cb?code=abcdef&state=abcdef&sig=a", "/cb?code=***FILTERED***&state=abcdef&sig=***FILTERED***"},
		{"/cb?c%6Fde=abcdef&X-Amz-Signature=a&SAMLResponse=a", "/cb?c%6Fde=***FILTERED***&X-Amz-Signature=***FILTERED***&SAMLResponse=***FILTERED***"},
		{"/x?code=404&zip_code=12345&sid=1", "/x?code=404&zip_code=12345&sid=1"},
		{"/x?q=ghp_abcdefghij0123456789&y=1", "/x?q=***FILTERED***&y=1"},
		{"/x?", "/x?"}, {"?", "?"}, {"", ""}, {"&&==??##;;", "&&==??##;;"},
	} {
		got := (*mask.Masker)(nil).Query(test.in)
		if got != test.want {
			t.Errorf("Query(%q) = %q, want %q", test.in, got, test.want)
		}
		if again := (*mask.Masker)(nil).Query(got); again != got {
			t.Errorf("Query(%q) = %q, and once more %q", test.in, got, again)
		}
	}
}

func TestDeepJSON(t *testing.T) {
	t.Parallel()
	m := &mask.Masker{}
	deep := strings.Repeat(`{"a":[`, 100) + `{"password":"c4n4ry"}` + strings.Repeat(`]}`, 100)
	want := strings.Repeat(`{"a":[`, 32) + `"***FILTERED***"` + strings.Repeat(`]}`, 32)
	if got := m.String(deep); got != want {
		t.Errorf("got %s", got)
	}
	nested := `{"password":"c4n4ry"}`
	for level := range 12 {
		if got := m.String(nested); strings.Contains(got, "c4n4ry") {
			t.Errorf("level %d: %.100s", level, got)
		}
		nested = `{"a":` + quoteJSON(nested) + `}`
	}
}

func TestConcurrent(t *testing.T) {
	t.Parallel()
	m, err := mask.NewMasker("iban")
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 100 {
				if got := m.String(`{"iban":1,"password":2}`); got != `{"iban":"***FILTERED***","password":"***FILTERED***"}` {
					t.Errorf("got %s", got)
				}
			}
		})
	}
	group.Wait()
}
