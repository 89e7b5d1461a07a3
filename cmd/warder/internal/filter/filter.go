package filter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"warder/authz/mask"
	"warder/cmd/warder/internal/cli"
)

// NewCommand returns the command warder mask.
func NewCommand(p cli.Process) *cobra.Command {
	var o maskOptions
	cmd := &cobra.Command{
		Use:   "mask [flags] [-- COMMAND ARG…]",
		Short: "Mask the secrets in a stream, or in the output of a command",
		Long: `mask copies standard input to standard output, each line as soon as it is read, and
replaces secrets by ` + mask.Replacement + `. Secrets are the values of sensitive keys in JSON, logfmt,
query strings, forms, headers and Python's repr; tokens, Bearer and Basic credentials,
API keys, passwords in URLs.

With a COMMAND, mask runs it and masks its standard output and standard error
instead. Signals are forwarded to the command. mask exits with the exit code of the command:
128 plus the signal's number if a signal ended it, 127 if there is no such command, 126 if it
cannot be run.

A line of more than ` + fmt.Sprint(mask.MaxLine>>20) + ` MiB is cut and marked. Use --json for JSON values
that span several lines: mask holds such a value back until it is complete, and masks it as a whole.`,
		Example: `  celery -A app worker 2>&1 | warder mask
  warder mask -- celery -A app worker
  kubectl get secret app -o json | warder mask --json --keys data`,
		Args: func(cmd *cobra.Command, args []string) error {
			if dash := cmd.ArgsLenAtDash(); len(args) > 0 && dash != 0 {
				return cli.WrongUsage(cmd, fmt.Errorf("unexpected argument %q; write the command after --, as in: warder mask -- %s", args[0], strings.Join(args, " ")))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := mask.NewMasker(o.keys...); err != nil {
				return cli.WrongUsage(cmd, fmt.Errorf("--keys: %w", err))
			}
			masker, err := mask.NewMaskerKeeping(o.keys, o.keep)
			if err != nil {
				return cli.WrongUsage(cmd, fmt.Errorf("--keep: %w", err))
			}
			for _, key := range o.keep {
				fmt.Fprintf(p.Stderr, "warder: warning: --keep: %s\n", mask.KeptWarning(key))
			}
			o.masker = masker
			if len(args) > 0 {
				return maskCommand(p, o, args)
			}
			return maskStream(cmd.Context(), p, o)
		},
	}
	cmd.Flags().StringSliceVar(&o.keys, "keys", nil, "more sensitive `keys` besides the built-in ones, separated by commas")
	cmd.Flags().StringSliceVar(&o.keep, "keep", nil, "a sensitive `key` whose values are not masked; repeatable; never password, authorization, cookie or secret")
	cmd.Flags().BoolVar(&o.json, "json", false, "mask JSON values that span several lines as a whole")
	return cmd
}

type maskOptions struct {
	keys   []string
	keep   []string
	json   bool
	masker *mask.Masker
}

// writer returns a writer that masks secrets and writes to w.
func (o maskOptions) writer(w io.Writer) *mask.Writer {
	if o.json {
		return mask.NewJSONWriter(w, o.masker)
	}
	return mask.NewWriter(w, o.masker)
}

// settleInput is how long standard input must be silent after SIGTERM before it counts as
// ended.
const settleInput = 100 * time.Millisecond

// maskStream copies standard input to standard output. SIGTERM ends it after the input that
// was written before the signal is copied. It ignores SIGINT unless standard input is the
// terminal: Ctrl-C also reaches the program that writes the stream, and that program may
// still write output.
func maskStream(ctx context.Context, p cli.Process, o maskOptions) error {
	ctx, end := signal.NotifyContext(ctx, syscall.SIGTERM)
	defer end()
	if _, typed := terminal(p.Stdin); !typed {
		signal.Ignore(syscall.SIGINT)
		defer signal.Reset(syscall.SIGINT)
	}
	out := o.writer(p.Stdout)
	chunks := make(chan []byte)
	read := make(chan error, 1)
	free := make(chan []byte, 2)
	free <- make([]byte, maskBuffer)
	free <- make([]byte, maskBuffer)
	go func() {
		for {
			buf := <-free
			n, err := p.Stdin.Read(buf[:maskBuffer])
			if n > 0 {
				chunks <- buf[:n]
			} else {
				free <- buf
			}
			if err != nil {
				read <- err
				return
			}
		}
	}()
	var quiet <-chan time.Time
	told := ctx.Done()
	for {
		select {
		case chunk := <-chunks:
			if _, err := out.Write(chunk); err != nil {
				return outputError(err)
			}
			free <- chunk
			if told == nil {
				quiet = time.After(settleInput)
			}
			continue
		case <-told:
			told, quiet = nil, time.After(settleInput)
			continue
		case <-quiet:
		case err := <-read:
			if !errors.Is(err, io.EOF) {
				return errors.Join(outputError(out.Close()), fmt.Errorf("standard input cannot be read: %w", cli.Cause(err)))
			}
		}
		return outputError(out.Close())
	}
}

// maskBuffer is the size of one read, in bytes.
const maskBuffer = 64 << 10

func outputError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("standard output cannot be written: %w", cli.Cause(err))
}

// terminal returns the descriptor of a stream, and whether the stream is a terminal with this
// process in its foreground group.
func terminal(stream any) (fd int, ok bool) {
	f, ok := stream.(*os.File)
	if !ok {
		return 0, false
	}
	fd = int(f.Fd())
	group, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
	return fd, err == nil && group == unix.Getpgrp()
}
