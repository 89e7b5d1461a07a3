package token

import (
	"slices"
	"strings"
)

// A User is what a token says about the user that it is of.
type User struct {
	// Active reports whether the configured claim is true. Without such a claim, the user of
	// every valid token is active.
	Active bool
	// Roles are valid, sorted and without duplicates.
	Roles []string
	// ActiveDetail says why the user is not active, and RolesDetail why roles are missing. Each is
	// zero if there is nothing to say.
	ActiveDetail, RolesDetail Detail
}

// maxRoles is the greatest number of elements of the claim with the roles. Envoy could not pass
// many more names on to the upstream.
const maxRoles = 1000

// userOf reads what the token says about its user, by the claims of its issuer.
func (v *Verifier) userOf(by *issuer, claims object) (*User, error) {
	for _, path := range []claimPath{by.rolesClaim, by.activeClaim} {
		if path != "" && path.shadowed(claims) {
			return nil, reject(ErrClaims, string(path)+" in another case")
		}
	}
	u := &User{Active: true}
	if by.activeClaim != "" {
		u.Active, u.ActiveDetail = activeOf(claims, by.activeClaim)
	}
	if by.noRoles {
		u.RolesDetail = Detail{text: "the issuer gives no roles"}
		return u, nil
	}
	u.Roles, u.RolesDetail = v.rolesOf(claims, by.rolesClaim)
	return u, nil
}

// activeOf reports whether a claim is the JSON value true, which no other value stands for.
func activeOf(claims object, path claimPath) (bool, Detail) {
	switch path.in(claims) {
	case "true":
		return true, Detail{}
	case "":
		return false, Detail{text: string(path) + " missing"}
	}
	return false, Detail{text: string(path) + " not true"}
}

// rolesOf returns the roles in a claim, which has to be an array of strings, as a column of the
// directory has. Names that cannot be roles are left out. Of an array with too many elements
// nothing is used.
func (v *Verifier) rolesOf(claims object, path claimPath) ([]string, Detail) {
	value := path.in(claims)
	if value == "" {
		return nil, Detail{text: string(path) + " missing"}
	}
	elements, isArray := value.array()
	switch {
	case !isArray:
		return nil, Detail{text: string(path) + " not a list"}
	case len(elements) > maxRoles:
		return nil, Detail{text: string(path) + " too long a list"}
	}
	roles := make([]string, 0, len(elements))
	for _, element := range elements {
		name, isText := element.text()
		if !isText {
			return nil, Detail{text: string(path) + " not a list of texts"}
		}
		if v.validRole(name) {
			roles = append(roles, strings.Clone(name)) // so as not to keep the claims in memory
		}
	}
	var detail Detail
	if len(roles) < len(elements) {
		detail.text = string(path) + " with elements that are no roles"
	}
	slices.Sort(roles)
	return slices.Compact(roles), detail
}

// size returns the approximate memory of the user, in bytes.
func (u *User) size() int {
	if u == nil {
		return 0
	}
	n := userOverhead
	for _, role := range u.Roles {
		n += roleOverhead + len(role)
	}
	return n
}

// The approximate memory of a User without its roles, and of a role without its text.
const userOverhead, roleOverhead = 200, 16

// PutClaim puts a value among the claims of a token where the claim of that name, or the path, is
// read. It is for tokens that commands and tests make. It reports false, and changes nothing, if a
// claim on the path is not an object.
func PutClaim(claims map[string]any, path string, value any) bool {
	in, name := claims, path
	for !strings.ContainsAny(path, namePrefixEnds) {
		first, rest, nested := strings.Cut(name, ".")
		if !nested {
			break
		}
		inner, isObject := in[first].(map[string]any)
		switch _, there := in[first]; {
		case there && !isObject:
			return false
		case !there:
			inner = map[string]any{}
			in[first] = inner
		}
		in, name = inner, rest
	}
	in[name] = value
	return true
}

// HasClaim reports whether there is a claim of that name, or at the path.
func HasClaim(claims map[string]any, path string) bool {
	for {
		if _, there := claims[path]; there {
			return true
		}
		first, rest, nested := strings.Cut(path, ".")
		inner, isObject := claims[first].(map[string]any)
		if !nested || !isObject {
			return false
		}
		claims, path = inner, rest
	}
}
