package postgres

import (
	"context"
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
	took   authz.ServiceTime // of a question that has a connection
}

// enter admits a question. If it has to wait for a connection and will probably not be answered
// before ctx ends, it is refused at once. If enter returns no error, the caller must call leave
// after the question.
func (l *line) enter(ctx context.Context) error {
	waits := l.in.Add(1) - l.places // until this many others have left
	if waits <= 0 {
		return nil
	}
	// All connections may have begun at the same moment, so that they leave at the same moment too.
	rounds := (waits + l.places - 1) / l.places
	end, _ := ctx.Deadline() // ask has set it
	if l.took.InTime(time.Duration(rounds)*l.took.Mean(), time.Until(end)) { //nolint:forbidigo // deadlines of contexts are in real time
		return nil
	}
	l.leave()
	return errLine
}

func (l *line) leave() { l.in.Add(-1) }

// answered records how long a question had its connection. A question that was not answered in
// time says nothing about those that are.
func (l *line) answered(ctx context.Context, since time.Time) {
	if ctx.Err() == nil {
		l.took.Took(time.Since(since)) //nolint:forbidigo // durations are in real time
	}
}
