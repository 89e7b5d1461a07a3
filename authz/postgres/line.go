package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"warder/authz"
)

// errLine is returned for a question that would wait too long for a connection.
var errLine = fmt.Errorf("directory: the questions that wait for a connection already take the time for another: %w", authz.ErrOverloaded)

// A line is the questions that have or wait for a connection of the pool. Without it, more
// questions than the database can answer would all wait until hardly any is answered in time.
type line struct {
	places int64 // connections
	in     atomic.Int64
	took   authz.ServiceTime         // of a question that has a connection
	last   atomic.Pointer[time.Time] // when the database last answered one
}

// A place is that of a question in the line.
type place struct {
	since time.Time
	waits bool // there was no connection for it at first
}

// enter admits a question. If it has to wait for a connection and will probably not be answered
// before ctx ends, it is refused at once. If enter returns no error, the caller must call leave
// after the question.
//
// A question that does not have to wait is never refused, so that took follows a database that
// becomes faster.
func (l *line) enter(ctx context.Context) (place, error) {
	at := place{since: time.Now()} //nolint:forbidigo // deadlines of contexts are in real time
	ahead := l.in.Add(1) - l.places
	if ahead <= 0 {
		return at, nil
	}
	at.waits = true
	// All connections may have begun at the same moment, so that they leave at the same moment
	// too. An eighth of the time is for what lies between two questions.
	rounds := (ahead + l.places - 1) / l.places
	if !l.took.InTime(time.Duration(rounds)*l.took.Mean(), left(ctx)*7/8) {
		l.leave()
		return at, errLine
	}
	return at, nil
}

func (l *line) leave() { l.in.Add(-1) }

// answered records that a question has had its connection from since until now. A question that
// was not answered in time says nothing about those that are.
func (l *line) answered(ctx context.Context, since time.Time) {
	if ctx.Err() == nil {
		now := time.Now() //nolint:forbidigo // as above
		l.took.Took(now.Sub(since))
		l.last.Store(&now)
	}
}

// tooLate reports whether an error means that a question has waited in vain for a connection,
// while the database answered others.
func (l *line) tooLate(at place, err error) bool {
	last := l.last.Load()
	return at.waits && last != nil && last.After(at.since) && errors.Is(err, context.DeadlineExceeded)
}

// left returns the time until ctx ends.
func left(ctx context.Context) time.Duration {
	end, _ := ctx.Deadline() // ask has set it
	return time.Until(end)   //nolint:forbidigo // as above
}
