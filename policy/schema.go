package policy

import _ "embed"

// Schema is the JSON Schema of a policy file, for editors. It is made from the types of
// file.go and their comments: go test ./policy -update writes it anew.
//
//go:embed policy.schema.json
var Schema string
