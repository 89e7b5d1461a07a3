package server

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"warder/cmd/warder/internal/clitest"
)

// mountinfo is the mountinfo file in a pod whose policy is mounted with subPath. It contains a
// name with escapes, an overlay, and a malformed line.
const mountinfo = `2041 1519 0:347 / / rw,relatime master:651 - overlay overlay rw,lowerdir=/var/lib/a:/var/lib/b,upperdir=/u,workdir=/w
2042 2041 0:351 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw
2050 2041 259:1 /kubelet/pods/0e1d/volume-subpaths/policy/warder/0 /etc/warder/policy.yaml ro,relatime - ext4 /dev/root rw
2051 2041 259:1 /x /etc/with\040space\011tab\134and\040more/policy.yaml ro,relatime - ext4 /dev/root rw
2052 2041 259:1 /x /etc/odd\8\09\777\04 ro,relatime - ext4 /dev/root rw
2053 2041

2054 2041 0:360 / /etc/warder/policies ro,relatime - tmpfs tmpfs rw`

func TestMountPoints(t *testing.T) {
	t.Parallel()
	got := mountPoints(strings.NewReader(mountinfo))
	want := []string{
		"/", "/proc", "/etc/warder/policy.yaml", "/etc/with space\ttab\\and more/policy.yaml", `/etc/odd\8\09\777\04`, "/etc/warder/policies",
	}
	if len(got) != len(want) || slices.ContainsFunc(want, func(p string) bool { return !got[p] }) {
		t.Errorf("got %v, want %q", got, want)
	}
}

// TestIsMountedFile checks that only mounted files are reported. Mounted folders are fine.
func TestIsMountedFile(t *testing.T) {
	t.Parallel()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	file := clitest.WriteFile(t, dir, "policy.yaml", "version: 1\n")
	link := filepath.Join(dir, "link.yaml")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		want   bool
		path   string
		points map[string]bool
	}{
		{true, file, map[string]bool{file: true, "/": true}},
		{true, link, map[string]bool{file: true}},
		{false, file, map[string]bool{dir: true, "/": true}},
		{false, dir, map[string]bool{dir: true}},
		{false, link, map[string]bool{link: true}}, // the kernel knows no mount on a link
		{false, filepath.Join(dir, "gone"), map[string]bool{filepath.Join(dir, "gone"): true}},
	} {
		if got := isMountedFile(c.path, c.points); got != c.want {
			t.Errorf("%q, mounted %v: %v, want %v", c.path, c.points, got, c.want)
		}
	}
}
