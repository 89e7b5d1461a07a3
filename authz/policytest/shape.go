package policytest

import (
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"warder/policy"
)

// Headers are fields in order: a list of [name, value], so that one name may come
// twice, or a group of name: value.
type Headers [][2]string

// shape holds a file against the types that it is read into, reports every unknown key
// and every value of another kind, and notes where each value stands. It takes the cases
// out of the file and returns them, with their indexes: each is read by itself, so that
// one that is wrong hides nothing of the others.
func (r *reader) shape(root *ast.MappingNode) (cases []ast.Node, at []int) {
	r.check("", root, reflect.TypeFor[File]())
	i := slices.IndexFunc(root.Values, func(v *ast.MappingValueNode) bool { return v.Key.GetToken().Value == "cases" })
	if i < 0 {
		return nil, nil
	}
	if list, ok := root.Values[i].Value.(*ast.SequenceNode); ok {
		cases = list.Values
		if len(cases) == 0 {
			r.report("cases", "is an empty list; give at least one case")
		}
	}
	root.Values = slices.Delete(root.Values, i, i+1)
	for i := range cases {
		at = append(at, i)
	}
	return cases, at
}

// check holds one value against its type.
func (r *reader) check(field string, n ast.Node, t reflect.Type) {
	if field != "" {
		r.places[field] = r.at(n)
	}
	if _, ok := n.(*ast.TagNode); ok {
		r.report(field, "tags (!) are not read; leave it out")
		return
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t.Kind() == reflect.Interface:
	case t == reflect.TypeFor[Headers]():
		if mappingOf(n) != nil {
			r.checkKeys(field, n, reflect.TypeFor[map[string]string]())
			return
		}
		r.checkItems(field, n, reflect.TypeFor[[][2]string](), "a list of [name, value], or a group of name: value")
	case t == reflect.TypeFor[netip.Prefix]():
		if s, ok := r.scalar(field, n, "a network such as 10.0.0.0/8"); ok {
			if _, err := netip.ParsePrefix(s); err != nil {
				r.report(field, "%q is no network; write one such as 10.0.0.0/8 or 203.0.113.7/32", s)
			}
		}
	case t == reflect.TypeFor[time.Duration]():
		if s, ok := r.scalar(field, n, "a duration such as 30s"); ok {
			if _, err := time.ParseDuration(s); err != nil {
				r.report(field, "%q is no duration; write one such as 30s", s)
			}
		}
	default:
		r.checkKind(field, n, t)
	}
}

func (r *reader) checkKind(field string, n ast.Node, t reflect.Type) {
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		if mappingOf(n) == nil {
			r.wrongKind(field, n, "a group of keys")
			return
		}
		r.checkKeys(field, n, t)
	case reflect.Slice, reflect.Array:
		r.checkItems(field, n, t, "a list")
	case reflect.Bool:
		if _, ok := n.(*ast.BoolNode); !ok {
			r.wrongKind(field, n, "true or false")
		}
	case reflect.Int:
		if _, ok := n.(*ast.IntegerNode); !ok {
			r.wrongKind(field, n, "a whole number")
		}
	default:
		r.scalar(field, n, "a text")
	}
}

// scalar returns a text as it is written. A number stands for its digits.
func (r *reader) scalar(field string, n ast.Node, want string) (text string, ok bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode:
		number := n.GetToken().Value
		if !digits.MatchString(number) {
			r.report(field, "%s is a number that YAML may spell in another way; write it in quotes, as in %q", number, number)
		}
		return number, true
	case *ast.NullNode:
		r.report(field, "is empty; write %s, or leave the key out", want)
	case *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		r.report(field, "%s is not a text for YAML; write it in quotes, as in %q", n.GetToken().Value, n.GetToken().Value)
	default:
		r.wrongKind(field, n, want)
	}
	return "", false
}

// digits are numbers that have one spelling.
var digits = regexp.MustCompile(`^(0|[1-9][0-9]*)$`)

func (r *reader) wrongKind(field string, n ast.Node, want string) {
	is := "a text"
	switch n.(type) {
	case *ast.NullNode:
		is = "empty"
	case *ast.BoolNode:
		is = "true or false"
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		is = "a number"
	case *ast.SequenceNode:
		is = "a list"
	case *ast.MappingNode, *ast.MappingValueNode:
		is = "a group of keys"
	}
	r.report(field, "is %s; want %s", is, want)
}

func (r *reader) checkItems(field string, n ast.Node, t reflect.Type, want string) {
	list, ok := n.(*ast.SequenceNode)
	if !ok {
		r.wrongKind(field, n, want)
		return
	}
	if t.Kind() == reflect.Array && len(list.Values) != t.Len() {
		r.report(field, "has %d items; want %d, a name and a value", len(list.Values), t.Len())
		return
	}
	for i, item := range list.Values {
		r.check(index(field, i), item, t.Elem())
	}
}

// checkKeys holds the keys of a group against the fields of a struct, or its values
// against the one kind of a map.
func (r *reader) checkKeys(field string, n ast.Node, t reflect.Type) {
	known := map[string]reflect.Type{}
	if t.Kind() == reflect.Struct {
		for f := range t.Fields() {
			if name := f.Tag.Get("yaml"); name != "" && name != "-" {
				known[name] = f.Type
			}
		}
	}
	for _, v := range mappingOf(n).Values {
		if v.Key.Type() == ast.MergeKeyType {
			r.report(field, "merge keys (<<) are not read; write the keys out")
			continue
		}
		key := v.Key.GetToken().Value
		value := reflect.Type(nil)
		if t.Kind() == reflect.Map {
			value = t.Elem()
		} else if value = known[key]; value == nil {
			r.problems = append(r.problems, policy.Problem{Position: r.at(v.Key), Field: field, Message: unknownKey(key, known)})
			continue
		}
		r.check(join(field, key), v.Value, value)
	}
}

// moved are keys that people will look for under another name.
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

func unknownKey(key string, known map[string]reflect.Type) string {
	names := make([]string, 0, len(known))
	for name := range known {
		names = append(names, name)
	}
	slices.Sort(names)
	message := "unknown key " + key + "; "
	if _, isCase := known["request"]; isCase && moved[key] != "" {
		return message + moved[key]
	}
	if _, isFile := known["cases"]; isFile && isCaseKey(key) {
		return message + "it is one of a case, so write it in the list cases"
	}
	if near := policy.Nearest(key, names); near != "" {
		return message + "did you mean " + near + "?"
	}
	return message + "use " + strings.Join(names, ", ")
}

func isCaseKey(key string) bool {
	for f := range reflect.TypeFor[Case]().Fields() {
		if f.Tag.Get("yaml") == key {
			return true
		}
	}
	return false
}

// The library takes a netip.Prefix for a struct.
func unmarshalPrefix(p *netip.Prefix, text []byte) (err error) {
	*p, err = netip.ParsePrefix(strings.Trim(strings.TrimSpace(string(text)), `"'`))
	return err
}

// UnmarshalYAML reads either form.
func (h *Headers) UnmarshalYAML(n ast.Node) error {
	group := mappingOf(n)
	if group == nil {
		return yaml.NodeToValue(n, (*[][2]string)(h))
	}
	for _, v := range group.Values {
		field := [2]string{v.Key.GetToken().Value}
		if err := yaml.NodeToValue(v.Value, &field[1]); err != nil {
			return err
		}
		*h = append(*h, field)
	}
	return nil
}
