package metrics

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"warder/authz"
)

// storeMetrics are the metrics of requests to the stores. They do not include answers from
// a cache.
type storeMetrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

func newStoreMetrics() storeMetrics {
	return storeMetrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "warder_store_requests_total",
			Help: "Requests to a store: ok, not_found, unavailable (no answer, or none in time), " +
				"overloaded (not sent, to limit the load), cancelled (the caller did not wait).",
		}, []string{"store", "result"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "warder_store_duration_seconds",
			Help:    "Duration of requests to a store, whatever their result.",
			Buckets: decisionBuckets,
		}, []string{"store"}),
	}
}

// An Availability describes a store and how to read whether checks ask it now.
type Availability struct {
	Store string
	Now   func() bool
}

// ShowAvailability adds to the metrics whether checks ask the stores.
func (m *Metrics) ShowAvailability(stores ...Availability) {
	for _, of := range stores {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name:        "warder_store_available",
			Help:        "1, or 0 while the store does not answer, and requests that need it get a 503 without asking it.",
			ConstLabels: prometheus.Labels{"store": of.Store},
		}, func() float64 {
			if of.Now() {
				return 1
			}
			return 0
		}))
	}
}

// The results of a store request.
const (
	storeOK = iota
	storeNotFound
	storeUnavailable
	storeOverloaded
	storeCancelled
)

var storeResults = [...]string{
	storeOK: "ok", storeNotFound: "not_found", storeUnavailable: "unavailable",
	storeOverloaded: "overloaded", storeCancelled: "cancelled",
}

// A storeMeter counts the requests to one store and logs when the store stops answering.
type storeMeter struct {
	results [len(storeResults)]prometheus.Counter
	seconds prometheus.Observer
	voice   storeVoice
}

func (m storeMetrics) meter(store string) *storeMeter {
	meter := &storeMeter{seconds: m.seconds.WithLabelValues(store)}
	meter.voice.store, meter.voice.now = store, time.Now
	for i, result := range storeResults {
		// Create all counters now, so that the first failure shows as an increase from zero.
		meter.results[i] = m.requests.WithLabelValues(store, result)
	}
	return meter
}

// asked records a store request with its duration and its error.
func (m *storeMeter) asked(took time.Duration, err error) {
	result := storeResult(err)
	m.results[result].Inc()
	m.seconds.Observe(took.Seconds())
	m.voice.heard(result, err)
}

// askedSession is like asked for a store that reports a missing key as exists == false. With
// sessions.rule absent that is one of a session that is alive.
func (m *storeMeter) askedSession(took time.Duration, exists bool, err error) {
	if err == nil && !exists {
		err = authz.ErrNotFound
	}
	m.asked(took, err)
}

func storeResult(err error) int {
	switch {
	case err == nil:
		return storeOK
	case errors.Is(err, authz.ErrNotFound):
		return storeNotFound
	case errors.Is(err, authz.ErrOverloaded):
		return storeOverloaded
	case errors.Is(err, context.Canceled):
		return storeCancelled
	}
	return storeUnavailable
}

// meteredSessions counts the requests to an [authz.Sessions].
type meteredSessions struct {
	sessions authz.Sessions
	meter    *storeMeter
}

// Alive implements [authz.Sessions].
func (s meteredSessions) Alive(ctx context.Context, session authz.Session) (bool, error) {
	began := time.Now()
	alive, err := s.sessions.Alive(ctx, session)
	s.meter.askedSession(time.Since(began), alive, err)
	return alive, err
}

// meteredUsers counts the requests to an [authz.Users].
type meteredUsers struct {
	users authz.Users
	meter *storeMeter
}

// User implements [authz.Users].
func (u meteredUsers) User(ctx context.Context, id string) (authz.User, error) {
	began := time.Now()
	user, err := u.users.User(ctx, id)
	u.meter.asked(time.Since(began), err)
	return user, err
}

// meteredAPIKeys counts the requests to an [authz.APIKeys].
type meteredAPIKeys struct {
	keys  authz.APIKeys
	meter *storeMeter
}

// APIKey implements [authz.APIKeys].
func (k meteredAPIKeys) APIKey(ctx context.Context, hash authz.KeyHash) (authz.APIKey, error) {
	began := time.Now()
	key, err := k.keys.APIKey(ctx, hash)
	k.meter.asked(time.Since(began), err)
	return key, err
}
