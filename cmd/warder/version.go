package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"warder/cmd/warder/internal/cli"
)

func newVersionCommand(p cli.Process) *cobra.Command {
	var output cli.OutputFormat
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version, commit and platform of this warder",
		Args:  cli.NoArguments,
		RunE: func(*cobra.Command, []string) error {
			b := cli.ReadBuild()
			if output == cli.OutputJSON {
				return cli.WriteJSON(p.Stdout, b)
			}
			_, err := fmt.Fprintln(p.Stdout, b)
			return err
		},
	}
	cli.AddOutputFlag(cmd, &output)
	return cmd
}
