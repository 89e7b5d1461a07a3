package main

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"warder/authz"
	"warder/policy"
)

// showShadow shows what is not enforced: all of it, and how many routes.
func (m *metrics) showShadow(all bool, engine *authz.Engine) {
	enabled := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "warder_shadow_enabled",
		Help: "1 when warder serve --shadow enforces no denial of any route.",
	})
	if all {
		enabled.Set(1)
	}
	m.registry.MustRegister(enabled, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "warder_shadow_routes",
		Help: "Routes of the policy that are in shadow: no denial of them is enforced.",
	}, func() float64 {
		n := 0
		for _, r := range engine.Policy().Routes() {
			if r.Shadow {
				n++
			}
		}
		return float64(n)
	}))
}

// nextMetrics count what a policy to come would change.
type nextMetrics struct {
	requests                 *prometheus.CounterVec
	same, different, skipped prometheus.Counter
	differences              *prometheus.CounterVec
	gone                     []string // routes of earlier policies to come, see routesGone
}

// routesGone does for the policy to come what [metrics.routesGone] does for the other one.
func (n *nextMetrics) routesGone(ids []string, current *policy.Policy) {
	n.gone = slices.DeleteFunc(append(n.gone, ids...), func(id string) bool { return current.Route(id) != nil })
	for len(n.gone) > maxGoneRoutes {
		n.differences.DeletePartialMatch(prometheus.Labels{"next_route": n.gone[0]})
		n.gone = n.gone[1:]
	}
}

func newNextMetrics() *nextMetrics {
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "warder_shadow_policy_requests_total",
		Help: "Requests held against the policy of warder serve --shadow-policy: same, different, or skipped because too many waited or a store did not answer.",
	}, []string{"result"})
	return &nextMetrics{
		requests: requests,
		same:     requests.WithLabelValues("same"), different: requests.WithLabelValues("different"), skipped: requests.WithLabelValues("skipped"),
		differences: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "warder_shadow_policy_differences_total",
			Help: "Requests that the policy of warder serve --shadow-policy decides otherwise, or for another reason.",
		}, []string{"route", "decision", "reason", "next_route", "next_decision", "next_reason"}),
	}
}

// differ counts a difference.
func (n *nextMetrics) differ(now, next authz.Decision) {
	n.different.Inc()
	n.differences.WithLabelValues(now.Route(), now.Verdict(), now.Reason().String(),
		next.Route(), next.Verdict(), next.Reason().String()).Inc()
}

// showNext shows the comparison with a policy to come.
func (m *metrics) showNext() { m.registry.MustRegister(m.next.requests, m.next.differences) }
