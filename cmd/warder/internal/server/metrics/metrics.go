package metrics

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"google.golang.org/grpc"

	"warder/authz"
	"warder/envoy"
	"warder/policy"
)

// decisionBuckets are in seconds. Most checks take some tens of microseconds, and none
// takes longer than the deadline.
var decisionBuckets = []float64{
	25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 200e-3, 500e-3,
}

// maxGoneRoutes is the maximum number of removed routes that keep their counters. Removing a
// counter at once would spoil its rate in Prometheus. Keeping all of them would be unbounded
// if each release made up new route IDs.
const maxGoneRoutes = 1000

// Metrics are the metrics of GET /metrics, in their own registry. No label contains data of a
// request: route labels come from the policy, and all other label values are fixed.
type Metrics struct {
	registry  *prometheus.Registry
	decisions *prometheus.CounterVec
	duration  prometheus.Histogram
	Dropped   *prometheus.CounterVec // lines that a log dropped
	calls     *callMetrics
	sessions  *storeMeter
	users     *storeMeter
	apiKeys   *storeMeter

	Next *Next // what the next policy would change

	gone []string // IDs of routes that were removed from the policy, oldest first
}

// NewDroppedLines returns the counter of the lines that the logs dropped.
func NewDroppedLines() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "warder_log_lines_dropped_total",
		Help: "Lines of a log that were not written: decisions, access (what Envoy sends) or own (standard error).",
	}, []string{"log"})
}

// New returns metrics that include the given counter of dropped lines. The caller passes an
// existing counter because warder's own log starts before the server. If dropped is nil, New
// makes a new counter.
func New(dropped *prometheus.CounterVec) *Metrics {
	if dropped == nil {
		dropped = NewDroppedLines()
	}
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		Dropped:  dropped,
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "warder_decisions_total",
			Help: "Decisions, by the id of the route in the policy (empty: none matched), the decision and its reason.",
		}, []string{"route", "decision", "reason"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "warder_decision_duration_seconds",
			Help:    "Time from a request that was received to its decision, stores included.",
			Buckets: decisionBuckets,
		}),
	}
	stores := newStoreMetrics()
	m.sessions, m.users, m.apiKeys = stores.meter("sessions"), stores.meter("users"), stores.meter("api_keys")
	m.calls = newCallMetrics()
	m.Next = newNextMetrics()
	m.registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		m.decisions, m.duration, m.Dropped, stores.requests, stores.seconds, m.calls.started, m.calls.handled,
	)
	return m
}

// SpeakTo sets the log that reports when a store stops answering.
func (m *Metrics) SpeakTo(log *slog.Logger) {
	for _, meter := range []*storeMeter{m.sessions, m.users, m.apiKeys} {
		meter.voice.log = log
	}
}

// Observed implements [envoy.Observer].
func (m *Metrics) Observed(_ context.Context, o envoy.Observation) {
	d := o.Decision
	m.decisions.WithLabelValues(d.Route(), d.Verdict(), d.Reason().String()).Inc()
	m.duration.Observe(o.Duration.Seconds())
}

// RoutesGone records the routes that a reload removed, if any, and drops the counters of the
// oldest removed routes. Only the goroutine that reloads the policy calls it.
func (m *Metrics) RoutesGone(ids []string, current *policy.Policy) {
	m.gone = slices.DeleteFunc(append(m.gone, ids...), func(id string) bool { return current.Route(id) != nil })
	for len(m.gone) > maxGoneRoutes {
		m.dropRoute(m.gone[0])
		m.gone = m.gone[1:]
	}
}

// dropRoute drops all counters of a route. It deletes them one by one, because a search over
// thousands of counters would delay the checks.
func (m *Metrics) dropRoute(id string) {
	for _, reason := range authz.Reasons() {
		for _, decision := range []string{authz.VerdictAllow, authz.VerdictDeny, authz.VerdictWouldDeny} {
			m.decisions.DeleteLabelValues(id, decision, reason.String())
		}
	}
	m.Next.differences.DeletePartialMatch(prometheus.Labels{"route": id}) // does not delay checks
}

// A Cache describes a cache and how to read its statistics.
type Cache struct {
	Name   string
	Counts func() authz.CacheCounts
}

// CountedSessions returns an [authz.Sessions] that counts the requests to s.
func (m *Metrics) CountedSessions(s authz.Sessions) authz.Sessions {
	return meteredSessions{s, m.sessions}
}

// CountedUsers returns an [authz.Users] that counts the requests to u.
func (m *Metrics) CountedUsers(u authz.Users) authz.Users { return meteredUsers{u, m.users} }

// CountedAPIKeys returns an [authz.APIKeys] that counts the requests to k.
func (m *Metrics) CountedAPIKeys(k authz.APIKeys) authz.APIKeys { return meteredAPIKeys{k, m.apiKeys} }

// AskedSession counts a request to a session store that reports its own requests.
func (m *Metrics) AskedSession(took time.Duration, exists bool, err error) {
	m.sessions.askedSession(took, exists, err)
}

// CallOptions returns options that make a gRPC server count its calls.
func (m *Metrics) CallOptions() []grpc.ServerOption { return m.calls.options() }

// Register adds a collector to the metrics.
func (m *Metrics) Register(c prometheus.Collector) { m.registry.MustRegister(c) }

// CountCaches adds the statistics of caches to the metrics.
func (m *Metrics) CountCaches(caches ...Cache) {
	m.registry.MustRegister(cacheCollector{
		caches: caches,
		total: prometheus.NewDesc("warder_cache_requests_total",
			"Lookups in a cache: hit (from the cache), shared (by a store request in flight), "+
				"miss (by the store), bypass (by the store, because nothing may be cached at the moment).",
			[]string{"cache", "result"}, nil),
	})
}

// TokenCache returns the cache of tokens that were verified before.
func TokenCache(v interface{ Remembered() (hits, misses uint64) }) Cache {
	return Cache{"tokens", func() authz.CacheCounts {
		hits, misses := v.Remembered()
		return authz.CacheCounts{Hits: hits, Misses: misses}
	}}
}

// A cacheCollector reads the statistics of the caches on each scrape.
type cacheCollector struct {
	caches []Cache
	total  *prometheus.Desc
}

func (c cacheCollector) Describe(to chan<- *prometheus.Desc) { to <- c.total }

func (c cacheCollector) Collect(to chan<- prometheus.Metric) {
	for _, cache := range c.caches {
		counts := cache.Counts()
		for result, n := range map[string]uint64{
			"hit": counts.Hits, "shared": counts.Shared, "miss": counts.Misses, "bypass": counts.Bypasses,
		} {
			to <- prometheus.MustNewConstMetric(c.total, prometheus.CounterValue, float64(n), cache.Name, result)
		}
	}
}

// Handler answers GET /metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		// If one metric fails, the others are still shown.
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: 4,
		Timeout:             4 * time.Second,
	})
}

// Observers is a list of observers that are called in order.
type Observers []envoy.Observer

// Observed implements [envoy.Observer].
func (all Observers) Observed(ctx context.Context, o envoy.Observation) {
	for _, each := range all {
		each.Observed(ctx, o)
	}
}
