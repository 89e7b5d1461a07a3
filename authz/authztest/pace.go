package authztest

import (
	"context"
	"time"
)

// Pace calls send rate times a second until ctx ends, whether or not earlier calls have been
// answered (an open loop), so send must not block. due is the time at which call n should have
// been made: a latency that counts from it cannot hide the pauses of a server or of the caller.
func Pace(ctx context.Context, rate float64, send func(n int, due time.Time)) {
	began := time.Now()
	pause := time.NewTicker(time.Millisecond)
	defer pause.Stop()
	for n := 0; ctx.Err() == nil; {
		for until := int(time.Since(began).Seconds()*rate) + 1; n < until; n++ {
			send(n, began.Add(time.Duration(float64(n)/rate*float64(time.Second))))
		}
		select {
		case <-ctx.Done():
		case <-pause.C:
		}
	}
}
