package stricttest

import (
	"strconv"

	"warder/policy/strict"
)

// Tree returns a value as decoded JSON. A number too large for an int64 or a float64 is a string.
func Tree(v strict.Value) any {
	switch v.Kind {
	case strict.Bool:
		return v.Text == "true"
	case strict.Number:
		if n, err := strconv.ParseInt(v.Text, 0, 64); err == nil {
			return n
		}
		if n, err := strconv.ParseFloat(v.Text, 64); err == nil {
			return n
		}
		return v.Text
	case strict.Text:
		return v.Text
	case strict.Group:
		tree := map[string]any{}
		for _, e := range v.Entries {
			tree[e.Key] = Tree(e.Value)
		}
		return tree
	case strict.List:
		tree := []any{}
		for _, item := range v.Items {
			tree = append(tree, Tree(item))
		}
		return tree
	case strict.Broken, strict.Null:
	}
	return nil
}
