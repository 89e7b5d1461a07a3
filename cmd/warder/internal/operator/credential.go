package operator

import (
	"errors"
	"fmt"
	"strings"

	"warder/authz/mask"
	"warder/cmd/warder/internal/cli"
)

// maxCredential bounds a credential, in bytes. It is more than a header of Envoy can hold.
const maxCredential = 128 << 10

// ReadCredential reads a token or an API key from standard input, for [cli.StandardInput], or
// from a file. White space around it is left out, and so is "Bearer ". The error never contains
// what was read.
func ReadCredential(p cli.Process, path string) (mask.Secret, error) {
	var data []byte
	var err error
	if path == cli.StandardInput {
		data, err = cli.ReadAll(p.Stdin, maxCredential)
	} else {
		data, err = cli.ReadBounded(path, maxCredential)
	}
	if err != nil {
		return mask.Secret{}, fmt.Errorf("%s: %w", cli.InputName(path), err)
	}
	text := Credential(string(data))
	if text.IsZero() {
		return text, fmt.Errorf("%s: %w", cli.InputName(path), errors.New("is empty; write the token or the key into it"))
	}
	return text, nil
}

// Credential returns a credential without white space around it and without "Bearer ".
func Credential(text string) mask.Secret {
	text = strings.TrimSpace(text)
	if scheme, rest, found := strings.Cut(text, " "); found && strings.EqualFold(scheme, "Bearer") {
		text = strings.TrimLeft(rest, " ")
	}
	return mask.New(text)
}
