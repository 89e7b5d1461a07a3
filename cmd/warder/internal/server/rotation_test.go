package server

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"

	"warder/authz"
	"warder/authz/mask"
	"warder/authz/memory"
	"warder/cmd/warder/internal/config"
)

// A keyRotation is two warders whose keys change one warder after the other, and the tokens
// that have not expired.
type keyRotation struct {
	t        *testing.T
	old, new config.JWTKey
	warders  [2]*running
	live     []string
	refused  int
}

func (r *keyRotation) token(k config.JWTKey) string {
	return signedWith(r.t, k.Secret.Reveal(), time.Now().Add(time.Hour), k.ID)
}

// ask asks both warders about every live token.
func (r *keyRotation) ask() {
	r.t.Helper()
	for _, warder := range r.warders {
		conn := warder.dial(insecure.NewCredentials())
		for _, text := range r.live {
			got, err := warder.check(conn, "/user", map[string]string{"authorization": "Bearer " + text})
			switch {
			case err != nil || got != codes.OK && got != codes.Unauthenticated:
				r.t.Fatalf("%v, %v", got, err)
			case got != codes.OK:
				r.refused++
			}
		}
	}
}

// roll restarts one warder after the other with other keys, and asks both in between.
func (r *keyRotation) roll(keys ...config.JWTKey) {
	r.t.Helper()
	for i, before := range r.warders {
		if before != nil {
			before.stop()
			if err := before.wait(); err != nil {
				r.t.Fatal(err)
			}
		}
		s := testSettings(r.t)
		s.JWT.Keys = keys
		store := memory.New(nil)
		store.PutUser("42", authz.User{Active: true})
		store.PutSession("42", "s1", 0)
		r.warders[i] = start(r.t, s, MemoryStores(store))
		if before != nil {
			r.ask()
		}
	}
}

// TestKeyRotation takes a key out of use by the recipe of the documentation: the new key is added
// everywhere before it signs, and the old one is removed when its last token has expired. No valid
// token may be refused by any warder at any step. In another order some are.
func TestKeyRotation(t *testing.T) {
	t.Parallel()
	for _, oldID := range []string{"", "2026-01"} {
		for _, tt := range []struct {
			name    string
			steps   []string
			refuses bool
		}{
			{"the recipe", []string{"add", "sign", "expire", "remove"}, false},
			{"signs before it is known", []string{"sign", "add", "expire", "remove"}, true},
			{"removed while tokens live", []string{"add", "sign", "remove"}, true},
			{"replaced in one step", []string{"remove", "sign", "expire"}, true},
		} {
			t.Run("kid "+oldID+": "+tt.name, func(t *testing.T) {
				t.Parallel()
				r := &keyRotation{
					t:   t,
					old: config.JWTKey{ID: oldID, Algorithm: "HS256", Secret: mask.New(secretOf("old"))},
					new: config.JWTKey{ID: "2026-02", Algorithm: "HS256", Secret: mask.New(secretOf("new"))},
				}
				r.live = []string{r.token(r.old)}
				r.roll(r.old)
				r.ask()
				for _, step := range tt.steps {
					switch step {
					case "add":
						r.roll(r.new, r.old)
					case "sign":
						r.live = append(r.live, r.token(r.new))
						r.ask()
					case "expire":
						r.live = []string{r.token(r.new)}
					case "remove":
						r.roll(r.new)
					}
				}
				if (r.refused > 0) != tt.refuses {
					t.Errorf("valid tokens were refused %d times", r.refused)
				}
				r.live, r.refused = []string{r.token(r.old)}, 0
				if r.ask(); r.refused != len(r.warders) {
					t.Errorf("%d warders refuse the old key in the end, want all", r.refused)
				}
			})
		}
	}
}
