package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A process is what a command takes from the world around it.
type process struct {
	env            lookupEnv
	stdin          io.Reader
	stdout, stderr io.Writer
}

// Exit codes.
const (
	exitGood    = 0
	exitFailure = 1
	exitUsage   = 2
)

// A usageError is a command line that cannot be understood.
type usageError struct {
	command string // as in "warder validate"
	err     error
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// errReported ends a command that failed and has said why.
var errReported = errors.New("reported")

// run is the program: it runs the command that args name and returns the exit code.
func run(args []string, p process) int {
	root := newRootCommand(p)
	root.SetArgs(args)
	err := root.Execute()
	usage, isUsage := errors.AsType[*usageError](err)
	code, isExit := errors.AsType[exitError](err)
	switch {
	case err == nil:
		return exitGood
	case isExit:
		return int(code)
	case isUsage:
		fmt.Fprintf(p.stderr, "warder: %s\nRun '%s --help' for usage.\n", usage, usage.command)
		return exitUsage
	case errors.Is(err, errReported):
	default:
		fmt.Fprintf(p.stderr, "warder: %s\n", strings.ReplaceAll(err.Error(), "\n", "\nwarder: "))
	}
	return exitFailure
}

func newRootCommand(p process) *cobra.Command {
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
		Args:          knownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetIn(p.stdin)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(flagError)
	addGroup(root, "policy", "The route policy:",
		newValidateCommand(p),
		newRoutesCommand(p),
		newExplainCommand(p),
		newTestCommand(p),
		newDiffCommand(p),
		newImportCommand(p),
		newSchemaCommand(p),
	)
	addGroup(root, "service", "The service:",
		newServeCommand(p),
		newHealthCommand(p),
		newMaskCommand(p),
		newDemoCommand(p),
		newVersionCommand(p),
	)
	root.SetHelpCommandGroupID("service")
	root.InitDefaultHelpCmd()
	for _, c := range root.Commands() {
		if c.Name() == "help" {
			c.Args = knownTopic
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

// knownTopic is the Args of help, which takes the name of a command.
func knownTopic(help *cobra.Command, args []string) error {
	found, rest, err := help.Root().Find(args)
	if err == nil && found.HasSubCommands() {
		return knownCommand(found, rest)
	}
	return err
}

// knownCommand is the Args of a command that only has commands below it.
func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return &usageError{cmd.CommandPath(), fmt.Errorf("unknown command %q%s", args[0], didYouMean(args[0], names))}
}

// noArguments is the Args of a command that takes flags only.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := cmd.CommandPath() + " takes flags only"
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if f.Shorthand+f.Value.String() == f.Name {
			hint = fmt.Sprintf("-%s is read as -%s %s, so write --%s", f.Name, f.Shorthand, f.Value, f.Name)
		}
	})
	return &usageError{cmd.CommandPath(), fmt.Errorf("unexpected argument %q; %s", args[0], hint)}
}

func flagError(cmd *cobra.Command, err error) error {
	if args := cmd.Flags().Args(); cmd.HasSubCommands() && len(args) > 0 {
		return knownCommand(cmd, args) // a misspelled one has none of the flags
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, "--"+f.Name)
		}
	})
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok {
		given := "--" + unknown.GetSpecifiedName()
		hint := didYouMean(given, names)
		if shorts := unknown.GetSpecifiedShortnames(); shorts != "" {
			given = "-" + shorts
			hint = didYouMean("-"+given, names)
		}
		if c, _, wrong := cmd.Find([]string{unknown.GetSpecifiedName()}); wrong == nil && c != cmd {
			hint = fmt.Sprintf("; write %s for the command", c.CommandPath())
		}
		err = fmt.Errorf("unknown flag %s%s", given, hint)
	}
	if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok && invalid.GetFlag().Value.Type() == "bool" {
		err = fmt.Errorf("--%s=%s: leave the value out, or write true or false", invalid.GetFlag().Name, invalid.GetValue())
	}
	return &usageError{cmd.CommandPath(), err}
}

// outputFormat is the flag -o of commands whose result is for people or programs.
type outputFormat string

const (
	outputText outputFormat = "text"
	outputJSON outputFormat = "json"
)

var _ pflag.Value = new(outputFormat)

func (o *outputFormat) String() string { return string(*o) }
func (o *outputFormat) Type() string   { return "text|json" }

func (o *outputFormat) Set(s string) error {
	switch f := outputFormat(s); f {
	case outputText, outputJSON:
		*o = f
		return nil
	}
	return errors.New("use text or json")
}

func addOutputFlag(cmd *cobra.Command, o *outputFormat) {
	*o = outputText
	cmd.Flags().VarP(o, "output", "o", "how the result is written")
}
