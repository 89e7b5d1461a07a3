// Package k8s holds what puts warder into a cluster: a Helm chart (chart), a kustomize
// component (kustomize), the manifests that the chart renders (sidecar.yaml and
// service.yaml), and the objects with which Istio and Envoy Gateway ask it.
//
// It owns what a cluster needs to know about warder: ports, probes, mounts,
// rights, and how Envoy is told to ask. Users apply the files; the tests here
// check them against Kubernetes' schemas, against each other, and with Envoy and
// warder themselves. Nothing imports it, and it never talks to a cluster.
package k8s
