package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newVersionCommand(p process) *cobra.Command {
	var output outputFormat
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Tell which warder this is",
		Args:  noArguments,
		RunE: func(*cobra.Command, []string) error {
			b := readBuild()
			if output == outputJSON {
				return writeJSON(p.stdout, b)
			}
			_, err := fmt.Fprintln(p.stdout, b)
			return err
		},
	}
	addOutputFlag(cmd, &output)
	return cmd
}
