package policy

import (
	"fmt"
	"slices"
	"strings"
)

// OtherFile says what a file is that was given in the place of another: want is what it
// should be, "a policy", "a configuration" or "a file of cases", and keys are those at its
// top. It returns "" for a file that has a key of what it should be, or of nothing known.
func OtherFile(want string, keys []string) string {
	kinds := []struct {
		name, instead string
		keys          []string // each tells it from the others
	}{
		{"a policy", "give it with --policy", []string{"routes", "ip_lists"}},
		{"a configuration", "give it with --config", []string{"jwt", "listen", "directory"}},
		{"a file of cases", "run it with warder test, and keep it outside a folder of policies", []string{"cases"}},
		{"an OpenAPI document", "warder import openapi writes a policy from it", []string{"openapi", "swagger"}},
		{"a Kubernetes manifest", "give the text that stands in it as a file of its own", []string{"apiVersion", "kind"}},
	}
	found := ""
	for _, kind := range kinds {
		has := slices.ContainsFunc(kind.keys, func(key string) bool { return slices.Contains(keys, key) })
		switch {
		case has && kind.name == want:
			return ""
		case has && found == "":
			found = fmt.Sprintf("is %s, not %s; %s", kind.name, want, kind.instead)
		}
	}
	return found
}

// otherFile reports that a file is another one than a policy, and that alone.
func (r *fileReader) otherFile(v value) bool {
	keys := make([]string, len(v.entries))
	for i, e := range v.entries {
		keys[i] = e.key
	}
	what := OtherFile("a policy", keys)
	if what != "" {
		r.fail(v.at, "", "%s", what)
	}
	return what != ""
}

// unknownKey says what would be right in the place of a key that is not known in a group:
// where it belongs when it is a key of another group, else the key that was meant.
func (r *fileReader) unknownKey(key string, shape any, known []string) string {
	switch shape.(type) {
	case FileShape:
		if key == "shadow" {
			return "is a key of a route; write shadow: true in each route that is meant, or run warder serve --shadow for all of them"
		}
		if slices.Contains(r.keysOf(RouteShape{}), key) {
			return "is a key of a route; write it in each route that is meant"
		}
	case RouteShape:
		switch {
		case slices.Contains(r.keysOf(MatchShape{}), key):
			return "is a key of match; write match: {" + strings.Join(r.keysOf(MatchShape{}), ": […], ") + ": […]}"
		case slices.Contains(r.keysOf(AllowShape{}), key):
			return fmt.Sprintf("is a key of allow; write allow: [{%s: {}}]", key)
		case slices.Contains(r.keysOf(UserShape{}), key):
			return fmt.Sprintf("says which users may pass; write allow: [{user: {%s: […]}}]", key)
		case slices.Contains(r.keysOf(APIKeyShape{}), key):
			return fmt.Sprintf("says which API keys may pass; write allow: [{api_key: {%s: […]}}]", key)
		}
	case AllowShape:
		switch {
		case slices.Contains(r.keysOf(UserShape{}), key):
			return fmt.Sprintf("says which users may pass; write {user: {%s: […]}}", key)
		case slices.Contains(r.keysOf(APIKeyShape{}), key):
			return fmt.Sprintf("says which API keys may pass; write {api_key: {%s: […]}}", key)
		}
	}
	return "is unknown; " + didYouMean(key, known)
}
