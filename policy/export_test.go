package policy

import "strings"

// Canonical writes the path in its one spelling: parsed again it is the same.
func (p Path) Canonical() string {
	if len(p.segments) == 0 {
		return "/"
	}
	var b strings.Builder
	for _, s := range p.segments {
		b.WriteByte('/')
		b.WriteString(escapeSegment(s))
	}
	return b.String()
}
