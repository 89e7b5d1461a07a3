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

// Exit codes of a command that could not be run, as env(1) and nohup(1) have them.
const (
	exitCannotRun = 126
	exitNotFound  = 127
)

// orphanTime is how long, after the command ended, what it left behind may go on
// writing to its streams.
const orphanTime = 2 * time.Second

// maskCommand runs a command with both its streams masked, and ends as it does.
func maskCommand(p cli.Process, o maskOptions, args []string) error {
	// Before the command starts, so that no signal is lost.
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, forwarded...)
	defer signal.Stop(signals)

	stdout, stderr := o.writer(p.Stdout), o.writer(p.Stderr)
	cmd := exec.Command(args[0], args[1:]...) //nolint:noctx // it ends when it is told to, as any command
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.Stdin, stdout, stderr
	cmd.WaitDelay = orphanTime
	// A group of its own: a signal to ours arrives once, through us. At a terminal
	// it is the group that Ctrl-C reaches and that may read, while this one writes.
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
			_ = cmd.Process.Signal(s) // an error: it has ended
		case err := <-ended:
			if closeErr := errors.Join(stdout.Close(), stderr.Close()); closeErr != nil && cmd.ProcessState.Success() {
				return outputError(closeErr)
			}
			return exitOf(cmd, err)
		}
	}
}

// exitOf returns how a command ended: nil for a good end.
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

// forwarded are the signals by which worker processes are told things.
var forwarded = []os.Signal{
	syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2,
	syscall.SIGWINCH, syscall.SIGCONT, syscall.SIGTTIN, syscall.SIGTTOU,
}

// bareExec takes the command's name off: the message around it has it already.
func bareExec(err error) error {
	if e, ok := errors.AsType[*exec.Error](err); ok {
		return e.Err
	}
	return cli.Cause(err)
}
