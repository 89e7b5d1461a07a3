// Command load sends HTTP/2 requests at a fixed rate, each with the next of many tokens. The
// rate does not depend on the responses (an open loop), and a latency counts from the time at
// which its request was due. So a server that falls behind cannot hide its pauses. It is used by
// `make sizes` only.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"warder/authz/authztest"
)

// maxInFlight bounds the requests without a response. A request that is due beyond it is not
// sent, and counted.
const maxInFlight = 1000

// options are the flags.
type options struct {
	url      string
	tokens   string
	rate     int
	duration time.Duration
	conns    int
}

func main() {
	var o options
	flag.StringVar(&o.url, "url", "", "where the requests go: http://host:port/path, HTTP/2 without TLS")
	flag.StringVar(&o.tokens, "tokens", "", "a file with a bearer token on each line")
	flag.IntVar(&o.rate, "rate", 1000, "requests a second")
	flag.DurationVar(&o.duration, "duration", 10*time.Second, "how long requests are sent")
	flag.IntVar(&o.conns, "connections", 4, "the number of connections")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	report, err := o.run(ctx)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(report)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

// A result is what the program prints, as JSON. Latencies are in microseconds.
type result struct {
	Sent     int         `json:"sent"`
	Dropped  int         `json:"dropped"` // too many requests were in flight
	Failed   int         `json:"failed"`  // without an HTTP response
	Statuses map[int]int `json:"statuses"`
	Rate     float64     `json:"rate"` // responses a second
	P50      int64       `json:"p50_us"`
	P99      int64       `json:"p99_us"`
	Max      int64       `json:"max_us"`
}

// An outcome is one response. The status is 0 if there is none.
type outcome struct {
	status  int
	latency time.Duration
}

func (o options) run(ctx context.Context) (result, error) {
	tokens, err := readTokens(o.tokens)
	if err != nil {
		return result{}, err
	}
	if o.rate < 1 || o.conns < 1 || o.duration <= 0 {
		return result{}, errors.New("-rate, -connections and -duration must be positive")
	}
	clients := make([]*http.Client, o.conns)
	for i := range clients {
		var h2c http.Protocols
		h2c.SetUnencryptedHTTP2(true)
		clients[i] = &http.Client{Transport: &http.Transport{Protocols: &h2c}, Timeout: time.Minute}
	}
	all := result{Statuses: map[int]int{}}
	var mu sync.Mutex
	var outcomes []outcome
	var pending sync.WaitGroup
	places := make(chan struct{}, maxInFlight)
	began := time.Now()
	paced, stop := context.WithTimeout(ctx, o.duration)
	defer stop()
	authztest.Pace(paced, float64(o.rate), func(n int, due time.Time) {
		select {
		case places <- struct{}{}:
		default:
			all.Dropped++
			return
		}
		all.Sent++
		client, token := clients[n%len(clients)], tokens[n%len(tokens)]
		pending.Go(func() {
			status := send(ctx, client, o.url, token)
			got := outcome{status, time.Since(due)}
			<-places
			mu.Lock()
			defer mu.Unlock()
			outcomes = append(outcomes, got)
		})
	})
	pending.Wait()
	all.sum(outcomes, time.Since(began))
	return all, ctx.Err()
}

// send returns the status of the response, or 0 if there is none.
func send(ctx context.Context, client *http.Client, url, token string) int {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := client.Do(request)
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return 0
	}
	return response.StatusCode
}

func (r *result) sum(outcomes []outcome, took time.Duration) {
	latencies := make([]time.Duration, 0, len(outcomes))
	for _, o := range outcomes {
		if o.status == 0 {
			r.Failed++
			continue
		}
		r.Statuses[o.status]++
		latencies = append(latencies, o.latency)
	}
	if len(latencies) == 0 {
		return
	}
	slices.Sort(latencies)
	r.Rate = float64(len(latencies)) / took.Seconds()
	r.P50 = latencies[len(latencies)/2].Microseconds()
	r.P99 = latencies[len(latencies)*99/100].Microseconds()
	r.Max = latencies[len(latencies)-1].Microseconds()
}

func readTokens(path string) ([]string, error) {
	file, err := os.Open(path) //nolint:gosec // the path is an argument of this program
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var tokens []string
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		tokens = append(tokens, lines.Text())
	}
	if lines.Err() == nil && len(tokens) == 0 {
		return nil, fmt.Errorf("%s has no tokens", path)
	}
	return tokens, lines.Err()
}
