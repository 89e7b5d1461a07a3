package server

import (
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A policyStatus is the result of the last read of the policy, for /readyz and /metrics. It
// contains no part of the policy, so anyone who can reach the probes may read it.
type policyStatus struct {
	successful *prometheus.Desc
	timestamp  *prometheus.Desc
	info       *prometheus.Desc

	mu       sync.Mutex
	hash     string    // of the policy that decides
	loaded   time.Time // when a read last succeeded
	failed   time.Time // when the latest read failed; zero if it succeeded
	problems int       // number of problems of the failed read
}

func newPolicyStatus(hash string, now time.Time) *policyStatus {
	return &policyStatus{
		successful: prometheus.NewDesc("warder_policy_last_reload_successful",
			"1 if the last load of the policy succeeded; 0 if it failed and the last good policy stays.", nil, nil),
		timestamp: prometheus.NewDesc("warder_policy_last_reload_timestamp_seconds",
			"Time of the last successful load of the policy, changed or not, in seconds since 1970; the start counts.", nil, nil),
		info: prometheus.NewDesc("warder_policy_info",
			"Always 1, with the hash of the policy that decides.", []string{"hash"}, nil),
		hash: hash, loaded: now,
	}
}

// good records that the policy was read successfully and has this hash.
func (s *policyStatus) good(hash string, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hash, s.loaded, s.failed, s.problems = hash, now, time.Time{}, 0
}

// bad records that the policy was read and had this number of problems.
func (s *policyStatus) bad(problems int, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed, s.problems = now, problems
}

// detail returns a line for /readyz, or "" if there is nothing to report.
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

// Collect implements [prometheus.Collector]. All three metrics are a consistent snapshot.
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
