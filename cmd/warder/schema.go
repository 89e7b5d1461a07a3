package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"warder/authz/postgres"
)

func newSchemaCommand(p process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "schema",
		Short: "Print the schemas of what warder reads",
		Args:  knownCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "sql",
		Short: "Print the reference tables for Postgres, with a role that can only read them",
		Long: `sql prints the reference tables for Postgres: users, api_keys, and a role that can
read them and nothing else. It can be applied more than once.

Tables of another shape are as good: name them in directory.users_query and
directory.api_keys_query, with the columns aliased.`,
		Example: `  warder schema sql | psql "$DATABASE_URL"`,
		Args:    noArguments,
		RunE: func(*cobra.Command, []string) error {
			_, err := io.WriteString(p.stdout, postgres.Schema)
			if err != nil {
				return fmt.Errorf("writing the schema: %w", err)
			}
			return nil
		},
	})
	return cmd
}
