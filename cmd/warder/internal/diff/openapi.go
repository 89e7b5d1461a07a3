package diff

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"

	"warder/cmd/warder/internal/cli"
	"warder/cmd/warder/internal/openapi"
	"warder/policy"
	"warder/policy/compare"
	"warder/policy/pattern"
)

// An openAPIDiff is the comparison of a policy with an OpenAPI document, as JSON.
type openAPIDiff struct {
	Differ     bool           `json:"differ"`
	Missing    []operationRow `json:"operations_without_route"`
	Apart      []apartRow     `json:"operations_taken_apart"`
	Idle       []idleRow      `json:"routes_without_operation"`
	Unreadable []unreadRow    `json:"unreadable"`
}

type operationRow struct {
	Operation string `json:"operation"` // its operationId; "" when it has none
	Method    string `json:"method"`
	Path      string `json:"path"` // as a policy would write it
}

type apartRow struct {
	operationRow
	Host   string   `json:"host"`   // "*" for any
	Routes []string `json:"routes"` // "" for no route
}

type idleRow struct {
	Route   string   `json:"route"`
	Host    string   `json:"host"` // "*" for any
	Methods []string `json:"methods"`
	Path    string   `json:"path"`
	File    string   `json:"file"`
	Line    int      `json:"line"`
	Column  int      `json:"column"`
}

type unreadRow struct {
	operationRow
	Reason string `json:"reason"`
}

// againstOpenAPI compares a policy with the OpenAPI document of an application.
func (d *diffCommand) againstOpenAPI(p cli.Process, path string) error {
	routes, policyErr := cli.LoadPolicy(p, path)
	a, documentErr := openapi.Read(p, d.openapi, d.given)
	if err := errors.Join(documentErr, policyErr); err != nil {
		return err
	}
	found, err := compareOpenAPI(a, routes)
	if err != nil {
		return err
	}
	if d.output == cli.OutputJSON {
		err = cli.WriteJSON(p.Stdout, found)
	} else {
		err = found.write(p.Stdout)
	}
	if err == nil && d.exitCode && found.Differ {
		return cli.ErrReported
	}
	return err
}

func compareOpenAPI(a openapi.Application, routes *policy.Policy) (openAPIDiff, error) {
	found := openAPIDiff{Missing: []operationRow{}, Apart: []apartRow{}, Idle: []idleRow{}, Unreadable: []unreadRow{}}
	var operations []compare.Operation
	var rows []operationRow
	seen := map[string]bool{}
	for _, o := range a.Operations {
		row := operationRow{o.ID, o.Method, o.Loose}
		if o.Loose == "" {
			row.Path = o.Template
			found.Unreadable = append(found.Unreadable, unreadRow{row, o.Wrong})
			continue
		}
		if key := o.Method + " " + pattern.PathKey(o.Loose); !seen[key] {
			seen[key] = true
			operations = append(operations, compare.Operation{Method: o.Method, Path: o.Loose})
			rows = append(rows, row)
		}
	}
	c, err := compare.Operations(routes, operations)
	if err != nil {
		return found, err
	}
	for _, i := range c.Missing {
		found.Missing = append(found.Missing, rows[i])
	}
	for _, part := range c.Apart {
		ids := make([]string, len(part.Routes))
		for i, r := range part.Routes {
			if r != nil {
				ids[i] = r.ID
			}
		}
		found.Apart = append(found.Apart, apartRow{rows[part.Operation], cmp.Or(part.Host, "*"), ids})
	}
	for _, e := range c.Idle {
		at := e.Route.Position
		found.Idle = append(found.Idle, idleRow{e.Route.ID, cmp.Or(e.Host, "*"), e.Methods, e.Path, at.File, at.Line, at.Column})
	}
	found.Differ = len(found.Missing)+len(found.Apart)+len(found.Idle)+len(found.Unreadable) > 0
	return found, nil
}

func (found openAPIDiff) write(w io.Writer) error {
	var b strings.Builder
	list := func(heading string, n int, line func(i int) string) {
		if n == 0 {
			return
		}
		b.WriteString(heading + "\n")
		for i := range n {
			b.WriteString("  " + line(i) + "\n")
		}
		b.WriteString("\n")
	}
	list("operations without a route, which are denied", len(found.Missing), func(i int) string { return found.Missing[i].words() })
	list("operations whose requests are split between several routes", len(found.Apart), func(i int) string {
		row := found.Apart[i]
		routes := make([]string, len(row.Routes))
		for i, id := range row.Routes {
			routes[i] = cmp.Or(id, "no route")
		}
		return row.words() + onHost(row.Host) + ": " + strings.Join(routes, ", ")
	})
	list("routes without an operation", len(found.Idle), func(i int) string {
		row := found.Idle[i]
		words := row.Path
		if methods := methodWords(row.Methods); methods != "" {
			words = methods + " " + words
		}
		return fmt.Sprintf("%s%s: route %s (%s:%d)", words, onHost(row.Host), row.Route, row.File, row.Line)
	})
	list("operations that no route can match", len(found.Unreadable), func(i int) string {
		return found.Unreadable[i].words() + ": " + found.Unreadable[i].Reason
	})
	if !found.Differ {
		b.WriteString("every operation has a route, and every route has an operation\n")
	}
	if _, err := io.WriteString(w, strings.TrimRight(b.String(), "\n")+"\n"); err != nil {
		return fmt.Errorf("writing the difference: %w", err)
	}
	return nil
}

func onHost(host string) string {
	if host == "*" {
		return ""
	}
	return " on " + host
}

func (row operationRow) words() string {
	words := cli.OneLine(row.Method, 40) + " " + cli.OneLine(row.Path, 200)
	if id := cli.OneLine(row.Operation, 80); id != "" {
		words += " (" + id + ")"
	}
	return words
}
