package server

import (
	"context"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"warder/cmd/warder/internal/cli"
	"warder/cmd/warder/internal/config"
	"warder/cmd/warder/internal/server/metrics"
	"warder/policy"
)

// NewCommand returns the command warder serve.
func NewCommand(p cli.Process) *cobra.Command {
	var o serveOptions
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Answer Envoy's checks",
		Long: `serve answers Envoy's checks until it is told to stop.

The configuration is the file of --config, else the one that WARDER_CONFIG names,
else ` + config.DefaultPath + ` when it is there, else the environment alone.
A variable that is set wins over the file:

` + environmentTable() + `
--policy wins over both. Paths in a file are relative to that file.

The policy and the files of listen.tls are reloaded when they change and on SIGHUP. If
a new version has problems, the old one stays in use. SIGTERM and SIGINT end the
process when the checks in flight are done (shutdown.delay, shutdown.timeout); a second
signal ends it at once.

--shadow enforces no denial of any route. Use it while the application still checks
requests itself. A request that would be denied is logged and counted as would_deny, and
forwarded without identity headers and with its credentials. Only ambiguous requests are
denied.

--shadow-policy also decides each request by a second policy, after the response is sent,
and logs and counts the differences. It sends a second request to the stores. The file is
watched like that of the first policy.

Decisions (log.decisions: all, deny or none) and the access log that Envoy sends are
written to standard output, one JSON line each, all else to standard error.

Store timeouts are below the deadline of a check (200ms), and that has to be below
the timeout of Envoy's ext_authz filter, so that warder always answers before Envoy gives up.`,
		Example: `  warder serve -c warder.yaml

  export DATABASE_URL=postgres://warder@db/app REDIS_URL=redis://redis:6379/0
  export WARDER_JWT_SECRET_FILE=/run/secrets/jwt
  warder serve -p policy.yaml`,
		Args: cli.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return serve(cmd.Context(), p, o)
		},
	}
	cli.AddConfigFlag(cmd, &o.configPath)
	cli.AddPolicyFlag(cmd, &o.policyPath)
	cmd.Flags().BoolVar(&o.shadow, "shadow", false, "decide, log and count, and enforce NO denial")
	cmd.Flags().StringVar(&o.nextPath, "shadow-policy", "", "decide by this policy `file` or folder too, and count where it differs")
	return cmd
}

// serveOptions are the command-line options of warder serve.
type serveOptions struct {
	configPath, policyPath string
	shadow                 bool
	nextPath               string
}

// environmentTable lists the environment variables that set keys, for the help text.
func environmentTable() string {
	var b strings.Builder
	for _, v := range config.Variables {
		b.WriteString("  " + v.Name + strings.Repeat(" ", 26-len(v.Name)) + v.Key + "\n")
	}
	return b.String()
}

func serve(ctx context.Context, p cli.Process, o serveOptions) error {
	signaled, end := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer end()
	stop, shutDown := context.WithCancel(context.WithoutCancel(ctx))
	defer shutDown()
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	go func() {
		<-signaled.Done()
		// Another signal ends the process at once from now on, when the log reports the shutdown.
		end()
		shutDown()
	}()

	path, err := config.FindFile(o.configPath, p.Env)
	if err != nil {
		return err
	}
	c := config.Read(path, p.Env)
	if o.policyPath != "" {
		c.UsePolicy(o.policyPath)
	}
	s, warnings, err := c.Resolve()
	if err != nil {
		// Report the problems of the policy in the same run.
		found := cli.ProblemsOf("", err)
		if c.PolicyKnown() {
			found = append(found, policyProblems(string(c.Policy), p.Env)...)
		}
		return found.Err()
	}
	dropped := metrics.NewDroppedLines()
	log, lines := newQueuedLogger(p.Stderr, s.Log, dropped)
	defer lines.close(0)
	logWarnings(log, warnings)
	srv, err := New(s, Options{Stdout: p.Stdout, Log: log, Dropped: dropped, Env: p.Env, Hangup: hangup, Shadow: o.shadow, NextPolicy: o.nextPath})
	if err != nil {
		return err
	}
	return srv.Run(stop)
}

// policyProblems returns all problems of a policy.
func policyProblems(path string, env cli.LookupEnv) cli.Problems {
	_, err := policy.Load(path, env)
	return cli.ProblemsOf(path, err)
}
