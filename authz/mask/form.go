package mask

import "bytes"

// A form is what a line leaves for the lines behind it: values that stand in
// lines of their own.
type form struct {
	state formState
	seen  int  // bytes of the value so far
	depth int  // of the key's indentation, for formBlock
	named bool // the line before is the name of a sensitive field, alone
}

type formState uint8

const (
	formNone    formState = iota
	formHeaders           // a part of a multipart form, of a sensitive name; its value is behind the blank line
	formValue             // that value
	formPEM               // a private key
	formBlock             // a block of YAML, behind password: |
	formElement           // the content of an element of XML
)

// maxHeaders and maxForm bound, in bytes, how long a form that never ends goes on.
const (
	maxHeaders = 1 << 12
	maxForm    = MaxLine
)

// hides reports whether a line is part of a value.
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

// disposition looks whether the : at t[i] ends Content-Disposition, and the field
// names a sensitive part of a form, whose value is in later lines.
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

// pem masks the private key that begins at t[i], as far as it is in this line; behind
// a sensitive key, whatever it is that begins there.
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
