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
	// settleTime is how long files must stay as they are before they are read: an
	// editor may truncate first and write later.
	settleTime = 100 * time.Millisecond
	// lookTime is how often files are looked at without being told: a folder that
	// was replaced, or a file system that announces nothing.
	lookTime = 10 * time.Second
)

// A fileWatch tells when the content of files changes, by whatever means: written,
// renamed, removed and made again, or swapped by a link above them as Kubernetes does
// (..data). It therefore watches folders, and compares content.
type fileWatch struct {
	paths []string // a folder means its *.yaml files
	seen  fingerprint
	doubt chan struct{} // see lookAgain
	log   *slog.Logger
}

type fingerprint [sha256.Size]byte

// newFileWatch notes what the files hold now: call it before reading them, so
// that no change in between is missed.
func newFileWatch(paths []string, log *slog.Logger) *fileWatch {
	return &fileWatch{paths: paths, seen: fingerprintOf(paths), doubt: make(chan struct{}, 1), log: log}
}

// lookAgain is for whoever has read the files on another occasion than changed, and so
// maybe something that they held for a moment only: changed is called once more.
func (w *fileWatch) lookAgain() {
	select {
	case w.doubt <- struct{}{}:
	default:
	}
}

// run calls changed after each change that has settled, until the context ends.
func (w *fileWatch) run(ctx context.Context, changed func()) error {
	for _, file := range mountedAlone(w.paths) {
		w.log.Warn("a file is mounted by itself (Kubernetes' subPath, or -v FILE:FILE), so that its replacement is never seen here; mount its folder instead",
			"file", file)
	}
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		// Out of inotify instances, for one: looking now and then does too.
		w.log.Warn("files are not watched, only looked at now and then", "every", lookTime, "error", err)
		notify = &fsnotify.Watcher{}
	} else {
		defer notify.Close()
		w.watchFolders(notify)
	}
	look := time.NewTicker(lookTime)
	defer look.Stop()
	settle, settling := time.NewTimer(0), true // what changed since newFileWatch
	defer settle.Stop()
	lookSoon := func() {
		// Not put off by each event: what else happens in the folder may never end.
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
			w.log.Warn("watching files failed, looking at them", "error", err)
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

// watchFolders adds the folders in which something could change the files: where
// each path stands, where it leads to, and itself when it is a folder. A folder that is
// already watched, or not there, changes nothing.
func (w *fileWatch) watchFolders(notify *fsnotify.Watcher) {
	if notify.Events == nil {
		return
	}
	for _, path := range w.paths {
		for _, folder := range foldersOf(path) {
			_ = notify.Add(folder) // the look finds what a missing watch does not tell
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

// fingerprintOf hashes names and content. What cannot be read is a content too.
func fingerprintOf(paths []string) fingerprint {
	h := sha256.New()
	for _, path := range paths {
		for _, name := range filesOf(path) {
			data, err := cli.ReadBounded(name, 16<<20)
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
