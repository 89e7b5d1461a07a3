package config

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"warder/cmd/warder/internal/cli"
	"warder/cmd/warder/internal/clitest"
	"warder/policy/strict/stricttest"
)

// resolveText reads a configuration from its text, as Read does from a file.
func resolveText(data []byte, env cli.LookupEnv) error {
	c := defaultConfig()
	c.reader = newConfigReader()
	c.read("warder.yaml", data, env)
	c.readEnvironment(env)
	_, _, err := c.Resolve()
	return err
}

// schemaEnv sets variables that a configuration needs or that override some of its keys.
var schemaEnv = []string{
	"SECRET=" + clitest.Secret, "DSN=postgres://127.0.0.1/app", "PROXIES=10.0.0.0/8", "WORD=strict", "N=2",
}

// unseenConfig lists the keys of the bad configurations that a schema cannot refuse, with the
// reason for each.
var unseenConfig = map[string]string{
	"budgets: deadline":                  outOfRange,
	"budgets: sessions.timeout":          outOfRange,
	"budgets: directory.max_staleness":   outOfRange,
	"budgets: directory.max_standby_lag": outOfRange,
	"budgets: shutdown.delay":            outOfRange,
	"budgets: shutdown.timeout":          outOfRange,
	"budgets: jwt.leeway":                outOfRange,
	"emptied: jwt.issuer":                itsEnvironment,
	"emptied: jwt.audiences":             itsEnvironment,
	"unset: jwt.keys":                    itsEnvironment,
	"listen: listen.grpc":                overruled,
	"listen: listen.admin":               overruled,
	"listen: sessions.redis_url":         overruled,
	"variables: directory.file":          itsEnvironment,
	"variables: jwt.issuer":              itsEnvironment,
	"variables: jwt.keys":                itsEnvironment,
	"issuers: jwt.keys":                  "it depends on files",
	"attributes: jwt.issuers":            "the names of attributes are keys of the writer's own",
	"attributes: identity.attributes":    "the names of attributes are keys of the writer's own",
}

const (
	outOfRange     = "a pattern tells no 10m from 10ms"
	itsEnvironment = "it depends on a variable"
	overruled      = "a variable wins over the key, whatever stands there"
)

// TestConfigSchemaAgrees checks that the schema refuses each key of a bad configuration that
// warder refuses, except those in unseenConfig.
func TestConfigSchemaAgrees(t *testing.T) {
	t.Parallel()
	schema := stricttest.Compile(t, Schema)
	files, err := filepath.Glob("testdata/*.bad.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	env := clitest.Environment("SECRET="+clitest.Secret, "EMPTY=", "SHORT=short", "DSN=postgres://127.0.0.1/app", "WARDER_JWT_SECRET="+clitest.Secret, "DATABASE_URL=postgres://127.0.0.1/app")
	used := map[string]bool{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		tree, _ := treeOf(data)
		for key, one := range keysApart(tree) {
			name := strings.TrimSuffix(filepath.Base(file), ".bad.yaml") + ": " + key
			text, err := json.Marshal(one)
			if err != nil {
				t.Fatal(err)
			}
			bad := resolveText(text, env)
			refused := schema.Validate(one)
			reason, listed := unseenConfig[name]
			used[name] = true
			switch {
			case refused != nil && bad == nil:
				t.Errorf("%s: warder takes it: %v", name, refused)
			case refused != nil && listed:
				t.Errorf("%s is refused after all, and needs no line in unseenConfig (%s)", name, reason)
			case refused == nil && bad != nil && !listed:
				t.Errorf("%s is not refused: %v", name, bad)
			}
		}
	}
	for name := range unseenConfig {
		if !used[name] {
			t.Errorf("%s is in no bad configuration any more", name)
		}
	}
}

// keysApart splits a configuration into one configuration per key, two levels deep.
func keysApart(tree any) map[string]any {
	apart := map[string]any{}
	file, _ := tree.(map[string]any)
	for key, value := range file {
		group, _ := value.(map[string]any)
		for inner, one := range group {
			apart[key+"."+inner] = map[string]any{key: map[string]any{inner: one}}
		}
		if len(group) == 0 {
			apart[key] = map[string]any{key: value}
		}
	}
	return apart
}

// TestConfigSchemaIsNeverStricter checks that the schema accepts everything that warder accepts.
// It combines parts of all other configurations and values of every kind.
func TestConfigSchemaIsNeverStricter(t *testing.T) {
	t.Parallel()
	schema := stricttest.Compile(t, Schema)
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	values := []any{"", "x", "${WORD}", "${N}", "$${X}", "0", 0, -1, 2, 660, 1.5, true, false, nil, []any{}, []any{"x"}, map[string]any{}, "1h", "-0s", ".5s", "1.s", "+0",
		"0o660", "00777", "0600", "HS512", "none", "peer", "header", "memory://", "unix:///x/y", "127.0.0.1:1", "debug", "info", "warn", "error", "json", "text", "all", "deny", "strict", "tracked",
		"trusted_proxies", "xff_num_trusted_hops", "leftmost_forwarded_for", []any{map[string]any{"algorithm": "HS384"}}, []any{map[string]any{"kid": "k"}}}
	trees := make([]any, 0, len(files))
	for _, file := range files {
		tree, _ := treeOf(clitest.ReadFile(t, file))
		trees = append(trees, tree)
	}
	envs := []cli.LookupEnv{
		clitest.Environment(append(schemaEnv, "WARDER_JWT_SECRET="+clitest.Secret, "DATABASE_URL=postgres://127.0.0.1/app", "REDIS_URL=redis://127.0.0.1",
			"WARDER_LISTEN_GRPC=127.0.0.1:1", "WARDER_LISTEN_ADMIN=127.0.0.1:2", "WARDER_TRUSTED_PROXIES=10.0.0.0/8")...),
		clitest.Environment(append(schemaEnv, "WARDER_JWT_SECRET="+clitest.Secret, "DATABASE_URL=postgres://127.0.0.1/app")...),
	}
	taken := 0
	check := func(tree map[string]any, env cli.LookupEnv) {
		text, err := json.Marshal(tree)
		if err != nil {
			t.Fatal(err)
		}
		if resolveText(text, env) != nil {
			return
		}
		taken++
		if err := schema.Validate(asJSON(t, text)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	// Try each value at each key, which covers all values of an enumeration, ...
	full, _ := treeOf(clitest.ReadFile(t, "testdata/full.good.yaml"))
	for key, group := range full.(map[string]any) {
		inner, _ := group.(map[string]any)
		for _, value := range values {
			check(map[string]any{key: value}, envs[1])
			for name := range inner {
				check(map[string]any{key: map[string]any{name: value}}, envs[1])
			}
		}
	}
	// ... and several together.
	random := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		tree := map[string]any{}
		for range 1 + random.IntN(3) {
			plant(random, reflect.TypeFor[Config](), tree, trees[random.IntN(len(trees))], values)
		}
		check(tree, envs[random.IntN(len(envs))])
	}
	if taken < 500 {
		t.Errorf("warder took %d configurations: this tests too little", taken)
	}
}

// plant sets one key of a type to a value from another configuration or to any of values.
func plant(random *rand.Rand, shape reflect.Type, tree map[string]any, from any, values []any) {
	field := shape.Field(random.IntN(shape.NumField()))
	key := field.Tag.Get("json")
	theirs, _ := from.(map[string]any)
	if strings.HasSuffix(field.Type.Name(), "Keys") && random.IntN(20) > 0 {
		inner, ok := tree[key].(map[string]any)
		if !ok {
			inner = map[string]any{}
			tree[key] = inner
		}
		plant(random, field.Type, inner, theirs[key], values)
		return
	}
	if value, given := theirs[key]; given && random.IntN(2) == 0 {
		tree[key] = value
		return
	}
	tree[key] = values[random.IntN(len(values))]
}
