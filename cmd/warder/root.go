package main

import (
	"github.com/spf13/cobra"

	"warder/cmd/warder/internal/admin"
	"warder/cmd/warder/internal/casetest"
	"warder/cmd/warder/internal/cli"
	"warder/cmd/warder/internal/demo"
	"warder/cmd/warder/internal/diff"
	"warder/cmd/warder/internal/doctor"
	"warder/cmd/warder/internal/explain"
	"warder/cmd/warder/internal/filter"
	"warder/cmd/warder/internal/key"
	"warder/cmd/warder/internal/openapi"
	"warder/cmd/warder/internal/routes"
	"warder/cmd/warder/internal/server"
	"warder/cmd/warder/internal/session"
	"warder/cmd/warder/internal/user"
)

// run runs the command that args name and returns the exit code.
func run(args []string, p cli.Process) int { return cli.Run(newRootCommand(p), args, p) }

// newRootCommand returns the command warder with all its subcommands.
func newRootCommand(p cli.Process) *cobra.Command {
	root := &cobra.Command{
		Use:   "warder",
		Short: "An external authorization service for Envoy",
		Long: `warder answers Envoy's ext_authz checks: who sent the request, and does the route
policy allow it? It verifies the JWT, asks Redis for the session and Postgres for
the user, or looks up an API key and its scopes. When it cannot decide, it denies.`,
		Example: `  warder validate -p policy.yaml       # is the policy valid?
  warder explain -p policy.yaml GET /x # how would it decide this request?
  warder test policy_test.yaml         # do all test cases get the expected decision?
  warder serve -p policy.yaml          # serve it; the other settings come from the environment
  warder serve --help                  # the configuration and its variables`,
		Args:          cli.KnownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetIn(p.Stdin)
	root.SetOut(p.Stdout)
	root.SetErr(p.Stderr)
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(cli.FlagError)
	addGroup(root, "policy", "The route policy:",
		newValidateCommand(p),
		routes.NewCommand(p),
		explain.NewCommand(p),
		casetest.NewCommand(p),
		diff.NewCommand(p),
		openapi.NewCommand(p),
		newSchemaCommand(p),
	)
	addGroup(root, "service", "The service:",
		server.NewCommand(p),
		admin.NewHealthCommand(p),
		filter.NewCommand(p),
		demo.NewCommand(p),
		newVersionCommand(p),
	)
	addGroup(root, "stores", "Sessions, users and API keys:",
		key.NewCommand(p),
		session.NewCommand(p),
		user.NewCommand(p),
		doctor.NewCommand(p),
	)
	root.SetHelpCommandGroupID("service")
	root.InitDefaultHelpCmd()
	for _, c := range root.Commands() {
		if c.Name() == "help" {
			c.Args = cli.KnownTopic
		}
	}
	return root
}

func addGroup(root *cobra.Command, id, title string, commands ...*cobra.Command) {
	root.AddGroup(&cobra.Group{ID: id, Title: title})
	for _, c := range commands {
		c.GroupID = id
	}
	root.AddCommand(commands...)
}
