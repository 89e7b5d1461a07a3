package policy

import (
	"fmt"
	"slices"
	"strings"

	"warder/policy/strict"
)

// OtherFile says what kind of file was given instead of the wanted one, which is "a policy",
// "a configuration" or "a file of cases". keys are the top-level keys of the file. It returns
// "" for a file of the wanted kind, and for one of an unknown kind.
func OtherFile(want string, keys []string) string {
	kinds := []struct {
		name, instead string
		keys          []string // each identifies the kind
	}{
		{"a policy", "give it with --policy", []string{"routes", "ip_lists"}},
		{"a configuration", "give it with --config", []string{"jwt", "listen", "directory"}},
		{"a file of cases", "run it with warder test, and keep it outside a folder of policies", []string{"cases"}},
		{"an OpenAPI document", "warder import openapi writes a policy from it", []string{"openapi", "swagger"}},
		{"a Kubernetes manifest", "save the text inside it as a separate file", []string{"apiVersion", "kind"}},
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

// HintKey implements [strict.KeyHinter] for keys at the top of a file.
func (*fileContent) HintKey(_, key string) string {
	switch {
	case key == "shadow":
		return "is a key of a route; write shadow: true in each intended route, or run warder serve --shadow for all of them"
	case slices.Contains(strict.KeysOf[routeKeys](), key):
		return "is a key of a route; write it in each intended route"
	}
	return ""
}

// HintKey implements [strict.KeyHinter] for keys of a route.
func (*routeKeys) HintKey(_, key string) string {
	match := strict.KeysOf[matchKeys]()
	switch {
	case slices.Contains(match, key):
		return "is a key of match; write match: {" + strings.Join(match, ": […], ") + ": […]}"
	case slices.Contains(strict.KeysOf[allowKeys](), key):
		return fmt.Sprintf("is a key of allow; write allow: [{%s: {}}]", key)
	case slices.Contains(strict.KeysOf[userKeys](), key):
		return fmt.Sprintf("says which users may pass; write allow: [{user: {%s: […]}}]", key)
	case slices.Contains(strict.KeysOf[apiKeyKeys](), key):
		return fmt.Sprintf("says which API keys may pass; write allow: [{api_key: {%s: […]}}]", key)
	}
	return ""
}

// HintKey implements [strict.KeyHinter] for keys of an item of allow.
func (*allowKeys) HintKey(_, key string) string {
	switch {
	case slices.Contains(strict.KeysOf[userKeys](), key):
		return fmt.Sprintf("says which users may pass; write {user: {%s: […]}}", key)
	case slices.Contains(strict.KeysOf[apiKeyKeys](), key):
		return fmt.Sprintf("says which API keys may pass; write {api_key: {%s: […]}}", key)
	}
	return ""
}
