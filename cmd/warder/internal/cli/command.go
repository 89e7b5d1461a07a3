package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// AddConfigFlag adds the flag --config.
func AddConfigFlag(cmd *cobra.Command, path *string) {
	cmd.Flags().StringVarP(path, "config", "c", "", "the configuration `file` (WARDER_CONFIG)")
}

// AddPolicyFlag adds the flag --policy.
func AddPolicyFlag(cmd *cobra.Command, path *string) {
	cmd.Flags().StringVarP(path, "policy", "p", "", "the policy: a `file`, or a folder of *.yaml (WARDER_POLICY)")
}

// WrongUsage returns a [UsageError] for a command line of cmd that cannot be understood.
func WrongUsage(cmd *cobra.Command, err error) error { return &UsageError{cmd.CommandPath(), err} }

// KnownTopic checks the arguments of help, which takes the name of a command.
func KnownTopic(help *cobra.Command, args []string) error {
	found, rest, err := help.Root().Find(args)
	if err == nil && found.HasSubCommands() {
		return KnownCommand(found, rest)
	}
	return err
}

// KnownCommand checks the arguments of a command that does nothing but hold subcommands.
func KnownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return WrongUsage(cmd, fmt.Errorf("unknown command %q%s", args[0], didYouMean(args[0], names)))
}

// NoArguments checks the arguments of a command that takes flags only.
func NoArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := cmd.CommandPath() + " takes flags only"
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if f.Shorthand+f.Value.String() == f.Name {
			hint = fmt.Sprintf("-%s is read as -%s %s, so write --%s", f.Name, f.Shorthand, f.Value, f.Name)
		}
	})
	return WrongUsage(cmd, fmt.Errorf("unexpected argument %q; %s", args[0], hint))
}

// FlagError turns an error of the flag package into a usage error with a hint.
func FlagError(cmd *cobra.Command, err error) error {
	if args := cmd.Flags().Args(); cmd.HasSubCommands() && len(args) > 0 {
		return KnownCommand(cmd, args) // a misspelled command has no flags
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
			hint = fmt.Sprintf("; did you mean the command %s?", c.CommandPath())
		}
		err = fmt.Errorf("unknown flag %s%s", given, hint)
	}
	if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok && invalid.GetFlag().Value.Type() == "bool" {
		err = fmt.Errorf("--%s=%s: leave the value out, or write true or false", invalid.GetFlag().Name, invalid.GetValue())
	}
	return WrongUsage(cmd, err)
}

// An OutputFormat is the value of the flag -o: whether the result is for people or programs.
type OutputFormat string

// The formats of a result.
const (
	OutputText OutputFormat = "text"
	OutputJSON OutputFormat = "json"
)

var _ pflag.Value = new(OutputFormat)

func (o *OutputFormat) String() string { return string(*o) }

func (o *OutputFormat) Type() string { return "text|json" }

func (o *OutputFormat) Set(s string) error {
	switch f := OutputFormat(s); f {
	case OutputText, OutputJSON:
		*o = f
		return nil
	}
	return errors.New("use text or json")
}

// AddOutputFlag adds the flag --output. The default is text.
func AddOutputFlag(cmd *cobra.Command, o *OutputFormat) {
	*o = OutputText
	cmd.Flags().VarP(o, "output", "o", "the format of the result")
}
