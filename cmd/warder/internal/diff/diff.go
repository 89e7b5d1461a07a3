package diff

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"warder/cmd/warder/internal/cli"
	"warder/cmd/warder/internal/openapi"
	"warder/cmd/warder/internal/routes"
	"warder/policy"
	"warder/policy/compare"
)

// NewCommand returns the command warder diff.
func NewCommand(p cli.Process) *cobra.Command {
	var d diffCommand
	cmd := &cobra.Command{
		Use:   "diff OLD NEW",
		Short: "Show which requests gain or lose access between two policies",
		Long: `diff compares two policies, each a file or a folder, and says in words which requests
gain or lose access: who sends them, which hosts, methods and paths they are for, and which
route decides them. "-" is standard input. What is opened to everybody comes first. The
result is exact, not a sample: both policies decide all other requests the same way. Hosts,
methods and paths are written as in a policy; the most specific route wins.

With --openapi it compares one policy with the OpenAPI document (3, or Swagger 2.0) of an
application. It lists operations that no route matches, operations whose requests are split
between several routes, and routes without an operation. --prefix gives the path prefix of
the document's paths, if its servers do not.

The exit code is 0 even when there is a difference; with --exit-code it is then 1. --all
also shows routes that only changed their name or place.
If Envoy chooses the route itself (warder.route), route ids matter too: diff lists the ids
that are gone, and the ids whose rules have changed.

In JSON: {differ, old: {policy_hash, admin_role}, new: {…}, changes: [{old: {route, who,
file, line, column}, new: {…}, gained: [{who, words, open, sets, admin, origins,
addresses, addresses_unlisted, principals, principals_unlisted, path_allows, when}], lost: […],
places: [{host, methods, path, partly, example}]}], moved: […], gone_ids: […], other_ids: […]}. old or new is
null if no route matches the requests. Each of sets is enough alone. admin is true if the admin
role passes too.
With --openapi: {differ, operations_without_route: [{operation, method, path}],
operations_taken_apart: [{…, host, routes}], routes_without_operation: [{route, host, methods,
path, file, line, column}], unreadable: [{operation, method, path, reason}]}.`,
		Example: `  warder diff old.yaml new.yaml
  git show HEAD:policy.yaml | warder diff - policy.yaml
  warder diff policies/ new-policies/ --exit-code -o json
  warder diff --openapi openapi.json policy.yaml --exit-code`,
		Args: func(cmd *cobra.Command, args []string) error { return d.checkArguments(cmd, args) },
		RunE: func(_ *cobra.Command, args []string) error {
			if d.openapi != "" {
				return d.againstOpenAPI(p, args[0])
			}
			return d.policies(p, args[0], args[1])
		},
	}
	cli.AddOutputFlag(cmd, &d.output)
	cmd.Flags().BoolVar(&d.exitCode, "exit-code", false, "exit with 1 when there is a difference")
	cmd.Flags().BoolVar(&d.all, "all", false, "also show routes that only changed their name or place")
	cmd.Flags().StringVar(&d.openapi, "openapi", "", "compare one policy with an OpenAPI `FILE` instead")
	cmd.Flags().StringVar(&d.prefix, "prefix", "", "with --openapi: the path prefix of the document's paths, such as /api")
	return cmd
}

// A diffCommand holds the flags of warder diff.
type diffCommand struct {
	output          cli.OutputFormat
	exitCode, all   bool
	openapi, prefix string
	given           *string // the prefix; nil when the flag was not given
}

func (d *diffCommand) checkArguments(cmd *cobra.Command, args []string) error {
	wrong := ""
	switch {
	case d.openapi == "" && cmd.Flags().Changed("openapi"):
		wrong = "--openapi names no file; write --openapi openapi.json"
	case d.openapi != "" && len(args) == 2:
		wrong = "with --openapi there is one policy to compare; name one policy, not two"
	case d.openapi != "" && len(args) != 1:
		wrong = "name the policy: warder diff --openapi FILE POLICY"
	case d.openapi != "" && d.openapi == args[0] && args[0] == cli.StandardInput:
		wrong = "the OpenAPI document and the policy are both standard input; give one of them as a file"
	case d.openapi != "" && d.all:
		wrong = "--all works only for two policies; leave it out with --openapi"
	case d.openapi != "":
	case d.prefix != "":
		wrong = "--prefix works only with --openapi; give both or neither"
	case len(args) != 2:
		wrong = fmt.Sprintf("got %s; name two policies: warder diff OLD NEW", cli.Count(len(args), "argument"))
	case args[0] == cli.StandardInput && args[1] == cli.StandardInput:
		wrong = "both policies are standard input; give one of them as a file"
	}
	if wrong != "" {
		return cli.WrongUsage(cmd, errors.New(wrong))
	}
	var err error
	d.given, err = openapi.PrefixFlag(cmd, d.prefix)
	return err
}

func (d *diffCommand) policies(p cli.Process, oldPath, newPath string) error {
	before, oldErr := cli.LoadPolicy(p, oldPath)
	after, newErr := cli.LoadPolicy(p, newPath)
	if err := errors.Join(oldErr, newErr); err != nil {
		return err
	}
	found, err := compare.Policies(before, after)
	if err != nil {
		return err
	}
	if d.output == cli.OutputJSON {
		err = cli.WriteJSON(p.Stdout, diffRowOf(found, before, after))
	} else {
		err = writeDiff(p.Stdout, found, before, after, d.all)
	}
	if err == nil && d.exitCode && differ(found) {
		return cli.ErrReported
	}
	return err
}

// differ reports whether the policies decide any request differently. Ids that are gone do
// not count: they only lead to denials.
func differ(found compare.Diff) bool { return len(found.Changes)+len(found.OtherIDs) > 0 }

// A diffSection is a group of requests, such as those gained by users with one role, and all
// places where they gained or lost access.
type diffSection struct {
	heading string
	rank    int // the position of the section in the output
	blocks  []string
}

// Ranks of sections: what is opened to everybody comes first, preflights come last.
const (
	rankOpened = iota
	rankGained
	rankLost
	rankPreflights
)

// writeDiff writes a diff in words.
func writeDiff(w io.Writer, found compare.Diff, before, after *policy.Policy, all bool) error {
	var b strings.Builder
	if old, now := before.AdminRole(), after.AdminRole(); old != now {
		fmt.Fprintf(&b, "admin_role: %s → %s\n\n", cmp.Or(old, "none"), cmp.Or(now, "none"))
	}
	for _, s := range sectionsOf(found) {
		fmt.Fprintf(&b, "%s\n%s\n", s.heading, strings.Join(s.blocks, ""))
	}
	if all && len(found.Moved) > 0 {
		b.WriteString("decided the same way by another route\n")
		for _, c := range found.Moved {
			b.WriteString(blockOf(c, reasonOf(c, compare.Access{})))
		}
		b.WriteString("\n")
	}
	b.WriteString(summaryOf(found, before, after, all))
	if len(found.GoneIDs) > 0 {
		fmt.Fprintf(&b, "gone %s: %s; requests for which Envoy chooses one by warder.route are denied\n", cli.Plural(len(found.GoneIDs), "id", "ids"), strings.Join(found.GoneIDs, ", "))
	}
	if len(found.OtherIDs) > 0 {
		fmt.Fprintf(&b, "other rules under the %s: %s; requests for which Envoy chooses one by warder.route are decided differently\n", cli.Plural(len(found.OtherIDs), "id", "ids"), strings.Join(found.OtherIDs, ", "))
	}
	if _, err := io.WriteString(w, visible(b.String())); err != nil {
		return fmt.Errorf("writing the difference: %w", err)
	}
	return nil
}

func sectionsOf(found compare.Diff) []diffSection {
	var sections []diffSection
	add := func(c compare.Change, a compare.Access, gained bool) {
		heading, rank := headingOf(c, a, gained)
		i := slices.IndexFunc(sections, func(s diffSection) bool { return s.heading == heading })
		if i < 0 {
			i = len(sections)
			sections = append(sections, diffSection{heading: heading, rank: rank})
		}
		sections[i].blocks = append(sections[i].blocks, blockOf(c, reasonOf(c, a)))
	}
	for _, c := range found.Changes {
		for _, a := range c.Gained {
			add(c, a, true)
		}
		for _, a := range c.Lost {
			add(c, a, false)
		}
	}
	slices.SortStableFunc(sections, func(a, b diffSection) int { return cmp.Compare(a.rank, b.rank) })
	return sections
}

func headingOf(c compare.Change, a compare.Access, gained bool) (string, int) {
	words := accessWords(c, a, gained)
	switch {
	case a.Who == compare.WhoPreflight && gained:
		return "gained by " + words, rankPreflights
	case a.Who == compare.WhoPreflight:
		return "lost by " + words, rankPreflights
	case gained && opens(c, a):
		return "OPENED TO " + strings.Replace(words, "everybody", "EVERYBODY", 1), rankOpened
	case gained:
		return "gained by " + words, rankGained
	}
	return "lost by " + words, rankLost
}

// opens reports whether requests without a credential are among those that gained access.
func opens(c compare.Change, a compare.Access) bool {
	return a.Who == compare.WhoAnybody || a.Who == compare.WhoNoCredential || a.Who == compare.WhoPasses && routes.NeedsNoCredential(c.New)
}

// blockOf returns the places of a change, and below them the reason.
func blockOf(c compare.Change, reason string) string {
	var b strings.Builder
	for _, place := range c.Places {
		fmt.Fprintf(&b, "  %s\n", placeWords(place))
	}
	fmt.Fprintf(&b, "      %s\n", reason)
	return b.String()
}

// reasonOf returns the old and the new route and what each requires.
func reasonOf(c compare.Change, a compare.Access) string {
	old, now := ruleWords(c.Old, c.OldRefuses), ruleWords(c.New, c.NewRefuses)
	switch {
	case a.Who == compare.WhoPreflight && c.Old == nil:
		return "passed now: " + routeAt(c.New)
	case a.Who == compare.WhoPreflight && c.New == nil:
		return "passed before: " + routeAt(c.Old)
	case c.Old == nil:
		return fmt.Sprintf("no route → %s: %s", routeAt(c.New), now)
	case c.New == nil:
		return fmt.Sprintf("%s: %s → no route", routeAt(c.Old), old)
	case c.Old.ID != c.New.ID:
		return fmt.Sprintf("%s: %s → %s: %s", routeAt(c.Old), old, routeAt(c.New), now)
	case old == now:
		return fmt.Sprintf("%s: %s", routeAt(c.New), now)
	}
	return fmt.Sprintf("%s: %s → %s", routeAt(c.New), old, now)
}

func routeAt(r *policy.Route) string {
	return fmt.Sprintf("%s (%s:%d)", r.ID, r.Position.File, r.Position.Line)
}

func summaryOf(found compare.Diff, before, after *policy.Policy, all bool) string {
	if len(found.Changes) > 0 {
		return ""
	}
	switch {
	case len(found.Moved) > 0 && !all:
		return "no request gains or loses access; some are decided by another route, in the same way (--all shows them)\n"
	case len(found.Moved) == 0 && before.Hash() != after.Hash():
		return "no request gains or loses access; the files differ in names, comments or layout only\n"
	}
	return "no request gains or loses access\n"
}
