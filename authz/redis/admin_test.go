package redis_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"warder/authz/authztest"
	"warder/authz/redis"
)

func admin(t *testing.T, c redis.Config) *redis.Admin {
	t.Helper()
	c.Timeout = patience
	a, err := redis.NewAdmin(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return a
}

func ids(t *testing.T, a *redis.Admin, user string) []string {
	t.Helper()
	found, err := a.List(t.Context(), user)
	if err != nil {
		t.Fatal(err)
	}
	list := []string{}
	for _, s := range found {
		list = append(list, s.ID)
	}
	return list
}

// TestAdminListsOnlyTheUser puts keys next to those of a user that a careless pattern would
// match. None of them may be listed, and none may be deleted.
func TestAdminListsOnlyTheUser(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		template, key string // key has %[1]s for the user, %[2]s for the session
		others        []string
	}{
		{"session:{user_id}:{jti}", "session:%[1]s:%[2]s", []string{
			"session:421:a", "session:4:2:a", "session:42", "session:42:", "session:42:a:b", "xsession:42:a", "session:42:a b", "Session:42:a",
		}},
		{"s*[a-z]?\\:{user_id}:{jti}*", "s*[a-z]?\\:%[1]s:%[2]s*", []string{
			"sx[a-z]?\\:42:a*", "s*b?\\:42:a*", "s*[a-z]x\\:42:a*", "s*[a-z]?:42:a*", "s*[a-z]?\\:42:ax",
		}},
		{"{jti}/of/{user_id}/", "%[2]s/of/%[1]s/", []string{"a/of/421/", "a/of/of/42/", "/of/42/", "a/of/42"}},
		{"{user_id}:{jti}", "%[1]s:%[2]s", []string{"142:a", "42", "42:", "42:a:b"}},
	} {
		t.Run(tt.template, func(t *testing.T) {
			t.Parallel()
			server := authztest.StartRedis(t, password)
			for _, key := range tt.others {
				server.Do(t, "SET", key, "1")
			}
			want := []string{}
			for i := range 2500 { // more than a SCAN returns at once
				id := fmt.Sprintf("s%04d|@+=~.-_", i)
				want = append(want, id)
			}
			server.Do(t, "EVAL", "for i=0,2499 do redis.call('SET', ARGV[1]..string.format('s%04d|@+=~.-_', i)..ARGV[2], '1') end return 'OK'", "0",
				strings.Split(fmt.Sprintf(tt.key, "42", "\x00"), "\x00")[0], strings.Split(fmt.Sprintf(tt.key, "42", "\x00"), "\x00")[1])
			a := admin(t, redis.Config{URL: server.URL(), KeyTemplate: tt.template})
			if got := ids(t, a, "42"); !slices.Equal(got, want) {
				t.Fatalf("%d sessions: %.200q", len(got), got)
			}
			for _, other := range []string{"4", "*", "42:a", "", "[42]*", "42\n"} {
				if got := ids(t, a, other); len(got) > 0 {
					t.Errorf("user %q has %q", other, got)
				}
			}
			if err := a.End(t.Context(), "42", want[1:]); err != nil {
				t.Fatal(err)
			}
			if got := ids(t, a, "42"); !slices.Equal(got, want[:1]) {
				t.Errorf("left are %q", got)
			}
			if size := server.Do(t, "DBSIZE"); size != fmt.Sprintf(":%d", len(tt.others)+1) {
				t.Errorf("the database has %s keys; want the others and one", size)
			}
			if err := a.End(t.Context(), "42", []string{"*"}); err == nil {
				t.Error("an id that is not valid was deleted")
			}
		})
	}
}

func TestAdminTimeToLive(t *testing.T) {
	t.Parallel()
	server := authztest.StartRedis(t, "")
	server.Do(t, "SET", "session:42:a", "1", "EX", "3600")
	server.Do(t, "SET", "session:42:b", "1")
	found, err := admin(t, redis.Config{URL: server.URL()}).List(t.Context(), "42")
	if err != nil || len(found) != 2 || found[0].Left <= 59*time.Minute || found[0].Left > time.Hour || found[1].Left != redis.NoExpiry {
		t.Errorf("%v, %v", found, err)
	}
}

// TestAdminRights checks what the service's own user is told, and that an error has no secret.
func TestAdminRights(t *testing.T) {
	t.Parallel()
	server := authztest.StartRedis(t, password)
	server.Do(t, "SET", "session:42:a", "1")
	server.Do(t, "ACL", "SETUSER", "reader", "on", ">canary-reader", "~session:*", "+exists", "+role")
	server.Do(t, "ACL", "SETUSER", "lister", "on", ">canary-lister", "~session:*", "+scan", "+pttl", "+role")
	reader := admin(t, redis.Config{URL: "redis://reader:canary-reader@" + server.Addr})
	if _, err := reader.List(t.Context(), "42"); err == nil || !strings.Contains(err.Error(), "+scan") || strings.Contains(err.Error(), "canary") {
		t.Errorf("listing: %v", err)
	}
	lister := admin(t, redis.Config{URL: "redis://lister:canary-lister@" + server.Addr})
	if got := ids(t, lister, "42"); len(got) != 1 {
		t.Errorf("listed %q", got)
	}
	if err := lister.End(t.Context(), "42", []string{"a"}); err == nil || !strings.Contains(err.Error(), "+del") {
		t.Errorf("ending: %v", err)
	}
	if server.Do(t, "EXISTS", "session:42:a") != ":1" {
		t.Error("the session was deleted without the right to")
	}
}
