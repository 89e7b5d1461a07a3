package routes

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"warder/cmd/warder/internal/cli"
	"warder/policy"
)

// NewCommand returns the command warder routes.
func NewCommand(p cli.Process) *cobra.Command {
	var policyPath string
	var output cli.OutputFormat
	var public bool
	cmd := &cobra.Command{
		Use:   "routes",
		Short: "List the routes of a policy: which requests each one matches, and who may pass",
		Long: `routes lists the routes of a policy in the order in which they are tried: the first
line that matches a request wins, whatever the order in the file. A route has one line
for each pair of its hosts and paths. "usual" stands for the methods of a route that
lists none: ` + strings.Join(policy.UsualMethods(), " ") + `. The admin role, which passes
every role check, is not repeated in each line. "-" as the policy is standard input.

With --public it lists only routes that need no credential: public routes, routes that allow
anonymous requests, and routes in shadow. They keep their numbers in the whole table.

In JSON: {policy_hash, admin_role, routes: [{order, route, host, methods, methods_listed,
path, who, public, anonymous, shadow, user: {roles, all_roles}, api_key: {scopes, any_scopes},
client_ips, principals, when, path_allows, file, line, column}]}. host is "*" for any; user, api_key,
client_ips, principals and when are null where the route has none.`,
		Example: `  warder routes -p policy.yaml
  warder routes -p policies/ --public
  warder routes -p policy.yaml -o json | jq -r '.routes[] | select(.public) | .path'`,
		Args: cli.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			routes, err := cli.LoadNamedPolicy(cmd, policyPath, p)
			if err != nil {
				return err
			}
			rows := routeRows(routes, public)
			if output == cli.OutputJSON {
				return cli.WriteJSON(p.Stdout, struct {
					Hash      string `json:"policy_hash"`
					AdminRole string `json:"admin_role"`
					Routes    []Row  `json:"routes"`
				}{routes.Hash(), routes.AdminRole(), rows})
			}
			if len(rows) == 0 {
				fmt.Fprintln(p.Stderr, "no route lets a request without a credential through")
			}
			return writeRows(p.Stdout, rows)
		},
	}
	cli.AddPolicyFlag(cmd, &policyPath)
	cli.AddOutputFlag(cmd, &output)
	cmd.Flags().BoolVar(&public, "public", false, "list only routes that need no credential")
	return cmd
}

// A Row is one line of the compiled table, as JSON.
type Row struct {
	Order         int        `json:"order"` // from 1
	Route         string     `json:"route"`
	Host          string     `json:"host"` // "*" for any
	Methods       []string   `json:"methods"`
	MethodsListed bool       `json:"methods_listed"` // false if the route lists none; Methods then has the usual ones
	Path          string     `json:"path"`
	Who           []string   `json:"who"`  // in words
	Ways          int        `json:"ways"` // how many of Who, from the first, are ways in; the rest are required of all ways
	Public        bool       `json:"public"`
	Anonymous     bool       `json:"anonymous"`
	Shadow        bool       `json:"shadow"` // no denial is enforced
	User          *userRow   `json:"user"`
	APIKey        *apiKeyRow `json:"api_key"`
	ClientIPs     []string   `json:"client_ips"` // names of ip_lists; null for any address
	Principals    []string   `json:"principals"` // mTLS names; null for any
	When          *string    `json:"when"`       // the condition, on one line
	PathAllows    []string   `json:"path_allows"`
	File          string     `json:"file"`
	Line          int        `json:"line"`
	Column        int        `json:"column"`
}

type userRow struct {
	Roles    []string `json:"roles"`
	AllRoles []string `json:"all_roles"`
}

type apiKeyRow struct {
	Scopes    []string `json:"scopes"`
	AnyScopes []string `json:"any_scopes"`
}

func routeRows(routes *policy.Policy, public bool) []Row {
	rows := []Row{}
	for i, e := range routes.Table() {
		if public && !NeedsNoCredential(e.Route) {
			continue
		}
		rows = append(rows, RowOf(i+1, e))
	}
	return rows
}

// RowOf returns the row of an entry of the table. The order counts from 1.
func RowOf(order int, e policy.Entry) Row {
	r := e.Route
	row := Row{
		Order: order, Route: r.ID, Host: cmp.Or(e.Host, "*"), Methods: e.Methods, MethodsListed: len(e.Methods) > 0, Path: e.Path,
		Public: r.Public, Anonymous: r.Anonymous, Shadow: r.Shadow, PathAllows: []string{},
		File: r.Position.File, Line: r.Position.Line, Column: r.Position.Column,
	}
	row.Who, row.Ways = WhoMayPass(r)
	if !row.MethodsListed {
		row.Methods = policy.UsualMethods()
	}
	if r.User != nil {
		row.User = &userRow{cli.SomeOrEmpty(r.User.Roles), cli.SomeOrEmpty(r.User.AllRoles)}
	}
	if r.APIKey != nil {
		row.APIKey = &apiKeyRow{cli.SomeOrEmpty(r.APIKey.Scopes), cli.SomeOrEmpty(r.APIKey.AnyScopes)}
	}
	if r.ClientIPs != nil {
		row.ClientIPs = r.ClientIPs.Names()
	}
	if r.Principals != nil {
		row.Principals = slices.Clone(r.Principals.Patterns())
	}
	if r.Condition != nil {
		row.When = new(r.Condition.String())
	}
	if r.PathAllows != 0 {
		row.PathAllows = r.PathAllows.Names()
	}
	return row
}

// writeRows writes an aligned table. It folds the last column if a line would be too long.
func writeRows(w io.Writer, rows []Row) error {
	if len(rows) == 0 {
		return nil
	}
	cells := [][]string{{"#", "HOST", "METHODS", "PATH", "ROUTE", "WHO MAY PASS"}}
	for _, r := range rows {
		cells = append(cells, []string{fmt.Sprint(r.Order), r.Host, MethodsCell(r.Methods, r.MethodsListed), r.Path, r.Route, WhoCell(r.Who, r.Ways)})
	}
	last := len(cells[0]) - 1
	widths, before := make([]int, last), 0
	for i := range widths {
		for _, line := range cells {
			widths[i] = max(widths[i], utf8.RuneCountInString(line[i]))
		}
		before += widths[i] + len(cli.ColumnGap)
	}
	var b strings.Builder
	for _, line := range cells {
		for i, width := range widths {
			b.WriteString(line[i] + strings.Repeat(" ", width-utf8.RuneCountInString(line[i])) + cli.ColumnGap)
		}
		for i, part := range cli.Fold(line[last], cli.TableWidth-before) {
			if i > 0 {
				b.WriteString(strings.Repeat(" ", before+len(cli.ColumnGap)))
			}
			b.WriteString(part + "\n")
		}
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("writing the table: %w", err)
	}
	return nil
}

// MethodsCell returns the methods as a list, or "usual" for a route that lists none.
func MethodsCell(methods []string, listed bool) string {
	if !listed {
		return "usual"
	}
	return strings.Join(methods, ",")
}

// WhoCell joins the ways in, each of which is enough, with "or", and adds what all of them
// require.
func WhoCell(words []string, ways int) string {
	var b strings.Builder
	for i, word := range words {
		switch {
		case i >= ways:
			b.WriteString("; ")
		case i > 0:
			b.WriteString(" or ")
		}
		b.WriteString(word)
	}
	return b.String()
}
