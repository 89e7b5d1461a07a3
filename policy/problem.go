package policy

import (
	"strings"

	"warder/policy/strict"
)

// withIDs adds the id of the route to the message of each problem with a route.
func (c *compiler) withIDs(p Problems) Problems {
	var ids map[[2]string]string // by the file and the field of the route
	for i := range p {
		end := strings.IndexByte(p[i].Field, ']')
		if end < 0 || !strings.HasPrefix(p[i].Field, "routes[") {
			continue
		}
		if ids == nil {
			ids = make(map[[2]string]string, len(c.fields))
			for r, field := range c.fields {
				ids[[2]string{r.Position.File, field}] = r.ID
			}
		}
		id := ids[[2]string{p[i].File, p[i].Field[:end+1]}]
		if id != "" {
			p[i].Message += " (route " + quoteOdd(id) + ")"
		}
	}
	return p
}

// quoteOdd quotes an id that is not valid.
func quoteOdd(id string) string {
	if validIdentifier(id) {
		return id
	}
	return strict.Quote(id)
}
