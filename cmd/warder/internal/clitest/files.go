package clitest

import (
	"os"
	"path/filepath"
	"testing"
)

// Replace replaces a file atomically, by renaming a new file over it.
func Replace(t testing.TB, path, content string) {
	t.Helper()
	dir, name := filepath.Split(path)
	temp := WriteFile(t, dir, "."+name+".new", content)
	if err := os.Rename(temp, path); err != nil {
		t.Fatal(err)
	}
}

// A KubernetesVolume is a folder with the layout that the kubelet creates: each file is a
// symbolic link to ..data/NAME, and an update replaces the symbolic link ..data.
type KubernetesVolume struct {
	Dir     string
	version int
}

// Publish replaces the files of the volume with the given files.
func (v *KubernetesVolume) Publish(t testing.TB, files map[string]string) {
	t.Helper()
	v.version++
	version := "..v" + string(rune('0'+v.version))
	if err := os.Mkdir(filepath.Join(v.Dir, version), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		WriteFile(t, filepath.Join(v.Dir, version), name, content)
		if _, err := os.Lstat(filepath.Join(v.Dir, name)); err != nil {
			if err := os.Symlink(filepath.Join("..data", name), filepath.Join(v.Dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	temp := filepath.Join(v.Dir, "..data_tmp")
	if err := os.Symlink(version, temp); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(temp, filepath.Join(v.Dir, "..data")); err != nil {
		t.Fatal(err)
	}
	if v.version > 1 {
		if err := os.RemoveAll(filepath.Join(v.Dir, "..v"+string(rune('0'+v.version-1)))); err != nil {
			t.Fatal(err)
		}
	}
}

// SocketDir returns a new folder whose path is short enough for a unix socket.
func SocketDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "w") //nolint:usetesting // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// WriteFile writes a file into a folder and returns its path.
func WriteFile(t testing.TB, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// ReadFile returns the content of a file.
func ReadFile(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// AddSeeds adds the files that match a glob pattern to the seeds of a fuzz target.
func AddSeeds(f *testing.F, pattern string) {
	f.Helper()
	seeds, err := filepath.Glob(pattern)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range seeds {
		f.Add(ReadFile(f, seed))
	}
}
