package filter

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"warder/cmd/warder/internal/cli"
)

// Exit codes for a command that could not be run, the same as those of env(1) and nohup(1).
const (
	exitCannotRun = 126
	exitNotFound  = 127
)

// orphanTime is how long processes that the command left behind may still write to its
// streams after the command has ended.
const orphanTime = 2 * time.Second

// maskCommand runs a command, masks its standard output and standard error, and returns its
// exit code as an error.
func maskCommand(p cli.Process, o maskOptions, args []string) error {
	// Before the command starts, so that no signal is lost.
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, forwarded...)
	defer signal.Stop(signals)

	stdout, stderr := o.writer(p.Stdout), o.writer(p.Stderr)
	cmd := exec.Command(args[0], args[1:]...) //nolint:noctx // it ends by itself or by a signal, as any command
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.Stdin, stdout, stderr
	cmd.WaitDelay = orphanTime
	// The command gets its own process group, so that a signal to our group reaches it only
	// once, through us. At a terminal its group becomes the foreground group: Ctrl-C reaches
	// it, and it may read from the terminal, while this process only writes.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if fd, typed := terminal(p.Stdin); typed {
		cmd.SysProcAttr.Foreground, cmd.SysProcAttr.Ctty = true, fd
		signal.Ignore(syscall.SIGTTIN, syscall.SIGTTOU)
	}
	if err := cmd.Start(); err != nil {
		fmt.Fprintf(p.Stderr, "warder: %s cannot be run: %v\n", args[0], bareExec(err))
		if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
			return cli.ExitError(exitNotFound)
		}
		return cli.ExitError(exitCannotRun)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			_ = cmd.Process.Signal(s) // an error means that the command has ended
		case err := <-ended:
			if closeErr := errors.Join(stdout.Close(), stderr.Close()); closeErr != nil && cmd.ProcessState.Success() {
				return outputError(closeErr)
			}
			return exitOf(cmd, err)
		}
	}
}

// exitOf returns nil for a command that succeeded, or else its exit code as an error.
func exitOf(cmd *exec.Cmd, err error) error {
	state := cmd.ProcessState
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return cli.ExitError(128 + int(status.Signal()))
	}
	if code := state.ExitCode(); code != 0 {
		return cli.ExitError(code)
	}
	if err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return outputError(err)
	}
	return nil
}

// forwarded lists the signals that are forwarded to the command.
var forwarded = []os.Signal{
	syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2,
	syscall.SIGWINCH, syscall.SIGCONT, syscall.SIGTTIN, syscall.SIGTTOU,
}

// bareExec returns an error without the command's name. The message around it already names
// the command.
func bareExec(err error) error {
	if e, ok := errors.AsType[*exec.Error](err); ok {
		return e.Err
	}
	return cli.Cause(err)
}
