package e2e

import (
	"os"
	"testing"
	_ "time/tzdata" // as the program has it

	"github.com/spf13/cobra"

	"warder/cmd/warder/internal/cli"
	"warder/cmd/warder/internal/demo"
	"warder/cmd/warder/internal/server"
)

// TestMain makes this test binary warder when the environment says so, with the commands
// that run a server: so the program under test has the race detector when the tests have
// it, and a change of another command runs none of these tests again.
func TestMain(m *testing.M) {
	if os.Getenv(asWarder) != "" {
		server.SilenceLibraries()
		p := cli.Process{Env: os.LookupEnv, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
		root := &cobra.Command{Use: "warder", SilenceErrors: true, SilenceUsage: true}
		root.AddCommand(server.NewCommand(p), demo.NewCommand(p))
		os.Exit(cli.Run(root, os.Args[1:], p))
	}
	os.Exit(m.Run())
}
