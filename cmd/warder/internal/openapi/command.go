package openapi

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"warder/cmd/warder/internal/cli"
	"warder/policy"
	"warder/policy/pattern"
)

// NewCommand returns the command warder import.
func NewCommand(p cli.Process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import",
		Short: "Write a policy skeleton from the description of an application",
		Args:  cli.KnownCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newImportOpenAPICommand(p))
	return cmd
}

func newImportOpenAPICommand(p cli.Process) *cobra.Command {
	var prefix string
	cmd := &cobra.Command{
		Use:   "openapi FILE",
		Short: "Write a policy skeleton from an OpenAPI document",
		Long: `openapi reads an OpenAPI document (3.0, 3.1 or 3.2, or Swagger 2.0; JSON or YAML; FastAPI
serves one at /openapi.json) and writes a policy with a route for each path: its methods, and
who may pass, as far as the document says. "-" is standard input. Only what a policy needs is
read, so that mistakes in schemas and examples do not matter. Files and URLs that the document
refers to are not read: bundle it first.

Where the document does not say who may pass, the route is closed and marked with DECIDE:
nobody holds the role or scope of that name, and there is no admin role. OpenAPI documents do
not say which roles an application requires. An operation without a credential is not
necessarily meant for everybody, so no route is ever written as public. Paths that no route
can match are listed as comments, and so is what became another notation: ** for {proxy+} and
other parameters that take slashes, {id} for :id.

The paths get the base path of the document's servers as a prefix; --prefix replaces it.`,
		Example: `  curl -s http://localhost:8000/openapi.json | warder import openapi - > policy.yaml
  warder import openapi openapi.json --prefix /api > policy.yaml
  grep -n DECIDE policy.yaml
  warder diff --openapi openapi.json policy.yaml`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				return nil
			}
			return cli.WrongUsage(cmd, fmt.Errorf("got %s; name one OpenAPI document, or - for standard input", cli.Count(len(args), "argument")))
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			given, err := PrefixFlag(cmd, prefix)
			if err != nil {
				return err
			}
			return importOpenAPI(p, args[0], given)
		},
	}
	cmd.Flags().StringVar(&prefix, "prefix", "", "the path prefix of the document's paths, such as /api")
	return cmd
}

// PrefixFlag returns the value of --prefix without slashes at its end, or nil if the flag was
// not given.
func PrefixFlag(cmd *cobra.Command, prefix string) (*string, error) {
	if !cmd.Flags().Changed("prefix") {
		return nil, nil
	}
	prefix = strings.TrimRight(prefix, "/")
	if prefix == "" {
		return &prefix, nil
	}
	if wrong := pattern.WrongPath(prefix); wrong != "" {
		return nil, cli.WrongUsage(cmd, fmt.Errorf("--prefix %s", wrong))
	}
	if strings.HasSuffix(prefix, "**") {
		return nil, cli.WrongUsage(cmd, errors.New("--prefix ends with **; write only the prefix itself, such as /api"))
	}
	return &prefix, nil
}

func importOpenAPI(p cli.Process, file string, prefix *string) error {
	a, err := Read(p, file, prefix)
	if err != nil {
		return err
	}
	s := skeletonOf(a)
	if len(s.routes) == 0 {
		var reasons strings.Builder
		for _, o := range s.refused {
			fmt.Fprintf(&reasons, "\n%s: %s", operationName(o), o.Wrong)
		}
		return fmt.Errorf("%s: has no operation that a route can match%s", a.name, reasons.String())
	}
	// Check that the skeleton loads, before writing it.
	text, err := s.withoutTies(a, loads)
	if err != nil {
		return fmt.Errorf("%s: cannot be turned into a valid policy: %w", a.name, err)
	}
	if _, err := io.WriteString(p.Stdout, text); err != nil {
		return fmt.Errorf("writing the policy: %w", err)
	}
	return nil
}

// loads returns what is wrong with a policy.
func loads(text string) error {
	_, err := policy.Parse([]policy.File{{Name: "the skeleton", Data: []byte(text)}}, nil)
	return err
}

func operationName(o Operation) string {
	return cli.OneLine(o.Method, 40) + " " + cli.OneLine(o.Template, 200)
}

// yaml returns the skeleton as YAML. Text from the document goes through cli.OneLine into
// comments, and is quoted elsewhere.
func (s skeleton) yaml(a Application) string {
	var b strings.Builder
	comment := func(indent, text string) { writeComment(&b, indent, text) }
	title := cli.OneLine(strings.TrimSpace(a.title+" "+a.version), 100)
	if title == "" {
		title = "an application"
	}
	comment("", "Who may pass where, according to the OpenAPI document of "+title+".")
	comment("", "What it does not say is closed: nobody holds the role or the scope "+undecided+". Decide at each "+
		undecided+" who may pass. To list what is left to decide: grep -n "+undecided)
	comment("", "A parameter that takes slashes ({file_path:path} in FastAPI) often looks like any other in the document. Write ** for it, as the last segment.")
	comment("", "Such a document leaves out what the framework serves beside the operations: the document and its pages (/openapi.json, /docs and /redoc of FastAPI), websockets, mounted applications, static files, often health checks and metrics. No route here matches them, so that they are denied; add a route for each that is wanted.")
	if len(a.prefixes) > 1 {
		comment("", "The document has servers with several base paths. The paths here begin with the first one; --prefix chooses another.")
	}
	b.WriteString("version: 1\n")
	b.WriteString("admin_role: \"\"  # " + undecided + ": the role that passes every role check, such as ADMIN; \"\" is none\n")
	b.WriteString("routes:\n")
	line, counted := 1, 0
	for _, r := range s.routes {
		line += strings.Count(b.String()[counted:], "\n")
		r.line, counted = line, b.Len()
		r.write(&b)
	}
	for _, o := range s.refused {
		comment("  ", undecided+": "+operationName(o)+" has no route of its own: "+o.Wrong)
	}
	return b.String()
}

func (r *skeletonRoute) write(b *strings.Builder) {
	writeComment(b, "  ", strings.Join(r.names, "; "))
	for _, note := range r.notes {
		writeComment(b, "  ", note)
	}
	for _, what := range slices.Concat(r.decide, r.rule.decide) {
		writeComment(b, "  ", undecided+": "+what)
	}
	fmt.Fprintf(b, "  - id: %s\n", quoted(r.id))
	fmt.Fprintf(b, "    match: {methods: %s, paths: [%s]}\n", quotedList(r.methods), quoted(r.path))
	b.WriteString("    allow:\n")
	if u := r.rule.user; u != nil {
		fmt.Fprintf(b, "      - user: {%s}\n", strings.Join(keyed("roles", u.Roles, "all_roles", u.AllRoles), ", "))
	}
	if k := r.rule.apiKey; k != nil {
		fmt.Fprintf(b, "      - api_key: {%s}\n", strings.Join(keyed("scopes", k.Scopes, "any_scopes", k.AnyScopes), ", "))
	}
}

// keyed returns each list that is not empty, after its key.
func keyed(one string, names []string, other string, others []string) (keys []string) {
	if len(names) > 0 {
		keys = append(keys, one+": "+quotedList(names))
	}
	if len(others) > 0 {
		keys = append(keys, other+": "+quotedList(others))
	}
	return keys
}

const commentWidth = 110

// writeComment writes a text as comment lines, folded between words.
func writeComment(b *strings.Builder, indent, text string) {
	for _, line := range cli.Fold(text, commentWidth) {
		b.WriteString(indent + "# " + line + "\n")
	}
}

func quotedList(words []string) string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = quoted(w)
	}
	return "[" + strings.Join(out, ", ") + "]"
}

// quoted returns a text in a form that YAML always reads as that text.
func quoted(s string) string {
	if plainWord(s) {
		return s
	}
	return strconv.QuoteToASCII(s)
}

// plainWord reports whether a text needs no quotes in YAML: it is a word, and not one that
// YAML reads as another value, such as true, null, off or y.
func plainWord(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || (c < '0' || c > '9') && c != '_' && c != '-') {
			return false
		}
	}
	switch strings.ToLower(s) {
	case "", "y", "n", "yes", "no", "on", "off", "true", "false", "null":
		return false
	}
	return true
}
