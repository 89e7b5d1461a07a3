package server

import (
	"bufio"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// mountedAlone returns the files that are mount points themselves, as with Kubernetes'
// subPath and docker's -v FILE:FILE. Such a mount always shows the same file: if the file is
// replaced outside, the replacement is never visible here. On systems other than Linux it
// returns none.
func mountedAlone(paths []string) []string {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	defer f.Close()
	points := mountPoints(f)
	var alone []string
	for _, path := range paths {
		for _, file := range filesOf(path) {
			if isMountedFile(file, points) {
				alone = append(alone, file)
			}
		}
	}
	return alone
}

func isMountedFile(path string, points map[string]bool) bool {
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return false
	}
	if target, err = filepath.Abs(target); err != nil || !points[target] {
		return false
	}
	info, err := os.Stat(target)
	return err == nil && !info.IsDir()
}

// mountPoints returns the mount points in a mountinfo file (proc_pid_mountinfo(5)), which are
// the fifth field of each line. It skips malformed lines.
func mountPoints(mountinfo io.Reader) map[string]bool {
	points := map[string]bool{}
	lines := bufio.NewScanner(mountinfo)
	lines.Buffer(nil, 1<<20) // lines of overlays list all layers
	for lines.Scan() {
		if fields := strings.Fields(lines.Text()); len(fields) >= 6 {
			points[withoutOctal(fields[4])] = true
		}
	}
	return points
}

// withoutOctal decodes the octal escapes of mountinfo: a space is \040, a backslash \134.
func withoutOctal(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && isOctal(s[i+1:i+4]) {
			b.WriteByte((s[i+1]-'0')<<6 | (s[i+2]-'0')<<3 | (s[i+3] - '0'))
			i += 3
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// isOctal reports whether s is a three-digit octal number that fits into a byte.
func isOctal(s string) bool {
	return '0' <= s[0] && s[0] <= '3' && strings.Trim(s[1:], "01234567") == ""
}
