package e2e

import (
	"bufio"
	"fmt"
	"os"
	"testing"
	"time"
	_ "time/tzdata" // warder has it too

	"github.com/spf13/cobra"

	"warder/cmd/warder/internal/cli"
	"warder/cmd/warder/internal/demo"
	"warder/cmd/warder/internal/server"
)

// printClock makes this test binary print the time whenever it reads a line. See TestMain.
const printClock = "WARDER_TEST_PRINT_CLOCK"

// TestMain runs this test binary as warder if the environment says so, with the commands that
// run a server. Therefore the program under test has the race detector if the tests have it,
// and a change of another command does not run these tests again. Otherwise it may be the process
// of TestWallClock.
func TestMain(m *testing.M) {
	if os.Getenv(printClock) != "" {
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			fmt.Println(time.Now().UnixMilli())
		}
		os.Exit(0)
	}
	server.SilenceLibraries()
	if os.Getenv(asWarder) != "" {
		p := cli.Process{Env: os.LookupEnv, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
		root := &cobra.Command{Use: "warder", SilenceErrors: true, SilenceUsage: true}
		root.AddCommand(server.NewCommand(p), demo.NewCommand(p))
		os.Exit(cli.Run(root, os.Args[1:], p))
	}
	os.Exit(m.Run())
}
