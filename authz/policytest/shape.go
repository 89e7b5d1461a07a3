package policytest

import (
	"slices"

	"warder/policy/strict"
)

// Headers are header fields in order. In a file they are a list of [name, value], in which a
// name may occur more than once, or a group of name: value.
type Headers [][2]string

// ReadValue reads either form.
func (h *Headers) ReadValue(r *strict.Reader, field string, v strict.Value) {
	if v.Kind != strict.Group {
		if v.Kind != strict.List {
			r.WrongKind(field, v, "a list of [name, value], or a group of name: value")
			return
		}
		r.Read(field, v, (*[][2]string)(h))
		return
	}
	for _, e := range v.Entries {
		var value string
		r.Read(strict.Join(field, strict.KeyName(e.Key)), e.Value, &value)
		*h = append(*h, [2]string{e.Key, value})
	}
}

// moved has hints for keys that users may expect under another name.
var moved = map[string]string{
	"client_ip": "peer says who connects, want_client_ip which address warder must find",
	"user":      "as_user sends the token of a user, identity says whom the upstream must be told",
	"absent":    "upstream_absent lists headers that the application must not get",
	"present":   "upstream says which headers the application must get",
	"path":      "write request: METHOD PATH",
	"method":    "write request: METHOD PATH",
	"reason":    "write it into want, as in want: deny role_missing",
	"decision":  "write want: allow, or want: deny role_missing",
	"expect":    "write want: allow, or want: deny role_missing",
}

// HintKey returns a hint for an unknown key of a case, or "".
func (*Case) HintKey(_, key string) string {
	if hint := moved[key]; hint != "" {
		return "is unknown; " + hint
	}
	return ""
}

// HintKey returns a hint for an unknown key of a file, or "".
func (*File) HintKey(_, key string) string {
	if slices.Contains(strict.KeysOf[Case](), key) {
		return "is unknown; it is one of a case, so write it in the list cases"
	}
	return ""
}
