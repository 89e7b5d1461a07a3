package operator

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"warder/authz/attribute"
	"warder/authz/mask"
	"warder/cmd/warder/internal/cli"
)

// Attributes returns attributes for an operator. The value of a sensitive name is masked: a query
// with * has every column of its table.
func Attributes(of attribute.Set) map[string]string {
	known := &mask.Masker{}
	all := map[string]string{}
	for name, value := range of.All() {
		if known.SensitiveKey(name) || known.SensitiveKey(strings.TrimSuffix(name, "_hash")) {
			value = mask.Replacement
		}
		all[name] = value
	}
	return all
}

// AttributeLines writes attributes for people, one a line.
func AttributeLines(attributes map[string]string, unreadable []string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		fmt.Fprintf(&b, "attribute %s = %s\n", name, cli.OneLine(attributes[name], 200))
	}
	for _, name := range unreadable {
		fmt.Fprintf(&b, "attribute %s is unreadable: %s\n", name, attribute.ValueGrammar)
	}
	return b.String()
}
