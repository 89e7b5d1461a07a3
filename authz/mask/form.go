package mask

import "bytes"

// A form is the state that a line passes to the following lines, for values that span
// several lines.
type form struct {
	state formState
	seen  int  // length of the value so far, in bytes
	depth int  // indentation of the key, for formBlock
	named bool // the previous line is just the name of a sensitive field
	pair  int  // the column of a sensitive name, whose value may be in the next lines, plus 1; 0 for none
}

type formState uint8

const (
	formNone    formState = iota
	formHeaders           // in the headers of a part of a multipart form with a sensitive name
	formValue             // in the value of that part, after the blank line
	formPEM               // in a private key
	formBlock             // in a block scalar of YAML, after password: |
	formElement           // in the content of an XML element
)

// maxHeaders and maxForm bound the length in bytes of a form whose end is missing.
const (
	maxHeaders = 1 << 12
	maxForm    = MaxLine
)

// hides reports whether a line is part of a value that must be masked. It updates f.
func (f *form) hides(line []byte) bool {
	f.seen += len(line) + 1
	switch f.state {
	case formHeaders:
		switch {
		case len(bytes.TrimSpace(line)) == 0:
			*f = form{state: formValue}
		case hasPrefix(line, "--") || f.seen > maxHeaders:
			*f = form{}
		}
		return false
	case formValue:
		if hasPrefix(line, "--") || f.seen > maxForm {
			*f = form{}
			return false
		}
		return true
	case formBlock:
		blanks := len(line) - len(bytes.TrimLeft(line, " \t"))
		switch {
		case blanks == len(bytes.TrimRight(line, "\r")) && f.seen <= maxForm:
			return false
		case blanks <= f.depth || f.seen > maxForm:
			*f = form{}
			return false
		}
		return true
	case formElement:
		if bytes.Contains(line, []byte("</")) || bytes.Contains(line, []byte("&lt;/")) || bytes.Contains(line, []byte(cdataEnd)) || f.seen > maxHeaders {
			*f = form{}
			return false
		}
		return true
	case formPEM:
		if bytes.Contains(line, []byte(pemEnd)) || f.seen > maxForm {
			*f = form{}
			return false
		}
		return true
	default:
		return false
	}
}

// disposition reports whether the : at t[i] follows Content-Disposition. If the field names a
// sensitive part of a multipart form, it sets s.form, because the value is in later lines.
func (s *scanner) disposition(t []byte, lo, i, end int) bool {
	const name = "content-disposition"
	if i-lo < len(name) || t[i-1]|0x20 != 'n' || !hasFold(t[i-len(name):i], name) {
		return false
	}
	near := min(end, i+maxKey)
	s.work += near - i
	for p := i; p < near; p++ {
		if t[p] != '=' || !hasFold(t[p-min(4, p):p], "name") || isKeyByte(t[p-5]) {
			continue
		}
		from := p + 1
		bound := min(end, from+maxKey)
		to := bareEnd(t, from, bound, false)
		if from < end && t[from] == '"' {
			from++
			to = quoteEnd(t, from-1, bound)
		}
		s.work += to - p
		if s.words.sensitive(t[from:to]) {
			s.form = form{state: formHeaders}
		}
		break
	}
	return true
}

const (
	pemBegin = "-----BEGIN "
	pemKey   = "PRIVATE KEY-----"
	pemEnd   = "-----END "
)

// pem masks the part in this line of the private key that begins at t[i]. If keyed, which
// means that it is the value of a sensitive key, it masks any PEM block.
func (s *scanner) pem(t []byte, i, end int, keyed bool) int {
	head := t[i:min(end, i+len(pemBegin)+len(pemKey)+16)]
	start := 0
	if n := bytes.Index(head, []byte(pemKey)); n >= 0 {
		start = i + n + len(pemKey)
	} else if n := bytes.Index(head[len(pemBegin):], []byte("-----")); n >= 0 && keyed {
		start = i + len(pemBegin) + n + len("-----")
	} else {
		return i + len(pemBegin)
	}
	stop := end
	if n := bytes.Index(t[start:end], []byte(pemEnd)); n >= 0 {
		stop = start + n
	} else {
		s.form = form{state: formPEM}
	}
	from, to := skipBlanks(t, start, stop), trimBlanks(t, start, stop)
	if to > from && string(t[from:to]) != Replacement {
		s.mask(t, from, to)
	}
	return stop
}
