package mask

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// pieces returns the literals and separators that the scanner looks for.
func pieces() []string {
	all := strings.Fields(builtin + schemes + " " + readable + " " + queryWords + hashes + hashNames)
	for _, p := range keyPrefixes() {
		all = append(all, p.text)
	}
	for _, h := range hooks {
		all = append(all, "https://"+h.host+h.path)
	}
	for _, tool := range tools {
		all = append(all, strings.Fields(tool.names)[0]+" -"+string(tool.flag), " -"+string(tool.flag)+" ")
	}
	for word := range messageWords {
		all = append(all, word)
	}
	slices.Sort(all[len(all)-len(messageWords):])
	all = append(all, "login", "$", "$2b$", "$argon2id$v=19$m=65536,t=3,p=4$", "{SSHA}", "$'", "AIza", "123456789:AA", "0x14ed93111f20027", "30546173_4261722401 x",
		"session: ", "token: unexpected ", "token: not ", "password: not ", "tokens: 812", "Token{a64f992 A", "a.B@2bd79ce", "unexpected token: ", "insert into t (", `("password", `,
		"- name: pin\n", "  value: x\n", "- value: x\n", "  name: pin\n", "\"name\": \"pin\",\n", "\"value\": \"x\"\n", `"value":"x",`, `"name":"pin"`, "value: |\n", "Name:pin,", "Value:x",
		`"rawHeaders":[`, `"redis-cli","-a",`, "?code=", "&sig=", "&amp;code=", "code=abcdef&", ":: ", "--- PASS: ", "pass: 12", "wk_a_", "0123456789", "abcdefghijklmnopqrst")
	return append(all,
		"=", ":", ":=", "==", "=>", "'", `"`, "`", "(", ")", "[", "]", "{", "}", ",", ";", "&", "?", "#", "+", " ", "\t", "\n", "\r\n", "-", "--", "_", ".", "@",
		`\`, `\"`, `\n`, `\u005c`, "%", "%0A", "%25", "%3D", "%22", "://", "eyJ", "wk_", "curl -u ", "-----BEGIN PRIVATE KEY-----", "-----END ",
		"content-disposition:", "name=", `"name":`, `"value":`, "Bearer=", "=Bearer", "[%0A", "b'", "1", "a", "é",
		"<", ">", "</", "/>", "<password>", `<a name="pin">`, cdataBegin, cdataEnd, "\x1b[0m", "\x1b[", `\033[1m`, "$'", "|", "password: |\n", "pin\n", "input_value=",
		`"loc":[`, `'loc': (`, `"type":"missing"`, `"input":`, "[[", "[b'", "authorization=My ", "https://a@",
		"&lt;", "&gt;", "&quot;", "&#39;", "&#x22;", "&amp;", "&amp;quot;", "&lt;password&gt;", "&lt;/", "{&quot;pin&quot;:")
}

// checkWork fails the test if masking a text takes more than a fixed number of steps per byte,
// or if masking the result again changes it.
func checkWork(t *testing.T, seed string) {
	t.Helper()
	var work [2]int
	for i, n := range []int{1 << 13, 1 << 15} {
		text := strings.Repeat(seed, n/len(seed)+1)
		s := scanner{words: builtinWords}
		got := string(s.append(nil, []byte(text)))
		// The text after a value may be read once more when the limit is reached. The result
		// is masked again and may be longer than the text.
		if most := 3 * (maxSteps(len(text)) + maxSteps(len(got))); s.work > most {
			t.Errorf("%q repeated to %d bytes: %d steps, at most %d", seed, len(text), s.work, most)
		}
		work[i] = s.work
		if strings.Count(got, "\n") < strings.Count(text, "\n") && s.spent() {
			t.Errorf("%q repeated: lines lost", seed)
		}
		if again := (*Masker)(nil).String(got); again != got {
			t.Errorf("%q repeated to %d bytes: masked again", seed, len(text))
		}
	}
	// A text that reaches the limit takes linear time.
	if spare := maxSteps(1<<13) / 8; work[1] > 4*work[0]+work[0]+spare && work[0] < maxSteps(1<<13) {
		t.Errorf("%q repeated: %d steps for 8 KiB, %d for 32 KiB", seed, work[0], work[1])
	}
}

func TestWorkIsBounded(t *testing.T) {
	t.Parallel()
	all := pieces()
	for _, piece := range all {
		checkWork(t, piece)
	}
	for _, seed := range []string{"content-disposition:name=password", "Bearer==", "[%0A\""} {
		checkWork(t, seed)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 400 {
		seed := ""
		for range 2 + random.IntN(3) {
			seed += all[random.IntN(len(all))]
		}
		checkWork(t, seed)
	}
}

// TestMixesAreMaskedOnce checks that masking is idempotent for random combinations of pieces.
func TestMixesAreMaskedOnce(t *testing.T) {
	t.Parallel()
	all := pieces()
	// Half of the pieces are from the last ones and from words that form keys and values.
	near := append(all[len(all)-16:len(all):len(all)], "password=", "token: ", "x y", "hunter2", "password", "&apos;", "curl -u ", "?a=1&pin=2")
	random := rand.New(rand.NewPCG(3, 4))
	for range 200_000 {
		text := ""
		for range 2 + random.IntN(9) {
			from := all
			if random.IntN(2) == 0 {
				from = near
			}
			text += from[random.IntN(len(from))]
		}
		got := (*Masker)(nil).String(text)
		if again := (*Masker)(nil).String(got); again != got {
			t.Errorf("masked again:\n  in    %q\n  out   %q\n  again %q", text, got, again)
		}
	}
}

// FuzzWork checks the number of steps per byte.
func FuzzWork(f *testing.F) {
	for _, piece := range pieces() {
		f.Add(piece)
	}
	f.Fuzz(func(t *testing.T, seed string) {
		if seed == "" || len(seed) > 1<<10 {
			return
		}
		checkWork(t, seed)
	})
}
