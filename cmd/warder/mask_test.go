package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"warder/authz/mask"
)

// A maskProcess is a running `warder mask`.
type maskProcess struct {
	*exec.Cmd
	in    io.WriteCloser
	lines *bufio.Reader
}

func startMask(t *testing.T, args ...string) *maskProcess {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &maskProcess{Cmd: exec.CommandContext(t.Context(), program, append([]string{"mask"}, args...)...)}
	p.Env = append(os.Environ(), asProgram+"=1")
	p.Stderr = os.Stderr
	if p.in, err = p.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.lines = bufio.NewReader(out)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Process.Kill() })
	return p
}

func (p *maskProcess) write(t *testing.T, text string) {
	t.Helper()
	if _, err := io.WriteString(p.in, text); err != nil {
		t.Fatal(err)
	}
}

// want reads one line, or the rest of the output if it has no newline, and compares it.
func (p *maskProcess) want(t *testing.T, want string) {
	t.Helper()
	got, err := p.lines.ReadString('\n')
	if got != want || err != nil && !errors.Is(err, io.EOF) {
		t.Fatalf("read %q (%v), want %q", got, err, want)
	}
}

// TestMaskFollows checks that each line is written before the next one is read, and that a
// last line without a newline is not lost.
func TestMaskFollows(t *testing.T) {
	t.Parallel()
	for _, flags := range [][]string{nil, {"--json"}} {
		p := startMask(t, flags...)
		for i := range 3 {
			p.write(t, fmt.Sprintf("line %d password=c4n4ry\r\n", i))
			p.want(t, fmt.Sprintf("line %d password=***FILTERED***\r\n", i)) // hangs if mask waits for more input
		}
		p.write(t, "{\"token\":\"c4n4ry\"}\npassword=c4n4ry")
		_ = p.in.Close()
		p.want(t, "{\"token\":\"***FILTERED***\"}\n")
		p.want(t, "password=***FILTERED***")
		if err := p.Wait(); err != nil {
			t.Error(err)
		}
	}
}

// TestMaskSignals checks that mask ends on SIGTERM, after it has written all of its input,
// and that it ignores SIGINT, which is meant for the program that writes the input.
func TestMaskSignals(t *testing.T) {
	t.Parallel()
	p := startMask(t)
	p.write(t, "ready\n")
	p.want(t, "ready\n")
	sendSignal(t, p.Cmd, syscall.SIGINT)
	p.write(t, "still here\n")
	p.want(t, "still here\n")
	p.write(t, "1 password=c4n4ry\n2 password=c4n4ry")
	sendSignal(t, p.Cmd, syscall.SIGTERM)
	p.want(t, "1 password=***FILTERED***\n")
	p.want(t, "2 password=***FILTERED***")
	if err := p.Wait(); err != nil {
		t.Error(err)
	}
}

// TestMaskLongLine checks that a line of 256 MiB is cut, and needs no memory for all of it.
func TestMaskLongLine(t *testing.T) {
	t.Parallel()
	const size, room = 256 << 20, 200 << 20 // most of room is for the race detector
	p := startMask(t)
	go func() {
		chunk := strings.Repeat("password=c4n4ry ", 1<<16)
		for range size / len(chunk) {
			if _, err := io.WriteString(p.in, chunk); err != nil {
				return
			}
		}
		_, _ = io.WriteString(p.in, "\nlast\n")
	}()
	line, err := p.lines.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(line, "c4n4ry") || !strings.HasPrefix(line, "password=***FILTERED*** ") || len(line) > 4*mask.MaxLine {
		t.Errorf("%d bytes, beginning with %.60q and ending with %q", len(line), line, line[max(0, len(line)-60):])
	}
	p.want(t, "last\n")
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Process.Pid))
	if err == nil { // Linux
		peak := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
		if n, err := strconv.Atoi(string(peak[1])); err != nil || n<<10 > room {
			t.Errorf("it took %s KiB of memory, want less than %d", peak[1], room>>10)
		}
	}
	_ = p.in.Close()
	if err := p.Wait(); err != nil {
		t.Error(err)
	}
}

// TestMaskCommandSignals checks that mask forwards each signal to the command exactly once.
func TestMaskCommandSignals(t *testing.T) {
	t.Parallel()
	p := startMask(t, "--", "sh", "-c", `
		trap 'echo hup token=c4n4ry' HUP
		trap 'echo usr1' USR1
		trap 'echo int' INT
		trap 'echo term; exit 3' TERM
		echo ready
		while :; do sleep 0.01; done`) // a shell runs traps between commands
	p.want(t, "ready\n")
	for _, s := range []struct {
		signal os.Signal
		want   string
	}{
		{syscall.SIGHUP, "hup token=***FILTERED***\n"},
		{syscall.SIGUSR1, "usr1\n"},
		{syscall.SIGINT, "int\n"},
		{syscall.SIGTERM, "term\n"},
	} {
		sendSignal(t, p.Cmd, s.signal)
		p.want(t, s.want)
	}
	if rest, err := io.ReadAll(p.lines); err != nil || len(rest) > 0 {
		t.Errorf("%q %v", rest, err)
	}
	err := p.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 3 {
		t.Errorf("ended with %v, want the command's exit code 3", err)
	}
}
