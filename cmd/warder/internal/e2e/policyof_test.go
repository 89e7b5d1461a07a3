package e2e

import (
	"fmt"
	"strings"
)

// hotMatch is the pattern of the route that requests are for, and hotPublic makes it public.
const (
	hotMatch  = "GET /api/v1/assets/{asset_id}/audit"
	hotPublic = "public: true"
)

// policyOf returns a policy with n routes, of which the last is the hot one.
func policyOf(n int, hot string) string {
	b := new(strings.Builder)
	b.WriteString("version: 1\n")
	if strings.Contains(hot, "office") { // an unused list would cause a warning
		b.WriteString("ip_lists:\n  office: [203.0.113.0/24, 127.0.0.0/8]\n")
	}
	b.WriteString("routes:\n")
	for i := range n - 1 {
		pattern := fmt.Sprintf("/api/v1/things-%05d/{id}/audit", i)
		if i%2 == 1 {
			pattern = fmt.Sprintf("/{tenant}/things-%05d/**", i)
		}
		fmt.Fprintf(b, "  - {id: r%05d, match: %q, allow: [{user: {roles: [CONTROL]}}]}\n", i, pattern)
	}
	fmt.Fprintf(b, "  - {id: hot, match: %q, %s}\n", hotMatch, hot)
	return b.String()
}
