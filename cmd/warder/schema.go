package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"warder/authz/postgres"
	"warder/cmd/warder/internal/cli"
	"warder/cmd/warder/internal/config"
	"warder/policy"
)

func newSchemaCommand(p cli.Process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "schema",
		Short: "Print the schemas of what warder reads",
		Args:  cli.KnownCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		printing(p, policy.Schema, &cobra.Command{
			Use:   "policy",
			Short: "Print the JSON Schema of a route policy, for editors",
			Long: `policy prints the JSON Schema (draft 2020-12) of a route policy. With it an editor
completes keys, shows what they mean and marks mistakes as they are made. For one with
a YAML language server (VS Code with the YAML extension of Red Hat, Neovim, Helix, …),
save it beside the policy and let the first line of the policy say so:

  # yaml-language-server: $schema=policy.schema.json

It refuses nothing that warder takes. What no schema can see, such as two routes that
could win one request, is for warder validate.`,
			Example: `  warder schema policy > policy.schema.json`,
		}),
		printing(p, config.Schema, &cobra.Command{
			Use:   "config",
			Short: "Print the JSON Schema of the configuration, for editors",
			Long: `config prints the JSON Schema (draft 2020-12) of the configuration. With it an editor
completes keys, shows what they mean and marks mistakes as they are made. For one with
a YAML language server (VS Code with the YAML extension of Red Hat, Neovim, Helix, …),
save it beside the configuration and let the first line of that say so:

  # yaml-language-server: $schema=config.schema.json

It refuses nothing that warder takes. What no schema can see, such as a variable that
is not set, is for warder validate.`,
			Example: `  warder schema config > config.schema.json`,
		}),
		printing(p, postgres.Schema, &cobra.Command{
			Use:   "sql",
			Short: "Print the reference tables for Postgres, with a role that can only read them",
			Long: `sql prints the reference tables for Postgres: users, api_keys, and a role that can
read them and nothing else. It can be applied more than once.

Tables of another shape are as good: name them in directory.users_query and
directory.api_keys_query, with the columns aliased.`,
			Example: `  warder schema sql | psql "$DATABASE_URL"`,
		}),
	)
	return cmd
}

// printing makes cmd the command that prints a schema.
func printing(p cli.Process, schema string, cmd *cobra.Command) *cobra.Command {
	cmd.Args = cli.NoArguments
	cmd.RunE = func(*cobra.Command, []string) error {
		if _, err := io.WriteString(p.Stdout, schema); err != nil {
			return fmt.Errorf("writing the schema: %w", err)
		}
		return nil
	}
	return cmd
}
