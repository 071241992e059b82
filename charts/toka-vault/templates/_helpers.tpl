{{/* Name of the chart. */}}
{{- define "toka.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 44 | trimSuffix "-" -}}
{{- end -}}

{{/* Name of what is made. 44 characters: `-reconcile-before` has to follow it, and a pod's hash that. */}}
{{- define "toka.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 44 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "toka.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 44 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 44 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "toka.headless" -}}
{{ include "toka.fullname" . }}-headless
{{- end -}}

{{- define "toka.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "toka.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* What pods are found by; never changes. */}}
{{- define "toka.selector" -}}
app.kubernetes.io/name: {{ include "toka.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "toka.nodeSelectorLabels" -}}
{{ include "toka.selector" . }}
app.kubernetes.io/component: node
{{- end -}}

{{/* Labels of everything. Call with (list $ "component"). */}}
{{- define "toka.labels" -}}
{{- $top := index . 0 -}}
{{ include "toka.selector" $top }}
app.kubernetes.io/component: {{ index . 1 }}
app.kubernetes.io/version: {{ $top.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $top.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $top.Chart.Name $top.Chart.Version | replace "+" "_" }}
{{- with $top.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* `annotations:` of the given and the common ones, or nothing. Call with (list $ annotations indentation). */}}
{{- define "toka.annotations" -}}
{{- $top := index . 0 -}}
{{- $all := merge (deepCopy (index . 1)) $top.Values.commonAnnotations -}}
{{- if $all -}}
{{- toYaml (dict "annotations" $all) | nindent (index . 2) -}}
{{- end -}}
{{- end -}}

{{- define "toka.image" -}}
{{- $image := .Values.image -}}
{{- $name := $image.repository -}}
{{- if $image.registry -}}
{{- $name = printf "%s/%s" $image.registry $image.repository -}}
{{- end -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $name $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default .Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end -}}

{{/* Host of a pod, with {ordinal} in it. */}}
{{- define "toka.podHost" -}}
{{- if .Values.podHost -}}
{{- .Values.podHost -}}
{{- else -}}
{{- printf "%s-{ordinal}.%s.%s.svc.%s" (include "toka.fullname" .) (include "toka.headless" .) .Release.Namespace .Values.clusterDomain -}}
{{- end -}}
{{- end -}}

{{/* Name of the Service for clients. */}}
{{- define "toka.serviceHost" -}}
{{- printf "%s.%s.svc.%s" (include "toka.fullname" .) .Release.Namespace .Values.clusterDomain -}}
{{- end -}}

{{/* Client endpoint of the Service. */}}
{{- define "toka.serviceEndpoint" -}}
{{- printf "%s:%v" (include "toka.serviceHost" .) .Values.ports.client -}}
{{- end -}}

{{/* Names at which browsers may call the nodes. */}}
{{- define "toka.allowedHosts" -}}
{{- $name := include "toka.fullname" . -}}
{{- $inNamespace := printf "%s.%s" $name .Release.Namespace -}}
{{- $all := list $name $inNamespace (printf "%s.svc" $inNamespace) (include "toka.serviceHost" .) -}}
{{- if .Values.ingress.enabled -}}
{{- $all = concat $all .Values.ingress.hosts -}}
{{- end -}}
{{- if or .Values.gateway.grpcRoute.enabled .Values.gateway.httpRoute.enabled -}}
{{- $all = concat $all .Values.gateway.hostnames -}}
{{- end -}}
{{- join "," (uniq (concat $all .Values.allowedHosts)) -}}
{{- end -}}

{{/* What is spoken at the port for clients, for gateways and meshes that look at it. */}}
{{- define "toka.appProtocol" -}}
{{- ternary "https" "kubernetes.io/h2c" .Values.tls.enabled -}}
{{- end -}}

{{/* Pods that form the cluster at the first start. */}}
{{- define "toka.initialMembers" -}}
{{- min (int .Values.replicas) 3 -}}
{{- end -}}

{{/* Client endpoints by which members are found: those that form the cluster, and the Service for when they are gone.
     They do not depend on how many pods there are beyond three: growing restarts nobody. */}}
{{- define "toka.endpoints" -}}
{{- $top := . -}}
{{- $host := include "toka.podHost" . -}}
{{- $all := list -}}
{{- range $ordinal := until (int (include "toka.initialMembers" .)) -}}
{{- $all = append $all (printf "%s:%v" (replace "{ordinal}" (toString $ordinal) $host) $top.Values.ports.client) -}}
{{- end -}}
{{- if not .Values.podHost -}}
{{- $all = append $all (include "toka.serviceEndpoint" .) -}}
{{- end -}}
{{- join "," $all -}}
{{- end -}}

{{/* Client endpoints of all pods. */}}
{{- define "toka.allEndpoints" -}}
{{- $top := . -}}
{{- $host := include "toka.podHost" . -}}
{{- $all := list -}}
{{- range $ordinal := until (int .Values.replicas) -}}
{{- $all = append $all (printf "%s:%v" (replace "{ordinal}" (toString $ordinal) $host) $top.Values.ports.client) -}}
{{- end -}}
{{- join "," $all -}}
{{- end -}}

{{/* Secret that nodes show each other. */}}
{{- define "toka.tlsNodesSecret" -}}
{{- default (printf "%s-nodes-tls" (include "toka.fullname" .)) .Values.tls.nodes.existingSecret -}}
{{- end -}}

{{/* Secret that clients are shown. */}}
{{- define "toka.tlsServerSecret" -}}
{{- if .Values.tls.server.existingSecret -}}
{{- .Values.tls.server.existingSecret -}}
{{- else if .Values.tls.certManager.enabled -}}
{{- include "toka.fullname" . }}-server-tls
{{- else -}}
{{- include "toka.tlsNodesSecret" . -}}
{{- end -}}
{{- end -}}

{{/* Fails for values of TLS that contradict each other. */}}
{{- define "toka.tlsCheck" -}}
{{- $tls := .Values.tls -}}
{{- if $tls.enabled -}}
{{- if and (not $tls.certManager.enabled) (not $tls.nodes.existingSecret) -}}
{{- fail "tls: give tls.nodes.existingSecret, or set tls.certManager.enabled" -}}
{{- end -}}
{{- if and $tls.certManager.enabled (not $tls.certManager.issuerRef.name) -}}
{{- fail "tls: tls.certManager.issuerRef.name names no issuer" -}}
{{- end -}}
{{- if and (ne $tls.clients.auth "none") (not $tls.clients.caSecret) -}}
{{- fail "tls: tls.clients.caSecret says whose certificates of clients are valid; without it set tls.clients.auth to none" -}}
{{- end -}}
{{- if and (eq $tls.clients.auth "required") (not $tls.clients.jobSecret) -}}
{{- fail "tls: tls.clients.jobSecret is what the chart's Jobs show where tls.clients.auth is required" -}}
{{- end -}}
{{- if eq .Values.readinessProbe.type "grpc" -}}
{{- fail "tls: a kubelet's gRPC probe speaks no TLS: set readinessProbe.type to http" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Environment of `toka` as a client, or nothing. */}}
{{- define "toka.clientEnv" -}}
{{- $env := list -}}
{{- if .Values.tls.enabled -}}
{{- $env = append $env (dict "name" "TOKA_CA" "value" "/etc/toka/tls/client/ca.crt") -}}
{{- if .Values.tls.clients.jobSecret -}}
{{- $env = append $env (dict "name" "TOKA_CERT" "value" "/etc/toka/tls/client/tls.crt") -}}
{{- $env = append $env (dict "name" "TOKA_KEY" "value" "/etc/toka/tls/client/tls.key") -}}
{{- end -}}
{{- end -}}
{{- if include "toka.jobsTokenSecret" . -}}
{{- $env = append $env (dict "name" "TOKA_TOKEN_FILE" "value" "/etc/toka/auth/client/token") -}}
{{- if not .Values.tls.enabled -}}
{{- $env = append $env (dict "name" "TOKA_INSECURE_TOKEN" "value" "true") -}}
{{- end -}}
{{- end -}}
{{- if $env -}}
{{- toYaml $env -}}
{{- end -}}
{{- end -}}

{{/* Where its files are mounted, or nothing. */}}
{{- define "toka.clientMounts" -}}
{{- $mounts := list -}}
{{- if .Values.tls.enabled -}}
{{- $mounts = append $mounts (dict "name" "tls-client" "mountPath" "/etc/toka/tls/client" "readOnly" true) -}}
{{- end -}}
{{- if include "toka.jobsTokenSecret" . -}}
{{- $mounts = append $mounts (dict "name" "auth-client" "mountPath" "/etc/toka/auth/client" "readOnly" true) -}}
{{- end -}}
{{- if $mounts -}}
{{- toYaml $mounts -}}
{{- end -}}
{{- end -}}

{{/* The volumes of those, or nothing. 288 is 0440. */}}
{{- define "toka.clientVolumes" -}}
{{- $volumes := list -}}
{{- if .Values.tls.enabled -}}
{{- $ca := dict "name" (include "toka.tlsServerSecret" .) "items" (list (dict "key" "ca.crt" "path" "ca.crt")) -}}
{{- $sources := list (dict "secret" $ca) -}}
{{- with .Values.tls.clients.jobSecret -}}
{{- $shown := list (dict "key" "tls.crt" "path" "tls.crt") (dict "key" "tls.key" "path" "tls.key") -}}
{{- $sources = append $sources (dict "secret" (dict "name" . "items" $shown)) -}}
{{- end -}}
{{- $volumes = append $volumes (dict "name" "tls-client" "projected" (dict "defaultMode" 288 "sources" $sources)) -}}
{{- end -}}
{{- with include "toka.jobsTokenSecret" . -}}
{{- $items := list (dict "key" (include "toka.jobsTokenKey" $) "path" "token") -}}
{{- $volumes = append $volumes (dict "name" "auth-client" "secret" (dict "secretName" . "defaultMode" 288 "items" $items)) -}}
{{- end -}}
{{- if $volumes -}}
{{- toYaml $volumes -}}
{{- end -}}
{{- end -}}

{{/* What the pods of Jobs and tests have in common. */}}
{{- define "toka.jobPod" -}}
serviceAccountName: {{ include "toka.serviceAccount" . }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{/* What the containers of Jobs and tests have in common. */}}
{{- define "toka.jobContainer" -}}
image: {{ include "toka.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
{{- end -}}

{{/* Environment of a node whose calls are traced. */}}
{{- define "toka.tracingEnv" -}}
{{- $tracing := .Values.tracing -}}
- name: TOKA_OTLP_ENDPOINT
  value: {{ $tracing.otlp.endpoint | quote }}
- name: TOKA_OTLP_TIMEOUT
  value: {{ $tracing.otlp.timeout | quote }}
- name: TOKA_OTLP_QUEUE_SPANS
  value: {{ toJson $tracing.otlp.queueSpans | quote }}
- name: TOKA_TRACES_SAMPLER_RATIO
  value: {{ toJson $tracing.ratio | quote }}
- name: K8S_POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: K8S_NODE_NAME
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
{{- $attributes := list (printf "k8s.namespace.name=%s" .Release.Namespace) "k8s.pod.name=$(K8S_POD_NAME)" "k8s.node.name=$(K8S_NODE_NAME)" -}}
{{- range $name, $value := $tracing.resourceAttributes -}}
{{- $attributes = append $attributes (printf "%s=%s" $name $value) -}}
{{- end }}
- name: OTEL_RESOURCE_ATTRIBUTES
  value: {{ join "," $attributes | quote }}
{{- with $tracing.otlp.headersSecret }}
- name: OTEL_EXPORTER_OTLP_HEADERS
  valueFrom:
    secretKeyRef:
      name: {{ . }}
      key: headers
{{- end }}
{{- end -}}
