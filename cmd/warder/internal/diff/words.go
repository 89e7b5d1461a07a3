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

// visible shows what a reader would not see: a name may hold what turns the text around it,
// and whoever wrote the policy may have wanted that.
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

// accessWords says whose requests gained or lost access.
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
			words += " but " + credentialWords(refuses)
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
			words += ", but for " + routes.UserWords(refuses)
		}
	case compare.WhoAPIKeys:
		words = peopleWords("API keys", "any valid API key", "scope", a.Sets)
		if !gained && refuses != nil && refuses.APIKey != nil && words == "any valid API key" {
			words += ", but for " + routes.APIKeyWords(refuses)
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

// otherwise says when a bad credential does harm: in the other policy.
func otherwise(gained bool) string {
	if gained {
		return " by the old policy"
	}
	return " by the new policy"
}

// credentialWords says who passes, whatever the address.
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

// fromWords says from where: what changed, and what else the route asks for.
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
		b.WriteString(", through others than " + strings.Join(refuses.Principals.Patterns(), ", "))
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
		b.WriteString(", where this is true only of whom a credential proves: " + passes.Condition.String())
	case a.When:
		b.WriteString(", where this is true: " + passes.Condition.String() + ", and this is not: " + refuses.Condition.String())
	case passes.Condition != nil && !passes.Shadow && a.Who != compare.WhoPreflight:
		b.WriteString(", when " + passes.Condition.String())
	}
	return b.String()
}

// listWords names ip_lists with what is in them.
func listWords(s *policy.IPSet) string {
	return fmt.Sprintf("%s (%s)", strings.Join(s.Names(), ", "), prefixWords(s.Prefixes()))
}

// maxPrefixWords is how many networks are written out.
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

// peopleWords writes who holds one of several sets of names.
func peopleWords(who, anyone, what string, sets [][]string) string {
	if len(sets) == 1 && len(sets[0]) == 0 {
		return anyone
	}
	return who + setWords(what, sets)
}

// setWords writes sets of names, each of which is enough.
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

// ruleWords says what a route asks for, as the table of routes does.
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

// placeWords writes a place like the short form of a policy.
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
		b.WriteString(" (but for what more specific routes take)")
	}
	return b.String()
}

// methodWords writes methods as a policy lists them: GET stands for HEAD, and nothing for
// the usual ones.
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
