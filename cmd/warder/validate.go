package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"warder/cmd/warder/internal/cli"
	"warder/cmd/warder/internal/config"
	"warder/cmd/warder/internal/server"
)

func newValidateCommand(p cli.Process) *cobra.Command {
	var v validation
	var output cli.OutputFormat
	var strict bool
	cmd := &cobra.Command{
		Use:   "validate",
		Short: "Report every problem in a policy and a configuration",
		Long: `validate reads the policy, the configuration, or both, and reports all problems
at once, with file, line and column. It reads the files that the
configuration names (secrets, certificates, the directory file) and connects to nothing.

With --config alone, it also checks the policy that the configuration names. With neither
flag, it checks the files that WARDER_CONFIG and WARDER_POLICY name. --policy - reads the
policy from standard input. It warns of what is valid but probably a mistake: routes that no
request can reach, public routes inside the paths of a protected route, names that look
misspelled, lists that are not used. Problems and warnings go to standard error. Warnings
leave the exit code at 0, unless --strict is given.

In JSON: {ok, problems: [{file, line, column, field, message}], warnings: [{…}]}. Fields
that do not apply are left out, such as line when the problem is about the whole file.`,
		Example: `  warder validate -p policy.yaml
  warder validate -c warder.yaml -p policy.yaml --strict
  warder validate -p policies/ -o json | jq .problems
  git show HEAD:policy.yaml | warder validate -p -`,
		Args: cli.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if v.configPath == "" && v.policyPath == "" {
				v.configPath = config.NamedFile("", p.Env)
				v.policyPath, _ = p.Env("WARDER_POLICY")
			}
			if v.configPath == "" && v.policyPath == "" {
				return cli.WrongUsage(cmd, fmt.Errorf("nothing to check; give --policy, --config or both, or set WARDER_POLICY or WARDER_CONFIG"))
			}
			v.run(p)
			return v.report(p, output, strict)
		},
	}
	cli.AddConfigFlag(cmd, &v.configPath)
	cli.AddPolicyFlag(cmd, &v.policyPath)
	cli.AddOutputFlag(cmd, &output)
	cmd.Flags().BoolVar(&strict, "strict", false, "exit with 1 when there are warnings too")
	return cmd
}

// A validation holds the files to check and the problems found in them.
type validation struct {
	configPath, policyPath string

	good               []string // a line for each valid file
	problems, warnings cli.Problems
}

func (v *validation) run(p cli.Process) {
	policyPath := v.policyPath
	var settings *config.Settings
	keysOff := false
	if v.configPath != "" {
		c := config.Read(v.configPath, p.Env)
		if policyPath == "" {
			policyPath = string(c.Policy)
		} else {
			c.UsePolicy(policyPath)
		}
		keysOff = c.APIKeysOff()
		s, warnings, err := c.Resolve()
		v.warnings = append(v.warnings, warnings...)
		if err != nil {
			v.problems = append(v.problems, cli.ProblemsOf(v.configPath, err)...)
		} else {
			settings = s
			v.good = append(v.good, v.configPath+": ok")
		}
		if !c.PolicyKnown() {
			return
		}
	}
	routes, err := cli.LoadPolicy(p, policyPath)
	if err != nil {
		v.problems = append(v.problems, cli.ProblemsOf(policyPath, err)...)
		return
	}
	if found := server.APIKeyProblems(routes, policyPath, keysOff); len(found) > 0 {
		v.problems = append(v.problems, found...)
		return
	}
	v.good = append(v.good, fmt.Sprintf("%s: ok, %s", cli.InputName(policyPath), cli.Count(len(routes.Routes()), "route")))
	v.warnings = append(v.warnings, routes.Warnings()...)
	if settings != nil {
		v.warnings = append(v.warnings, server.ConfiguredWarnings(routes, policyPath, settings)...)
	}
}

func (v *validation) report(p cli.Process, output cli.OutputFormat, strict bool) error {
	failed := len(v.problems) > 0 || strict && len(v.warnings) > 0
	v.problems, v.warnings = v.problems.Sorted(), v.warnings.Sorted()
	if output == cli.OutputJSON {
		err := cli.WriteJSON(p.Stdout, struct {
			OK       bool         `json:"ok"`
			Problems cli.Problems `json:"problems"`
			Warnings cli.Problems `json:"warnings"`
		}{!failed, cli.OrEmpty(v.problems), cli.OrEmpty(v.warnings)})
		if err != nil {
			return err
		}
	} else {
		for _, problem := range v.problems {
			fmt.Fprintln(p.Stderr, problem)
		}
		for _, warning := range v.warnings {
			fmt.Fprintln(p.Stderr, "warning:", warning)
		}
		for _, line := range v.good {
			if _, err := fmt.Fprintln(p.Stdout, line); err != nil {
				return err
			}
		}
	}
	if failed {
		return cli.ErrReported
	}
	return nil
}
