package policy

import (
	"strconv"
	"strings"

	"warder/policy/strict"
)

// shared has what the routes of a policy share, since they are rarely all different: lists of
// methods and hosts, rules, and sets. A policy of ten thousand routes then keeps a few objects
// of each kind, which are immutable.
type shared struct {
	block      strings.Builder // of texts; see keep
	texts      map[string]string
	lists      map[string][]string
	users      map[[2]string]*UserRule
	apiKeys    map[[2]string]*APIKeyRule
	ips        map[string]*IPSet
	principals map[string]*PrincipalSet
	origins    map[string]*OriginSet
}

func newShared() *shared {
	return &shared{
		texts: map[string]string{}, lists: map[string][]string{}, users: map[[2]string]*UserRule{}, apiKeys: map[[2]string]*APIKeyRule{},
		ips: map[string]*IPSet{}, principals: map[string]*PrincipalSet{}, origins: map[string]*OriginSet{},
	}
}

// blockSize is the size in bytes of a block of texts.
const blockSize = 64 << 10

// keep returns a copy of a text that is part of a large block.
func (s *shared) keep(text string) string {
	// A builder never changes what it has written, and moves it only when it grows.
	if s.block.Cap()-s.block.Len() < len(text) {
		s.block.Reset()
		s.block.Grow(max(blockSize, len(text)))
	}
	from := s.block.Len()
	s.block.WriteString(text)
	return s.block.String()[from:]
}

// text returns the copy of a text that equal texts share.
func (s *shared) text(text string) string {
	kept, known := s.texts[text]
	if !known {
		kept = s.keep(text)
		s.texts[kept] = kept
	}
	return kept
}

// list returns a list of texts that equal lists share. It is nil if it is empty.
func (s *shared) list(list []string) []string {
	if len(list) == 0 {
		return nil
	}
	key := keyOf(list)
	kept, known := s.lists[key]
	if !known {
		for _, text := range list {
			kept = append(kept, s.text(text))
		}
		s.lists[key] = kept
	}
	return kept
}

// keyOf returns a text that only equal lists have in common.
func keyOf(list []string) string {
	var key []byte
	for _, text := range list {
		key = append(strconv.AppendInt(key, int64(len(text)), 10), ':')
		key = append(key, text...)
	}
	return string(key)
}

func (s *shared) userRule(r *UserRule) *UserRule {
	if r == nil {
		return nil
	}
	return once(s.users, [2]string{keyOf(r.Roles), keyOf(r.AllRoles)}, func() *UserRule {
		return &UserRule{Roles: s.list(r.Roles), AllRoles: s.list(r.AllRoles)}
	})
}

func (s *shared) apiKeyRule(r *APIKeyRule) *APIKeyRule {
	if r == nil {
		return nil
	}
	return once(s.apiKeys, [2]string{keyOf(r.Scopes), keyOf(r.AnyScopes)}, func() *APIKeyRule {
		return &APIKeyRule{Scopes: s.list(r.Scopes), AnyScopes: s.list(r.AnyScopes)}
	})
}

// principalSet returns the set of a route, or nil if the route has no list.
func (s *shared) principalSet(list []principalText) *PrincipalSet {
	if list == nil {
		return nil
	}
	patterns := make([]string, len(list))
	for i, p := range list {
		patterns[i] = p.Text
	}
	return once(s.principals, keyOf(patterns), func() *PrincipalSet { return newPrincipalSet(s.list(patterns)) })
}

// originSet returns the origins of an entry, or nil if there is none.
func (s *shared) originSet(e *corsEntry) *OriginSet {
	if e == nil {
		return nil
	}
	origins := make([]string, len(e.AllowOrigins))
	for i, o := range e.AllowOrigins {
		origins[i] = o.Text
	}
	return once(s.origins, keyOf(origins), func() *OriginSet { return newOriginSet(s.list(origins)) })
}

// texts returns the texts of a list, or nil if it is empty.
func texts(list []strict.String) []string {
	if len(list) == 0 {
		return nil
	}
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = s.Text
	}
	return out
}

// once returns what a map has at a key. It makes it if the map has none.
func once[K comparable, V any](m map[K]*V, key K, create func() *V) *V {
	v, known := m[key]
	if !known {
		v = create()
		m[key] = v
	}
	return v
}
