package mask_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"testing/slogtest"
	"time"

	"warder/authz/mask"
)

func TestHandlerKit(t *testing.T) {
	t.Parallel()
	t.Run("json", func(t *testing.T) {
		var out bytes.Buffer
		slogtest.Run(t, func(*testing.T) slog.Handler {
			out.Reset()
			return mask.NewHandler(slog.NewJSONHandler(&out, nil), nil)
		}, func(t *testing.T) map[string]any {
			record := map[string]any{}
			if err := json.Unmarshal(out.Bytes(), &record); err != nil {
				t.Fatalf("%v: %s", err, out.Bytes())
			}
			return record
		})
	})
	t.Run("text", func(t *testing.T) {
		var out bytes.Buffer
		slogtest.Run(t, func(*testing.T) slog.Handler {
			out.Reset()
			return mask.NewHandler(slog.NewTextHandler(&out, nil), nil)
		}, func(*testing.T) map[string]any {
			record := map[string]any{}
			for field := range strings.FieldsSeq(out.String()) {
				key, value, _ := strings.Cut(field, "=")
				at := record
				for {
					group, rest, found := strings.Cut(key, ".")
					if !found {
						break
					}
					if at[group] == nil {
						at[group] = map[string]any{}
					}
					at, key = at[group].(map[string]any), rest
				}
				at[key] = value
			}
			return record
		})
	})
}

// Types of values for the handler. Most have methods that panic, fail or never end.
type (
	panics      struct{ secret string }
	panicString string
	loop        struct{}
	deep        struct{}
	endless     struct{ Next *endless }
	stringer    struct{ text string }
	user        struct {
		Name     string
		Password string
		Inner    *user            `json:",omitempty"`
		Extra    map[string]any   `json:",omitempty"`
		List     []map[string]any `json:",omitempty"`
	}
)

func (p *panics) String() string                   { return p.secret } // on a nil pointer
func (panicString) Error() string                  { panic("password=c4n4ry") }
func (loop) LogValue() slog.Value                  { return slog.AnyValue(loop{}) }
func (deep) LogValue() slog.Value                  { return slog.GroupValue(slog.Any("deeper", deep{})) }
func (s stringer) String() string                  { return s.text }
func (p panicString) MarshalJSON() ([]byte, error) { panic(p) }

func TestHandler(t *testing.T) {
	t.Parallel()
	const secret = "c4n4ry"
	cyclic := &endless{}
	cyclic.Next = cyclic
	address, err := url.Parse("https://bob:c4n4ry@example.com/x?token=c4n4ry")
	if err != nil {
		t.Fatal(err)
	}
	for name, attr := range map[string]slog.Attr{
		"key":                     slog.String("password", secret),
		"key, any":                slog.Any("db_password", map[string]string{"a": secret}),
		"key, bytes":              slog.Any("token", []byte(secret)),
		"key, error":              slog.Any("secret", errors.New(secret)),
		"key, LogValuer":          slog.Any("secret", loop{}),
		"group of the name":       slog.Group("session", slog.String("a", secret), slog.Group("b", slog.String("c", secret))),
		"key with group":          slog.Group("api", slog.String("key", secret)),
		"key in group":            slog.Group("a", slog.Group("b", slog.String("pin", secret))),
		"key in a nameless group": slog.Group("", slog.String("pin", secret)),
		"string":                  slog.String("a", "login password="+secret),
		"string, URL":             slog.String("a", "postgres://bob:"+secret+"@db/app"),
		"string, JSON":            slog.String("a", `{"password":"`+secret+`"}`),
		"string, bearer":          slog.String("a", "Bearer "+secret),
		"error":                   slog.Any("a", fmt.Errorf("login: %w", errors.New("password="+secret))),
		"Stringer":                slog.Any("a", stringer{"password=" + secret}),
		"URL":                     slog.Any("a", address),
		"bytes":                   slog.Any("a", []byte("password="+secret)),
		"struct":                  slog.Any("a", user{Name: "bob", Password: secret}),
		"pointer":                 slog.Any("a", &user{Name: "bob", Inner: &user{Password: secret}}),
		"map":                     slog.Any("a", map[string]any{"b": map[string]any{"apiKey": []string{secret}}}),
		"slice":                   slog.Any("a", []user{{Extra: map[string]any{"text": "password=" + secret}}}),
		"any in any":              slog.Any("a", []any{map[string]string{"x": "Bearer " + secret}}),
		"secret":                  slog.Any("a", mask.New(secret)),
		"struct with one":         slog.Any("a", exported{"n", mask.New(secret)}),
		"error that panics":       slog.Any("a", panicString("password="+secret)),
		"named string":            slog.Any("a", slog.Level(0)),
		"key that is one":         slog.String("password="+secret, "x"),
		"cyclic":                  slog.Any("a", cyclic),
		"LogValuer, loop":         slog.Any("a", loop{}),
		"LogValuer, deep":         slog.Any("a", deep{}),
		"nil pointer":             slog.Any("a", (*panics)(nil)),
		"nil":                     slog.Any("a", nil),
		"no JSON":                 slog.Any("a", func() {}),
		"channel in a map":        slog.Any("a", map[string]any{"a": make(chan int), "password": secret}),
	} {
		var jsonOut, textOut bytes.Buffer
		for _, h := range []slog.Handler{slog.NewJSONHandler(&jsonOut, nil), slog.NewTextHandler(&textOut, nil)} {
			log := slog.New(mask.NewHandler(h, nil))
			log.Info("message with password="+secret, attr)
			log.With(attr).WithGroup("g").With(attr).Info("message", attr)
			log.WithGroup("credentials").WithGroup("secret").Info("message", slog.String("x", secret), attr)
		}
		for _, out := range []string{jsonOut.String(), textOut.String()} {
			if strings.Contains(out, secret) {
				t.Errorf("%s: the secret is in %s", name, out)
			}
			if !strings.Contains(out, mask.Replacement) {
				t.Errorf("%s: nothing masked in %s", name, out)
			}
		}
		for line := range strings.Lines(jsonOut.String()) {
			if !json.Valid([]byte(line)) {
				t.Errorf("%s: not JSON: %s", name, line)
			}
		}
	}
}

// Values without secrets are logged as they are without the handler.
func TestHandlerKeeps(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)
	attrs := []any{
		"n", 1, "u", uint64(2), "f", 1.5, "b", true, "d", time.Second, "t", at, "s", "text", "level", slog.LevelWarn, "none", nil,
		"ip", netip.MustParseAddr("192.0.2.1"), "list", []int{1, 2}, "map", map[string]any{"a": "<b>"}, "token_count", 17,
		slog.Group("g", "a", 1, slog.Group("empty")), slog.Group("", "inlined", 1), slog.Attr{},
	}
	var plain, masked bytes.Buffer
	noTime := &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}
	slog.New(slog.NewJSONHandler(&plain, noTime)).With(attrs...).WithGroup("g").Info("password reset", attrs...)
	slog.New(mask.NewHandler(slog.NewJSONHandler(&masked, noTime), nil)).With(attrs...).WithGroup("g").Info("password reset", attrs...)
	if plain.String() != masked.String() {
		t.Errorf("got\n%swant\n%s", masked.String(), plain.String())
	}
}

func TestHandlerConfigured(t *testing.T) {
	t.Parallel()
	m, err := mask.NewMasker("customer number")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	slog.New(mask.NewHandler(slog.NewTextHandler(&out, nil), m)).Info("m", "customerNumber", 4711, "n", "customer_number=4711")
	if strings.Contains(out.String(), "4711") || strings.Count(out.String(), mask.Replacement) != 2 {
		t.Errorf("got %s", out.String())
	}
}
