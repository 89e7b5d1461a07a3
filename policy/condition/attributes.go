package condition

import (
	"fmt"

	"warder/authz/attribute"
	"warder/policy/strict"
)

// attributeTexts are the attributes of the principal. They are read by names that are known when
// the expression is compiled, so nothing iterates over them.
type attributeTexts struct{ set attribute.Set }

func (t attributeTexts) find(name string) (value string, found bool, err error) {
	return t.set.Find(name)
}

func (t attributeTexts) names() (names []string) {
	for name := range t.set.All() {
		names = append(names, name)
	}
	return names
}

func (t attributeTexts) count() int { return len(t.names()) }

// attribute reports a name that no attribute has.
func (c *checker) attribute(name string, at int) {
	if !attribute.ValidName(name) {
		c.fail(at, "%s is not the name of an attribute; %s", strict.Quote(name), attribute.NameGrammar)
	}
}

// attributeLike returns what to write for a field that principal does not have.
func attributeLike(name string) string {
	if near := strict.Nearest(name, principalType.FieldNames()); near != "" || !attribute.ValidName(name) {
		return strict.DidYouMean(name, principalType.FieldNames())
	}
	return fmt.Sprintf("did you mean principal.attributes.%s, or principal.claims.%s?", name, name)
}
