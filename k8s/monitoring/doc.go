// Package monitoring holds the Grafana dashboard (dashboard.json) and the Prometheus alerts
// (rules.yaml) of warder, and the tests of both.
//
// It owns what an operator sees of warder's metrics. "make monitoring-test" runs the tests:
// Prometheus' own parser reads each query, the documentation says which metrics and labels
// exist, and Prometheus' own packages run rules_test.yaml as promtool does. It is a module of its own, so that warder's go.mod
// lists only what warder itself needs. The chart has copies of both files.
package monitoring
