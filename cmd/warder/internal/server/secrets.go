package server

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"warder/authz/mask"
	"warder/cmd/warder/internal/config"
)

// A secretUser is a part of the server whose secrets are in files.
type secretUser struct {
	files    []config.SecretFile
	contents []mask.Secret // of files: what it uses
	// related returns other files that use reads, such as certificates. It may be nil.
	related func(contents []mask.Secret) []config.SecretFile
	// use uses other contents. On an error the user keeps those that it has. It returns what
	// the log says about the change.
	use func(contents []mask.Secret) ([]any, error)
	// command is a program that prints another of its secrets, which use uses too; nil if there
	// is none.
	command *commandPassword

	mu   sync.Mutex             // for use, and for contents and seen once the files are watched
	seen map[string]fingerprint // of the related files, by path
}

// others returns the related files.
func (u *secretUser) others() []config.SecretFile {
	if u.related == nil {
		return nil
	}
	return u.related(u.contents)
}

// secrets reads the files of secrets again when they change, and gives the contents to their
// users. A user keeps the last good contents.
type secrets struct {
	users []*secretUser
	files *fileWatch
	log   *slog.Logger
	asked atomic.Bool // by a hangup
	desc  *prometheus.Desc

	mu     sync.Mutex
	status map[string]secretStatus // by key
}

// A secretStatus is the result of the last read of a file.
type secretStatus struct {
	loaded time.Time // when a read last succeeded
	failed time.Time // when the latest read failed; zero if it succeeded
	fault  string    // the error that was logged
}

func newSecrets(users []*secretUser, log *slog.Logger) *secrets {
	s := &secrets{
		users: users, log: log, status: map[string]secretStatus{},
		desc: prometheus.NewDesc("warder_secret_last_reload_successful",
			"1 when the last reading of the file of a secret was good; 0 when it was not, and the last good secret stays. "+
				"The label is the key of the configuration that names the file.", []string{"secret"}, nil),
	}
	s.files = newFileWatch(s.paths(), log)
	s.files.quiet = true
	for _, u := range users {
		u.seen = map[string]fingerprint{}
		for _, f := range u.others() {
			u.seen[f.Path] = fingerprintOf([]string{f.Path})
		}
		for _, f := range slices.Concat(u.files, u.others()) {
			s.status[f.Key] = secretStatus{loaded: time.Now()}
		}
		if u.command != nil {
			s.report(u)
		}
	}
	return s
}

func (s *secrets) paths() (paths []string) {
	for _, u := range s.users {
		for _, f := range slices.Concat(u.files, u.others()) {
			paths = append(paths, f.Path)
		}
	}
	return paths
}

// watch reads the files when they change, until the context ends.
func (s *secrets) watch(ctx context.Context) error {
	s.files.lookAgain() // the files may have changed after the configuration was read
	group, ctx := errgroup.WithContext(ctx)
	for _, u := range s.users {
		if u.command != nil {
			group.Go(recovered(s.log, "running "+u.command.key, func() error { return u.command.keepFresh(ctx) }))
		}
	}
	group.Go(func() error {
		return s.files.run(ctx, func() {
			s.reload(s.asked.Swap(false))
			s.files.paths = s.paths() // run calls this function, so it does not use them now
		})
	})
	return group.Wait()
}

// lookAgain reads the files after a hangup, once they have settled.
func (s *secrets) lookAgain() {
	s.asked.Store(true)
	s.files.lookAgain()
}

// reload reads all files. If asked is true, it logs what has not changed as well.
func (s *secrets) reload(asked bool) {
	for _, u := range s.users {
		s.reloadUser(u, asked)
	}
}

func (s *secrets) reloadUser(u *secretUser, asked bool) {
	if asked && u.command != nil {
		u.command.start(commandPause)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	contents := slices.Clone(u.contents)
	var changed, same []string
	for i, f := range u.files {
		content, err := f.Read()
		switch {
		case err != nil:
			s.failed(f.Key, err, asked)
			continue
		case content != contents[i]:
			changed = append(changed, f.Key)
		default:
			same = append(same, f.Key)
		}
		contents[i] = content
	}
	seen := map[string]fingerprint{}
	for _, f := range u.others() {
		seen[f.Path] = fingerprintOf([]string{f.Path})
		if seen[f.Path] == u.seen[f.Path] {
			same = append(same, f.Key)
		} else {
			changed = append(changed, f.Key)
		}
	}
	for _, key := range same {
		if s.good(key) {
			s.log.Info("secret is good again, and unchanged", "setting", key)
		} else if asked {
			s.log.Info("secret unchanged", "setting", key)
		}
	}
	if len(changed) == 0 {
		return
	}
	about, err := u.use(contents)
	if err != nil {
		for _, key := range changed {
			s.failed(key, err, asked)
		}
		return
	}
	u.contents, u.seen = contents, seen
	for _, f := range u.others() { // a URL may name other files now
		if _, known := seen[f.Path]; !known {
			u.seen[f.Path] = fingerprintOf([]string{f.Path})
		}
	}
	for _, key := range changed {
		s.good(key)
		s.log.Info("secret reloaded", append([]any{"setting", key}, about...)...)
	}
}

// good records that a file was read. It reports whether the read before had failed.
func (s *secrets) good(key string) (wasBad bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	wasBad = !s.status[key].failed.IsZero()
	s.status[key] = secretStatus{loaded: time.Now()}
	return wasBad
}

// failed records and logs that a file holds nothing that can be used. It logs the same error
// only once, or when it was asked.
func (s *secrets) failed(key string, err error, asked bool) {
	s.mu.Lock()
	old := s.status[key]
	fresh := secretStatus{loaded: old.loaded, failed: time.Now(), fault: err.Error()}
	s.status[key] = fresh
	s.mu.Unlock()
	if asked || fresh.fault != old.fault {
		if old.loaded.IsZero() {
			s.log.Error("secret not loaded", "setting", key, "error", err)
		} else {
			s.log.Error("secret not reloaded, the last good one stays", "setting", key, "error", err)
		}
	}
}

// detail returns the lines of /readyz, or "" if there is nothing to report.
func (s *secrets) detail() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var lines []string
	for key, status := range s.status {
		if !status.failed.IsZero() {
			stays := "there is none yet"
			if !status.loaded.IsZero() {
				stays = fmt.Sprintf("the last good one stays (read at %s)", status.loaded.UTC().Format(time.RFC3339))
			}
			lines = append(lines, fmt.Sprintf("secret %s: the reload at %s failed, see the log; %s", key, status.failed.UTC().Format(time.RFC3339), stays))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// Describe implements [prometheus.Collector].
func (s *secrets) Describe(to chan<- *prometheus.Desc) { to <- s.desc }

// Collect implements [prometheus.Collector].
func (s *secrets) Collect(to chan<- prometheus.Metric) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, status := range s.status {
		successful := 1.0
		if !status.failed.IsZero() {
			successful = 0
		}
		to <- prometheus.MustNewConstMetric(s.desc, prometheus.GaugeValue, successful, key)
	}
}

// A reading bounds the reading of files during a check. A file system may not answer, so only
// one goroutine reads, and a check waits for it only until its context ends.
type reading chan struct{}

func newReading() reading { return make(reading, 1) }

// do runs read. If it returns an error, read may not have run, or may still be running.
func (r reading) do(ctx context.Context, read func()) error {
	select {
	case r <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { <-r }()
		read()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// readAgain reads the files of a store's secrets for a login that was refused.
func (r reading) readAgain(ctx context.Context, files []config.SecretFile) ([]mask.Secret, error) {
	type result struct {
		contents []mask.Secret
		err      error
	}
	got := make(chan result, 1)
	if err := r.do(ctx, func() {
		contents, err := config.ReadSecrets(files)
		got <- result{contents, err}
	}); err != nil {
		return nil, err
	}
	of := <-got
	return of.contents, of.err
}

// secretUsers returns the keys of tokens whose secrets are in files.
func (v *tokenVerifier) secretUsers() (users []*secretUser) {
	for i, k := range v.settings.Keys {
		if k.File.Path == "" {
			continue
		}
		users = append(users, &secretUser{
			files: []config.SecretFile{k.File}, contents: []mask.Secret{k.Secret},
			use: func(contents []mask.Secret) ([]any, error) {
				until, err := v.replace(i, contents[0])
				if err != nil {
					return nil, err
				}
				if until.IsZero() {
					return []any{"previous", "no longer accepted"}, nil
				}
				return []any{"previous_accepted_until", until.UTC().Format(time.RFC3339)}, nil
			},
		})
	}
	return users
}
