package server

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"

	"warder/cmd/warder/internal/cli"
)

const (
	// settleTime is how long files must be unchanged before they are read. An editor may
	// truncate a file first and write it later.
	settleTime = 100 * time.Millisecond
	// lookTime is how often the files are compared without a notification. It finds changes
	// after a folder was replaced, and on file systems without notifications.
	lookTime = 10 * time.Second
)

// A fileWatch reports changes of the content of files, however they happen: a file may be
// written, renamed, removed and recreated, or replaced by changing a symbolic link above it,
// as Kubernetes does (..data). It therefore watches folders and compares content.
type fileWatch struct {
	paths []string // a folder means its *.yaml files
	seen  fingerprint
	doubt chan struct{} // see lookAgain
	quiet bool          // a file that is mounted alone is no reason for a warning
	log   *slog.Logger
}

type fingerprint [sha256.Size]byte

// newFileWatch returns a fileWatch that has recorded the current content of the files. Call it
// before reading them, so that no change in between is missed.
func newFileWatch(paths []string, log *slog.Logger) *fileWatch {
	return &fileWatch{paths: paths, seen: fingerprintOf(paths), doubt: make(chan struct{}, 1), log: log}
}

// lookAgain makes run call changed once more. A caller that reads the files outside of changed
// must call it, because it may have read content that existed only for a moment.
func (w *fileWatch) lookAgain() {
	select {
	case w.doubt <- struct{}{}:
	default:
	}
}

// run calls changed after each change that has settled, until the context ends.
func (w *fileWatch) run(ctx context.Context, changed func()) error {
	level := slog.LevelWarn
	if w.quiet {
		level = slog.LevelInfo
	}
	for _, file := range mountedAlone(w.paths) {
		w.log.Log(ctx, level, "a file is mounted by itself (Kubernetes' subPath, or -v FILE:FILE), so its replacement is not detected; mount its folder instead",
			"file", file)
	}
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		// For example, there are no inotify instances left. Polling works too.
		w.log.Warn("files are not watched, but checked periodically", "every", lookTime, "error", err)
		notify = &fsnotify.Watcher{}
	} else {
		defer notify.Close()
		w.watchFolders(notify)
	}
	look := time.NewTicker(lookTime)
	defer look.Stop()
	settle, settling := time.NewTimer(0), true // find changes since newFileWatch
	defer settle.Stop()
	lookSoon := func() {
		// Do not restart the timer on each event: unrelated events in the folder may never end.
		if !settling {
			settle.Reset(settleTime)
			settling = true
		}
	}
	pending := w.seen
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-notify.Events:
			lookSoon()
		case err := <-notify.Errors:
			w.log.Warn("watching files failed, checking them", "error", err)
			lookSoon()
		case <-w.doubt:
			w.seen, pending = fingerprint{}, fingerprint{}
			lookSoon()
		case <-look.C:
			w.watchFolders(notify)
			lookSoon()
		case <-settle.C:
			settling = false
			switch now := fingerprintOf(w.paths); now {
			case w.seen:
				pending = w.seen
			case pending:
				w.seen = now
				changed()
				w.watchFolders(notify)
			default:
				pending = now
				lookSoon()
			}
		}
	}
}

// watchFolders watches all folders in which the files could change: the folder of each
// path, the folder that its links lead to, and the path itself if it is a folder. Folders
// that are already watched or do not exist are ignored.
func (w *fileWatch) watchFolders(notify *fsnotify.Watcher) {
	if notify.Events == nil {
		return
	}
	for _, path := range w.paths {
		for _, folder := range foldersOf(path) {
			_ = notify.Add(folder) // polling finds changes that a missing watch does not report
		}
	}
}

func foldersOf(path string) []string {
	out := []string{filepath.Dir(path)}
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return out
	}
	if info, err := os.Stat(target); err == nil && info.IsDir() {
		out = append(out, path, target)
	}
	out = append(out, filepath.Dir(target))
	slices.Sort(out)
	return slices.Compact(out)
}

// fingerprintOf hashes the names and content of files. An unreadable file is hashed as such.
func fingerprintOf(paths []string) fingerprint {
	h := sha256.New()
	for _, path := range paths {
		for _, name := range filesOf(path) {
			data, err := cli.ReadRegular(name, 16<<20) // a pipe would block
			fmt.Fprintf(h, "%q %d %v\n", name, len(data), err)
			_, _ = h.Write(data)
		}
	}
	return fingerprint(h.Sum(nil))
}

func filesOf(path string) []string {
	if info, err := os.Stat(path); err != nil || !info.IsDir() {
		return []string{path}
	}
	files := []string{path}
	entries, _ := os.ReadDir(path) // sorted; a folder that cannot be read is hashed as such
	for _, e := range entries {
		if filepath.Ext(e.Name()) == ".yaml" {
			files = append(files, filepath.Join(path, e.Name()))
		}
	}
	return files
}
