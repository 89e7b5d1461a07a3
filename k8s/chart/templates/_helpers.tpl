{{- define "warder.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 53 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* The names of warder's own objects begin with it: the full name, with -warder behind the name
of an application. */ -}}
{{- define "warder.prefix" -}}
{{- $name := include "warder.fullname" . -}}
{{- if or (eq .Values.mode "service") (contains "warder" $name) -}}{{ $name }}{{- else -}}{{ $name }}-warder{{- end -}}
{{- end -}}

{{- define "warder.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "warder.labels" -}}
{{ include "warder.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "warder.annotations" -}}
{{- with .Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "warder.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}{{ default (include "warder.fullname" .) .Values.serviceAccount.name }}
{{- else -}}{{ default "default" .Values.serviceAccount.name }}{{- end -}}
{{- end -}}

{{- define "warder.image" -}}
{{- if .Values.image.digest -}}{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}{{- end -}}
{{- end -}}

{{- define "warder.secretName" -}}
{{- default (include "warder.prefix" .) .Values.secrets.existingSecret -}}
{{- end -}}

{{- define "warder.madeSecret" -}}
{{- if not .Values.secrets.existingSecret -}}true{{- end -}}
{{- end -}}

{{- /* The keys and values of a Secret that the chart makes. */ -}}
{{- define "warder.secretData" -}}
{{- $made := dict -}}
{{- range $value, $key := .Values.secrets.keys }}{{ if $key }}{{ $_ := set $made $key (index $.Values.secrets $value) }}{{ end }}{{ end -}}
{{- toYaml $made -}}
{{- end -}}

{{- /* Whether warder itself asks its clients for a certificate. */ -}}
{{- define "warder.ownTLS" -}}
{{- if and (eq .Values.mode "service") (eq .Values.tls.mode "mutual") -}}true{{- end -}}
{{- end -}}

{{- define "warder.tlsVolume" -}}
{{- if include "warder.ownTLS" . -}}
- name: warder-tls
  secret: {secretName: {{ .Values.tls.existingSecret }}, defaultMode: 0440{{ if .Values.tls.optional }}, optional: true{{ end }}}
{{- end -}}
{{- end -}}

{{- define "warder.policyName" -}}
{{- default (printf "%s-policy" (include "warder.prefix" .)) .Values.policy.existingConfigMap -}}
{{- end -}}

{{- /* The policy files as a map, or nothing where a ConfigMap exists. Exactly one source. */ -}}
{{- define "warder.policyFiles" -}}
{{- $p := .Values.policy -}}
{{- $given := 0 -}}
{{- if $p.text }}{{ $given = add1 $given }}{{ end -}}
{{- if $p.files }}{{ $given = add1 $given }}{{ end -}}
{{- if $p.existingConfigMap }}{{ $given = add1 $given }}{{ end -}}
{{- if ne (int $given) 1 -}}
{{- fail (printf "policy: %d sources are set; set exactly one of policy.text (--set-file policy.text=policy.yaml), policy.files and policy.existingConfigMap" (int $given)) -}}
{{- end -}}
{{- if $p.text }}
policy.yaml: {{ $p.text | quote }}
{{- else }}
{{- range $name, $text := $p.files }}
{{- if not (regexMatch "^[A-Za-z0-9][A-Za-z0-9._-]*\\.yaml$" $name) -}}
{{- fail (printf "policy.files: %q is not the name of a policy file; use a name such as app.yaml, since other names are not read" $name) -}}
{{- end }}
{{ $name }}: {{ $text | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{- /* warder.yaml as the chart sets it, with .Values.config merged over it. */ -}}
{{- define "warder.config" -}}
{{- $keys := .Values.secrets.keys -}}
{{- $listen := dict "admin" ":9192" -}}
{{- if eq .Values.mode "sidecar" -}}
{{- $_ := set $listen "grpc" "unix:///run/warder/warder.sock" -}}
{{- else -}}
{{- if eq .Values.tls.mode "istio" -}}
{{- $_ := set $listen "grpc" "127.0.0.1:9191" -}}
{{- else -}}
{{- $_ := set $listen "grpc" ":9191" -}}
{{- $_ := set $listen "tls" (dict "cert_file" "/run/secrets/warder-tls/tls.crt" "key_file" "/run/secrets/warder-tls/tls.key" "client_ca_file" "/run/secrets/warder-tls/ca.crt") -}}
{{- end -}}
{{- end -}}
{{- $c := dict "listen" $listen "policy" "/etc/warder/policy" -}}
{{- $path := "/run/secrets/warder" -}}
{{- with $keys.jwtSecret -}}{{- $_ := set $c "jwt" (dict "keys" (list (dict "secret_file" (printf "%s/%s" $path .) "algorithm" "HS256"))) -}}{{- end -}}
{{- with $keys.redisURL -}}{{- $_ := set $c "sessions" (dict "redis_url_file" (printf "%s/%s" $path .)) -}}{{- end -}}
{{- with $keys.databaseURL -}}{{- $_ := set $c "directory" (dict "database_url_file" (printf "%s/%s" $path .)) -}}{{- end -}}
{{- $_ := set $c "client_ip" (dict "source" "trusted_proxies" "trusted_proxies" list) -}}
{{- toYaml (mergeOverwrite $c (deepCopy .Values.config)) -}}
{{- end -}}

{{- define "warder.checksums" -}}
checksum/config: {{ include "warder.config" . | sha256sum }}
{{- end -}}

{{- define "warder.restrictedContainer" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "warder.probes" -}}
# Ready when the policy is loaded and the stores have answered once.
startupProbe:
  httpGet: {path: /readyz, port: admin}
  periodSeconds: 1
  failureThreshold: 60
readinessProbe:
  httpGet: {path: /readyz, port: admin}
  periodSeconds: 5
# The process only: a store that is down is no reason to restart.
livenessProbe:
  httpGet: {path: /healthz, port: admin}
  periodSeconds: 10
{{- end -}}

{{- define "warder.resources" -}}
requests:
  {{- toYaml .Values.resources.requests | nindent 2 }}
limits: {memory: {{ .Values.memoryLimitMiB }}Mi}
{{- end -}}

{{- define "warder.env" -}}
- name: GOMEMLIMIT # 90 % of the limit
  value: {{ div (mul (int .Values.memoryLimitMiB) 9) 10 }}MiB
{{- end -}}

{{- /* Folders, not subPath mounts: those never see a change. */ -}}
{{- define "warder.volumeMounts" -}}
- {name: warder-config, mountPath: /etc/warder/config, readOnly: true}
- {name: warder-policy, mountPath: /etc/warder/policy, readOnly: true}
- {name: warder-secrets, mountPath: /run/secrets/warder, readOnly: true}
{{- if eq .Values.mode "sidecar" }}
- {name: warder-socket, mountPath: /run/warder}
{{- end }}
{{- if include "warder.ownTLS" . }}
- {name: warder-tls, mountPath: /run/secrets/warder-tls, readOnly: true}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "warder.volumes" -}}
- name: warder-config
  configMap: {name: {{ include "warder.prefix" . }}-config}
- name: warder-policy
  configMap: {name: {{ include "warder.policyName" . }}}
- name: warder-secrets
  secret: {secretName: {{ include "warder.secretName" . }}, defaultMode: 0440}
{{- with include "warder.tlsVolume" . }}
{{ . }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* For a pod of your own: warder before Envoy, as native sidecars. Put them before other init
containers that need the network of the pod, and let the pod have
warder.sidecar.podSecurityContext and warder.sidecar.volumes. */ -}}
{{- define "warder.sidecar.initContainers" -}}
- name: warder
  image: {{ include "warder.image" . }}
  {{- with .Values.image.pullPolicy }}
  imagePullPolicy: {{ . }}
  {{- end }}
  restartPolicy: Always
  args: [serve, --config=/etc/warder/config/warder.yaml]
  env:
    {{- include "warder.env" . | nindent 4 }}
  ports:
    - name: admin
      containerPort: 9192
  {{- include "warder.probes" . | nindent 2 }}
  resources:
    {{- include "warder.resources" . | nindent 4 }}
  securityContext:
    runAsUser: 65532
    runAsGroup: 65532
    {{- include "warder.restrictedContainer" . | nindent 4 }}
  volumeMounts:
    {{- include "warder.volumeMounts" . | nindent 4 }}
- name: envoy
  image: {{ .Values.envoy.image }}
  restartPolicy: Always
  args: [--config-path, /etc/envoy/envoy.yaml, --concurrency, {{ .Values.envoy.concurrency | quote }}, --disable-hot-restart]
  ports:
    - name: http
      containerPort: {{ .Values.envoy.port }}
  startupProbe:
    tcpSocket: {port: http}
    periodSeconds: 1
    failureThreshold: 30
  resources:
    {{- toYaml .Values.envoy.resources | nindent 4 }}
  securityContext:
    runAsUser: 65533
    runAsGroup: 65533
    {{- include "warder.restrictedContainer" . | nindent 4 }}
  volumeMounts:
    - {name: envoy, mountPath: /etc/envoy, readOnly: true}
    - {name: warder-socket, mountPath: /run/warder, readOnly: true}
{{- end -}}

{{- define "warder.sidecar.volumes" -}}
{{ include "warder.volumes" . }}
- name: warder-socket
  emptyDir: {medium: Memory, sizeLimit: 1Mi}
- name: envoy
  configMap: {name: {{ include "warder.fullname" . }}-envoy}
{{- end -}}

{{- /* fsGroup is the group of the socket and of the secrets: Envoy connects by it. */ -}}
{{- define "warder.sidecar.podSecurityContext" -}}
runAsNonRoot: true
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "warder.topologySpread" -}}
{{- if .Values.topologySpread.enabled }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: topology.kubernetes.io/zone
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "warder.selectorLabels" . | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
{{- end }}
{{- end -}}

{{- define "warder.placement" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{- define "warder.podMetadata" -}}
labels:
  {{- include "warder.selectorLabels" . | nindent 2 }}
  {{- with .Values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  # A change of warder.yaml needs new pods; a change of the policy does not.
  {{- include "warder.checksums" . | nindent 2 }}
  {{- if .Values.prometheusAnnotations }}
  prometheus.io/scrape: "true"
  prometheus.io/port: "9192"
  prometheus.io/path: /metrics
  {{- end }}
  {{- with .Values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}
