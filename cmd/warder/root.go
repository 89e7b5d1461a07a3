package main

import (
	"github.com/spf13/cobra"

	"warder/cmd/warder/internal/admin"
	"warder/cmd/warder/internal/casetest"
	"warder/cmd/warder/internal/cli"
	"warder/cmd/warder/internal/demo"
	"warder/cmd/warder/internal/diff"
	"warder/cmd/warder/internal/explain"
	"warder/cmd/warder/internal/filter"
	"warder/cmd/warder/internal/openapi"
	"warder/cmd/warder/internal/routes"
	"warder/cmd/warder/internal/server"
)

// run is the program: it runs the command that args name and returns the exit code.
func run(args []string, p cli.Process) int { return cli.Run(newRootCommand(p), args, p) }

// newRootCommand is the command line with all its commands.
func newRootCommand(p cli.Process) *cobra.Command {
	root := &cobra.Command{
		Use:   "warder",
		Short: "An external authorization service for Envoy",
		Long: `warder answers Envoy's ext_authz checks: who is asking, and does the route
policy let them. It verifies the JWT, asks Redis for the session and Postgres for
the user, or looks up a scoped API key. What cannot be decided is refused.`,
		Example: `  warder validate -p policy.yaml       # is the policy right?
  warder explain -p policy.yaml GET /x # how would it decide this?
  warder test policy_test.yaml         # does it decide all of these as it must?
  warder serve -p policy.yaml          # serve it, with the rest from the environment
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
