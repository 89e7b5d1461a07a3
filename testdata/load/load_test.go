package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// users are lines of -tokens: a token and the user whose it is.
const users = 7

func token(user int) string { return fmt.Sprintf("token-%d-of-%d", user, user*user+100) }
func id(user int) string    { return fmt.Sprintf("70000%d", user) }

// question is the message of a user's request, and answer the right answer to it.
func question(user int) string { return "who is " + token(user) + "?" }
func answer(user int) string {
	return fmt.Sprintf("it is %s, with %s", id(user), strings.Repeat("roles ", 20))
}

// flags returns the options of a run that sends n gRPC calls of all users to addr.
func flags(t *testing.T, addr string, n int) options {
	t.Helper()
	write := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	var lines strings.Builder
	for user := range users {
		fmt.Fprintf(&lines, "%s\t%s\n", token(user), id(user))
	}
	return options{
		url: "http://" + addr + "/service/Method?x=1", message: write("message", question(0)), tokens: write("tokens", lines.String()), want: write("want", answer(0)),
		headers: []string{"Authorization: Bearer " + token(0), "x-fixed: always the same"}, status: http.StatusOK,
		requests: n, duration: time.Minute, conns: 3, streams: 4, patience: time.Minute,
	}
}

// run runs the load. Whatever happened to a request, it is counted once.
func run(t *testing.T, o options) result {
	t.Helper()
	r, err := o.run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	answered := 0
	for _, n := range r.Statuses {
		answered += n
	}
	if answered+r.Failed != r.Sent || r.Wrong > answered {
		t.Errorf("the counts do not add up: %+v", r)
	}
	return r
}

// serve starts an HTTP/2 server without TLS and returns its address.
func serve(t *testing.T, config http.HTTP2Config, handle http.HandlerFunc) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var h2c http.Protocols
	h2c.SetUnencryptedHTTP2(true)
	server := &http.Server{Handler: handle, HTTP2: &config, Protocols: &h2c, ReadHeaderTimeout: time.Minute, ErrorLog: nil}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return listener.Addr().String()
}

// askedBy returns the user who sent a gRPC call. The test fails if any part of the call belongs to
// another user.
func askedBy(t *testing.T, r *http.Request) int {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Errorf("a body: %v", err)
	}
	for user := range users {
		want := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(question(user)))), question(user)...)
		if r.Header.Get("Authorization") == "Bearer "+token(user) && bytes.Equal(body, want) {
			return user
		}
	}
	t.Errorf("no user sends %q with %q", body, r.Header)
	return 0
}

// reply writes the answer of a gRPC call.
func reply(w http.ResponseWriter, message, status string) {
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status")
	if message != "" {
		_, _ = w.Write(append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...))
	}
	w.Header().Set("Grpc-Status", status)
}

// TestEveryAnswerIsJudged: each tenth answer is bad in one way. No more and no fewer are found.
func TestEveryAnswerIsJudged(t *testing.T) {
	t.Parallel()
	const n = 200
	right := func(w http.ResponseWriter, user int) { reply(w, answer(user), "0") }
	for _, test := range []struct {
		name          string
		wrong, failed int
		tenth         func(w http.ResponseWriter, user int)
		problem       string
	}{
		{"all are right", 0, 0, right, ""},
		{"in pieces", 0, 0, func(w http.ResponseWriter, user int) {
			whole := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(answer(user)))), answer(user)...)
			w.Header().Set("Trailer", "Grpc-Status")
			for _, b := range whole {
				_, _ = w.Write([]byte{b})
				_ = http.NewResponseController(w).Flush()
			}
			w.Header().Set("Grpc-Status", "0")
		}, ""},
		{"after headers of 40 KiB", 0, 0, func(w http.ResponseWriter, user int) {
			w.Header().Set("X-Long", strings.Repeat("x", 40<<10))
			right(w, user)
		}, ""},
		{"of another user", n / 10, 0, func(w http.ResponseWriter, user int) { right(w, (user+1)%users) }, "differs from the wanted one"},
		{"one byte differs", n / 10, 0, func(w http.ResponseWriter, user int) {
			reply(w, strings.TrimSuffix(answer(user), " ")+"!", "0")
		}, "differs from the wanted one"},
		{"one byte less", n / 10, 0, func(w http.ResponseWriter, user int) { reply(w, strings.TrimSuffix(answer(user), " "), "0") }, "differs from the wanted one"},
		{"one byte more", n / 10, 0, func(w http.ResponseWriter, user int) { reply(w, answer(user)+" ", "0") }, "differs from the wanted one"},
		{"cut off", n / 10, 0, func(w http.ResponseWriter, user int) {
			w.Header().Set("Trailer", "Grpc-Status")
			_, _ = w.Write(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(answer(user)))))
			w.Header().Set("Grpc-Status", "0")
		}, "an answer has 5 bytes, not 144"},
		{"no message", n / 10, 0, func(w http.ResponseWriter, _ int) { reply(w, "", "0") }, "an answer has 0 bytes, not 144"},
		{"a gRPC error", n / 10, 0, func(w http.ResponseWriter, _ int) { reply(w, "", "14") }, "the gRPC status of an answer is 14"},
		{"a gRPC error after the message", n / 10, 0, func(w http.ResponseWriter, user int) { reply(w, answer(user), "13") }, "the gRPC status of an answer is 13"},
		{"no gRPC status", n / 10, 0, func(w http.ResponseWriter, user int) {
			_, _ = w.Write(append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(answer(user)))), answer(user)...))
		}, "the gRPC status of an answer is -1"},
		{"a gRPC status that is no number", n / 10, 0, func(w http.ResponseWriter, user int) { reply(w, answer(user), "OK") }, `grpc-status is "OK"`},
		{"an HTTP error", n / 10, 0, func(w http.ResponseWriter, user int) {
			w.WriteHeader(http.StatusBadGateway)
			right(w, user)
		}, "the status of an answer is 502, not 200"},
		{"reset", 0, n / 10, func(http.ResponseWriter, int) { panic(http.ErrAbortHandler) }, "a request was reset"},
		{"reset after the message", 0, n / 10, func(w http.ResponseWriter, user int) {
			right(w, user)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, "a request was reset"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var count atomic.Int64
			addr := serve(t, http.HTTP2Config{}, func(w http.ResponseWriter, r *http.Request) {
				user := askedBy(t, r)
				if count.Add(1)%10 == 0 {
					test.tenth(w, user)
				} else {
					right(w, user)
				}
			})
			r := run(t, flags(t, addr, n))
			if r.Sent != n || r.Wrong != test.wrong || r.Failed != test.failed || r.Dropped != 0 {
				t.Errorf("%d of %d wrong and %d failed, want %d and %d", r.Wrong, r.Sent, r.Failed, test.wrong, test.failed)
			}
			if !strings.Contains(r.Problem, test.problem) || test.problem == "" && r.Problem != "" {
				t.Errorf("the problem is %q, want %q", r.Problem, test.problem)
			}
		})
	}
}

// TestNoAnswer: a request that is never answered fails, and no run waits for it without end.
func TestNoAnswer(t *testing.T) {
	t.Parallel()
	t.Run("closed connections", func(t *testing.T) {
		t.Parallel()
		var count atomic.Int64
		addr := serve(t, http.HTTP2Config{}, func(w http.ResponseWriter, r *http.Request) {
			if count.Add(1) > 100 {
				w.Header().Set("Connection", "close") // the server sends GOAWAY
			}
			reply(w, answer(askedBy(t, r)), "0")
		})
		r := run(t, flags(t, addr, 0))
		if r.Failed == 0 || !strings.Contains(r.Problem, "left without an answer") {
			t.Errorf("%+v, want failed requests", r)
		}
	})
	for _, rate := range []int{0, 500} {
		t.Run(fmt.Sprintf("silent server, rate %d", rate), func(t *testing.T) {
			t.Parallel()
			addr := serve(t, http.HTTP2Config{}, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
			o := flags(t, addr, 0)
			o.rate, o.duration, o.patience = rate, 100*time.Millisecond, 300*time.Millisecond
			r := run(t, o)
			if r.Sent < o.conns*o.streams || r.Failed != r.Sent || r.Rate != 0 || !strings.Contains(r.Problem, "left without an answer: ") {
				t.Errorf("%+v, want all requests failed", r)
			}
		})
	}
	t.Run("interrupted", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		addr := serve(t, http.HTTP2Config{}, func(_ http.ResponseWriter, r *http.Request) {
			cancel()
			<-r.Context().Done()
		})
		if r, err := flags(t, addr, 0).run(ctx); err == nil {
			t.Errorf("an interrupted run reports %+v and no error", r)
		}
	})
	t.Run("no server", func(t *testing.T) {
		t.Parallel()
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := listener.Addr().String()
		listener.Close()
		if r, err := flags(t, addr, 1).run(t.Context()); err == nil {
			t.Errorf("without a server the run reports %+v and no error", r)
		}
	})
}

// TestEveryLineInTurn: the lines are used in turn, whatever the number of connections, and a run
// ends after the number of requests that is asked for.
func TestEveryLineInTurn(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ requests, conns, streams, rate int }{
		{1, 3, 4, 0}, {3 * users, 1, 1, 0}, {10 * users, 4, 16, 0}, {10 * users, 4, 16, 2000},
	} {
		var mu sync.Mutex
		asked := make([]int, users)
		addr := serve(t, http.HTTP2Config{}, func(w http.ResponseWriter, r *http.Request) {
			user := askedBy(t, r)
			mu.Lock()
			asked[user]++
			mu.Unlock()
			reply(w, answer(user), "0")
		})
		o := flags(t, addr, test.requests)
		o.conns, o.streams, o.rate = test.conns, test.streams, test.rate
		r := run(t, o)
		if r.Sent != test.requests || r.Statuses[200] != test.requests || r.Wrong != 0 {
			t.Errorf("%+v: %+v", test, r)
		}
		if slices.Max(asked)-slices.Min(asked) > test.requests%users {
			t.Errorf("%+v: the users sent %v requests", test, asked)
		}
	}
}

// TestGET: without a message a GET request is sent, with all headers each time.
func TestGET(t *testing.T) {
	t.Parallel()
	for _, table := range []int{4096, 100, 200, 1 << 20} { // the size of the table that the server keeps of headers
		addr := serve(t, http.HTTP2Config{MaxDecoderHeaderTableSize: table}, func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet || r.RequestURI != "/service/Method?x=1" || r.Header.Get("X-Fixed") != "always the same" || r.Host == "" {
				t.Errorf("%s %s with %v", r.Method, r.RequestURI, r.Header)
			}
			for user := range users {
				if r.Header.Get("Authorization") == "Bearer "+token(user) {
					_, _ = io.WriteString(w, answer(user))
				}
			}
		})
		o := flags(t, addr, 100)
		o.message = ""
		if r := run(t, o); r.Sent != 100 || r.Statuses[200] != 100 || r.Wrong != 0 {
			t.Errorf("a table of %d bytes: %+v", table, r)
		}
		o.status = http.StatusForbidden
		if r := run(t, o); r.Wrong != 100 {
			t.Errorf("another status than the wanted one: %+v", r)
		}
		o.status, o.want = 0, ""
		if r := run(t, o); r.Wrong != 0 {
			t.Errorf("any answer is wanted: %+v", r)
		}
	}
}

// TestLimitsOfTheServer: few streams, small frames and small windows slow the load down, and
// break nothing.
func TestLimitsOfTheServer(t *testing.T) {
	t.Parallel()
	const streams, n = 2, 300
	var mu sync.Mutex
	open, most := map[string]int{}, 0
	long := strings.Repeat("a long message ", 2000)
	addr := serve(t, http.HTTP2Config{MaxConcurrentStreams: streams, MaxReceiveBufferPerConnection: 65535}, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		open[r.RemoteAddr]++
		most = max(most, open[r.RemoteAddr])
		mu.Unlock()
		body, err := io.ReadAll(r.Body)
		if err != nil || !strings.HasSuffix(string(body), long) {
			t.Errorf("a body of %d bytes, %v", len(body), err)
		}
		mu.Lock()
		open[r.RemoteAddr]--
		mu.Unlock()
		reply(w, long, "0")
	})
	o := flags(t, addr, n)
	for _, path := range []string{o.message, o.want} {
		if err := os.WriteFile(path, []byte(long), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, rate := range []int{0, 2000} {
		o.rate = rate
		if r := run(t, o); r.Sent+r.Dropped != n || r.Failed != 0 || r.Wrong != 0 {
			t.Errorf("rate %d: %+v", rate, r)
		}
		if most > streams {
			t.Errorf("rate %d: %d requests at once on a connection, more than the %d that the server allows", rate, most, streams)
		}
	}
	if err := os.WriteFile(o.message, bytes.Repeat([]byte("x"), 2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err := o.run(t.Context()); err == nil {
		t.Errorf("a message that is larger than the window: %+v", r)
	}
}

// TestFixedRate: the rate does not depend on the answers, and what a pause of the server costs the
// requests that become due in it is counted.
func TestFixedRate(t *testing.T) {
	t.Parallel()
	const pause = 400 * time.Millisecond
	var once sync.Once
	var resume atomic.Pointer[time.Time]
	addr := serve(t, http.HTTP2Config{}, func(w http.ResponseWriter, r *http.Request) {
		user := askedBy(t, r)
		once.Do(func() { end := time.Now().Add(pause); resume.Store(&end) })
		for resume.Load() == nil {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Until(*resume.Load())) // everybody waits for the same moment
		reply(w, answer(user), "0")
	})
	o := flags(t, addr, 0)
	o.rate, o.duration = 500, pause
	r := run(t, o)
	if r.Sent != 200 || r.Statuses[200] != 200 || r.Wrong != 0 || r.Dropped != 0 {
		t.Errorf("%+v, want 200 right answers", r)
	}
	// Half of the requests were due in the first half of the pause.
	if half := (pause / 2).Microseconds() * 9 / 10; r.P50 < half || r.Max < 2*half {
		t.Errorf("half of the requests waited %d µs and one %d µs, want at least %d and %d: the pause is hidden", r.P50, r.Max, half, 2*half)
	}
}

// TestFixedRateEnds: a run ends when its time is over, also where that is not when a request is due.
func TestFixedRateEnds(t *testing.T) {
	t.Parallel()
	addr := serve(t, http.HTTP2Config{}, func(w http.ResponseWriter, r *http.Request) { reply(w, answer(askedBy(t, r)), "0") })
	for duration, want := range map[time.Duration]int{100 * time.Millisecond: 10, 105 * time.Millisecond: 11, time.Second / 3: 34} {
		o := flags(t, addr, 0)
		o.rate, o.duration = 100, duration
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		r, err := o.run(ctx)
		cancel()
		if err != nil || r.Sent != want || r.Statuses[200] != want {
			t.Errorf("%v: %+v, %v, want %d requests", duration, r, err, want)
		}
	}
}

// TestTooManyInFlight: a server that does not answer holds a bounded number of requests.
func TestTooManyInFlight(t *testing.T) {
	t.Parallel()
	addr := serve(t, http.HTTP2Config{MaxConcurrentStreams: 10_000}, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	o := flags(t, addr, 3000)
	o.rate, o.duration, o.patience = 100_000, 100*time.Millisecond, 500*time.Millisecond
	r := run(t, o)
	if want := maxInFlight / o.conns * o.conns; r.Sent != want || r.Dropped != 3000-want || r.Failed != want {
		t.Errorf("%+v, want %d sent and the rest dropped", r, want)
	}
}

// checks is a server made by grpc-go.
type checks struct {
	authv3.UnimplementedAuthorizationServer
	count atomic.Int64
}

func (c *checks) Check(_ context.Context, in *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	if c.count.Add(1)%10 == 0 {
		return nil, status.Error(codes.Unavailable, "not now")
	}
	user := in.GetAttributes().GetRequest().GetHttp().GetHeaders()["authorization"]
	return &authv3.CheckResponse{HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{HeadersToRemove: []string{user}}}}, nil
}

// TestGRPC: grpc-go understands the calls, and its errors are wrong answers.
func TestGRPC(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	service := new(checks)
	authv3.RegisterAuthorizationServer(server, service)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	in := &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
		Http: &authv3.AttributeContext_HttpRequest{Headers: map[string]string{"authorization": token(0)}},
	}}}
	out, err := service.Check(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	service.count.Store(0)
	const n = 2000
	o := flags(t, listener.Addr().String(), n)
	o.url = "http://" + listener.Addr().String() + authv3.Authorization_Check_FullMethodName
	for path, message := range map[string]proto.Message{o.message: in, o.want: out} {
		b, err := proto.Marshal(message)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if r := run(t, o); r.Sent != n || r.Statuses[200] != n || r.Wrong != n/10 || !strings.Contains(r.Problem, "gRPC status of an answer is 14") {
		t.Errorf("%+v, want %d wrong answers", r, n/10)
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	first, other := []string{"abc", "abcde", "x"}, []string{"ABC", "12345", "-"}
	for _, test := range []struct{ made, want string }{
		{"", ""},
		{"nothing of it", "nothing of it"},
		{"abc", "ABC"},
		{"abcde", "12345"}, // the longer field
		{"xabcdx", "-ABCd-"},
		{"to abc and abcde, x", "to ABC and 12345, -"},
	} {
		text := textOf([]byte(test.made), first)
		if text.varies() != (test.made != test.want) || text.size != len(test.made) {
			t.Errorf("%q: varies %v, size %d", test.made, text.varies(), text.size)
		}
		for line, want := range map[string][]string{test.made: first, test.want: other} {
			if got := string(text.appendTo(nil, want)); got != line {
				t.Errorf("%q for %v is %q, want %q", test.made, want, got, line)
			}
			for from := range len(line) + 1 {
				for to := from; to <= len(line); to++ {
					if !text.matches(want, from, []byte(line[from:to])) {
						t.Errorf("%q does not match %q from %d to %d", line[from:to], line, from, to)
					}
					wrong := []byte(line[from:to])
					for i := range wrong {
						wrong[i] ^= 1
						if text.matches(want, from, wrong) {
							t.Errorf("%q matches %q from %d", wrong, line, from)
						}
						wrong[i] ^= 1
					}
					if text.matches(want, from, []byte(line[from:]+"!")) {
						t.Errorf("%q matches what is longer", line)
					}
				}
			}
		}
	}
}

func TestMistakesOfTheUser(t *testing.T) {
	t.Parallel()
	addr := serve(t, http.HTTP2Config{}, func(w http.ResponseWriter, r *http.Request) { reply(w, answer(askedBy(t, r)), "0") })
	lines := func(text string) func(*options) {
		return func(o *options) {
			if err := os.WriteFile(o.tokens, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, change := range map[string]func(*options){
		"no URL":                   func(o *options) { o.url = "" },
		"TLS":                      func(o *options) { o.url = strings.Replace(o.url, "http", "https", 1) },
		"no port":                  func(o *options) { o.url = "http://localhost/" },
		"a negative rate":          func(o *options) { o.rate = -1 },
		"a negative number":        func(o *options) { o.requests = -1 },
		"no connection":            func(o *options) { o.conns = 0 },
		"no stream":                func(o *options) { o.streams = 0 },
		"no time":                  func(o *options) { o.duration = 0 },
		"no patience":              func(o *options) { o.patience = 0 },
		"a header without a colon": func(o *options) { o.headers = []string{"x"} },
		"no file of tokens":        func(o *options) { o.tokens += "x" },
		"no file of the message":   func(o *options) { o.message += "x" },
		"no file of the answer":    func(o *options) { o.want += "x" },
		"no tokens":                lines(""),
		"a longer token":           lines("token\tid\ntoken-\tid\n"),
		"a field less":             lines("token\tid\ntoken\n"),
		"an empty field":           lines("token\t\ntoken\t\n"),
		"a line that is too long":  lines(strings.Repeat("x", 1<<17)),
	} {
		o := flags(t, addr, 1)
		change(&o)
		if r, err := o.run(t.Context()); err == nil {
			t.Errorf("%s: %+v and no error", name, r)
		}
	}
}

// TestResultIsJSON holds the names that the benchmarks read.
func TestResultIsJSON(t *testing.T) {
	t.Parallel()
	text, err := json.Marshal(result{Sent: 7, Dropped: 1, Failed: 2, Wrong: 3, Statuses: map[int]int{200: 4, 503: 1}, Rate: 1.5, Late: 4, P50: 5, P99: 6, Max: 8, Problem: "p"})
	const want = `{"sent":7,"dropped":1,"failed":2,"wrong":3,"statuses":{"200":4,"503":1},"rate":1.5,"late_us":4,"p50_us":5,"p99_us":6,"max_us":8,"problem":"p"}`
	if err != nil || string(text) != want {
		t.Errorf("%s, %v, want %s", text, err, want)
	}
}
