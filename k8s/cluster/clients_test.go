//go:build pod

package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
)

// jwtSecret signs the tokens of the tests.
const jwtSecret = "0123456789abcdef0123456789abcdef"

// login returns a token of the user, whose session is in Valkey.
func login(t testing.TB, user, session string) string {
	t.Helper()
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": user, "jti": session, "exp": time.Now().Add(time.Hour).Unix()}).SignedString([]byte(jwtSecret))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := valkey(t.Context(), "SET session:"+user+":"+session+" 1"); err != nil {
		t.Fatal(err)
	}
	return token
}

// A request is one request to Envoy.
type request struct {
	method, path string
	token        string // "" for none
	apiKey       string
}

// An answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// ask sends the request to port 8000 of an address.
func ask(ctx context.Context, client *http.Client, address string, r request) (answer, error) {
	var body io.Reader
	if r.method == http.MethodPost {
		// With a body, and not repeatable: what is lost is seen as lost.
		body = strings.NewReader(`{"a":1}`)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, "http://"+address+":8000"+r.path, body)
	if err != nil {
		return answer{}, err
	}
	if r.token != "" {
		req.Header.Set("Authorization", "Bearer "+r.token)
	}
	if r.apiKey != "" {
		req.Header.Set("X-API-Key", r.apiKey)
	}
	// No client may be somebody by saying so.
	req.Header.Set("X-Warder-User", "mallory")
	resp, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(text)}, err
}

// statusOf asks a pod once.
func statusOf(ctx context.Context, address string, r request) (int, error) {
	got, err := ask(ctx, http.DefaultClient, address, r)
	return got.status, err
}

// A balancer knows the ready pods of a Service, like kube-proxy or an ingress.
type balancer struct {
	slices discoverylisters.EndpointSliceNamespaceLister
	name   string
}

func newBalancer(t *testing.T, n *node, namespace, service string) *balancer {
	t.Helper()
	factory := informers.NewSharedInformerFactoryWithOptions(n.kube, 0, informers.WithNamespace(namespace))
	lister := factory.Discovery().V1().EndpointSlices().Lister()
	factory.Start(t.Context().Done())
	factory.WaitForCacheSync(t.Context().Done())
	t.Cleanup(factory.Shutdown)
	return &balancer{lister.EndpointSlices(namespace), service}
}

// addresses returns the addresses of the pods that are ready and not about to stop.
func (b *balancer) addresses() ([]string, error) {
	all, err := b.slices.List(labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: b.name}))
	if err != nil {
		return nil, err
	}
	var ready []string
	for _, slice := range all {
		for _, e := range slice.Endpoints {
			if e.Conditions.Ready == nil || *e.Conditions.Ready {
				ready = append(ready, e.Addresses...)
			}
		}
	}
	slices.Sort(ready)
	return ready, nil
}

// A load sends requests until it is stopped.
type load struct {
	stop func() report
}

// A report is what a load saw.
type report struct {
	statuses map[int]int
	samples  map[int]string // one answer of each status
	errors   []string
	// longest is the longest time without a status 200.
	longest time.Duration
}

func (r report) String() string {
	var parts []string
	for _, status := range slices.Sorted(maps.Keys(r.statuses)) {
		parts = append(parts, fmt.Sprintf("%d: %d", status, r.statuses[status]))
	}
	for status, sample := range r.samples {
		if status >= http.StatusInternalServerError {
			parts = append(parts, fmt.Sprintf("the last %d from %s", status, sample))
		}
	}
	return fmt.Sprintf("answers %s; errors %d", strings.Join(parts, ", "), len(r.errors))
}

// startLoad sends a request each 20 ms from each of two clients; choose names the address
// for the n-th request.
func startLoad(t *testing.T, r request, choose func(n int) (string, error)) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	transport := &http.Transport{MaxIdleConnsPerHost: 8}
	client := &http.Client{Transport: transport, Timeout: 30 * time.Second}
	var (
		mu    sync.Mutex
		total = report{statuses: map[int]int{}, samples: map[int]string{}}
		last  = time.Now()
		wg    sync.WaitGroup
	)
	for worker := range 2 {
		wg.Go(func() {
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for n := worker; ctx.Err() == nil; n++ {
				address, err := choose(n)
				var got answer
				if err == nil {
					// What is under way when the load ends is waited for.
					got, err = ask(context.WithoutCancel(ctx), client, address, r)
				}
				mu.Lock()
				switch {
				case err != nil:
					total.errors = append(total.errors, fmt.Sprintf("%s: %v", address, err))
				default:
					total.statuses[got.status]++
					total.samples[got.status] = fmt.Sprintf("%s at %s: %s", address, time.Now().Format(time.StampMilli), strings.TrimSpace(got.body))
				}
				if now := time.Now(); got.status == http.StatusOK {
					total.longest = max(total.longest, now.Sub(last))
					last = now
				}
				mu.Unlock()
				select {
				case <-ctx.Done():
				case <-tick.C:
				}
			}
		})
	}
	l := &load{stop: sync.OnceValue(func() report {
		cancel()
		wg.Wait()
		transport.CloseIdleConnections()
		return total
	})}
	t.Cleanup(func() { l.stop() })
	return l
}

// onePod sends everything to one address.
func onePod(address string) func(int) (string, error) {
	return func(int) (string, error) { return address, nil }
}

// everyPod takes turns.
func (b *balancer) everyPod(n int) (string, error) {
	ready, err := b.addresses()
	if err != nil {
		return "", err
	}
	if len(ready) == 0 {
		return "", errors.New("no pod is ready")
	}
	return ready[n%len(ready)], nil
}
