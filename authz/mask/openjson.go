package mask

// An openJSON tracks JSON over several lines until its brackets are closed, in constant
// memory. It does not check that it is valid.
type openJSON struct {
	depth    int
	inString bool
	after    bool // after a backslash
}

// opens reports whether a line begins JSON that continues in the next line.
func (o *openJSON) opens(line []byte) bool {
	*o = openJSON{}
	i := skipSpace(line, 0)
	if i == len(line) || line[i] != '{' && line[i] != '[' || skipSpace(line, i+1) < len(line) && !beginsJSON(line, i) {
		return false
	}
	return o.read(line[i:])
}

// read reads a part of the JSON and reports whether the JSON continues. A string must end in
// its line.
func (o *openJSON) read(part []byte) bool {
	for _, c := range part {
		switch {
		case o.inString:
			switch {
			case o.after:
				o.after = false
			case c == '\\':
				o.after = true
			case c == '"':
				o.inString = false
			case c == '\n':
				o.depth = 0
				return false
			}
		case c == '"':
			o.inString = true
		case c == '{' || c == '[':
			o.depth++
		case c == '}' || c == ']':
			if o.depth--; o.depth <= 0 {
				o.depth = 0
				return false
			}
		}
	}
	return o.depth > 0
}

// goesOn reports whether a line may be part of JSON that began in an earlier line.
func (o *openJSON) goesOn(line []byte) bool {
	i := skipSpace(line, 0)
	if i == len(line) {
		return true
	}
	switch line[i] {
	case '"', '}', ']', ',', ':':
		return true
	case '{', '[':
		return skipSpace(line, i+1) == len(line) || beginsJSON(line, i)
	}
	if i = literalEnd(line, i); i < 0 {
		return false
	}
	i = skipSpace(line, i)
	return i == len(line) || line[i] == ',' || line[i] == '}' || line[i] == ']'
}
