package metrics

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"warder/authz"
	"warder/policy"
)

// ShowShadow adds metrics about shadow mode: whether it applies to all routes, and the number
// of routes of the policy that are in shadow.
func (m *Metrics) ShowShadow(all bool, engine *authz.Engine) {
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

// Next counts what the next policy would change.
type Next struct {
	requests  *prometheus.CounterVec
	different prometheus.Counter
	// Same counts requests that both policies decide alike, and Skipped those that were
	// not compared.
	Same, Skipped prometheus.Counter
	differences   *prometheus.CounterVec
	gone          []string // routes of earlier next policies, see RoutesGone
}

// RoutesGone is like [Metrics.RoutesGone] for the next policy.
func (n *Next) RoutesGone(ids []string, current *policy.Policy) {
	n.gone = slices.DeleteFunc(append(n.gone, ids...), func(id string) bool { return current.Route(id) != nil })
	for len(n.gone) > maxGoneRoutes {
		n.differences.DeletePartialMatch(prometheus.Labels{"next_route": n.gone[0]})
		n.gone = n.gone[1:]
	}
}

func newNextMetrics() *Next {
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "warder_shadow_policy_requests_total",
		Help: "Requests compared with the policy of warder serve --shadow-policy: same, different, or skipped because too many waited or a store did not answer.",
	}, []string{"result"})
	return &Next{
		requests: requests,
		Same:     requests.WithLabelValues("same"), different: requests.WithLabelValues("different"), Skipped: requests.WithLabelValues("skipped"),
		differences: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "warder_shadow_policy_differences_total",
			Help: "Requests that the policy of warder serve --shadow-policy decides differently, or for another reason.",
		}, []string{"route", "decision", "reason", "next_route", "next_decision", "next_reason"}),
	}
}

// Differ counts a difference.
func (n *Next) Differ(now, next authz.Decision) {
	n.different.Inc()
	n.differences.WithLabelValues(now.Route(), now.Verdict(), now.Reason().String(),
		next.Route(), next.Verdict(), next.Reason().String()).Inc()
}

// ShowNext adds the metrics of the comparison with the next policy.
func (m *Metrics) ShowNext() { m.registry.MustRegister(m.Next.requests, m.Next.differences) }
