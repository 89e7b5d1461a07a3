package k8s

import (
	"maps"
	"strings"
	"testing"
)

// TestManifestsCanFail plants one mistake at a time, each of which must be seen
// and named.
func TestManifestsCanFail(t *testing.T) {
	t.Parallel()
	all := readManifests(t)
	for _, m := range mutants {
		t.Run(m.form+"/"+m.want, func(t *testing.T) {
			t.Parallel()
			var file string
			for _, name := range forms[m.form] {
				if strings.Contains(all[name], m.old) {
					file = name
				}
			}
			if file == "" {
				t.Fatalf("no file of this form holds %q any more", m.old)
			}
			changed := maps.Clone(all)
			changed[file] = strings.Replace(changed[file], m.old, m.new, 1)
			problems := strings.Join(check(t, changed, forms[m.form]), "\n")
			if !strings.Contains(problems, m.want) {
				t.Errorf("%q for %q: want a problem with %q, got:\n%s", m.new, m.old, m.want, problems)
			}
		})
	}
}

// mutants are what people write by mistake: in the form, for the first old in the
// last file that has it, new; want is part of the problem.
var mutants = []struct{ form, want, old, new string }{
	// What the schemas see.
	{"sidecar", "additional properties 'replica'", "  replicas: 2", "  replica: 2"},
	{"sidecar", "got string, want", "  replicas: 2", "  replicas: two"},
	{"sidecar", "no schema for this kind", "apiVersion: apps/v1", "apiVersion: apps/v2"},
	{"sidecar", "additional properties 'httpget'", "readinessProbe:\n            httpGet", "readinessProbe:\n            httpget"},
	{"sidecar", "already defined", "  replicas: 2", "  replicas: 2\n  replicas: 3"},
	{"service", "additional properties 'minreplicas'", "minReplicas: 2", "minreplicas: 2"},
	{"service", "missing property 'maxReplicas'", "  maxReplicas: 10\n", ""},
	{"istio", "value must be one of", "action: CUSTOM", "action: EXTERNAL"},
	{"istio", "additional properties 'failopen'", "failOpen: false", "failopen: false"},
	{"istio", "additional properties 'mtlsMode'", "  mtls:\n    mode: STRICT", "  mtlsMode: STRICT"},
	{"envoy gateway", "additional properties 'fail_open'", "    failOpen: false", "    fail_open: false"},
	{"envoy gateway", "value must be one of", "DropHeader", "Drop"},
	{"envoy gateway", "additional properties 'certificateRef'", "certificateRefs:", "certificateRef:"},
	{"envoy gateway sidecar", "additional properties 'restartpolicy'", "restartPolicy: Always", "restartpolicy: Always"},

	// Names that lead nowhere.
	{"sidecar", "Service app/app: no pod has the labels", "spec:\n  selector:\n    app.kubernetes.io/name: app\n", "spec:\n  selector:\n    app: app\n"},
	{"sidecar", "Deployment app/app: no pod has the labels", "    matchLabels:\n      app.kubernetes.io/name: app\n  strategy:", "    matchLabels:\n      app: app\n  strategy:"},
	{"sidecar", "has port https", "targetPort: http}", "targetPort: https}"},
	{"sidecar", "has port 8080", "- {port: 8000}", "- {port: 8080}"},
	{"sidecar", "mounts warder-cfg, which is no volume", "{name: warder-config, mountPath", "{name: warder-cfg, mountPath"},
	{"sidecar", "shows ConfigMap app/policy, which does not exist", "configMap: {name: app-warder-policy}", "configMap: {name: policy}"},
	{"sidecar", "asks port 8001, which no container has", "path: /healthz, port: 8000", "path: /healthz, port: 8001"},
	{"sidecar", "no ServiceAccount", "serviceAccountName: app", "serviceAccountName: warder"},
	{"sidecar", "nobody makes its namespace", "kind: Service\nmetadata:\n  name: app\n  namespace: app", "kind: Service\nmetadata:\n  name: app\n  namespace: apps"},
	{"service", "scales Deployment warder/warders", "    kind: Deployment\n    name: warder", "    kind: Deployment\n    name: warders"},
	{"service", "no namespace, so it ends up", "kind: PodDisruptionBudget\nmetadata:\n  name: warder\n  namespace: warder", "kind: PodDisruptionBudget\nmetadata:\n  name: warder"},
	{"istio", "no provider \"authz\"", "  provider:\n    name: warder", "  provider:\n    name: authz"},
	{"istio", "no Service warder/warder with port 9192", "port: 9191\n      timeout", "port: 9192\n      timeout"},
	{"istio", "no provider \"log\"", "- providers:\n        - name: warder-log\n", "- providers:\n        - name: log\n"},
	{"istio", "is no envoyHttpAls", "- providers:\n        - name: warder-log\n", "- providers:\n        - name: warder\n"},
	{"istio", "is no envoyExtAuthzGrpc", "  provider:\n    name: warder", "  provider:\n    name: warder-log"},
	{"istio sidecar", "no warder listens on unix:///run/warder/authz.sock", "address: unix:///run/warder/warder.sock", "address: unix:///run/warder/authz.sock"},
	{"istio sidecar", "ServiceEntry app/warder: no port 9191", "{number: 9191, name: grpc", "{number: 9192, name: grpc"},
	{"istio sidecar", "no Service sidecar/warder with port 9191", "hosts: [warder.sidecar.internal]", "hosts: [warder.local]"},
	{"istio sidecar", "no other container sees", "\"mountPath\": \"/run/warder\"", "\"mountPath\": \"/run/socket\""},
	{"istio", "nothing in the pod hands requests to it", "defaultEndpoint: 127.0.0.1:9191", "defaultEndpoint: 127.0.0.1:9190"},
	{"envoy gateway", "no ReferenceGrant", "kind: SecurityPolicy\n      namespace: app", "kind: SecurityPolicy\n      namespace: apps"},
	{"envoy gateway", "no Service warder/warder with port 9192", "port: 9191", "port: 9192"},
	{"envoy gateway", "the certificate must be for", "hostname: warder.warder.svc", "hostname: warder.svc"},
	{"envoy gateway", "its target HTTPRoute apps", "kind: HTTPRoute\n      name: app", "kind: HTTPRoute\n      name: apps"},
	{"envoy gateway sidecar", "no warder listens on /run/warder/authz.sock", "path: /run/warder/warder.sock", "path: /run/warder/authz.sock"},
	{"envoy gateway sidecar", "shows Secret envoy-gateway-system/warder-secret", "secretName: warder,", "secretName: warder-secret,"},

	// Rights.
	{"sidecar", "runAsNonRoot and the seccomp", "        runAsNonRoot: true\n", ""},
	{"sidecar", "warder runs as root", "runAsUser: 65532", "runAsUser: 0"},
	{"sidecar", "may gain rights", "allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true"},
	{"sidecar", "may gain rights", "drop: [ALL]", "drop: [NET_RAW]"},
	{"sidecar", "may write to its image", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false"},
	{"sidecar", "automountServiceAccountToken", "      automountServiceAccountToken: false\n", ""},
	{"sidecar", "has no fixed image", "warder:0.1.0", "warder:latest"},
	{"sidecar", "needs requests", "limits: {memory: 128Mi}", "limits: {}"},
	{"sidecar", "defaultMode 0440", "defaultMode: 0440", "defaultMode: 0444"},
	{"sidecar", "by subPath", "mountPath: /etc/warder/policy, readOnly: true", "mountPath: /etc/warder/policy, subPath: policy.yaml, readOnly: true"},
	{"sidecar", "for writing", "mountPath: /etc/warder/policy, readOnly: true", "mountPath: /etc/warder/policy"},
	{"sidecar", "mounts warder-policy at or inside", "mountPath: /etc/warder/policy,", "mountPath: /etc/warder/config/policy,"},
	{"envoy gateway sidecar", "may gain rights", "allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true"},

	// warder in its pod.
	{"sidecar", "must be the first sidecar", "          restartPolicy: Always\n          args: [serve", "          args: [serve"},
	{"sidecar", "livenessProbe asks /readyz, not /healthz", "httpGet: {path: /healthz, port: admin}", "httpGet: {path: /readyz, port: admin}"},
	{"sidecar", "where the kubelet does not reach it", `admin: ":9192"`, `admin: "127.0.0.1:9192"`},
	{"sidecar", "asks port admin; listen.admin is :9193", `admin: ":9192"`, `admin: ":9193"`},
	{"sidecar", "no configuration at the path", "--config=/etc/warder/config/warder.yaml", "--config=/etc/warder/warder.yaml"},
	{"sidecar", "nothing of a Secret is mounted at /run/secrets/warder/redis", "warder/redis-url\n", "warder/redis\n"},
	{"sidecar", "long enough to be used", "jwt-secret: change-me", "jwt-secret: 0123456789abcdef0123456789abcdef"},
	{"sidecar", "no other container sees", "{name: warder-socket, mountPath: /run/warder, readOnly: true}", "{name: warder-socket, mountPath: /run/socket, readOnly: true}"},
	{"sidecar", "no emptyDir that it may write to", "{name: warder-socket, mountPath: /run/warder}", "{name: warder-socket, mountPath: /run/warder, readOnly: true}"},
	{"sidecar", "no ConfigMap is mounted at /etc/warder/policies", "policy: /etc/warder/policy\n", "policy: /etc/warder/policies\n"},
	{"sidecar", "no .yaml file", "  policy.yaml: |", "  policy.yml: |"},
	{"sidecar", "ConfigMap app/app-warder-policy: policy.yaml", "client_ips: [office]", "client_ips: [home]"},
	{"service", "without mutual TLS", "        client_ca_file: /run/secrets/warder-tls/ca.crt\n", ""},
	{"service", "listens on port 9190", `grpc: ":9191"`, `grpc: ":9190"`},
	{"service", "one would stop all requests", "minReplicas: 2", "minReplicas: 1"},
	{"sidecar", "is 29s, and the pod takes up to 30s to stop", "terminationGracePeriodSeconds: 45", "terminationGracePeriodSeconds: 29"},
	{"sidecar", "is 45s, and the pod takes up to 46s to stop", "    policy: /etc/warder/policy\n", "    policy: /etc/warder/policy\n    shutdown: {delay: 21s}\n"},
	{"sidecar", "is 45s, and the pod takes up to 55s to stop", "sleep: {seconds: 5}", "sleep: {seconds: 30}"},
	{"service", "is 19s, and the pod takes up to 20s to stop", "terminationGracePeriodSeconds: 30", "terminationGracePeriodSeconds: 19"},
	{"envoy gateway sidecar", "is 1m10s, and the pod takes up to 1m15s to stop", "                  enableServiceLinks: false\n", "                  enableServiceLinks: false\n                  terminationGracePeriodSeconds: 70\n"},

	// How warder is asked.
	{"sidecar", "failure_mode_allow: false", "failure_mode_allow: false", "failure_mode_allow: true"},
	{"sidecar", "status_on_error 503", "code: ServiceUnavailable", "code: Forbidden"},
	{"sidecar", "encode_raw_headers", "encode_raw_headers: true", "encode_raw_headers: false"},
	{"sidecar", "more than 200ms", "timeout: 0.5s\n                          # No answer", "timeout: 0.1s\n                          # No answer"},
	{"sidecar", "unknown field", "failure_mode_allow: false", "failure_mode: deny"},
	{"sidecar", "normalize_path", "normalize_path: true", "normalize_path: false"},
	{"sidecar", "path_with_escaped_slashes_action", "escaped_slashes_action: REJECT_REQUEST", "escaped_slashes_action: KEEP_UNCHANGED"},
	{"sidecar", "headers_with_underscores_action", "headers_with_underscores_action: DROP_HEADER", "headers_with_underscores_action: ALLOW"},
	{"sidecar", "use_remote_address", "use_remote_address: true", "use_remote_address: false"},
	{"sidecar", "a client may send x.warder.user", `^x[^a-z0-9]warder[^a-z0-9].*`, `x-warder-.*`},
	{"sidecar", "a client may send x!warder!user", `^x[^a-z0-9]warder[^a-z0-9].*`, `x[-_.]warder[-_.].*`},
	{"sidecar", "max_headers_count: 100", "max_headers_count: 100", "max_headers_count: 200"},
	{"sidecar", "max_request_headers_kb: 60", "max_request_headers_kb: 60", "max_request_headers_kb: 96"},
	{"sidecar", "changing where a request goes", "disallow_system: true", "disallow_system: false"},
	{"sidecar", "changing where a request goes", "allow_all_routing: false", "allow_all_routing: true"},
	{"sidecar", "where no warder listens", "pipe: { path: /run/warder/warder.sock }", "pipe: { path: /run/warder/authz.sock }"},
	{"sidecar", "where no warder listens", "cluster_name: warder, authority", "cluster_name: authz, authority"},
	{"sidecar", "admin interface", "address: 127.0.0.1, port_value: 9901", "address: 0.0.0.0, port_value: 9901"},
	{"istio", "lets every workload try tokens", "    - from:\n        - source:\n            principals: [cluster.local/ns/app/sa/app] # CHANGE\n      to:", "    - to:"},
	{"istio", "lets every workload try tokens", "principals: [cluster.local/ns/app/sa/app]", "principals: [\"*\"]"},
	{"istio", "rules[0] is for every port", "            ports: [\"9191\"]\n", ""},
	{"istio", "rules[0] must be for", "              - /envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs\n", ""},
	{"istio sidecar", "must ask for every path", "rules:\n    - {}", "rules:\n    - to:\n        - operation:\n            ports: [\"8080\"]"},
	{"istio", "must ask for every path", "rules:\n    - {}", "rules:\n    - to:\n        - operation:\n            notPaths: [/healthz]"},
	{"istio", "must have failOpen: false", "failOpen: false", "failOpen: true"},
	{"istio", "must have failOpen: false and statusOnError", `statusOnError: "503"`, `statusOnError: "403"`},
	{"istio", `a timeout of ""`, "      timeout: 0.5s # Istio's default is 600 seconds; above warder's own deadline of 200ms\n", ""},
	{"istio", "paths are not normalised", "DECODE_AND_MERGE_SLASHES", "BASE"},
	{"envoy gateway", "must have failOpen: false", "    failOpen: false", "    failOpen: true"},
	{"envoy gateway", "a timeout of", "timeout: 500ms", "timeout: 10s"},
	{"envoy gateway", "warder must see all header names", "    recomputeRoute: false", "    recomputeRoute: false\n    headersToExtAuth: [authorization]"},
	{"envoy gateway", "a client may send x-warder-auth-method", "- type: RegularExpression", "- type: Exact"},
	{"envoy gateway", "no EnvoyProxy edges", "kind: EnvoyProxy\n      name: edge", "kind: EnvoyProxy\n      name: edges"},
	{"envoy gateway", "no accessLog.settings", "    accessLog:\n      settings:\n        - sinks:\n            - type: ALS\n              als:\n                type: HTTP\n                logName: warder\n                backendRefs:\n                  - name: warder\n                    namespace: warder\n                    port: 9191\n                http:\n                  requestHeaders: [origin, content-type, traceparent]\n", "    accessLog: {}\n"},
	{"envoy gateway", "lets it name Service warder", "kind: EnvoyProxy\n      namespace: app", "kind: EnvoyProxy\n      namespace: apps"},
	{"envoy gateway sidecar", "must go to warder, as type ALS and HTTP", "                type: HTTP\n", "                type: TCP\n"},
	{"envoy gateway", "must not retry", "      backendSettings:\n", "      backendSettings:\n        retry: {numRetries: 1}\n"},
	{"envoy gateway", "health checks by HTTP/1.0 are refused", "      useDefaultHost: true\n", "      useDefaultHost: false\n"},
	{"envoy gateway", "rules[0] cuts off streams", "        request: 0s\n", "        request: 15s\n"},
	{"envoy gateway sidecar", "rules[0] cuts off streams", "      timeouts:\n        request: 0s\n", ""},
	{"envoy gateway", "headers with underscores pass", "    withUnderscoresAction: DropHeader\n", ""},
}
