// Package cluster holds the tests that run what k8s/ ships on real parts of
// Kubernetes: "make cluster-test" on an API server with etcd, "make pod-test" on a
// node with a kubelet and containerd. It needs no Docker and no cluster.
//
// It owns how those parts are built (cmd/controlplane and cmd/node, from
// Kubernetes' own modules), started and cleaned up. It is a module of its own, because
// warder shares none of their hundreds of dependencies. Nothing imports it; the tests
// have build tags, since they need minutes the first time, and those on a node need root.
package cluster
