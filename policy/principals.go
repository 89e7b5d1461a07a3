package policy

import (
	"strings"
	"unicode"

	"warder/policy/strict"
)

// A PrincipalSet is the list of mTLS principals that a route allows. An empty set contains no
// principal. Contains must not be called on nil.
type PrincipalSet struct {
	patterns []string            // as written
	exact    map[string]struct{} // whole principals
	below    map[string]struct{} // the text before a final "*", with its slash
}

// Contains reports whether the set contains a principal. It is compared byte for byte; a "*" of
// the list matches any last path segment. No set contains the empty principal.
func (s *PrincipalSet) Contains(principal string) bool {
	if principal == "" {
		return false
	}
	if _, listed := s.exact[principal]; listed {
		return true
	}
	last := strings.LastIndexByte(principal, '/') + 1
	if !isNameSegment(principal[last:]) {
		return false
	}
	_, listed := s.below[principal[:last]]
	return listed
}

// Patterns returns the list as written.
func (s *PrincipalSet) Patterns() []string { return s.patterns }

// isNameSegment reports whether s is a path segment of a URI that a "*" may match. A dot segment
// refers to another segment, and ? and # end the path.
func isNameSegment(s string) bool {
	return s != "" && s != "." && s != ".." && !strings.ContainsAny(s, "?#")
}

const examplePrincipal = `"spiffe://cluster.local/ns/web/sa/*"`

// ReadValue reads a principal.
func (p *principalText) ReadValue(r *strict.Reader, field string, v strict.Value) {
	text, ok := r.Text(field, v, examplePrincipal)
	if wrong := wrongPrincipal(text); ok && wrong != "" {
		r.Fail(v.At, field, "%s", wrong)
	}
	*p = principalText{Text: text, At: v.At, Field: field}
}

// newPrincipalSet returns the set of a list.
func newPrincipalSet(list []string) *PrincipalSet {
	set := &PrincipalSet{patterns: list, exact: map[string]struct{}{}, below: map[string]struct{}{}}
	for _, s := range list {
		if before, open := strings.CutSuffix(s, "*"); open {
			set.below[before] = struct{}{}
		} else {
			set.exact[s] = struct{}{}
		}
	}
	return set
}

// wrongPrincipal says why a text matches no principal. It returns "" for a valid one.
func wrongPrincipal(s string) string {
	trimmed := strings.TrimFunc(s, unicode.IsSpace)
	switch {
	case s == "":
		return "is empty, and a request without a principal never passes; write one such as " + examplePrincipal
	case strings.ContainsFunc(s, unicode.IsControl):
		return strict.Quote(s) + " contains a control character, which no principal has; write it as it is in the certificate"
	case trimmed == "":
		return strict.Quote(s) + " is only white space; write a principal such as " + examplePrincipal
	case trimmed != s:
		return strict.Quote(s) + " has space at its ends, which no principal has; write " + strict.Quote(trimmed)
	case strings.Contains(s, "*") && !endsInOpenSegment(s):
		return strict.Quote(s) + ` has a "*" that is not the whole last segment of a path; write it as in ` + examplePrincipal + ", or write out each principal"
	}
	return ""
}

// endsInOpenSegment reports whether s is a URI with a single "*", which is the last segment of
// its path. In spiffe://* it would match a trust domain.
func endsInOpenSegment(s string) bool {
	before, open := strings.CutSuffix(s, "/*")
	if !open || strings.ContainsAny(before, "*?#") {
		return false
	}
	scheme, rest, found := strings.Cut(before, "://")
	return found && scheme != "" && rest != "" && rest[0] != '/' && rest[len(rest)-1] != '/'
}
