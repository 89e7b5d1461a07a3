package mask

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// pieces returns the literals and separators that the scanner looks for.
func pieces() []string {
	return append(strings.Fields(builtin+schemes),
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
