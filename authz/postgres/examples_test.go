package postgres_test

import (
	"errors"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"warder/authz"
	"warder/authz/authztest"
	"warder/authz/postgres"
)

// An example is a section of README.md: its tables, and one of the two queries.
type example struct {
	schema string
	Users  string `yaml:"users_query"`
	Keys   string `yaml:"api_keys_query"`
}

func examples(t *testing.T) map[string]example {
	t.Helper()
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]example{}
	blocks := regexp.MustCompile("(?s)```sql\n(.*?)```\n\n```yaml\n(.*?)```")
	for _, section := range strings.Split(string(page), "\n### ")[1:] {
		title, text, _ := strings.Cut(section, "\n")
		parts := blocks.FindAllStringSubmatch(text, -1)
		if len(parts) != 1 {
			t.Errorf("%s: %d examples, want one", title, len(parts))
			continue
		}
		e := example{schema: parts[0][1]}
		if err := yaml.Unmarshal([]byte(parts[0][2]), &e); err != nil {
			t.Errorf("%s: %v", title, err)
		}
		found[title] = e
	}
	return found
}

const (
	idA = "11111111-1111-4111-8111-111111111111"
	idB = "22222222-2222-4222-8222-222222222222"
	idC = "33333333-3333-4333-8333-333333333333"
)

// exampleUsers has, for each section about users, rows and what warder must make of ids: the
// roles of an active user, "inactive", or "unknown".
var exampleUsers = map[string]struct {
	rows string
	want map[string]string
}{
	"Django": {
		`INSERT INTO auth_user VALUES (1, true, false), (2, true, true), (3, false, true), (4, true, false);
		INSERT INTO auth_group VALUES (1, 'CONTROL'), (2, 'AUDIT'); INSERT INTO auth_user_groups VALUES (1, 1), (1, 2), (3, 1)`,
		map[string]string{"1": "AUDIT CONTROL", "2": "ADMIN", "3": "inactive", "4": "", "5": "unknown", "01": "unknown", "x": "unknown"},
	},
	"Rails with Devise": {
		`INSERT INTO users VALUES (1, 0, now(), NULL, NULL), (2, 2, now(), NULL, NULL), (3, 2, NULL, NULL, NULL), (4, 2, now(), now(), NULL),
		(5, 2, now(), NULL, now()), (6, 9, now(), NULL, NULL)`,
		map[string]string{"1": "USER", "2": "ADMIN", "3": "inactive", "4": "inactive", "5": "inactive", "6": "", "7": "unknown"},
	},
	"Spring Security": {
		`INSERT INTO users VALUES ('ann@example.com', '', true), ('bob', '', false), ('cid', '', true);
		INSERT INTO authorities VALUES ('ann@example.com', 'ROLE_ADMIN'), ('ann@example.com', 'audit'), ('bob', 'ROLE_ADMIN')`,
		map[string]string{"ann@example.com": "ADMIN audit", "bob": "inactive", "cid": "", "Ann@example.com": "unknown", "CID": "unknown", "dan": "unknown"},
	},
	"Prisma": {
		`INSERT INTO "User" VALUES ('ckx1', 'ADMIN', NULL), ('ckx2', 'USER', NULL), ('ckx3', 'ADMIN', now())`,
		map[string]string{"ckx1": "ADMIN", "ckx2": "USER", "ckx3": "inactive", "CKX1": "unknown"},
	},
	"Roles in an array of an enum": {
		"INSERT INTO users VALUES ('" + idA + "', 'active', '{control,ADMIN}'), ('" + idB + "', 'ACTIVE', '{ADMIN}'), ('" + idC + "', NULL, NULL)",
		map[string]string{idA: "ADMIN control", idB: "inactive", idC: "inactive", strings.ToUpper(idA) + "F": "unknown", "1": "unknown"},
	},
	"Roles in JSON objects": {
		`INSERT INTO users VALUES (1, '{"state": "active", "roles": [{"name": "A"}, {"name": "B"}]}'), (2, '{"state": "active"}'),
		(3, '{"roles": [{"name": "A"}]}'), (4, '{"state": "active", "roles": ["A"]}')`,
		map[string]string{"1": "A B", "2": "", "3": "inactive", "4": "", "5": "unknown"},
	},
	"Roles in a text with commas": {
		`INSERT INTO members VALUES ('m-1', 0, 'A, B ,C'), ('m-2', 1, 'A'), ('m-3', NULL, 'A'), ('m-4', 0, NULL)`,
		map[string]string{"m-1": "A B C", "m-2": "inactive", "m-3": "inactive", "m-4": "", "m-5": "unknown"},
	},
	"A column for each role": {
		`INSERT INTO staff VALUES (1, NULL, true, true), (2, '2020-01-01', true, true), (3, NULL, NULL, false)`,
		map[string]string{"1": "ADMIN EDITOR", "2": "inactive", "3": "", "4": "unknown"},
	},
	"Users of tenants": {
		`INSERT INTO tenants VALUES (1, 'acme', false), (2, 'late', true);
		INSERT INTO accounts VALUES ('` + idA + "', 1, true), ('" + idB + "', 2, true), ('" + idC + `', 1, false);
		INSERT INTO account_roles VALUES ('` + idA + "', 'owner'), ('" + idA + "', 'audit'), ('" + idB + "', 'owner')",
		map[string]string{idA: "acme/audit acme/owner", idB: "inactive", idC: "inactive"},
	},
	"A view": {
		`INSERT INTO person VALUES (1, NULL, 'control'), (2, now(), 'admin'), (3, NULL, NULL)`,
		map[string]string{"1": "CONTROL", "2": "inactive", "3": "unknown", "4": "unknown"},
	},
	"A function": {
		`INSERT INTO person VALUES (1, true, 'CONTROL'), (2, NULL, 'ADMIN')`,
		map[string]string{"1": "CONTROL", "2": "inactive", "01": "unknown", "x": "unknown"},
	},
}

// exampleKeys has rows for each section about API keys. HASH1, HASH2 and HASH3 are the hashes of
// a good key, one that was ended, and one that has expired or has no owner; the good key has the
// scope orders:read only. owner is that of the good key.
var exampleKeys = map[string]struct{ rows, owner, third string }{
	"A hash in bytes": {
		`INSERT INTO tokens VALUES ('\xHASH1', 'wk_partner', '["orders:read"]', NULL, 42), ('\xHASH2', 'wk_ended', '["orders:read"]', now(), 42),
		('\xHASH3', 'wk_bare', '"orders:read"', NULL, NULL)`, "42", "no scopes",
	},
	"A hash with its algorithm, and an expiry in seconds": {
		`INSERT INTO keys VALUES ('sha256:HASH1', 'wk_partner', 'orders:read', 'enabled', NULL), ('sha256:HASH2', 'wk_ended', 'orders:read', 'disabled', NULL),
		('sha256:HASH3', 'wk_old', 'orders:read', 'enabled', 1600000000)`, "", "expired",
	},
	"A row for each scope, and an owner": {
		"INSERT INTO service_keys VALUES ('" + idA + "', 'wk_partner', 'HASH1', false, '" + idC + "', NULL), ('" + idB + `', 'wk_ended', 'HASH2', true, NULL, NULL),
		('` + idC + "', 'wk_old', 'HASH3', false, NULL, '2020-01-01'); INSERT INTO key_scopes VALUES ('" + idA + "', 'orders:read'), ('" + idB + "', 'orders:read'), ('" + idC + "', 'orders:read')",
		idC, "expired",
	},
}

// TestExamples runs each documented query on its tables. The queries fit without a warning, give
// the users their roles, and let nobody pass who must not.
func TestExamples(t *testing.T) {
	t.Parallel()
	all := examples(t)
	if want := len(exampleUsers) + len(exampleKeys); len(all) != want {
		t.Errorf("README has %d examples, and %d are tested", len(all), want)
	}
	for title, e := range all {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			db := authztest.StartPostgres(t)
			db.Exec(t, e.schema)
			if e.Users == "" {
				testExampleKeys(t, db, title, e)
				return
			}
			about, tested := exampleUsers[title]
			if !tested {
				t.Fatal("the example is not tested")
			}
			db.Exec(t, about.rows)
			d := open(t, postgres.Config{DatabaseURL: db.URL(), UsersQuery: e.Users, NoAPIKeys: true})
			warnings, err := d.Check(t.Context())
			warnings = slices.DeleteFunc(warnings, func(w string) bool {
				return (title == "Spring Security" || title == "A function") && strings.Contains(w, "the column that it looks up is not known, so no rows were checked")
			})
			if err != nil || len(warnings) > 0 {
				t.Errorf("the query does not fit: %v, %q", err, warnings)
			}
			for id, want := range about.want {
				user, err := d.User(t.Context(), id)
				got := "unknown"
				switch {
				case err == nil && !user.Active:
					got = "inactive"
				case err == nil:
					got = strings.Join(user.Roles, " ")
				case !errors.Is(err, authz.ErrNotFound):
					t.Errorf("user %s: %v", id, err)
				}
				if got != want {
					t.Errorf("user %s is %q, want %q", id, got, want)
				}
			}
		})
	}
}

func testExampleKeys(t *testing.T, db *authztest.Postgres, title string, e example) {
	t.Helper()
	about, tested := exampleKeys[title]
	if !tested {
		t.Fatal("the example is not tested")
	}
	good, ended, third := authz.HashAPIKey("wk_partner_0123456789"), authz.HashAPIKey("wk_ended_0123456789"), authz.HashAPIKey("wk_third_0123456789")
	db.Exec(t, "CREATE TABLE nobody (id text, is_active boolean, roles text[])")
	db.Exec(t, strings.NewReplacer("HASH1", good.Hex(), "HASH2", ended.Hex(), "HASH3", third.Hex()).Replace(about.rows))
	d := open(t, postgres.Config{DatabaseURL: db.URL(), UsersQuery: "SELECT is_active, roles FROM nobody WHERE id = $1", APIKeysQuery: e.Keys})
	if _, err := d.Check(t.Context()); err != nil {
		t.Errorf("the query does not fit: %v", err)
	}
	key, err := d.APIKey(t.Context(), good)
	if err != nil || !key.Active || key.Prefix != "wk_partner" || key.OwnerID != about.owner || !key.ExpiresAt.IsZero() ||
		!slices.Equal(key.Scopes, authz.Names{"orders:read"}) {
		t.Errorf("the good key is %+v, %v", key, err)
	}
	if key, err := d.APIKey(t.Context(), ended); err != nil || key.Active {
		t.Errorf("the key that was ended is %+v, %v", key, err)
	}
	key, err = d.APIKey(t.Context(), third)
	expired := !key.ExpiresAt.IsZero() && key.ExpiresAt.Year() <= 2020
	if err != nil || about.third == "expired" && !expired || about.third == "no scopes" && (expired || key.Scopes.Has("orders:read")) {
		t.Errorf("the third key is %+v, %v; want it to be %s", key, err, about.third)
	}
	if _, err := d.APIKey(t.Context(), authz.HashAPIKey("wk_other_0123456789")); !errors.Is(err, authz.ErrNotFound) {
		t.Errorf("another key: %v", err)
	}
}
