// Command load sends HTTP/2 requests, each with the next of many tokens, and checks every answer.
// It is the load of `make bench` and `make sizes`.
//
// With -rate the rate is fixed and does not depend on the answers (an open loop). A latency then
// counts from the time at which its request was due, so a server that falls behind cannot hide its
// pauses. Without -rate a fixed number of requests is in flight (a closed loop), which measures
// throughput.
//
// A GET request is sent, or with -message a gRPC call. What differs between requests is in the
// file of -tokens, one line a request in turn. The fields of a line are separated by tabs. The
// headers, the message and the wanted answer are given for the first line; wherever they have a
// field of it, the other requests have that field of their own line. So all lines must have fields
// of the same length.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/net/http2/hpack"
)

// options are the flags.
type options struct {
	url      string
	headers  []string
	message  string
	tokens   string
	want     string
	status   int
	rate     int
	duration time.Duration
	requests int
	conns    int
	streams  int
	patience time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.url, "url", "", "where the requests go: http://host:port/path, HTTP/2 without TLS")
	flag.Func("header", "a header of each request, as name: value; may be repeated", func(header string) error {
		o.headers = append(o.headers, header)
		return nil
	})
	flag.StringVar(&o.message, "message", "", "a file with the message of a gRPC call; without it, GET requests are sent")
	flag.StringVar(&o.tokens, "tokens", "", "a file with what each request has of its own, on each line")
	flag.StringVar(&o.want, "want", "", "a file with the answer to the first line: a body or, of a gRPC call, a message; without it, no body is checked")
	flag.IntVar(&o.status, "status", 0, "the HTTP status of a right answer; 0: any")
	flag.IntVar(&o.rate, "rate", 0, "requests a second; 0: as many as are answered")
	flag.DurationVar(&o.duration, "duration", 10*time.Second, "how long requests are sent")
	flag.IntVar(&o.requests, "requests", 0, "send this number of requests, and no more; 0: no limit")
	flag.IntVar(&o.conns, "connections", 4, "the number of connections")
	flag.IntVar(&o.streams, "streams", 16, "without -rate, the requests in flight on each connection")
	flag.DurationVar(&o.patience, "patience", 10*time.Second, "how long answers are awaited after the last request")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	result, err := o.run(ctx)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(result)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

// run sends the load. Answers that are wrong or missing are not an error: they are counted.
func (o options) run(ctx context.Context) (result, error) {
	w, err := o.work()
	if err != nil {
		return result{}, err
	}
	return w.run(ctx)
}

// work reads the files and prepares all requests.
func (o options) work() (*work, error) {
	if o.rate < 0 || o.requests < 0 || o.conns < 1 || o.streams < 1 || o.duration <= 0 || o.patience <= 0 {
		return nil, errors.New("-connections, -streams, -duration and -patience must be positive, -rate and -requests not negative")
	}
	target, err := url.Parse(o.url)
	if err != nil || target.Scheme != "http" || target.Port() == "" || target.Path == "" {
		return nil, fmt.Errorf("-url must be http://host:port/path; got %q", o.url)
	}
	w := &work{
		addr: target.Host, status: o.status, rate: o.rate, duration: o.duration, requests: o.requests,
		conns: o.conns, streams: o.streams, patience: o.patience, lines: [][]string{nil},
	}
	if o.tokens != "" {
		if w.lines, err = readLines(o.tokens); err != nil {
			return nil, err
		}
	}
	fields := []hpack.HeaderField{
		{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "http"},
		{Name: ":authority", Value: target.Host}, {Name: ":path", Value: target.RequestURI()},
	}
	if o.message != "" {
		fields[0].Value = "POST"
		fields = append(fields, hpack.HeaderField{Name: "content-type", Value: "application/grpc"}, hpack.HeaderField{Name: "te", Value: "trailers"})
		w.grpc = true
		if w.message, err = readMessage(o.message, w.lines[0], frameMessage); err != nil {
			return nil, err
		}
	}
	for _, header := range o.headers {
		name, value, found := strings.Cut(header, ":")
		if !found {
			return nil, fmt.Errorf("-header must be name: value; got %q", header)
		}
		fields = append(fields, hpack.HeaderField{Name: strings.ToLower(name), Value: strings.TrimSpace(value)})
	}
	if err := w.prepareHeaders(fields); err != nil {
		return nil, err
	}
	if o.want != "" {
		frame := func(body []byte) []byte { return body }
		if w.grpc {
			frame = frameMessage
		}
		if w.want, err = readMessage(o.want, w.lines[0], frame); err != nil {
			return nil, err
		}
	}
	return w, nil
}
