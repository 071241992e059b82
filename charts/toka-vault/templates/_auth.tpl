{{/* Secret with the token that the chart's own Jobs show, or nothing. */}}
{{- define "toka.jobsTokenSecret" -}}
{{- $auth := .Values.auth -}}
{{- if $auth.enabled -}}
{{- default $auth.existingSecret $auth.jobs.existingSecret -}}
{{- end -}}
{{- end -}}

{{/* Its key. */}}
{{- define "toka.jobsTokenKey" -}}
{{- $auth := .Values.auth -}}
{{- if $auth.jobs.existingSecret -}}
{{- $auth.jobs.key -}}
{{- else -}}
{{- default $auth.bootstrapTokenKey $auth.rootTokenKey -}}
{{- end -}}
{{- end -}}

{{/* Fails for values of authorization that contradict each other. */}}
{{- define "toka.authCheck" -}}
{{- $auth := .Values.auth -}}
{{- $tls := .Values.tls -}}
{{- if $auth.enabled -}}
{{- if and (not $auth.existingSecret) (not $auth.jobs.existingSecret) (not $tls.clients.jobSecret) -}}
{{- fail "auth: auth.existingSecret names no Secret with the first token; make one: toka auth token generate --file first.token, then kubectl create secret generic NAME --from-file=token=first.token" -}}
{{- end -}}
{{- if and $auth.existingSecret (not $auth.rootTokenKey) (not $auth.bootstrapTokenKey) -}}
{{- fail "auth: say with auth.rootTokenKey or auth.bootstrapTokenKey which key of auth.existingSecret has the token" -}}
{{- end -}}
{{- if and (not $tls.enabled) (not (and $auth.existingSecret $auth.rootTokenKey)) -}}
{{- fail "auth: without TLS, nodes that join show the token of auth.existingSecret at auth.rootTokenKey: give it, or set tls.enabled" -}}
{{- end -}}
{{- if and $auth.certificateRoles (or (not $tls.enabled) (eq $tls.clients.auth "none")) -}}
{{- fail "auth: auth.certificateRoles are of those who show a certificate: set tls.enabled, and tls.clients.auth to optional or required" -}}
{{- end -}}
{{- $jwt := $auth.jwt -}}
{{- if and $jwt.keys.existingSecret $jwt.keys.existingConfigMap -}}
{{- fail "auth: give auth.jwt.keys.existingSecret or auth.jwt.keys.existingConfigMap, not both" -}}
{{- end -}}
{{- $keys := or $jwt.keys.existingSecret $jwt.keys.existingConfigMap -}}
{{- if and (or $jwt.issuer $jwt.audience $keys) (not (and $jwt.issuer $jwt.audience $keys)) -}}
{{- fail "auth: auth.jwt.issuer, auth.jwt.audience and one of auth.jwt.keys.existingSecret and auth.jwt.keys.existingConfigMap belong together" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What a node that others reach lacks, or nothing. */}}
{{- define "toka.lacks" -}}
{{- if not (or (hasPrefix "127." .Values.listenHost) (eq "[::1]" .Values.listenHost)) -}}
{{- if not (or .Values.tls.enabled .Values.auth.enabled) -}}
TLS and authentication
{{- else if not .Values.tls.enabled -}}
TLS
{{- else if not .Values.auth.enabled -}}
authentication
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Fails where nodes would not start since they are exposed. */}}
{{- define "toka.exposureCheck" -}}
{{- if not .Values.insecure -}}
{{- with include "toka.lacks" . -}}
{{- fail (printf "insecure is false, and nodes do not start without %s then: set tls.enabled and auth.enabled, or insecure" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Arguments of a node. */}}
{{- define "toka.authArguments" -}}
{{- $auth := .Values.auth -}}
{{- if $auth.enabled -}}
{{- $all := list "--auth" -}}
{{- if $auth.existingSecret -}}
{{- with $auth.rootTokenKey -}}
{{- $all = append $all "--auth-root-token-file=/etc/toka/auth/first/root" -}}
{{- end -}}
{{- with $auth.bootstrapTokenKey -}}
{{- $all = append $all "--bootstrap-admin-token-file=/etc/toka/auth/first/bootstrap" -}}
{{- end -}}
{{- end -}}
{{- with $auth.jwt.issuer -}}
{{- $all = append $all (printf "--jwt-issuer=%s" .) -}}
{{- $all = append $all (printf "--jwt-audience=%s" $auth.jwt.audience) -}}
{{- $all = append $all "--jwt-jwks-file=/etc/toka/auth/jwt/jwks.json" -}}
{{- with $auth.jwt.rolesClaim -}}
{{- $all = append $all (printf "--jwt-roles-claim=%s" .) -}}
{{- end -}}
{{- end -}}
{{- range $auth.certificateRoles -}}
{{- $all = append $all (printf "--certificate-role=%s" .) -}}
{{- end -}}
{{- toYaml $all -}}
{{- end -}}
{{- end -}}

{{/* Where a node's files for it are mounted, or nothing. */}}
{{- define "toka.authMounts" -}}
{{- $auth := .Values.auth -}}
{{- $mounts := list -}}
{{- if and $auth.enabled $auth.existingSecret -}}
{{- $mounts = append $mounts (dict "name" "auth-first" "mountPath" "/etc/toka/auth/first" "readOnly" true) -}}
{{- end -}}
{{- if and $auth.enabled $auth.jwt.issuer -}}
{{- $mounts = append $mounts (dict "name" "auth-jwt" "mountPath" "/etc/toka/auth/jwt" "readOnly" true) -}}
{{- end -}}
{{- if $mounts -}}
{{- toYaml $mounts -}}
{{- end -}}
{{- end -}}

{{/* The volumes of those, or nothing. 288 is 0440. */}}
{{- define "toka.authVolumes" -}}
{{- $auth := .Values.auth -}}
{{- $volumes := list -}}
{{- if and $auth.enabled $auth.existingSecret -}}
{{- $items := list -}}
{{- with $auth.rootTokenKey -}}
{{- $items = append $items (dict "key" . "path" "root") -}}
{{- end -}}
{{- with $auth.bootstrapTokenKey -}}
{{- $items = append $items (dict "key" . "path" "bootstrap") -}}
{{- end -}}
{{- $volumes = append $volumes (dict "name" "auth-first" "secret" (dict "secretName" $auth.existingSecret "defaultMode" 288 "items" $items)) -}}
{{- end -}}
{{- if and $auth.enabled $auth.jwt.issuer -}}
{{- $keys := $auth.jwt.keys -}}
{{- $items := list (dict "key" $keys.key "path" "jwks.json") -}}
{{- if $keys.existingSecret -}}
{{- $volumes = append $volumes (dict "name" "auth-jwt" "secret" (dict "secretName" $keys.existingSecret "defaultMode" 288 "items" $items)) -}}
{{- else -}}
{{- $volumes = append $volumes (dict "name" "auth-jwt" "configMap" (dict "name" $keys.existingConfigMap "defaultMode" 288 "items" $items)) -}}
{{- end -}}
{{- end -}}
{{- if $volumes -}}
{{- toYaml $volumes -}}
{{- end -}}
{{- end -}}
