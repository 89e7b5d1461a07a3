package server

import (
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A policyStatus is how the last reading of the policy went, for /readyz and for
// /metrics. It holds nothing of the policy: whoever probes may read it.
type policyStatus struct {
	successful *prometheus.Desc
	timestamp  *prometheus.Desc
	info       *prometheus.Desc

	mu       sync.Mutex
	hash     string    // of the policy that decides
	loaded   time.Time // when it was read last, and good
	failed   time.Time // the reading after that; the zero time: there was none, or it was good
	problems int       // of that one
}

func newPolicyStatus(hash string, now time.Time) *policyStatus {
	return &policyStatus{
		successful: prometheus.NewDesc("warder_policy_last_reload_successful",
			"1 when the last reading of the policy was good; 0 when it was not, and the last good policy stays.", nil, nil),
		timestamp: prometheus.NewDesc("warder_policy_last_reload_timestamp_seconds",
			"When the policy was last read and good, changed or not, in seconds since 1970; the start counts.", nil, nil),
		info: prometheus.NewDesc("warder_policy_info",
			"Always 1, with the hash of the policy that decides.", []string{"hash"}, nil),
		hash: hash, loaded: now,
	}
}

// good notes that the policy was read, and that it is the one with this hash.
func (s *policyStatus) good(hash string, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hash, s.loaded, s.failed, s.problems = hash, now, time.Time{}, 0
}

// bad notes that the policy was read and had so many problems.
func (s *policyStatus) bad(problems int, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed, s.problems = now, problems
}

// detail is a line for /readyz; "" when there is nothing to say.
func (s *policyStatus) detail() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed.IsZero() {
		return ""
	}
	found := "1 problem"
	if s.problems != 1 {
		found = fmt.Sprintf("%d problems", s.problems)
	}
	return fmt.Sprintf("policy: the reload at %s failed with %s, see the log; the last good one stays (hash %.8s, read at %s)",
		s.failed.UTC().Format(time.RFC3339), found, s.hash, s.loaded.UTC().Format(time.RFC3339))
}

// Describe implements [prometheus.Collector].
func (s *policyStatus) Describe(to chan<- *prometheus.Desc) {
	to <- s.successful
	to <- s.timestamp
	to <- s.info
}

// Collect implements [prometheus.Collector]. All three are of the same moment.
func (s *policyStatus) Collect(to chan<- prometheus.Metric) {
	s.mu.Lock()
	hash, loaded, successful := s.hash, s.loaded, 1.0
	if !s.failed.IsZero() {
		successful = 0
	}
	s.mu.Unlock()
	to <- prometheus.MustNewConstMetric(s.successful, prometheus.GaugeValue, successful)
	to <- prometheus.MustNewConstMetric(s.timestamp, prometheus.GaugeValue, float64(loaded.UnixMilli())/1000)
	to <- prometheus.MustNewConstMetric(s.info, prometheus.GaugeValue, 1, hash)
}
