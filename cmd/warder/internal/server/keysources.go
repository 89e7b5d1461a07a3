package server

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"warder/authz/jwks"
)

// keySources are the sources of the keys of issuers, one for each issuer with keys at a URL.
type keySources []*jwks.Source

// keysOf is the name of an issuer's keys in /readyz.
func keysOf(s *jwks.Source) string { return "the keys of " + s.Issuer() }

func (all keySources) names() (names []string) {
	for _, s := range all {
		names = append(names, keysOf(s))
	}
	return names
}

// reach calls reached when the keys of a source are known for the first time.
func reach(ctx context.Context, s *jwks.Source, reached func()) {
	select {
	case <-s.First():
		reached()
	case <-ctx.Done():
	}
}

// detail returns the lines of /readyz, or "" if there is nothing to report.
func (all keySources) detail() string {
	var lines []string
	for _, s := range all {
		status := s.Status()
		at := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }
		switch {
		case status.Failed.IsZero():
		case status.Keys == 0:
			lines = append(lines, fmt.Sprintf("%s: they were read at %s and are too old; the fetch at %s failed, see the log; tokens are a 503",
				keysOf(s), at(status.Read), at(status.Failed)))
		default:
			lines = append(lines, fmt.Sprintf("%s: the fetch at %s failed, see the log; the last good ones stay until %s (read at %s)",
				keysOf(s), at(status.Failed), at(status.Until), at(status.Read)))
		}
	}
	return strings.Join(lines, "\n")
}

// The metrics of the keys of issuers. The label is the issuer's name in the configuration.
func keyDescs() (keys, read, good, fetches *prometheus.Desc) {
	desc := func(name, help string, more ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, append([]string{"issuer"}, more...), nil)
	}
	return desc("warder_jwks_keys", "Public keys of an issuer that are in use; 0 when they are not known, so that its tokens are a 503."),
		desc("warder_jwks_last_refresh_timestamp_seconds", "When the keys of an issuer were last read; 0 when they never were."),
		desc("warder_jwks_last_refresh_successful", "1 when the last reading of the keys of an issuer was good; 0 when it was not, and the last good keys stay until they are too old."),
		desc("warder_jwks_refreshes_total", "Readings of the keys of an issuer, by result: ok or error.", "result")
}

// Describe implements [prometheus.Collector].
func (all keySources) Describe(to chan<- *prometheus.Desc) {
	keys, read, good, fetches := keyDescs()
	for _, d := range []*prometheus.Desc{keys, read, good, fetches} {
		to <- d
	}
}

// Collect implements [prometheus.Collector].
func (all keySources) Collect(to chan<- prometheus.Metric) {
	keys, read, good, fetches := keyDescs()
	for _, s := range all {
		status := s.Status()
		send := func(d *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
			to <- prometheus.MustNewConstMetric(d, kind, value, append([]string{s.Issuer()}, labels...)...)
		}
		var at, successful float64
		if !status.Read.IsZero() {
			at = float64(status.Read.UnixMilli()) / 1000
			if status.Failed.IsZero() {
				successful = 1
			}
		}
		send(keys, prometheus.GaugeValue, float64(status.Keys))
		send(read, prometheus.GaugeValue, at)
		send(good, prometheus.GaugeValue, successful)
		send(fetches, prometheus.CounterValue, float64(status.Successes), "ok")
		send(fetches, prometheus.CounterValue, float64(status.Failures), "error")
	}
}
