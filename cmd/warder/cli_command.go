package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func addConfigFlag(cmd *cobra.Command, path *string) {
	cmd.Flags().StringVarP(path, "config", "c", "", "the configuration `file` (WARDER_CONFIG)")
}

func addPolicyFlag(cmd *cobra.Command, path *string) {
	cmd.Flags().StringVarP(path, "policy", "p", "", "the policy: a `file`, or a folder of *.yaml (WARDER_POLICY)")
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

func (o *outputFormat) Type() string { return "text|json" }

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
