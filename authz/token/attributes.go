package token

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"warder/authz/attribute"
)

// Attributes are the claims that become attributes of the principal: a claim, or a path such as
// org.id, by the name of the attribute.
type Attributes map[string]string

// An attributeClaim is an attribute and the claim that it is from.
type attributeClaim struct {
	name string
	path claimPath
}

func (a Attributes) compile() (claims []attributeClaim) {
	for _, name := range slices.Sorted(maps.Keys(a)) {
		claims = append(claims, attributeClaim{name, claimPath(a[name])})
	}
	return claims
}

// problems returns what is wrong with the attributes.
func (a Attributes) problems(field string) (found []error) {
	if len(a) > attribute.Max {
		found = append(found, Misconfigured(field, "has %d attributes; want at most %d", len(a), attribute.Max))
	}
	for _, name := range slices.Sorted(maps.Keys(a)) {
		if !attribute.ValidName(name) {
			found = append(found, Misconfigured(field, "%q is not the name of an attribute; %s", name, attribute.NameGrammar))
			continue
		}
		if a[name] == "" {
			found = append(found, Misconfigured(field+"."+name, "is empty; want the name of a claim, or a path such as org.id"))
			continue
		}
		for _, why := range wrongPath(a[name]) {
			found = append(found, Misconfigured(field+"."+name, "%s", why))
		}
	}
	return found
}

// attributesOf reads the attributes of a token. A token with one of the claims in another case is
// rejected, like that of a claim in readNames.
func attributesOf(claims object, from []attributeClaim) (attribute.Set, error) {
	var b attribute.Builder
	for _, a := range from {
		if a.path.shadowed(claims) {
			return attribute.Set{}, reject(ErrClaims, fmt.Sprintf("%s in another case", a.path))
		}
		found, blocked := a.path.find(claims)
		value, ok := attributeText(found)
		if !ok || blocked {
			b.PutUnreadable(a.name)
			continue
		}
		b.Put(a.name, strings.Clone(value)) // so as not to keep the claims in memory
	}
	return b.Set(), nil
}

// attributeText returns the text of a string, a whole number in digits, true or false. It returns
// "" if the claim is absent or null. ok is false for other values, which have no one text.
func attributeText(v value) (text string, ok bool) {
	switch v {
	case "", "null":
		return "", true
	case "true", "false":
		return string(v), true
	}
	if text, ok := v.text(); ok {
		return text, true
	}
	if number, ok := v.number(); ok && number != "-0" && !strings.ContainsAny(number, ".eE") {
		return number, true
	}
	return "", false
}
