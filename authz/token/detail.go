package token

import "strings"

// A Detail says what the reason for a refusal leaves open: which claim, which kid. It is for
// logs and people and must not reach a client. The zero Detail says nothing.
//
// Its text is from a fixed list. A value in it comes from the token, so from the client: it has
// only the characters of an identifier or a URL, and at most 64 of them.
type Detail struct {
	text  string // fixed, or with the name of a configured claim
	value string
	cut   bool // value is the beginning of a longer one
}

// NewDetail returns a detail without a value. The text must not come from a client.
func NewDetail(text string) Detail { return Detail{text: text} }

// String returns the detail as it is logged, such as "exp missing" or "kid abc".
func (d Detail) String() string {
	if d.cut {
		return d.Text() + cutMark
	}
	return d.Text()
}

// Text returns the detail without the mark of a value that is cut short.
func (d Detail) Text() string {
	if d.value == "" {
		return d.text
	}
	return d.text + " " + d.value
}

// Cut reports whether the detail ends with a value that is cut short.
func (d Detail) Cut() bool { return d.cut }

const (
	// maxDetailValue is the greatest length of a value in a Detail.
	maxDetailValue = 64
	cutMark        = "…(cut)"
	// withheld stands for a value that looks like a token.
	withheld = "(withheld)"
)

// about returns a detail with a value of the token. The value is cleaned and copied, so that
// it does not keep the token in memory.
func about(text, value string) Detail {
	switch {
	case value == "":
		return Detail{text: text + " empty"}
	case looksSecret(value):
		return Detail{text: text, value: withheld}
	}
	cut := len(value) > maxDetailValue
	clean := []byte(value[:min(len(value), maxDetailValue)])
	for i, c := range clean {
		if !isIDByte(c) && strings.IndexByte(":/,*#", c) < 0 {
			clean[i] = '?'
		}
	}
	return Detail{text: text, value: string(clean), cut: cut}
}

// looksSecret reports whether a value looks like a token: it contains the beginning of an
// encoded JSON object, or is three segments. No kid and no claim that is logged is one, but
// a client may write its own token there.
func looksSecret(value string) bool {
	return strings.Contains(value, "eyJ") || strings.Count(value, ".") == 2 && len(value) > maxDetailValue
}

// A Rejection is the error of a token that is not valid: one of the errors such as [ErrClaims],
// and what it leaves open. Its text is that of the error and contains nothing of the token.
type Rejection struct {
	Err    error // one of the errors of Verify
	Detail Detail
	// Issuer is the configured name of the issuer whose keys were looked at, for ErrKeyUnknown
	// and ErrKeysUnknown.
	Issuer string
}

// Error implements error.
func (r *Rejection) Error() string { return r.Err.Error() }

// Unwrap returns the error that names the reason.
func (r *Rejection) Unwrap() error { return r.Err }

// reject returns a Rejection with a detail without a value.
func reject(err error, text string) error { return &Rejection{err, Detail{text: text}, ""} }

// rejectValue returns a Rejection whose detail has a value of the token.
func rejectValue(err error, text, value string) error { return &Rejection{err, about(text, value), ""} }
