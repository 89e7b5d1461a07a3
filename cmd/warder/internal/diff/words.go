package diff

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode"

	"warder/cmd/warder/internal/routes"
	"warder/policy"
	"warder/policy/compare"
)

// visible escapes the characters that are not printable. A name may hold characters that
// reverse or hide the text around it, and the author of the policy may have intended that.
func visible(s string) string {
	var b strings.Builder
	for _, c := range s {
		if c == '\n' || unicode.IsPrint(c) {
			b.WriteRune(c)
		} else {
			fmt.Fprintf(&b, "\\u%04x", c)
		}
	}
	return b.String()
}

// accessWords describes the requests that gained or lost access.
func accessWords(c compare.Change, a compare.Access, gained bool) string {
	passes, refuses, admin := c.New, c.Old, c.NewAdmin
	if !gained {
		passes, refuses, admin = c.Old, c.New, c.OldAdmin
	}
	if gained && c.OldRefuses || !gained && c.NewRefuses {
		refuses = nil
	}
	words := ""
	switch a.Who {
	case compare.WhoAnybody:
		words = "everybody"
		if refuses != nil {
			words += " except " + credentialWords(refuses)
		}
		if gained {
			words = "everybody, without a credential"
		}
	case compare.WhoNoCredential:
		words = "everybody, without a credential"
	case compare.WhoUsers:
		words = peopleWords("users", "any signed-in user", "role", a.Sets)
		if len(a.Sets) == 0 {
			words = "users with the admin role " + admin
		}
		if !gained && refuses != nil && refuses.User != nil && words == "any signed-in user" {
			words += ", except " + routes.UserWords(refuses)
		}
	case compare.WhoAPIKeys:
		words = peopleWords("API keys", "any valid API key", "scope", a.Sets)
		if !gained && refuses != nil && refuses.APIKey != nil && words == "any valid API key" {
			words += ", except " + routes.APIKeyWords(refuses)
		}
	case compare.WhoBadToken:
		words = "requests with a token that is refused" + otherwise(gained)
	case compare.WhoBadKey:
		words = "requests with an API key that is refused" + otherwise(gained)
	case compare.WhoBoth:
		words = "requests with a token and an API key at once"
	case compare.WhoPreflight:
		words = "preflights of " + strings.Join(a.Origins, ", ")
	case compare.WhoPasses:
		words = credentialWords(passes)
	}
	return words + fromWords(a, passes, refuses)
}

// otherwise names the policy that denies a request because of a bad credential.
func otherwise(gained bool) string {
	if gained {
		return " by the old policy"
	}
	return " by the new policy"
}

// credentialWords says which callers a route allows, without regard to the address.
func credentialWords(r *policy.Route) string {
	if r.Public || r.Shadow {
		return "everybody"
	}
	ways := routes.WaysIn(r)
	for i, way := range ways {
		if way == routes.Anonymous {
			ways[i] = "everybody without a credential"
		}
	}
	return strings.Join(ways, " or ")
}

// fromWords describes addresses, principals, path forms and conditions: those that changed,
// and those that the route requires in any case.
func fromWords(a compare.Access, passes, refuses *policy.Route) string {
	var b strings.Builder
	switch {
	case a.From != nil && a.From.Unlisted:
		b.WriteString(", from addresses outside " + listWords(refuses.ClientIPs))
	case a.From != nil:
		b.WriteString(", from " + prefixWords(a.From.Prefixes))
	case passes.ClientIPs != nil && !passes.Shadow:
		b.WriteString(", from " + listWords(passes.ClientIPs))
	}
	switch {
	case a.Through != nil && a.Through.Unlisted:
		b.WriteString(", through principals other than " + strings.Join(refuses.Principals.Patterns(), ", "))
	case a.Through != nil:
		b.WriteString(", through " + strings.Join(a.Through.Patterns, ", "))
	case passes.Principals != nil && !passes.Shadow:
		b.WriteString(", through " + strings.Join(passes.Principals.Patterns(), ", "))
	}
	if a.Forms != 0 {
		b.WriteString(", with " + a.Forms.String() + " in the path")
	}
	switch {
	case a.When && (passes.Condition == nil || passes.Shadow):
		b.WriteString(", where this is not true: " + refuses.Condition.String())
	case a.When && passes.Condition.String() == refuses.Condition.String():
		b.WriteString(", where this is true only for a principal that a credential proves: " + passes.Condition.String())
	case a.When:
		b.WriteString(", where this is true: " + passes.Condition.String() + ", and this is not: " + refuses.Condition.String())
	case passes.Condition != nil && !passes.Shadow && a.Who != compare.WhoPreflight:
		b.WriteString(", when " + passes.Condition.String())
	}
	return b.String()
}

// listWords returns the names of ip_lists and their networks.
func listWords(s *policy.IPSet) string {
	return fmt.Sprintf("%s (%s)", strings.Join(s.Names(), ", "), prefixWords(s.Prefixes()))
}

// maxPrefixWords is the number of networks to list before "and n more".
const maxPrefixWords = 6

func prefixWords(prefixes []netip.Prefix) string {
	var words []string
	for i, p := range prefixes {
		if i == maxPrefixWords && len(prefixes) > maxPrefixWords+1 {
			return fmt.Sprintf("%s and %d more", strings.Join(words, ", "), len(prefixes)-i)
		}
		if p.IsSingleIP() {
			words = append(words, p.Addr().String())
		} else {
			words = append(words, p.String())
		}
	}
	return strings.Join(words, ", ")
}

// peopleWords describes the users or API keys that hold at least one of the sets of names.
func peopleWords(who, anyone, what string, sets [][]string) string {
	if len(sets) == 1 && len(sets[0]) == 0 {
		return anyone
	}
	return who + setWords(what, sets)
}

// setWords describes sets of names, each of which is enough.
func setWords(what string, sets [][]string) string {
	if len(sets) == 0 {
		return ""
	}
	common := slices.Clone(sets[0])
	for _, set := range sets {
		common = slices.DeleteFunc(common, func(name string) bool { return !slices.Contains(set, name) })
	}
	if len(sets) == 1 {
		return routes.Having(routes.Names(what+" ", what+"s ", common))
	}
	var rest []string
	for _, set := range sets {
		rest = append(rest, strings.Join(slices.DeleteFunc(slices.Clone(set), func(name string) bool { return slices.Contains(common, name) }), " and "))
	}
	return routes.Having(routes.Names(what+" ", "any of ", rest), routes.Names(what+" ", what+"s ", common))
}

// ruleWords describes what a route requires, in the words of warder routes.
func ruleWords(r *policy.Route, refuses bool) string {
	switch {
	case r == nil:
		return "no route"
	case refuses:
		return "refuses this form of path"
	}
	words := routes.WhoCell(routes.WhoMayPass(r))
	if r.PathAllows != 0 {
		words += "; path_allows " + r.PathAllows.String()
	}
	return words
}

// placeWords returns a place in the short form of a policy.
func placeWords(p compare.Place) string {
	var b strings.Builder
	if methods := methodWords(p.Methods); methods != "" {
		b.WriteString(methods + " ")
	}
	b.WriteString(p.Path)
	if p.Host != "" {
		b.WriteString(" on " + p.Host)
	}
	if p.Partly {
		b.WriteString(" (except what more specific routes match)")
	}
	return b.String()
}

// methodWords returns methods as a policy lists them. GET implies HEAD, and the usual methods
// are the empty string.
func methodWords(methods []string) string {
	usual := policy.UsualMethods()
	if len(methods) == len(usual) && !slices.ContainsFunc(usual, func(m string) bool { return !slices.Contains(methods, m) }) {
		return ""
	}
	methods = slices.DeleteFunc(slices.Clone(methods), func(m string) bool { return m == "HEAD" && slices.Contains(methods, "GET") })
	slices.SortFunc(methods, func(a, b string) int {
		return cmp.Or(cmp.Compare(rankOfMethod(usual, a), rankOfMethod(usual, b)), cmp.Compare(a, b))
	})
	return strings.Join(methods, ",")
}

func rankOfMethod(usual []string, m string) int {
	if i := slices.Index(usual, m); i >= 0 {
		return i
	}
	return len(usual)
}
