package main

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2/hpack"

	"warder/authz/authztest"
)

// maxInFlight bounds the requests without an answer when the rate is fixed. A request that is due
// beyond it is not sent, and counted.
const maxInFlight = 1000

// pause is the longest time between two looks at the clock when the rate is fixed. It bounds how
// late a request is sent and how many are sent at once.
const pause = 200 * time.Microsecond

// A work is all that is known before the clock starts.
type work struct {
	addr    string
	lines   [][]string
	fields  []hpack.HeaderField // the headers that all requests share
	own     [][]byte            // the encoded headers that a line has of its own
	grpc    bool
	message *text // nil for a GET request
	want    *text // nil for any
	status  int   // 0 for any

	rate, requests, conns, streams int
	duration, patience             time.Duration

	began time.Time
	next  atomic.Int64 // number of the next request
}

// prepareHeaders divides the headers into those that all requests share and those that a line has
// of its own. The former are sent once and then by their index in the table of the connection, as
// clients do. The latter are never put into that table, so they can be encoded now.
func (w *work) prepareHeaders(fields []hpack.HeaderField) error {
	var own []hpack.HeaderField
	var texts []*text
	for _, f := range fields {
		if t := textOf([]byte(f.Value), w.lines[0]); t.varies() {
			own, texts = append(own, f), append(texts, t)
		} else {
			w.fields = append(w.fields, f)
		}
	}
	w.own = make([][]byte, len(w.lines))
	if len(own) == 0 {
		return nil
	}
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for i, line := range w.lines {
		block.Reset()
		for n, f := range own {
			f.Value, f.Sensitive = string(texts[n].appendTo(nil, line)), true
			if err := encoder.WriteField(f); err != nil {
				return err
			}
		}
		w.own[i] = bytes.Clone(block.Bytes())
	}
	return nil
}

// take returns the number of the next request, or false if there is none.
func (w *work) take(now time.Duration) (int, bool) {
	if now >= w.duration {
		return 0, false
	}
	n := int(w.next.Add(1)) - 1
	return n, w.requests == 0 || n < w.requests
}

// run connects, sends the load, and waits for the answers.
func (w *work) run(ctx context.Context) (result, error) {
	conns := make([]*conn, w.conns)
	for i := range conns {
		c, err := w.connect(ctx)
		if err != nil {
			return result{}, err
		}
		defer c.net.Close()
		conns[i] = c
	}
	defer context.AfterFunc(ctx, func() {
		for _, c := range conns {
			c.net.Close()
		}
	})()
	w.began = time.Now()
	var all sync.WaitGroup
	for _, c := range conns {
		if err := c.net.SetDeadline(w.began.Add(w.duration + w.patience)); err != nil {
			return result{}, err
		}
		if w.rate == 0 {
			c.fill(w.streams)
		}
		all.Go(c.receive)
	}
	var r result
	if w.rate > 0 {
		r.Dropped = w.pace(ctx, conns)
	}
	all.Wait()
	r.sum(conns)
	return r, ctx.Err()
}

// pace hands the requests to the connections when they are due. It returns the number of those
// that were dropped.
func (w *work) pace(ctx context.Context, conns []*conn) (dropped int) {
	for n, more := 0, true; more && ctx.Err() == nil; {
		now := time.Since(w.began)
		more = now < w.duration
		for until := int(min(now, w.duration).Seconds()*float64(w.rate)) + 1; n < until; n++ {
			due := time.Duration(float64(n) / float64(w.rate) * float64(time.Second))
			number, ok := w.take(due)
			if !ok {
				more = false
				break
			}
			if !conns[n%len(conns)].offer(number, due) {
				dropped++
			}
		}
		for _, c := range conns {
			c.flush()
		}
		time.Sleep(pause)
	}
	for _, c := range conns {
		c.finish()
	}
	return dropped
}

// A result is what the program prints, as JSON. Latencies are in microseconds.
type result struct {
	Sent     int         `json:"sent"`    // or waiting for a place on the connection when the run ended
	Dropped  int         `json:"dropped"` // too many requests were in flight
	Failed   int         `json:"failed"`  // without a complete answer
	Wrong    int         `json:"wrong"`   // not the wanted answer
	Statuses map[int]int `json:"statuses"`
	Rate     float64     `json:"rate"`    // answers a second
	Late     int64       `json:"late_us"` // how late requests were handed to the connections: the 99th percentile
	P50      int64       `json:"p50_us"`
	P99      int64       `json:"p99_us"`
	Max      int64       `json:"max_us"`
	Problem  string      `json:"problem,omitempty"` // of the first wrong or missing answer
}

// sum counts the answers.
func (r *result) sum(conns []*conn) {
	r.Statuses = map[int]int{}
	var latencies, late []time.Duration
	var last time.Duration
	for _, c := range conns {
		r.Problem = cmp.Or(r.Problem, c.problem)
		r.Sent += len(c.calls) + len(c.waiting)
		r.Failed += len(c.waiting)
		for _, a := range c.calls {
			late = append(late, a.sent-a.due)
			if a.answered == 0 {
				r.Failed++
				continue
			}
			r.Statuses[int(a.status)]++
			if a.wrong {
				r.Wrong++
			}
			latencies = append(latencies, a.answered-a.due)
			last = max(last, a.answered)
		}
	}
	slices.Sort(latencies)
	slices.Sort(late)
	if len(latencies) > 0 {
		r.Rate = float64(len(latencies)) / last.Seconds()
	}
	r.Late = authztest.Percentile(late, 99).Microseconds()
	r.P50, r.P99, r.Max = authztest.Percentile(latencies, 50).Microseconds(), authztest.Percentile(latencies, 99).Microseconds(), authztest.Percentile(latencies, 100).Microseconds()
}
