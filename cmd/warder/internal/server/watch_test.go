package server

import (
	"context"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"warder/cmd/warder/internal/clitest"
)

// TestFileWatch changes a file in every way that files are changed in practice, twice each. The
// watch must report each change with the final content.
func TestFileWatch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		make func(t *testing.T, dir string) (path string, change func(content string))
	}{
		{"written in place", func(t *testing.T, dir string) (string, func(string)) {
			return clitest.WriteFile(t, dir, "f.yaml", "0"), func(s string) { clitest.WriteFile(t, dir, "f.yaml", s) }
		}},
		{"renamed over", func(t *testing.T, dir string) (string, func(string)) {
			path := clitest.WriteFile(t, dir, "f.yaml", "0")
			return path, func(s string) { clitest.Replace(t, path, s) }
		}},
		{"moved away and made again, as vim does", func(t *testing.T, dir string) (string, func(string)) {
			path := clitest.WriteFile(t, dir, "f.yaml", "0")
			return path, func(s string) {
				if err := os.Rename(path, path+"~"); err != nil {
					t.Fatal(err)
				}
				clitest.WriteFile(t, dir, "f.yaml", s)
			}
		}},
		{"removed and made again", func(t *testing.T, dir string) (string, func(string)) {
			path := clitest.WriteFile(t, dir, "f.yaml", "0")
			return path, func(s string) {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
				clitest.WriteFile(t, dir, "f.yaml", s)
			}
		}},
		{"swapped by Kubernetes", func(t *testing.T, dir string) (string, func(string)) {
			v := &clitest.KubernetesVolume{Dir: dir}
			v.Publish(t, map[string]string{"f.yaml": "0"})
			return filepath.Join(dir, "f.yaml"), func(s string) { v.Publish(t, map[string]string{"f.yaml": s}) }
		}},
		{"behind a link elsewhere", func(t *testing.T, dir string) (string, func(string)) {
			target := clitest.WriteFile(t, t.TempDir(), "target.yaml", "0")
			path := filepath.Join(dir, "f.yaml")
			if err := os.Symlink(target, path); err != nil {
				t.Fatal(err)
			}
			return path, func(s string) { clitest.Replace(t, target, s) }
		}},
		{"a folder whose file is written", func(t *testing.T, dir string) (string, func(string)) {
			clitest.WriteFile(t, dir, "f.yaml", "0")
			return dir, func(s string) { clitest.WriteFile(t, dir, "f.yaml", s) }
		}},
		{"a folder that gets a file", func(t *testing.T, dir string) (string, func(string)) {
			return dir, func(s string) { clitest.WriteFile(t, dir, "f"+s+".yaml", s) }
		}},
		{"a folder swapped by Kubernetes", func(t *testing.T, dir string) (string, func(string)) {
			v := &clitest.KubernetesVolume{Dir: dir}
			v.Publish(t, map[string]string{"a.yaml": "0", "b.yaml": "0"})
			return dir, func(s string) { v.Publish(t, map[string]string{"a.yaml": s, "b.yaml": "0"}) }
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path, change := c.make(t, t.TempDir())
			w := newFileWatch([]string{path}, clitest.Discard())
			var told atomic.Int32
			var last atomic.Value
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() {
				done <- w.run(ctx, func() {
					last.Store(fingerprintOf([]string{path}))
					told.Add(1)
				})
			}()
			for _, content := range []string{"1", "2"} {
				before := told.Load()
				change(content)
				want := fingerprintOf([]string{path})
				clitest.Eventually(t, "told of "+content, func() bool { return told.Load() > before && last.Load() == want })
			}
			stop()
			if err := <-done; err != nil {
				t.Errorf("run: %v", err)
			}
		})
	}
}

// TestFileWatchTellsWhatHappenedBefore checks that a change between newFileWatch and run is
// reported, because the file is first read between the two.
func TestFileWatchTellsWhatHappenedBefore(t *testing.T) {
	t.Parallel()
	path := clitest.WriteFile(t, t.TempDir(), "f.yaml", "0")
	w := newFileWatch([]string{path}, clitest.Discard())
	clitest.WriteFile(t, filepath.Dir(path), "f.yaml", "1")
	told := make(chan struct{}, 1)
	go func() { _ = w.run(t.Context(), func() { told <- struct{}{} }) }()
	<-told
}

// TestFileWatchWaitsUntilFilesSettle checks that a half-written file is not reported, because an
// editor may truncate a file first and write it later. Unchanged content is not reported either.
func TestFileWatchWaitsUntilFilesSettle(t *testing.T) {
	t.Parallel()
	path := clitest.WriteFile(t, t.TempDir(), "f.yaml", "whole\n")
	w := newFileWatch([]string{path}, clitest.Discard())
	var seen []string
	told := make(chan struct{})
	go func() {
		_ = w.run(t.Context(), func() {
			data, _ := os.ReadFile(path)
			seen = append(seen, string(data))
			close(told)
		})
	}()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, part := range []string{"a", "b", "c", "d", "e", "\n"} {
		if _, err := f.WriteString(part); err != nil {
			t.Fatal(err)
		}
		// Shorter than the time to settle: the file is never still for long enough.
		wait(t.Context(), settleTime/10)
	}
	<-told
	if len(seen) != 1 || seen[0] != "abcde\n" {
		t.Errorf("told of %q, want the whole file once", seen)
	}
}

// TestFileWatchLooksAgain checks lookAgain. A caller that reads the files itself may read content
// that was never reported. If the files then return to their old content, that is a change too.
func TestFileWatchLooksAgain(t *testing.T) {
	t.Parallel()
	path := clitest.WriteFile(t, t.TempDir(), "f.yaml", "0")
	w := newFileWatch([]string{path}, clitest.Discard())
	told := make(chan struct{}, 8)
	go func() { _ = w.run(t.Context(), func() { told <- struct{}{} }) }()
	for range 2 {
		w.lookAgain()
		<-told
	}
	clitest.WriteFile(t, filepath.Dir(path), "f.yaml", "1")
	<-told
}

// TestFileWatchIsNotHeldUpByItsNeighbours checks that other events in the folder, such as writes
// to a log, do not delay the report of a change.
func TestFileWatchIsNotHeldUpByItsNeighbours(t *testing.T) {
	t.Parallel()
	path := clitest.WriteFile(t, t.TempDir(), "f.yaml", "0")
	w := newFileWatch([]string{path}, clitest.Discard())
	told := make(chan struct{}, 1)
	go func() { _ = w.run(t.Context(), func() { told <- struct{}{} }) }()
	clitest.WriteFile(t, filepath.Dir(path), "f.yaml", "1")
	busy := time.NewTicker(settleTime / 10)
	defer busy.Stop()
	for deadline := time.After(5 * time.Second); ; {
		select {
		case <-told:
			return
		case <-busy.C:
			clitest.WriteFile(t, filepath.Dir(path), "neighbour.log", time.Now().String())
		case <-deadline:
			t.Fatal("never told of the change")
		}
	}
}
