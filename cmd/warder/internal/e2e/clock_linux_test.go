package e2e

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A wallClock steps the clock of one running process, and of no other. A Go program asks the vDSO
// for the time, which is code that the kernel maps into each process. Its function is replaced by
// one that makes the system call and adds an offset to the wall clock, as a step of the machine's
// clock does. The monotonic clock is not changed, as it is not by a step.
type wallClock struct {
	memory *os.File // of the process
	offset int64    // the address of the offset
}

// shiftedClock is the code for amd64: clock_gettime(edi, rsi), and for CLOCK_REALTIME (0) the
// offset, which follows the code, is added to the seconds.
var shiftedClock = []byte{
	0xb8, 0xe4, 0, 0, 0, // mov eax, 228
	0x0f, 0x05, // syscall
	0x85, 0xff, // test edi, edi
	0x75, 0x0a, // jne end
	0x48, 0x8b, 0x15, 6, 0, 0, 0, // mov rdx, [rip+6]
	0x48, 0x01, 0x16, // add [rsi], rdx
	0xc3,       // end: ret
	0x90, 0x90, // the offset is aligned, so that it is written at once
	0, 0, 0, 0, 0, 0, 0, 0,
}

// newWallClock takes over the clock of a process. It returns an error where that is not possible.
func newWallClock(t *testing.T, pid int) (*wallClock, error) {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		return nil, fmt.Errorf("the code is for amd64 and this is %s", runtime.GOARCH)
	}
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return nil, err
	}
	var begin, end int64
	for line := range strings.Lines(string(maps)) {
		if strings.HasSuffix(strings.TrimSpace(line), "[vdso]") {
			if _, err := fmt.Sscanf(line, "%x-%x", &begin, &end); err != nil {
				return nil, err
			}
		}
	}
	memory, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { memory.Close() })
	image := make([]byte, end-begin)
	if _, err := memory.ReadAt(image, begin); err != nil {
		return nil, err
	}
	file, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return nil, err
	}
	symbols, err := file.DynamicSymbols()
	if err != nil {
		return nil, err
	}
	for _, s := range symbols {
		if s.Name != "__vdso_clock_gettime" || s.Size < uint64(len(shiftedClock)) {
			continue
		}
		at := begin + int64(s.Value)
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			return nil, err
		}
		_, err := memory.WriteAt(shiftedClock, at)
		_ = syscall.Kill(pid, syscall.SIGCONT)
		return &wallClock{memory, at + int64(len(shiftedClock)) - 8}, err
	}
	return nil, fmt.Errorf("the vDSO has no clock_gettime of %d bytes", len(shiftedClock))
}

// set makes the clock of the process differ from the machine's.
func (c *wallClock) set(t *testing.T, offset time.Duration) {
	t.Helper()
	seconds := binary.LittleEndian.AppendUint64(nil, uint64(offset/time.Second)) // two's complement, as the code adds it
	if _, err := c.memory.WriteAt(seconds, c.offset); err != nil {
		t.Fatal(err)
	}
}

// TestWallClock checks that the clock of another process can be stepped back and forth, so that
// the rows of the matrix that do so test what they say.
func TestWallClock(t *testing.T) {
	t.Parallel()
	other := exec.CommandContext(t.Context(), os.Args[0])
	other.Env = append(os.Environ(), printClock+"=1")
	dieWithParent(other)
	in, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	read := func() time.Duration {
		t.Helper()
		var at int64
		before := time.Now()
		if _, err := fmt.Fprintln(in); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fscan(out, &at); err != nil {
			t.Fatal(err)
		}
		return time.UnixMilli(at).Sub(before)
	}
	read() // it has started
	clock, err := newWallClock(t, other.Process.Pid)
	if err != nil {
		t.Skipf("%s is left out, and with it the steps of the clock in the matrix of faults: %v", t.Name(), err)
	}
	for _, offset := range []time.Duration{0, time.Hour, -time.Hour, 0} {
		clock.set(t, offset)
		if got := read(); got < offset-time.Minute || got > offset+time.Minute {
			t.Errorf("its clock differs by %v, want %v", got, offset)
		}
	}
	_ = in.Close()
	if err := other.Wait(); err != nil {
		t.Error(err)
	}
}
