package condition

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"cel.dev/cel-go/common/types/ref"

	"warder/policy/pattern"
)

// maxQuery is the maximum number of values in a query.
const maxQuery = 256

var (
	errQuerySemicolon = errors.New("request.query contains a ; which some applications read as &")
	errQueryHash      = errors.New("request.query contains a #, where some parsers end it")
	errQueryEscape    = errors.New("request.query has a % that no two hexadecimal digits follow")
	errQueryText      = errors.New("request.query is not UTF-8 when decoded, or contains a control character")
	errQueryLong      = fmt.Errorf("request.query has more than %d values or %d bytes", maxQuery, maxText)
)

// queryTexts are the names and values of a query, decoded.
type queryTexts struct{ pairs [][2]string }

// parseQuery reads a query that all parsers read in the same way, and refuses others: an
// application might see other values in them.
func parseQuery(raw string) (*queryTexts, error) {
	q := new(queryTexts)
	switch {
	case len(raw) > maxText:
		return nil, errQueryLong
	case strings.Contains(raw, ";"):
		return nil, errQuerySemicolon
	case strings.Contains(raw, "#"):
		return nil, errQueryHash
	}
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		if pair == "" {
			continue
		}
		if len(q.pairs) == maxQuery {
			return nil, errQueryLong
		}
		name, value, _ := strings.Cut(pair, "=")
		decoded := [2]string{}
		for i, s := range [2]string{name, value} {
			text, err := url.QueryUnescape(s)
			switch {
			case err != nil:
				return nil, errQueryEscape
			case !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl):
				return nil, errQueryText
			}
			decoded[i] = text
		}
		q.pairs = append(q.pairs, decoded)
	}
	return q, nil
}

// find returns the value of a name. The name with brackets (user[], user[id]) or in another
// spelling (User) counts as a second value, since many frameworks take it for the same name.
func (q *queryTexts) find(name string) (value string, found bool, err error) {
	base := baseName(name)
	for _, p := range q.pairs {
		switch {
		case p[0] == name && !found:
			value, found = p[1], true
		case p[0] == name, baseName(p[0]) == base:
			return "", false, fmt.Errorf("request.query has %q more than once, with brackets or in another spelling", name)
		}
	}
	return value, found, nil
}

// baseName returns the form that names have in common which an application may take for one:
// without brackets and leading spaces, in lower case, and with _ for a space or a dot.
func baseName(name string) string {
	base, _, _ := strings.Cut(name, "[")
	return strings.Map(func(r rune) rune {
		switch {
		case 'A' <= r && r <= 'Z':
			return r + 'a' - 'A'
		case r == ' ' || r == '.':
			return '_'
		}
		return r
	}, strings.TrimLeft(base, " "))
}

// ambiguous reports whether an application may take two of the names for one.
func (q *queryTexts) ambiguous() bool {
	seen := make(map[string]struct{}, len(q.pairs))
	for _, p := range q.pairs {
		seen[baseName(p[0])] = struct{}{}
	}
	return len(seen) != len(q.pairs)
}

func (q *queryTexts) names() []string {
	set := make(map[string]struct{}, len(q.pairs))
	for _, p := range q.pairs {
		set[p[0]] = struct{}{}
	}
	return sortedNames(set)
}

func (q *queryTexts) count() int { return len(q.pairs) }

func (e *evaluation) queryMap() (ref.Val, error) {
	if e.query == nil {
		q, err := parseQuery(e.in.Query)
		if err != nil {
			return nil, err
		}
		e.query = q
	}
	if e.condition.wholeQuery && e.query.ambiguous() {
		return nil, errors.New("request.query has a name more than once, with brackets or in another spelling")
	}
	return textMap{e.query}, nil
}

// fieldTexts are the header fields that an expression may read.
type fieldTexts struct {
	fields Fields
	hidden []string
}

// hiddenFields are the folded names of header fields that no expression can read: policies do
// not compare secrets.
var hiddenFields = []string{"authorization", "cookie", "proxy-authorization"}

// hides reports whether the field with this folded name is hidden: a secret, a header that
// only warder may set, or a pseudo-header (whose name begins with a colon, folded).
func (t fieldTexts) hides(folded string) bool {
	return strings.HasPrefix(folded, pattern.HeaderNamespace) || strings.HasPrefix(folded, "-") || slices.Contains(hiddenFields, folded) ||
		slices.ContainsFunc(t.hidden, func(name string) bool { return pattern.FoldHeader(name) == folded })
}

// find returns the value of a field. A field that an application may take for it (x_tenant
// for x-tenant) counts as a second value.
func (t fieldTexts) find(name string) (value string, found bool, err error) {
	wanted := pattern.FoldHeader(name)
	if t.hides(wanted) {
		return "", false, nil
	}
	for i := range t.fields.Len() {
		got, v := t.fields.Field(i)
		switch {
		case !pattern.FoldsTo(got, wanted):
		case found || got != name:
			return "", false, fmt.Errorf("request.headers has %q more than once, or in another spelling", name)
		case len(v) > maxText:
			return "", false, fmt.Errorf("request.headers has a %q of more than %d bytes", name, maxText)
		case !utf8.ValidString(v):
			return "", false, fmt.Errorf("request.headers has a %q that is not UTF-8", name)
		default:
			value, found = v, true
		}
	}
	return value, found, nil
}

func (t fieldTexts) names() []string {
	set := map[string]struct{}{}
	for i := range t.fields.Len() {
		if name, _ := t.fields.Field(i); !t.hides(pattern.FoldHeader(name)) {
			set[name] = struct{}{}
		}
	}
	return sortedNames(set)
}

func (t fieldTexts) count() int { return len(t.names()) }

// ambiguous reports whether an application may take two of the visible fields for one.
func (t fieldTexts) ambiguous() bool {
	seen := map[string]struct{}{}
	for i := range t.fields.Len() {
		name, _ := t.fields.Field(i)
		folded := pattern.FoldHeader(name)
		if t.hides(folded) {
			continue
		}
		if _, twice := seen[folded]; twice {
			return true
		}
		seen[folded] = struct{}{}
	}
	return false
}

func (e *evaluation) fieldMap() (ref.Val, error) {
	t := fieldTexts{noFields{}, e.in.HiddenFields}
	if e.in.Fields != nil {
		t.fields = e.in.Fields
	}
	if e.condition.wholeFields && t.ambiguous() {
		return nil, errors.New("request.headers has a name more than once, or in another spelling")
	}
	return textMap{t}, nil
}

type noFields struct{}

func (noFields) Len() int                   { return 0 }
func (noFields) Field(int) (string, string) { return "", "" }
