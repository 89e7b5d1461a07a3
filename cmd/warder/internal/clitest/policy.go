package clitest

import "strings"

// PolicyWith returns a policy of public routes with these ids.
func PolicyWith(ids ...string) string {
	var b strings.Builder
	b.WriteString("version: 1\nroutes:\n")
	for _, id := range ids {
		b.WriteString("  - {id: " + id + ", match: /" + id + ", public: true}\n")
	}
	return b.String()
}
