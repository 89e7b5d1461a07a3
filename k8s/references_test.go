package k8s

import (
	"maps"
	"slices"
)

// clusterKinds have no namespace.
var clusterKinds = []string{
	"Namespace", "GatewayClass", "MeshConfig",
	"MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding",
}

// checkReferences: what an object names must exist, and select what it means to.
func checkReferences(r *report, f *form) {
	for _, o := range f.objects {
		checkNamespace(r, f, o)
		switch o.kind() {
		case "Deployment", "PodDisruptionBudget", "NetworkPolicy", "Service", "Sidecar", "PeerAuthentication", "AuthorizationPolicy":
			checkSelector(r, f, o)
		case "HorizontalPodAutoscaler":
			target := key(o.text("spec", "scaleTargetRef", "kind"), o.namespace(), o.text("spec", "scaleTargetRef", "name"))
			r.require(f.exists(target), "%s: scales %s, which does not exist", o, target)
			low, _ := dig(o.doc, "spec", "minReplicas").(float64)
			high, _ := dig(o.doc, "spec", "maxReplicas").(float64)
			r.require(low >= 2 && low < high, "%s: %v to %v replicas; one would stop all requests when it moves", o, low, high)
		}
	}
}

func checkNamespace(r *report, f *form, o object) {
	switch {
	case slices.Contains(clusterKinds, o.kind()):
		r.require(o.namespace() == "", "%s: this kind has no namespace", o)
	case o.namespace() == "":
		r.addf("%s: no namespace, so it ends up in whichever is current", o)
	default:
		r.require(f.exists(key("Namespace", "", o.namespace())), "%s: nobody makes its namespace", o)
	}
}

// selectorPaths is where each kind says which pods it means.
var selectorPaths = map[string][]string{
	"Deployment":          {"spec", "selector", "matchLabels"},
	"PodDisruptionBudget": {"spec", "selector", "matchLabels"},
	"NetworkPolicy":       {"spec", "podSelector", "matchLabels"},
	"Service":             {"spec", "selector"},
	"Sidecar":             {"spec", "workloadSelector", "labels"},
	"PeerAuthentication":  {"spec", "selector", "matchLabels"},
	"AuthorizationPolicy": {"spec", "selector", "matchLabels"},
}

// checkSelector: the selector must choose the pods of a workload of its namespace.
func checkSelector(r *report, f *form, o object) {
	wanted := into[map[string]string](dig(o.doc, selectorPaths[o.kind()]...))
	r.require(len(wanted) > 0, "%s: selects every pod of its namespace, or none", o)
	if _, ours := f.find(key("Namespace", "", o.namespace())); !ours {
		return // the user's own pods
	}
	found := false
	for _, w := range f.workloads() {
		if w.namespace() == o.namespace() && w.patch == nil && isSubset(wanted, w.labels) {
			found = true
			checkPorts(r, o, w)
		}
	}
	r.require(found, "%s: no pod has the labels %v", o, wanted)
}

// checkPorts: the ports that a Service, a NetworkPolicy or a Sidecar names are
// ports of the pods.
func checkPorts(r *report, o object, w workload) {
	type port struct{ Port, TargetPort any }
	var ports []any
	switch o.kind() {
	case "Service":
		for _, p := range into[[]port](dig(o.doc, "spec", "ports")) {
			ports = append(ports, p.TargetPort)
		}
	case "NetworkPolicy":
		for _, rule := range into[[]struct{ Ports []port }](dig(o.doc, "spec", "ingress")) {
			r.require(len(rule.Ports) > 0, "%s: a rule without ports opens all of them", o)
			for _, p := range rule.Ports {
				ports = append(ports, p.Port)
			}
		}
	case "Sidecar":
		for _, rule := range into[[]struct{ Port struct{ Number any } }](dig(o.doc, "spec", "ingress")) {
			ports = append(ports, rule.Port.Number)
		}
	}
	for _, p := range ports {
		r.require(w.pod.hasPort(p), "%s: no container of %s has port %v", o, w.key(), p)
	}
}

func isSubset(wanted, has map[string]string) bool {
	for name, value := range maps.All(wanted) {
		if has[name] != value {
			return false
		}
	}
	return true
}
