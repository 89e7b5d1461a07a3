//go:build cluster

package cluster

import (
	"context"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// refuses plants one mistake at a time, each of which the API server must see: in the object, or
// in the pod that it makes.
func refuses(t *testing.T, cp *controlPlane, all []source) {
	for _, m := range mutants {
		t.Run(m.kind+"/"+m.want, func(t *testing.T) {
			// In one place of the first source that has such an object.
			for _, s := range all {
				kind, at := "\nkind: "+m.kind+"\n", -1
				if from := strings.Index(s.text, kind); from >= 0 {
					if i := strings.Index(s.text[from:], m.old); i >= 0 {
						at = from + i
					}
				}
				if at < 0 {
					continue
				}
				got := cp.problemsOf(t, s.text[:at]+m.new+s.text[at+len(m.old):])
				if !strings.Contains(got, m.want) {
					t.Errorf("%s: %q for %q in a %s: want a problem with %q, got:\n%s", s.name, m.new, m.old, m.kind, m.want, got)
				}
				return
			}
			t.Errorf("no source has a %s with %q any more", m.kind, m.old)
		})
	}
}

// problemsOf returns all that the API server says against a manifest, without applying it.
func (cp *controlPlane) problemsOf(t *testing.T, text string) string {
	t.Helper()
	objects, err := parse(text)
	if err != nil {
		return err.Error()
	}
	var all []string
	for _, o := range objects {
		if err := cp.bring(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		if err := cp.apply(t.Context(), o, metav1.DryRunAll); err != nil {
			all = append(all, describe(o)+": "+err.Error())
		}
		all = append(all, cp.warnings.take()...)
		all = append(all, cp.podProblems(t.Context(), o)...)
	}
	return strings.Join(all, "\n")
}

func (cp *controlPlane) podProblems(ctx context.Context, o *unstructured.Unstructured) []string {
	made, err := podsOf(o)
	if err != nil {
		return nil // the object itself was refused
	}
	var all []string
	for _, pod := range made {
		if err := cp.createPod(ctx, pod); err != nil {
			all = append(all, "the pod of "+describe(o)+": "+err.Error())
		}
	}
	return all
}

// mutants are what people write by mistake. In the first object of the kind that has it (or
// behind that object, in the same file) new takes the place of old; want is part of what the API
// server answers.
var mutants = []struct{ kind, old, new, want string }{
	// Fields and types.
	{"Deployment", "automountServiceAccountToken: false", "automountServiceAcountToken: false", `spec.template.spec.automountServiceAcountToken: field not declared in schema`},
	{"Deployment", "failureThreshold: 60", "failureThreshold: sixty", `failureThreshold`},
	{"ConfigMap", "data:\n", "data:\n  port: 8000\n", `port`},
	{"Secret", "type: Opaque\nstringData:", "type: Opaque\ndata:", `illegal base64`},
	{"Deployment", "name: warder\n", "name: Warder_1\n", `RFC 1123`},
	// What two places have to agree on.
	{"Deployment", "matchLabels:\n      app.kubernetes.io/name: ", "matchLabels:\n      app.kubernetes.io/nome: ", `does not match template`},
	{"Deployment", "- name: warder-secrets\n", "- name: warder-secret\n", `volumeMounts[2].name: Not found: "warder-secrets"`},
	{"Deployment", "mountPath: /etc/warder/policy", "mountPath: /etc/warder/config", `must be unique`},
	{"Service", "    - {name: grpc, port: 9191, targetPort: grpc}", "    - {name: grpc, port: 9191, targetPort: grpc}\n    - {name: more, port: 9191, targetPort: grpc}", `duplicate`},
	{"Deployment", "- name: admin\n              containerPort: 9192", "- name: admin\n              containerPort: 9192\n            - name: admin\n              containerPort: 9193", `Duplicate`},
	// Values.
	{"Deployment", "containerPort: 9192", "containerPort: 91920", `must be between 1 and 65535`},
	{"Deployment", "restartPolicy: Always", "restartPolicy: OnFailure", `restartPolicy`},
	{"Deployment", "memory: 64Mi", "memory: 64MB", `quantities must match`},
	{"Deployment", "requests: {cpu: 250m, memory: 64Mi}", "requests: {cpu: 250m, memory: 64Gi}", `must be less than or equal to memory limit`},
	{"Deployment", "periodSeconds: 1\n", "periodSeconds: 1\n            successThreshold: 2\n", `successThreshold`},
	{"Deployment", "maxUnavailable: 0, maxSurge: 1", "maxUnavailable: 0, maxSurge: 0", `may not be 0 when`},
	{"Deployment", "defaultMode: 0440", "defaultMode: 440440", `defaultMode`},
	{"Deployment", "sleep: {seconds: 5}", "sleep: {seconds: 500}", `lifecycle.preStop.sleep`},
	{"Deployment", "matchLabelKeys: [pod-template-hash]", "matchLabelKeys: [app.kubernetes.io/name]", `matchLabelKeys`},
	{"HorizontalPodAutoscaler", "minReplicas: 2", "minReplicas: 20", `must be greater than or equal to`},
	{"PodDisruptionBudget", "maxUnavailable: 1", "maxUnavailable: 1\n  minAvailable: 1", `cannot be both set`},
	{"NetworkPolicy", "- {port: 9191}", "- {port: GRPC_}", `port`},
	{"NetworkPolicy", "policyTypes: [Ingress, Egress]", "policyTypes: [Ingres, Egress]", `policyTypes`},
	{"Service", "clusterIP: None", "clusterIP: none", `clusterIP`},
	// What the pods may not do. The Deployment itself is accepted: only a pod is refused.
	{"Deployment", "runAsUser: 65532", "runAsUser: 0", `runAsUser=0`},
	{"Deployment", "runAsNonRoot: true", "runAsNonRoot: false", `runAsNonRoot != true`},
	{"Deployment", "drop: [ALL]", "drop: [ALL]\n              add: [NET_ADMIN]", `unrestricted capabilities`},
	{"Deployment", "drop: [ALL]", "drop: [NET_RAW]", `unrestricted capabilities`},
	{"Deployment", "type: RuntimeDefault", "type: Unconfined", `seccompProfile`},
	{"Deployment", "allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true", `allowPrivilegeEscalation != false`},
	{"Deployment", "configMap: {name: warder-policy}", "hostPath: {path: /etc}", `restricted volume types`},
	{"Deployment", "enableServiceLinks: false", "enableServiceLinks: false\n      hostNetwork: true", `host namespaces`},
	{"EnvoyProxy", "allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true", `allowPrivilegeEscalation != false`},
	// Istio's objects.
	{"AuthorizationPolicy", "action: CUSTOM", "action: CUSTOMIZED", `action: Unsupported value`},
	{"AuthorizationPolicy", "action: CUSTOM", "acton: CUSTOM", `acton`},
	{"PeerAuthentication", "mode: STRICT", "mode: strict", `mode: Unsupported value`},
	{"Sidecar", "number: 9191", "number: grpc", `spec.ingress[0].port.number`},
	{"DestinationRule", "simple: LEAST_REQUEST", "simple: LEAST_REQUESTS", `simple`},
	// Envoy Gateway's and Gateway API's objects.
	{"SecurityPolicy", "timeout: 500ms", "timeout: half a second", `timeout`},
	{"SecurityPolicy", "statusOnError: 503", "statusOnError: 5030", `statusOnError`},
	{"SecurityPolicy", "failOpen: false", "failOpen: \"false\"", `failOpen`},
	{"SecurityPolicy", "    grpc:\n", "    http: {backendRefs: [{name: warder, port: 80}]}\n    grpc:\n", `only one of grpc or http`},
	{"HTTPRoute", "type: PathPrefix, value: /", "type: PathPrefix, value: api", `value`},
	{"ClientTrafficPolicy", "escapedSlashesAction: RejectRequest", "escapedSlashesAction: Reject", `escapedSlashesAction: Unsupported value`},
	// The injection policy.
	{"MutatingAdmissionPolicy", "failurePolicy: Fail", "failurePolicy: Open", `failurePolicy: Unsupported value`},
	{"MutatingAdmissionPolicy", "object.spec.initContainers.exists(c,", "object.spec.initContainers.exist(c,", `undeclared reference`},
	{"MutatingAdmissionPolicyBinding", "policyName: ", "policy: ", `policy`},
	// Of the operators.
	{"Certificate", "secretName: ", "secret: ", `secret`},
	{"PodMonitor", "interval: 30s", "interval: 30 seconds", `interval`},
}
