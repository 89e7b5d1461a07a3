//go:build pod

package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// stateVariable names the folder of all state, in the process that is inside the namespaces.
const stateVariable = "WARDER_POD_TEST_STATE"

// nodeAddress is the address of the node in its own network.
const nodeAddress = "10.0.0.1"

// TestMain runs the tests as the first process of new namespaces: for processes, mounts, the
// network, cgroups, the host name and IPC. All that the node starts, mounts and changes is in them and ends
// with that process, however it ends. What the tests write is in a tmpfs there.
func TestMain(m *testing.M) {
	if state := os.Getenv(stateVariable); state != "" {
		if err := enter(state); err != nil {
			fmt.Fprintln(os.Stderr, "pod-test:", err)
			os.Exit(1)
		}
		if err := os.Setenv("TMPDIR", state); err != nil { // of t.TempDir
			fmt.Fprintln(os.Stderr, "pod-test:", err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
	status, err := outside()
	if err != nil {
		fmt.Fprintln(os.Stderr, "pod-test:", err)
	}
	os.Exit(status)
}

// outside runs this program again inside, and removes what is left of it: its cgroups.
func outside() (status int, err error) {
	if os.Getuid() != 0 {
		return 1, errors.New("it needs root, for a kubelet with its own mounts, network and cgroups")
	}
	hierarchies, err := cgroups()
	if err != nil {
		return 1, err
	}
	state, err := os.MkdirTemp("", "wp")
	if err != nil {
		return 1, err
	}
	defer os.Remove(state) // the mount point; what was in it is gone with the namespace

	name := "warder-pod-test-" + strconv.Itoa(os.Getpid())
	for _, h := range hierarchies {
		defer func() { err = errors.Join(err, h.leave(name)) }()
		if err := h.join(name); err != nil {
			return 1, err
		}
	}

	// The child gets its signal when this thread ends.
	runtime.LockOSThread()
	child := exec.Command("/proc/self/exe", os.Args[1:]...)
	child.Env = append(os.Environ(), stateVariable+"="+state)
	child.Stdout, child.Stderr = os.Stdout, os.Stderr
	child.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS | unix.CLONE_NEWCGROUP,
		Pdeathsig:  syscall.SIGKILL,
		Setpgid:    true, // ^C is for this process, which ends the child
	}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	if err := child.Start(); err != nil {
		return 1, err
	}
	ended := make(chan error, 1)
	go func() { ended <- child.Wait() }()
	select {
	case err = <-ended:
	case s := <-interrupted:
		err = fmt.Errorf("%s", s)
		_ = child.Process.Kill() // and with it all other processes of the namespace
		<-ended
	}
	if child.ProcessState.Success() {
		return 0, nil
	}
	return 1, err
}

// A hierarchy is one mounted tree of cgroups, with one controller or several.
type hierarchy struct {
	controllers string // as in mount -o
	own         string // the folder of this process
}

// cgroups returns the hierarchies of the controllers that a kubelet uses.
func cgroups() ([]hierarchy, error) {
	data, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	var all []hierarchy
	for line := range strings.Lines(string(data)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 || fields[1] == "" || strings.HasPrefix(fields[1], "name=") {
			continue // version 2, or no controller
		}
		all = append(all, hierarchy{fields[1], filepath.Join("/sys/fs/cgroup", fields[1], fields[2])})
	}
	if len(all) == 0 {
		return nil, errors.New("it needs cgroups of version 1 or hybrid; this machine has version 2 only")
	}
	return all, nil
}

// join moves this process into a new cgroup, which is the root of what the node sees.
func (h hierarchy) join(name string) error {
	dir := filepath.Join(h.own, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if strings.Contains(h.controllers, "cpuset") {
		// A cpuset takes no process before it has these.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			value, err := os.ReadFile(filepath.Join(h.own, file))
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(dir, file), value, 0o600); err != nil {
				return err
			}
		}
	}
	return os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0o600)
}

// leave moves this process back, and removes the cgroup with all below it. The
// kernel may need a moment to let go of processes that were killed.
func (h hierarchy) leave(name string) error {
	dir := filepath.Join(h.own, name)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := os.WriteFile(filepath.Join(h.own, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
		return err
	}
	var err error
	for range 100 {
		if err = removeCgroup(dir); err == nil {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return err
}

// removeCgroup removes a cgroup and those below it: only the folders can be removed.
func removeCgroup(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeCgroup(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return os.Remove(dir)
}

// enter makes the namespaces a place for a node.
func enter(state string) error {
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"mounts", func() error { return mounts(state) }},
		{"cgroups", mountCgroups},
		{"kernel settings", func() error { return hideSettings(state) }},
		{"network", network},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	return nil
}

// mounts puts a tmpfs wherever the kubelet, containerd and the network plugins write.
func mounts(state string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return err
	}
	for _, dir := range []string{state, "/run", "/var/log"} {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"); err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
	}
	// /var/lib stays readable, since programs and caches may be there.
	upper, work := filepath.Join(state, "var-lib"), filepath.Join(state, "var-lib-work")
	if err := errors.Join(os.Mkdir(upper, 0o755), os.Mkdir(work, 0o755)); err != nil {
		return err
	}
	return unix.Mount("overlay", "/var/lib", "overlay", 0, "lowerdir=/var/lib,upperdir="+upper+",workdir="+work)
}

// mountCgroups shows the cgroups with this process's own as their root.
func mountCgroups() error {
	hierarchies, err := cgroups()
	if err != nil {
		return err
	}
	if err := unix.Unmount("/sys/fs/cgroup", unix.MNT_DETACH); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", "/sys/fs/cgroup", "tmpfs", 0, "mode=755"); err != nil {
		return err
	}
	for _, h := range hierarchies {
		dir := filepath.Join("/sys/fs/cgroup", h.controllers)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount("cgroup", dir, "cgroup", 0, h.controllers); err != nil {
			return fmt.Errorf("%s: %w", h.controllers, err)
		}
		for each := range strings.SplitSeq(h.controllers, ",") {
			if each == h.controllers {
				break
			}
			if err := os.Symlink(h.controllers, filepath.Join("/sys/fs/cgroup", each)); err != nil {
				return err
			}
		}
	}
	return nil
}

// hideSettings puts files in front of the settings of the kernel that a kubelet changes: they
// are those of the whole machine.
func hideSettings(state string) error {
	for name, value := range map[string]string{
		"kernel/panic": "10", "kernel/panic_on_oops": "1", "vm/overcommit_memory": "1", "vm/panic_on_oom": "0",
		"kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000",
	} {
		file := filepath.Join(state, "sysctl-"+strings.ReplaceAll(name, "/", "-"))
		if err := os.WriteFile(file, []byte(value+"\n"), 0o600); err != nil {
			return err
		}
		if err := unix.Mount(file, "/proc/sys/"+name, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// network gives the node an address and the default route that a kubelet asks for. Neither leads out.
func network() error {
	loopback, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(loopback); err != nil {
		return err
	}
	attributes := netlink.NewLinkAttrs()
	attributes.Name = "node0"
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attributes, PeerName: "node1"}); err != nil {
		return err
	}
	for _, name := range []string{"node0", "node1"} {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetUp(link); err != nil {
			return err
		}
	}
	link, err := netlink.LinkByName("node0")
	if err != nil {
		return err
	}
	address, err := netlink.ParseAddr(nodeAddress + "/24")
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(link, address); err != nil {
		return err
	}
	gateway, err := netlink.ParseAddr("10.0.0.2/24")
	if err != nil {
		return err
	}
	return netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: gateway.IP})
}
