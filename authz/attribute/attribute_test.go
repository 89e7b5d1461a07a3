package attribute_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"

	"warder/authz/attribute"
)

func TestValidName(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"tenant": true, "_": true, "a1_b": true, "x" + strings.Repeat("y", 63): true,
		"": false, "1a": false, "Tenant": false, "x-tenant": false, "a.b": false, "a b": false, "é": false, "tenant\n": false,
		"\u017f": false, "a\x00": false, "x" + strings.Repeat("y", 64): false,
	} {
		if attribute.ValidName(name) != want {
			t.Errorf("ValidName(%q) = %v", name, !want)
		}
	}
}

func TestValidValue(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]bool{
		"acme": true, "two words": true, "Größe": true, "a,b": true, `"'<>&%`: true, "\u200d": true, strings.Repeat("v", 1024): true,
		"": false, " a": false, "a ": false, "a\u00a0": false, "a\n": false, "a\r\nx-warder-user: 1": false, "a\x00b": false, "a\x7f": false,
		"a\u0085b": false, "a\u2028b": false, "a\u2029b": false, "\xff": false, "a\xc3": false, "a\tb": false, strings.Repeat("v", 1025): false, "\u3000": false,
	} {
		if attribute.ValidValue(value) != want {
			t.Errorf("ValidValue(%q) = %v", value, !want)
		}
	}
}

func TestSet(t *testing.T) {
	t.Parallel()
	row := attribute.Of(map[string]string{"tenant": "acme", "plan": "", "email": "a\nb"})
	claims := attribute.Of(map[string]string{"tenant": "evil", "plan": "gold", "email": "a@b.test", "team": "red", "Bad": "x"})
	for _, tt := range []struct {
		want string // the value; "absent" or "unreadable"
		name string
		set  attribute.Set
	}{
		{"acme", "tenant", row},
		{"absent", "plan", row},
		{"unreadable", "email", row},
		{"absent", "team", row},
		{"gold", "plan", claims},
		{"absent", "Bad", claims},
		{"acme", "tenant", row.Over(claims)},
		{"absent", "plan", row.Over(claims)},
		{"unreadable", "email", row.Over(claims)},
		{"red", "team", row.Over(claims)},
		{"red", "team", attribute.Set{}.Over(claims)},
		{"absent", "tenant", attribute.Set{}},
	} {
		value, found, err := tt.set.Find(tt.name)
		got := value
		switch {
		case err != nil:
			got = "unreadable"
		case !found:
			got = "absent"
		}
		if got != tt.want || (tt.set.Get(tt.name) != value) || err != nil && value != "" {
			t.Errorf("%s of %v: %s, want %s", tt.name, tt.set, got, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("the error contains the value: %v", err)
		}
	}
	both := row.Over(claims)
	if got := maps.Collect(both.All()); !maps.Equal(got, map[string]string{"tenant": "acme", "team": "red"}) {
		t.Errorf("All: %v", got)
	}
	if got := both.Unreadable(); !slices.Equal(got, []string{"email"}) {
		t.Errorf("Unreadable: %v", got)
	}
	if !row.Equal(row.Over(attribute.Set{})) || row.Equal(both) || !(attribute.Set{}).Equal(attribute.Of(nil)) {
		t.Error("Equal")
	}
}

// TestBuilderTwice: an attribute that is given twice has no one value.
func TestBuilderTwice(t *testing.T) {
	t.Parallel()
	var b attribute.Builder
	if !b.Put("tenant", "acme") || !b.Put("plan", "") || b.Put("tenant", "acme") || b.Put("plan", "gold") {
		t.Error("Put reports the wrong attributes")
	}
	set := b.Set()
	if _, _, err := set.Find("tenant"); err == nil || set.Get("tenant") != "" {
		t.Error("tenant is readable")
	}
	if _, _, err := set.Find("plan"); err == nil {
		t.Error("plan is readable")
	}
}

// TestSetPrintsNoValue: a value is personal data, and no log asks for it.
func TestSetPrintsNoValue(t *testing.T) {
	t.Parallel()
	who := struct{ Attributes attribute.Set }{attribute.Of(map[string]string{"tenant": "c4n4ry", "email": "c4n4ry@example.com"})}
	encoded, err := json.Marshal(who)
	if err != nil {
		t.Fatal(err)
	}
	var logged strings.Builder
	slog.New(slog.NewTextHandler(&logged, nil)).Info("x", "who", who, "attributes", who.Attributes)
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("x", "who", who, "attributes", who.Attributes)
	for _, text := range []string{fmt.Sprint(who), fmt.Sprintf("%+v %#v %s %q %x", who, who, who.Attributes, who.Attributes, who.Attributes), string(encoded), logged.String()} {
		if strings.Contains(text, "c4n4ry") || !strings.Contains(text, "[email tenant]") {
			t.Errorf("printed %s", text)
		}
	}
}

// TestSetAllocates: a request only looks attributes up.
func TestSetAllocates(t *testing.T) {
	row, claims := attribute.Of(map[string]string{"tenant": "acme", "plan": ""}), attribute.Of(map[string]string{"team": "red"})
	if n := testing.AllocsPerRun(100, func() {
		both := row.Over(claims)
		if both.Get("team") != "red" || both.Get("plan") != "" {
			t.Error("wrong values")
		}
		if value, found, err := both.Find("tenant"); value != "acme" || !found || err != nil {
			t.Error("wrong value")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
