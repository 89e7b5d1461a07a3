package server

import (
	"context"
	"fmt"
	"sync"
	"time"

	"warder/authz/mask"
	"warder/cmd/warder/internal/config"
)

const (
	// commandPause is the shortest time between the begins of two runs of a program, whatever
	// happens. Questions that come sooner get the result of the run before.
	commandPause = time.Second
	// maxCommandPause is the longest time until a program that fails is run again.
	maxCommandPause = 30 * time.Second
)

// A commandPassword is the password of a store that a program prints. The program runs again
// before the password is too old, and at once when a store refuses a login. Only one run is in
// progress at a time, and all who wait get its result.
type commandPassword struct {
	key      string
	lifetime time.Duration
	run      func(context.Context) (mask.Secret, error)

	mu     sync.Mutex
	latest *passwordRun // in progress, or the last one
	good   mask.Secret  // the last good password
	// ended is called after each run, before those who wait are told. changed reports whether
	// there is another password. It may be nil.
	ended func(changed bool, err error)
}

type passwordRun struct {
	began    time.Time
	done     chan struct{} // closed when the rest is set
	password mask.Secret
	err      error
}

// newCommandPassword returns nil if no program is configured.
func newCommandPassword(c *config.PasswordCommand) *commandPassword {
	if c == nil {
		return nil
	}
	return &commandPassword{key: c.Key, lifetime: c.Lifetime, run: c.Run}
}

// last returns the last good password, or the zero Secret.
func (p *commandPassword) last() mask.Secret {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.good
}

// ask returns the password of a run that began less than maxAge ago, or began less than commandPause
// ago and failed. It starts a run if there is none. The run continues when ctx ends.
func (p *commandPassword) ask(ctx context.Context, maxAge time.Duration) (mask.Secret, error) {
	run := p.start(maxAge)
	select {
	case <-run.done:
		if run.err != nil {
			return mask.Secret{}, passwordError{p.key, run.err}
		}
		return run.password, nil
	case <-ctx.Done():
		return mask.Secret{}, ctx.Err()
	}
}

func (p *commandPassword) start(maxAge time.Duration) *passwordRun {
	p.mu.Lock()
	defer p.mu.Unlock()
	if latest := p.latest; latest != nil {
		select {
		case <-latest.done:
			if latest.err != nil {
				maxAge = commandPause
			}
			if time.Since(latest.began) < maxAge {
				return latest
			}
		default:
			return latest
		}
	}
	run := &passwordRun{began: time.Now(), done: make(chan struct{})}
	p.latest = run
	go p.finish(run)
	return run
}

func (p *commandPassword) finish(run *passwordRun) {
	defer close(run.done)
	run.password, run.err = p.run(context.Background())
	p.mu.Lock()
	changed, ended := run.err == nil && run.password != p.good, p.ended
	if changed {
		p.good = run.password
	}
	p.mu.Unlock()
	if ended != nil {
		ended(changed, run.err)
	}
}

// A passwordError is the reason why there is no password. It may go away by itself.
type passwordError struct {
	key string
	err error
}

func (e passwordError) Error() string { return fmt.Sprintf("%s: %v", e.key, e.err) }
func (e passwordError) Unwrap() error { return e.err }

// keepFresh runs the program whenever its password is too old, until the context ends.
func (p *commandPassword) keepFresh(ctx context.Context) error {
	for pause := commandPause; ; {
		if _, err := p.ask(ctx, p.lifetime); ctx.Err() != nil {
			return nil //nolint:nilerr // the server shuts down, so the error does not matter
		} else if err != nil {
			if !wait(ctx, pause) {
				return nil
			}
			pause = min(2*pause, maxCommandPause, p.lifetime)
			continue
		}
		pause = commandPause
		p.mu.Lock()
		began := p.latest.began // the password may be of a later run
		p.mu.Unlock()
		if !wait(ctx, time.Until(began.Add(p.lifetime))) {
			return nil
		}
	}
}

// firstPassword waits for the first password of a program. p may be nil.
func (p *commandPassword) firstPassword(ctx context.Context) error {
	if p == nil || p.last() != (mask.Secret{}) {
		return nil
	}
	_, err := p.ask(ctx, p.lifetime)
	return err
}

// report makes the user of a password use each new one, and reports the runs like the reading
// of files.
func (s *secrets) report(u *secretUser) {
	p := u.command
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = func(changed bool, err error) {
		if changed {
			u.mu.Lock()
			_, err = u.use(u.contents)
			u.mu.Unlock()
		}
		switch {
		case err != nil:
			s.failed(p.key, err, false)
		case changed:
			s.good(p.key)
			s.log.Info("secret reloaded", "setting", p.key)
		case s.good(p.key):
			s.log.Info("secret is good again, and unchanged", "setting", p.key)
		}
	}
}
