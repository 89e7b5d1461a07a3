package e2e

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"warder/authz/authztest"
	"warder/cmd/warder/internal/clitest"
)

// overTLS makes warder a service with a certificate, as service.yaml of Envoy asks for it. It
// returns what may happen to its files.
func (s *stage) overTLS(t *testing.T) []fault {
	t.Helper()
	ofWarder, ofEnvoy := t.TempDir(), t.TempDir()
	authority := clitest.NewAuthority(t, "ca")
	address := authztest.FreeAddress(t)
	s.listen = map[string]any{"grpc": address, "tls": serviceTLS(t, authority, ofWarder)}
	serviceTLS(t, authority, ofEnvoy)
	root, _ := shippedService(t, ofEnvoy)
	s.proxyConfig = serviceConfig(t, root, s.front, s.upstream.Listener.Addr().String(), address)

	reloaded := func(t *testing.T, want float64) {
		t.Helper()
		waitFor(t, "the policy to be read", func() error {
			if got := s.metrics(t).Series["warder_policy_last_reload_successful{}"]; got != want {
				return fmt.Errorf("warder_policy_last_reload_successful is %v, want %v", got, want)
			}
			return nil
		})
	}
	policy := filepath.Join(s.dir, "policy.yaml")
	answers := func(t *testing.T, path string, headers map[string]string, want int) {
		t.Helper()
		waitFor(t, fmt.Sprintf("%s to be %d", path, want), func() error {
			if got := s.get(t, "http://"+s.front, path, headers); got != want {
				return fmt.Errorf("it is %d", got)
			}
			return nil
		})
	}
	nothing := func(*testing.T, *stage) {}
	return []fault{
		{
			name: "the policy gets a route, and loses it",
			begin: func(t *testing.T, s *stage) {
				clitest.Replace(t, policy, s.policy+"  - {id: more, match: /more, public: true}\n")
				answers(t, "/more", nil, http.StatusOK)
			},
			end: func(t *testing.T, s *stage) {
				clitest.Replace(t, policy, s.policy)
				answers(t, "/more", nil, http.StatusForbidden)
			},
		},
		{
			name: "the policy has an error, and is mended",
			begin: func(t *testing.T, _ *stage) {
				clitest.Replace(t, policy, "version: 1\nroutes: []\n")
				reloaded(t, 0)
			},
			end: func(t *testing.T, s *stage) {
				clitest.Replace(t, policy, s.policy)
				reloaded(t, 1)
			},
		},
		{
			name: "the secret of tokens is rotated",
			begin: func(t *testing.T, s *stage) {
				next := []byte(rand.Text() + rand.Text())
				clitest.Replace(t, filepath.Join(s.dir, "jwt"), string(next)+"\n")
				s.setSession(t, goodUser, "rotation")
				answers(t, "/user", bearer(authztest.Mint(t, authztest.Token{Secret: next, Claims: map[string]any{
					"sub": goodUser, "jti": "rotation", "exp": time.Now().Add(time.Hour).Unix(),
				}})), http.StatusOK)
				s.steady.Lock()
				defer s.steady.Unlock()
				s.secret = next // for the next logins; the tokens before stay valid
			},
			end: nothing,
		},
		{
			name: "the certificate of warder is rotated",
			begin: func(t *testing.T, _ *stage) {
				cert, key := authority.Issue(t, serviceName, time.Now().Add(time.Hour), serviceName)
				clitest.Replace(t, filepath.Join(ofWarder, "tls.crt"), string(cert))
				clitest.Replace(t, filepath.Join(ofWarder, "tls.key"), string(key))
				pair, err := tls.X509KeyPair(cert, key)
				if err != nil {
					t.Fatal(err)
				}
				dialer := tls.Dialer{Config: &tls.Config{RootCAs: authority.Pool(), ServerName: serviceName, Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2"}}}
				waitFor(t, "the new certificate", func() error {
					conn, err := dialer.DialContext(t.Context(), "tcp", address)
					if err != nil {
						return err
					}
					defer conn.Close()
					served := conn.(*tls.Conn).ConnectionState().PeerCertificates[0] //nolint:forcetypeassert // the dialer returns it
					if !slices.Equal(served.Raw, pair.Certificate[0]) {
						return errors.New("it is still the old one")
					}
					return nil
				})
			},
			end: nothing,
		},
	}
}

// held is what a process uses that could leak.
type held struct{ memory, goroutines, descriptors float64 }

// held returns the least that warder uses of each in some seconds: what stays between the requests.
func (s *stage) held(t *testing.T, d time.Duration) held {
	t.Helper()
	least := held{math.Inf(1), math.Inf(1), math.Inf(1)}
	for end := time.Now().Add(d); ; s.wait(d / 20) {
		m := s.metrics(t).Series
		least.memory = min(least.memory, m["process_resident_memory_bytes{}"])
		least.goroutines = min(least.goroutines, m["go_goroutines{}"])
		least.descriptors = min(least.descriptors, m["process_open_fds{}"])
		if time.Now().After(end) {
			return least
		}
	}
}

// returned returns an error unless h is where it was before, but for the room that pools and caches have.
func (h held) returned(before held) error {
	if h.memory > before.memory+float64(roomForMemory()) || h.goroutines > before.goroutines+30 || h.descriptors > before.descriptors+20 {
		return fmt.Errorf("%v, before %v", h, before)
	}
	return nil
}

func (h held) String() string {
	return fmt.Sprintf("%.0f MiB, %.0f goroutines, %.0f descriptors", h.memory/(1<<20), h.goroutines, h.descriptors)
}

// TestSoak runs one warder as a service over TLS under mixed traffic, while policies are
// reloaded, secrets and certificates are rotated, stores restart, and Envoy too. At the end, warder
// uses what it used after the first time that all of that had happened. SOAK is how long it takes.
func TestSoak(t *testing.T) {
	p := plan{rate: 50, before: 100 * time.Millisecond, during: 100 * time.Millisecond, after: 500 * time.Millisecond}
	whole, sample := knob(t, "SOAK", 0, time.ParseDuration), time.Second
	s := newStage(t, startStores(t))
	events := s.overTLS(t)
	if whole > 0 {
		p = plan{rate: 100, before: time.Second, during: 2 * time.Second, after: 2 * time.Second}
		sample = 5 * time.Second
		for _, f := range setups()[0].faults {
			if f.before == nil && !f.ends {
				events = append(events, f)
			}
		}
	}
	s.play(t, modes()[1], p.rate)
	began := time.Now()
	var before held
	var rounds int
	rows := map[string][]*faultRow{}
	for ; rounds < 2 || time.Since(began) < whole; rounds++ {
		if rounds == 1 {
			before = s.held(t, sample)
		}
		for _, f := range events {
			if !t.Run(fmt.Sprintf("%d %s", rounds+1, f.name), func(t *testing.T) { rows[f.name] = append(rows[f.name], s.row(t, f, p)) }) {
				return
			}
		}
	}
	var after held
	waitFor(t, "warder to use what it used before", func() error {
		after = s.held(t, sample)
		return after.returned(before)
	})
	if log := s.leaks.text("warder stderr"); strings.Contains(log, "panic") {
		t.Errorf("warder's log has a panic: %s", tailOf(log, 4000))
	}
	table := [][]string{{"event", "times", "requests", "wrongly allowed", "meanwhile 503 or no answer", "longest time to recovery", "wrongly refused after it", "slowest answer"}}
	for _, f := range events {
		table = append(table, sum(f.name, rows[f.name]))
	}
	if whole > 0 {
		s.printMachine(t)
	}
	fmt.Printf("%v, %d rounds, %.0f requests a second, %s\n\n%s\nafter the first round: %v\nat the end:            %v\n",
		time.Since(began).Round(time.Second), rounds, p.rate, s.mode.name, aligned(table), before, after)
}

// sum adds the rows of one event.
func sum(name string, rows []*faultRow) []string {
	var requests, wrong, meanwhile, later int
	var longest, slowest time.Duration
	for _, r := range rows {
		r.ledger.mu.Lock()
		requests += r.ledger.requests
		wrong += r.ledger.wronglyAllowed
		later += r.later + r.ledger.falselyRefused
		slowest = max(slowest, r.ledger.slowest)
		r.ledger.mu.Unlock()
		meanwhile += r.meanwhile
		longest = max(longest, r.recovery)
	}
	return []string{
		name, fmt.Sprint(len(rows)), fmt.Sprint(requests), fmt.Sprint(wrong), fmt.Sprint(meanwhile),
		fmt.Sprintf("%.2f s", longest.Seconds()), fmt.Sprint(later), fmt.Sprintf("%d ms", slowest.Milliseconds()),
	}
}
