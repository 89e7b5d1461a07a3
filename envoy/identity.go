package envoy

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"warder/authz"
	"warder/authz/attribute"
)

// namespace is the prefix of every identity header that is not renamed. A client's header with
// this prefix never reaches the upstream.
const namespace = authz.HeaderNamespace

// A field is one piece of information about a request that the upstream receives.
type field uint8

const (
	fieldAuthMethod field = iota
	fieldUser
	fieldRoles
	fieldSession
	fieldKeyPrefix
	fieldScopes
	fieldClientIP

	fieldCount
)

// fieldNames are the keys of identity.headers.
var fieldNames = [fieldCount]string{
	fieldAuthMethod: "auth_method",
	fieldUser:       "user",
	fieldRoles:      "roles",
	fieldSession:    "session",
	fieldKeyPrefix:  "key_prefix",
	fieldScopes:     "scopes",
	fieldClientIP:   "client_ip",
}

// IdentityFields returns the keys of [IdentityConfig].Headers.
func IdentityFields() []string { return slices.Clone(fieldNames[:]) }

// DefaultIdentityHeaders returns the default header of each identity field.
func DefaultIdentityHeaders() map[string]string {
	headers := make(map[string]string, fieldCount)
	for _, name := range fieldNames {
		headers[name] = defaultHeader(name)
	}
	return headers
}

func defaultHeader(fieldName string) string {
	return namespace + strings.ReplaceAll(fieldName, "_", "-")
}

// DefaultStripHeaders returns the headers that are removed before a request reaches the
// upstream, unless the configuration lists others. Some frameworks read a path or method from
// them that differs from the one that was decided about.
func DefaultStripHeaders() []string {
	return []string{"x-original-url", "x-rewrite-url", "x-http-method-override", "x-http-method", "x-method-override"}
}

// IdentityConfig says what the upstream receives. The zero value is the default.
type IdentityConfig struct {
	// Headers renames identity headers, by the keys of [IdentityFields].
	Headers map[string]string
	// Attributes are the headers for attributes of the principal, by the name of the attribute.
	Attributes map[string]string
	// Sources are where requests carry credentials.
	Sources authz.Sources
	// KeepAPIKey lets API keys in headers through to the upstream.
	KeepAPIKey bool
	// RemoveAuthorization removes Authorization from requests to the upstream.
	RemoveAuthorization bool
	// RemoveCredentials removes every credential from requests to the upstream, except from
	// the query, which is part of the path: headers of Sources, the cookies of Sources among
	// other cookies, and the items of Sec-WebSocket-Protocol that contain a token.
	RemoveCredentials bool
	// StripHeaders are removed from every request; nil means [DefaultStripHeaders].
	StripHeaders []string
}

// NewEngine returns an engine for these identity headers. An engine and its [Server] must
// agree on the names of the headers: conditions cannot read a header that the server sets.
func (c IdentityConfig) NewEngine(engine authz.Config) (*authz.Engine, error) {
	engine.Sources, engine.IdentityHeaders, engine.AttributeHeaders = c.Sources, c.Headers, c.Attributes
	return authz.NewEngine(engine)
}

// keepingCredentials returns the configuration for applications that also check the
// credentials.
func (c IdentityConfig) keepingCredentials() IdentityConfig {
	c.KeepAPIKey, c.RemoveAuthorization, c.RemoveCredentials = true, false, false
	return c
}

// identity is an IdentityConfig prepared for requests. Names are in lower case.
type identity struct {
	names      [fieldCount]string
	attributes []attributeHeader // sorted by header name
	remove     []string          // always removed, besides identity headers that are not set
	// withheld credentials are removed from headers that contain other things too.
	withheld withheld
	folded   map[string]struct{} // folded names of client headers that must not reach the upstream

	sorted   [fieldCount]field         // sorted by header name
	removals [1 << fieldCount][]string // the headers to remove if no attribute is set, by the set of fields that are set
}

// An attributeHeader is the header of an attribute.
type attributeHeader struct{ attribute, name string }

// owns reports whether the header, in lower case, is one that warder sets with an identity.
func (id *identity) owns(name string) bool {
	return slices.Contains(id.names[:], name) || slices.ContainsFunc(id.attributes, func(h attributeHeader) bool { return h.name == name })
}

// owned yields the headers that warder sets with an identity.
func (id *identity) owned() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, name := range id.names {
			if !yield(name) {
				return
			}
		}
		for _, h := range id.attributes {
			if !yield(h.name) {
				return
			}
		}
	}
}

// newIdentity checks the configuration and reports all its problems.
func newIdentity(c IdentityConfig) (*identity, error) {
	var problems []error
	id := &identity{folded: map[string]struct{}{}}

	carriers := map[string]string{} // what each header of a credential carries, by its folded name
	problems = append(problems, c.Sources.Check()...)
	tokens, apiKeys := c.Sources.All()
	for i, source := range apiKeys {
		problems = append(problems, id.addCarrier(source, c.Sources.APIKeyField(i), "the API key", carriers, !c.KeepAPIKey || c.RemoveCredentials))
	}
	for i, source := range tokens {
		problems = append(problems, id.addCarrier(source, c.Sources.TokenField(i), "the token", carriers, c.RemoveCredentials))
	}
	problems = append(problems, id.setNames(c.Headers, c.Attributes, carriers)...)

	if c.RemoveAuthorization {
		id.remove = append(id.remove, "authorization")
	}
	if c.RemoveCredentials {
		id.withheld.addAll(tokens)
	}
	strip := c.StripHeaders
	if strip == nil {
		strip = DefaultStripHeaders()
	}
	for i, name := range strip {
		name = lower(name)
		if why := id.unfitToStrip(name); why != "" {
			problems = append(problems, authz.Misconfigured(fmt.Sprintf("strip_headers[%d]", i), "%q %s", name, why))
			continue
		}
		id.remove = append(id.remove, name)
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}

	for _, name := range id.remove {
		id.folded[authz.FoldHeader(name)] = struct{}{}
	}
	for name := range id.owned() {
		id.folded[authz.FoldHeader(name)] = struct{}{}
	}
	for f := range id.names {
		// A header that was renamed is still removed under its old name.
		if old := defaultHeader(fieldNames[f]); !slices.Contains(id.names[:], old) {
			id.remove = append(id.remove, old)
		}
	}
	id.prepare()
	return id, nil
}

// addCarrier checks the header of a source and arranges its removal. It does nothing for a source
// that is no header.
func (id *identity) addCarrier(source authz.Source, field, what string, carriers map[string]string, remove bool) error {
	name := lower(source.Header)
	if name == "" || name == "cookie" {
		return nil // a cookie has been reported
	}
	if name == "authorization" {
		switch {
		case remove && what == "the token":
			id.remove = append(id.remove, name)
		case remove && source.Scheme != "":
			id.withheld.schemes = append(id.withheld.schemes, source.Scheme)
		}
		return nil
	}
	if why := unfit(name); why != "" {
		return authz.Misconfigured(field, "%q %s; use a header of its own such as %s", name, why, authz.DefaultAPIKeyHeader)
	}
	if strings.HasPrefix(authz.FoldHeader(name), namespace) {
		return authz.Misconfigured(field, "%q is removed from requests like every %s* header; use a header such as %s", name, namespace, authz.DefaultAPIKeyHeader)
	}
	carriers[authz.FoldHeader(name)] = what
	if remove {
		id.remove = append(id.remove, name)
	}
	return nil
}

// setNames sets the header name of each field and of each attribute. No identity header may be
// one of the carriers of credentials.
func (id *identity) setNames(renamed, attributes, carriers map[string]string) []error {
	var problems []error
	for _, key := range slices.Sorted(maps.Keys(renamed)) {
		if !slices.Contains(fieldNames[:], key) {
			problems = append(problems, authz.Misconfigured("identity.headers", "unknown key %q; use %s", key, strings.Join(fieldNames[:], ", ")))
		}
	}
	owner := map[string]string{}
	for f, key := range fieldNames {
		name, given := renamed[key]
		if !given {
			name = defaultHeader(key)
		}
		name = lower(name)
		id.names[f] = name
		if why := unfitFor(name, carriers, owner); why != "" {
			problems = append(problems, authz.Misconfigured("identity.headers."+key, "%q %s; use a header of its own such as %s", name, why, defaultHeader(key)))
			continue
		}
		owner[authz.FoldHeader(name)] = key
	}
	// A header that was renamed is still removed under its old name.
	for _, key := range fieldNames {
		if old := authz.FoldHeader(defaultHeader(key)); owner[old] == "" {
			owner[old] = key
		}
	}
	return append(problems, id.setAttributes(attributes, carriers, owner)...)
}

// setAttributes sets the header name of each attribute. owner has the field of each identity
// header, by its folded name.
func (id *identity) setAttributes(attributes, carriers, owner map[string]string) []error {
	var problems []error
	if len(attributes) > attribute.Max {
		problems = append(problems, authz.Misconfigured("identity.attributes", "has %d attributes; use at most %d", len(attributes), attribute.Max))
	}
	for _, key := range slices.Sorted(maps.Keys(attributes)) {
		if !attribute.ValidName(key) {
			problems = append(problems, authz.Misconfigured("identity.attributes", "%q is not the name of an attribute; %s", key, attribute.NameGrammar))
			continue
		}
		name := lower(attributes[key])
		if why := unfitFor(name, carriers, owner); why != "" {
			problems = append(problems, authz.Misconfigured("identity.attributes."+key, "%q %s; use a header of its own such as %s", name, why, attributeExample(key)))
			continue
		}
		owner[authz.FoldHeader(name)] = "the attribute " + key
		id.attributes = append(id.attributes, attributeHeader{key, name})
	}
	slices.SortFunc(id.attributes, func(a, b attributeHeader) int { return strings.Compare(a.name, b.name) })
	return problems
}

// attributeExample returns a header for an attribute that is not one of a field.
func attributeExample(key string) string {
	name := namespace + strings.Trim(strings.ReplaceAll(key, "_", "-"), "-")
	if name == namespace || slices.Contains(fieldNames[:], key) {
		return namespace + "attribute-" + strings.ReplaceAll(key, "_", "-")
	}
	return name
}

// unfitFor returns why a header cannot be set with an identity, or "" if it can. owner has what
// the other headers are for, by their folded names.
func unfitFor(name string, carriers, owner map[string]string) string {
	folded := authz.FoldHeader(name)
	switch why := unfit(name); {
	case why != "":
		return why
	case carriers[folded] != "":
		return "carries " + carriers[folded]
	case owner[folded] != "":
		return "is the header of " + owner[folded] + " too"
	}
	return ""
}

// unfit returns why a header cannot be set by warder or carry the API key, or "" if it can.
func unfit(name string) string {
	folded := authz.FoldHeader(name)
	switch {
	case strings.HasPrefix(name, ":"):
		return "is a pseudo-header"
	case !authz.IsToken(name):
		return "is not a header name"
	case slices.Contains(reserved, folded):
		return "has a meaning of its own in HTTP"
	case strings.HasPrefix(folded, "x-forwarded-"):
		return "is written by proxies"
	case strings.HasPrefix(folded, "x-envoy-"):
		return "is Envoy's own"
	}
	return ""
}

// unfitToStrip returns why a header cannot be removed from every request, or "" if it can.
func (id *identity) unfitToStrip(name string) string {
	folded := authz.FoldHeader(name)
	switch {
	case strings.HasPrefix(name, ":"):
		return "is a pseudo-header, which every request needs"
	case !authz.IsToken(name):
		return "is not a header name; write one such as x-original-url"
	case slices.Contains(framing, folded):
		return "is part of the message framing and cannot be removed"
	case strings.HasPrefix(folded, "x-envoy-"):
		return "is set by Envoy and cannot be removed; Envoy itself removes it from requests of clients"
	}
	for set := range id.owned() {
		if authz.FoldHeader(set) == folded {
			return "is an identity header, which would then never reach the upstream"
		}
	}
	return ""
}

// framing lists the headers that determine where a message ends, where it goes and how long its
// connection lives.
var framing = []string{
	"host", "content-length", "transfer-encoding", "connection", "keep-alive", "proxy-connection",
	"te", "trailer", "upgrade", "expect",
}

// reserved lists the headers that must not be overwritten with an identity.
var reserved = append([]string{
	"authorization", "proxy-authorization", "cookie", "set-cookie", "forwarded", "via",
	"content-type", "content-encoding", "x-request-id",
}, framing...)

// attributesFor returns the attributes for the upstream. Only a principal with a credential has
// some.
func attributesFor(reason authz.Reason, who authz.Principal) attribute.Set {
	if reason == authz.ReasonSession || reason == authz.ReasonAPIKey {
		return who.Attributes
	}
	return attribute.Set{}
}

// values returns the identity values for the upstream, by field. Only the fields that belong to
// the reason are filled in. For example, a public request has no user, whoever sent it.
func values(reason authz.Reason, who authz.Principal, client netip.Addr) (v [fieldCount]string) {
	switch reason {
	case authz.ReasonSession:
		v[fieldAuthMethod] = authz.MethodSession.String()
		v[fieldUser] = who.UserID
		v[fieldRoles] = joinNames(who.Roles)
		v[fieldSession] = who.SessionID
	case authz.ReasonAPIKey:
		v[fieldAuthMethod] = authz.MethodAPIKey.String()
		v[fieldUser] = who.UserID
		v[fieldKeyPrefix] = who.KeyPrefix
		v[fieldScopes] = joinNames(who.Scopes)
	case authz.ReasonAnonymous:
		v[fieldAuthMethod] = authz.MethodAnonymous.String()
	default: // public and preflight requests have no principal
	}
	if client.IsValid() {
		v[fieldClientIP] = client.Unmap().WithZone("").String()
	}
	for f := range v {
		if !safeValue(v[f]) {
			v[f] = ""
		}
	}
	return v
}

// joinNames joins names with commas. It leaves out names that would read as two, no matter how
// the principal was made.
func joinNames(names authz.Names) string {
	for i, name := range names {
		if !authz.ValidName(name) || i > 0 && name <= names[i-1] {
			names, _ = authz.NewNames(names) // names was not made by NewNames
			break
		}
	}
	return strings.Join(names, ",")
}

// safeValue reports whether a header value arrives unchanged. It must be valid UTF-8, because
// the message could not be encoded otherwise. It must not contain line endings or other control
// characters, and must not begin or end with a space, which a parser would remove.
func safeValue(v string) bool {
	for i := range len(v) {
		if v[i] <= ' ' || v[i] >= 0x7f {
			return safeRunes(v)
		}
	}
	return true
}

func safeRunes(v string) bool {
	return utf8.ValidString(v) && !strings.ContainsFunc(v, unicode.IsControl) && strings.TrimFunc(v, unicode.IsSpace) == v
}

// A setHeader is a header to set.
type setHeader struct{ name, value string }

// mutations returns the headers to set and the headers to remove. Both lists are sorted and
// have no duplicates. No name is in both, because Envoy removes headers after it sets them. The
// list to remove may be shared by responses and must not be modified.
func (id *identity) mutations(v [fieldCount]string, attributes attribute.Set, request authz.Headers) (set []setHeader, remove []string) {
	set = make([]setHeader, 0, int(fieldCount)+len(id.attributes))
	var which fieldSet
	for _, f := range id.sorted {
		if v[f] != "" {
			set = append(set, setHeader{id.names[f], v[f]})
			which |= 1 << f
		}
	}
	remove = id.removals[which]
	set, remove = id.addAttributes(set, remove, attributes)
	left := id.withheld.left(request)
	var more []string
	for _, h := range left {
		if h.value == "" {
			more = append(more, h.name)
		}
	}
	for i := range request {
		name := request[i].Name
		if !id.reserves(name) || slices.ContainsFunc(set, func(s setHeader) bool { return s.name == name }) {
			continue
		}
		if _, listed := slices.BinarySearch(remove, name); !listed {
			more = append(more, name)
		}
	}
	if len(more) > 0 {
		remove = slices.Concat(remove, more)
		slices.Sort(remove)
		remove = slices.Compact(remove)
	}
	return rewrite(set, remove, left), remove
}

// addAttributes adds the attributes that have a value to the headers to set, and takes their
// headers out of those to remove. It does not modify the list to remove.
func (id *identity) addAttributes(set []setHeader, remove []string, attributes attribute.Set) ([]setHeader, []string) {
	first := len(set)
	for _, h := range id.attributes {
		if value := attributes.Get(h.attribute); value != "" && safeValue(value) {
			set = append(set, setHeader{h.name, value})
		}
	}
	added := set[first:]
	if len(added) == 0 {
		return set, remove
	}
	left := make([]string, 0, len(remove))
	for _, name := range remove { // both are sorted
		for len(added) > 0 && added[0].name < name {
			added = added[1:]
		}
		if len(added) == 0 || added[0].name != name {
			left = append(left, name)
		}
	}
	slices.SortFunc(set, func(a, b setHeader) int { return strings.Compare(a.name, b.name) })
	return set, left
}

// A fieldSet is the set of fields that a response sets, with one bit for each.
type fieldSet uint8

// prepare computes once what is common to all responses: the order of the fields and the
// headers to remove.
func (id *identity) prepare() {
	slices.Sort(id.remove)
	id.remove = slices.Compact(id.remove)
	for f := range fieldCount {
		id.sorted[f] = f
	}
	slices.SortFunc(id.sorted[:], func(a, b field) int { return strings.Compare(id.names[a], id.names[b]) })
	for which := range id.removals {
		remove := slices.Clone(id.remove)
		for f, name := range id.names {
			if which&(1<<f) == 0 {
				remove = append(remove, name)
			}
		}
		for _, h := range id.attributes {
			remove = append(remove, h.name)
		}
		slices.Sort(remove)
		id.removals[which] = slices.Compact(remove)
	}
}

// reserves reports whether a client's header must not reach the upstream. Such a header is a
// spelling of one that warder sets, consumes or strips.
func (id *identity) reserves(name string) bool {
	folded := authz.FoldHeader(name)
	if strings.HasPrefix(folded, namespace) {
		return true
	}
	_, found := id.folded[folded]
	return found
}
