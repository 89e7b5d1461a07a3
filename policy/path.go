package policy

// Forms are the spellings that make a path ambiguous and that a route may accept
// by name (path_allows), as a bit set.
type Forms uint8

const (
	EncodedSlash   Forms = 1 << iota // %2F inside a segment
	EncodedPercent                   // %25
	Semicolon                        // ; or %3B
)

// A Path is a request path in its one canonical form: cut at the first "?",
// split at "/", decoded per segment.
type Path struct {
	raw      string
	segments []string
	forms    Forms
}

// String returns the path as it was sent, without its query.
func (p Path) String() string { return p.raw }

// Forms returns the ambiguous spellings that the path uses.
func (p Path) Forms() Forms { return p.forms }

// ParsePath makes the canonical form of a request path.
func ParsePath(raw string) (Path, error) { panic("contract only") }
