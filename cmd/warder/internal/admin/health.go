package admin

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"warder/cmd/warder/internal/cli"
	"warder/cmd/warder/internal/config"
)

// NewHealthCommand returns the command warder health.
func NewHealthCommand(p cli.Process) *cobra.Command {
	var configPath, target string
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask a running warder whether it is ready",
		Long: `health requests /readyz from a running warder and exits with 0 when it is ready.
Use it as the health check of a container that has no shell and no curl.

The address is listen.admin of the configuration, which is found in the same way as by
serve, unless --url is given.`,
		Example: `  warder health
  warder health --url http://127.0.0.1:9192/healthz

  HEALTHCHECK CMD ["/warder", "health"]`,
		Args: cli.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if target != "" && configPath != "" {
				return cli.WrongUsage(cmd, fmt.Errorf("--url and --config both name an address; give only one of them"))
			}
			admin := config.Address{}
			if target == "" {
				path, err := config.FindFile(configPath, p.Env)
				if err != nil {
					return err
				}
				if admin, err = config.AdminAddress(path, p.Env); err != nil {
					return err
				}
				target = "http://" + reachable(admin) + "/readyz"
			} else if u, err := url.Parse(target); err != nil || u.Scheme != "http" || u.Host == "" {
				return cli.WrongUsage(cmd, fmt.Errorf("--url is not an http:// URL; write one such as http://127.0.0.1:9192/readyz"))
			}
			return askHealth(cmd.Context(), p.Stdout, target, admin)
		},
	}
	cli.AddConfigFlag(cmd, &configPath)
	cmd.Flags().StringVar(&target, "url", "", "the `URL` to ask")
	return cmd
}

const healthTime = 3 * time.Second

func askHealth(ctx context.Context, out io.Writer, target string, admin config.Address) error {
	ctx, cancel := context.WithTimeout(ctx, healthTime)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return err
	}
	response, err := Client(admin).Do(request)
	if err != nil {
		return NoAnswer(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 4<<10))
	if err != nil {
		return fmt.Errorf("the answer could not be read in full: %w", err)
	}
	text := strings.TrimSpace(string(body))
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", response.Status, text)
	}
	_, err = fmt.Fprintln(out, text)
	return err
}
