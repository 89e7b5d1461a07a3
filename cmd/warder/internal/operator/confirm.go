package operator

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"warder/cmd/warder/internal/cli"
)

// A Confirmation asks before a change, unless --yes is given.
type Confirmation struct{ yes bool }

// AddYesFlag adds the flag --yes.
func AddYesFlag(cmd *cobra.Command) *Confirmation {
	c := &Confirmation{}
	cmd.Flags().BoolVar(&c.yes, "yes", false, "do it without asking")
	return c
}

// errDeclined is the result of an answer that is not yes.
var errDeclined = errors.New("nothing was changed")

// Ask writes what is about to happen to standard error, one line each, and asks whether to do
// it. It returns nil for yes. Without a terminal there is nobody to ask, and only --yes is a
// yes.
func (c *Confirmation) Ask(p cli.Process, plan ...string) error {
	for _, line := range plan {
		fmt.Fprintln(p.Stderr, line)
	}
	if c.yes {
		return nil
	}
	if in, ok := p.Stdin.(*os.File); !ok || !term.IsTerminal(int(in.Fd())) {
		return errors.New("nothing was changed: standard input is not a terminal, so nobody can be asked; --yes does it without asking")
	}
	fmt.Fprint(p.Stderr, "Continue? [y/N] ")
	answer, err := bufio.NewReader(p.Stdin).ReadString('\n')
	if err != nil {
		fmt.Fprintln(p.Stderr)
		return errDeclined
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return errDeclined
}
