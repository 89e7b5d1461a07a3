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
		Short: "Print the schemas of the policy, the configuration and the SQL tables",
		Args:  cli.KnownCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		printing(p, policy.Schema, &cobra.Command{
			Use:   "policy",
			Short: "Print the JSON Schema of a route policy, for editors",
			Long: `policy prints the JSON Schema (draft 2020-12) of a route policy. With it an editor
completes keys, shows what they mean and marks mistakes as you type. With an editor that has
a YAML language server (VS Code with the YAML extension of Red Hat, Neovim, Helix, …),
save the schema beside the policy and make this the first line of the policy:

  # yaml-language-server: $schema=policy.schema.json

The schema accepts every policy that warder accepts. It cannot find every mistake, such as
two routes that could win the same request; warder validate does.`,
			Example: `  warder schema policy > policy.schema.json`,
		}),
		printing(p, config.Schema, &cobra.Command{
			Use:   "config",
			Short: "Print the JSON Schema of the configuration, for editors",
			Long: `config prints the JSON Schema (draft 2020-12) of the configuration. With it an editor
completes keys, shows what they mean and marks mistakes as you type. With an editor that has
a YAML language server (VS Code with the YAML extension of Red Hat, Neovim, Helix, …),
save the schema beside the configuration and make this the first line of the configuration:

  # yaml-language-server: $schema=config.schema.json

The schema accepts every configuration that warder accepts. It cannot find every mistake,
such as a variable that is not set; warder validate does.`,
			Example: `  warder schema config > config.schema.json`,
		}),
		printing(p, postgres.Schema, &cobra.Command{
			Use:   "sql",
			Short: "Print the SQL of the Postgres tables, and of a role that can only read them",
			Long: `sql prints SQL statements that create the reference tables for Postgres, users and
api_keys, and a role that can read them and nothing else. They can be applied more than once.

Tables with other columns work too: write queries for them in directory.users_query and
directory.api_keys_query, with column aliases.`,
			Example: `  warder schema sql | psql "$DATABASE_URL"`,
		}),
	)
	return cmd
}

// printing sets up cmd to print the schema, and returns it.
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
