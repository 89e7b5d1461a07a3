package mask_test

import (
	"bytes"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"testing"
	"text/template"

	"warder/authz/mask"
)

const canary = `c4n/ary+"Secret"=7Qz`

// leaks returns the encodings of the canary, or of half of it, that a text contains.
func leaks(text string) []string {
	reversed := []byte(canary)
	slices.Reverse(reversed)
	quoted, _ := json.Marshal(canary)
	spellings := map[string]string{
		"plain":     canary,
		"beginning": canary[:8],
		"end":       canary[len(canary)-8:],
		"reversed":  string(reversed),
		"json":      strings.Trim(string(quoted), `"`),
		"quoted":    fmt.Sprintf("%q", canary),
		"url":       url.QueryEscape(canary),
		"hex":       hex.EncodeToString([]byte(canary)),
		"HEX":       strings.ToUpper(hex.EncodeToString([]byte(canary))),
		"hex list":  fmt.Sprintf("% x", canary),
		"bytes":     strings.Trim(fmt.Sprintf("%d", []byte(canary)), "[]"),
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

// hidden fails the test if the text contains the canary, or lacks a required replacement.
func hidden(t *testing.T, how, text string, replaced bool) {
	t.Helper()
	if found := leaks(text); found != nil {
		t.Errorf("%s: leaks the secret (%v): %s", how, found, text)
	}
	if replaced && !strings.Contains(text, mask.Replacement) {
		t.Errorf("%s: no %s in %q", how, mask.Replacement, text)
	}
}

func TestLeaksFindsCanaries(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"%s", "%q", "%x", "%X", "% x", "%v", "%d"} {
		var arg any = canary
		if format == "%d" {
			arg = []byte(canary)
		}
		if text := fmt.Sprintf(format, arg); leaks(text) == nil {
			t.Errorf("%s: nothing found in %s", format, text)
		}
	}
}

func TestSecretReveal(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", canary, mask.Replacement, "\x00", "\xff"} {
		s := mask.New(text)
		if s.Reveal() != text {
			t.Errorf("New(%q).Reveal() = %q", text, s.Reveal())
		}
		if s.IsZero() != (text == "") {
			t.Errorf("New(%q).IsZero() = %v", text, s.IsZero())
		}
		if s != mask.New(text) {
			t.Errorf("two secrets of %q differ", text)
		}
		if s == mask.New(text+".") {
			t.Errorf("secrets of %q and %q are equal", text, text+".")
		}
	}
	if (mask.Secret{}).Reveal() != "" {
		t.Error("the zero Secret is not empty")
	}
}

type exported struct {
	Name   string
	Secret mask.Secret
}

type unexported struct {
	name   string
	secret mask.Secret
}

type embedded struct{ mask.Secret }

type failure struct{ secret mask.Secret }

func (f *failure) Error() string { return fmt.Sprintf("login with %v failed", f.secret) }

func TestSecretFormat(t *testing.T) {
	t.Parallel()
	s := mask.New(canary)
	whole := map[string]any{
		"value":     s,
		"pointer":   &s,
		"embedded":  embedded{s},
		"interface": []any{s},
		"struct":    exported{"n", s},
		"*struct":   &exported{"n", s},
		"slice":     []mask.Secret{s, s},
		"array":     [1]mask.Secret{s},
		"map":       map[string]mask.Secret{"a": s},
		"map key":   map[mask.Secret]int{s: 1},
		"error":     &failure{s},
	}
	for name, value := range whole {
		for _, verb := range "vsqxXdtbcoOUeEfFgG" {
			for _, flags := range []string{"", "+", "#", "-", " ", "0", "3", "60", ".2", "#+60.1"} {
				format := "%" + flags + string(verb)
				// A nested pointer prints as an address, and so does an error
				// with a verb that is not for text. There is no replacement.
				hidden(t, name+" "+format, fmt.Sprintf(format, value), name == "value" || name == "struct" || name == "slice")
			}
		}
	}
	if got := fmt.Sprintf("%v %s %q %x %#v %60d %.1s", s, s, s, s, s, s, s); got != strings.TrimSpace(strings.Repeat(mask.Replacement+" ", 7)) {
		t.Errorf("got %s", got)
	}
	if got := s.GoString(); got != mask.Replacement {
		t.Errorf("got %s", got)
	}
	if got := fmt.Sprintf("%v", exported{"n", s}); got != "{n "+mask.Replacement+"}" {
		t.Errorf("got %s", got)
	}
}

// In these cases fmt does not call methods.
func TestSecretFormatWithoutMethods(t *testing.T) {
	t.Parallel()
	s := mask.New(canary)
	for _, value := range []any{
		unexported{"n", s}, &unexported{"n", s}, []unexported{{"n", s}}, map[int]unexported{1: {"n", s}},
		struct{ inner *unexported }{&unexported{"n", s}}, s, &s, exported{"n", s},
	} {
		for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%p", "%w", "%!", "%z", "%T"} {
			hidden(t, fmt.Sprintf("%T %s", value, format), fmt.Sprintf(format, value), false)
		}
	}
	hidden(t, "panic", func() (text string) {
		defer func() { text = fmt.Sprint(recover()) }()
		panic(s)
	}(), true)
}

func TestSecretErrors(t *testing.T) {
	t.Parallel()
	s := mask.New(canary)
	err := fmt.Errorf("connect: %w", errors.Join(&failure{s}, fmt.Errorf("password %s", s)))
	hidden(t, "error", err.Error(), true)
	hidden(t, "error %+v", fmt.Sprintf("%+v", err), true)
	hidden(t, "error %#v", fmt.Sprintf("%#v", err), false)
}

func TestSecretEncoded(t *testing.T) {
	t.Parallel()
	s := mask.New(canary)
	for _, value := range []any{
		s, &s, exported{"n", s}, &exported{"n", s}, embedded{s}, []mask.Secret{s},
		map[string]any{"a": s}, map[mask.Secret]int{s: 1},
	} {
		text, err := json.Marshal(value)
		if err != nil {
			t.Error(err)
		}
		hidden(t, fmt.Sprintf("json of %T", value), string(text), true)
	}
	if text, _ := json.Marshal(exported{"n", s}); string(text) != `{"Name":"n","Secret":"***FILTERED***"}` {
		t.Errorf("got %s", text)
	}

	text, err := xml.Marshal(exported{"n", s})
	if err != nil {
		t.Error(err)
	}
	hidden(t, "xml", string(text), true)

	var out bytes.Buffer
	if err := template.Must(template.New("").Parse(`{{.Secret}} {{printf "%q" .Secret}} {{.}}`)).Execute(&out, exported{"n", s}); err != nil {
		t.Error(err)
	}
	hidden(t, "template", out.String(), true)

	out.Reset()
	_ = gob.NewEncoder(&out).Encode(exported{"n", s}) // may fail
	hidden(t, "gob", out.String(), false)
}

func TestSecretLogged(t *testing.T) {
	t.Parallel()
	s := mask.New(canary)
	var out bytes.Buffer
	for name, handler := range map[string]slog.Handler{
		"json": slog.NewJSONHandler(&out, nil),
		"text": slog.NewTextHandler(&out, nil),
	} {
		for _, value := range []any{
			s, &s, exported{"n", s}, &exported{"n", s}, []mask.Secret{s}, map[string]mask.Secret{"a": s}, &failure{s},
		} {
			out.Reset()
			log := slog.New(handler).With("with", s)
			log.Info("message", "attr", value, slog.Group("group", "in", value))
			hidden(t, fmt.Sprintf("%s handler, %T", name, value), out.String(), true)
		}
	}
}

func TestSecretDecoded(t *testing.T) {
	t.Parallel()
	var got exported
	text, _ := json.Marshal(map[string]string{"Secret": canary})
	if err := json.Unmarshal(text, &got); err != nil || got.Secret.Reveal() != canary {
		t.Errorf("got %q, %v", got.Secret.Reveal(), err)
	}
}

// The empty secret prints as the empty string.
func TestSecretEmpty(t *testing.T) {
	t.Parallel()
	for _, s := range []mask.Secret{{}, mask.New("")} {
		if got := fmt.Sprintf("%v%s%q%#v%x", s, s, s, s, s) + s.String(); got != "" {
			t.Errorf("prints as %q", got)
		}
		if text, err := json.Marshal(s); string(text) != `""` || err != nil {
			t.Errorf("JSON is %s, %v", text, err)
		}
		if got := s.LogValue().String(); got != "" {
			t.Errorf("logs as %q", got)
		}
	}
	var left struct {
		Secret mask.Secret `json:",omitzero"`
	}
	if text, _ := json.Marshal(left); string(text) != `{}` {
		t.Errorf("with omitzero: %s", text)
	}
}
