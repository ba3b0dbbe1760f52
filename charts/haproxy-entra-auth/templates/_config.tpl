{{/* The configuration file of the service, and what else follows from it. */}}

{{/* The values under config, completed: short forms, listen addresses, paths of what is mounted. */}}
{{- define "haproxy-entra-auth.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- if .Values.tenantId }}
{{- $_ := set $config "tenants" (dict "default" .Values.tenantId) }}
{{- end }}
{{- with include "haproxy-entra-auth.audiences" . | fromYamlArray }}
{{- $allow := list (dict "actor" "user" "scopes" "any") (dict "actor" "app" "roles" "any") }}
{{- $_ := set $config "policies" (dict "default" (dict "audiences" . "allow" $allow)) }}
{{- end }}
{{- $listen := dict "host" "0.0.0.0" "port" 8080 }}
{{- if .Values.tls.existingSecret }}
{{- $folder := "/etc/haproxy-entra-auth/tls" }}
{{- $_ := set $listen "tls" (dict "certificateFile" (print $folder "/tls.crt") "keyFile" (print $folder "/tls.key")) }}
{{- end }}
{{- $config = merge $config (dict "listen" $listen "metrics" (dict "host" "0.0.0.0" "port" 9090)) }}
{{- with include "haproxy-entra-auth.keyFile" (dict "root" . "value" "callerKey" "alias" "caller-key") }}
{{- $_ := set $config "callerKeyFile" . }}
{{- end }}
{{- with include "haproxy-entra-auth.keyFile" (dict "root" . "value" "adminKey" "alias" "admin-key") }}
{{- $config = merge $config (dict "admin" (dict "host" "0.0.0.0" "port" 9091 "adminKeyFile" .)) }}
{{- end }}
{{- if and .Values.keyStore.enabled (not $config.keyStore) }}
{{- $_ := set $config "keyStore" "/var/lib/haproxy-entra-auth/keys" }}
{{- end }}
{{- with .Values.revocations }}
{{- if .existingConfigMap }}
{{- $_ := set $config "revocationFile" (printf "/etc/haproxy-entra-auth/revocations/%s" .key) }}
{{- else if .existingClaim }}
{{- $_ := set $config "revocationFile" "/var/lib/haproxy-entra-auth/revocations/revocations.json" }}
{{- end }}
{{- end }}
{{- if $config.signIn }}
{{- $signIn := dict "listen" (dict "host" "0.0.0.0" "port" 8081) "sealingKeys" "/etc/haproxy-entra-auth/sealing" }}
{{- if not $config.signIn.credential }}
{{- $folder := "/etc/haproxy-entra-auth/sign-in" }}
{{- if .Values.signIn.certificate.existingSecret }}
{{- $_ := set $signIn "credential" (dict "certificateFile" (print $folder "/tls.crt") "keyFile" (print $folder "/tls.key")) }}
{{- else if .Values.signIn.federatedToken.enabled }}
{{- $_ := set $signIn "credential" (dict "federatedTokenFile" "/var/run/secrets/haproxy-entra-auth/token") }}
{{- else if .Values.workloadIdentity.enabled }}
{{- $_ := set $signIn "credential" (dict "federatedTokenFile" "/var/run/secrets/azure/tokens/azure-identity-token") }}
{{- end }}
{{- end }}
{{- $config = merge $config (dict "signIn" $signIn) }}
{{- end }}
{{- if .Values.store.url }}
{{- $store := dict "url" .Values.store.url }}
{{- if .Values.store.existingSecret }}
{{- range $file, $key := dict "usernameFile" .Values.store.usernameKey "passwordFile" .Values.store.passwordKey "caFile" .Values.store.caKey }}
{{- if $key }}{{ $_ := set $store $file (printf "/etc/haproxy-entra-auth/store/%s" $key) }}{{ end }}
{{- end }}
{{- end }}
{{- $_ := set $config "store" $store }}
{{- end }}
{{- toYaml $config }}
{{- end }}

{{/* The audiences as a list; text has commas between them, as in ENTRA_AUTH_AUDIENCE. */}}
{{- define "haproxy-entra-auth.audiences" -}}
{{- $audiences := list }}
{{- range kindIs "string" .Values.audience | ternary (splitList "," (toString .Values.audience)) .Values.audience }}
{{- with trim . }}{{ $audiences = append $audiences . }}{{ end }}
{{- end }}
{{- toYaml $audiences }}
{{- end }}

{{/* Path of a key that is mounted, empty without one. */}}
{{- define "haproxy-entra-auth.keyFile" -}}
{{- $own := index .root.Values .value }}
{{- $vault := .root.Values.keyVault }}
{{- if $own.existingSecret -}}
/etc/haproxy-entra-auth/{{ .alias }}/{{ $own.key }}
{{- else if and $vault.enabled (index $vault .value) -}}
/etc/haproxy-entra-auth/key-vault/{{ .alias }}
{{- end }}
{{- end }}

{{/* Ports and scheme, as YAML: verify, metrics, admin (only with a key), scheme. */}}
{{- define "haproxy-entra-auth.ports" -}}
{{- $config := include "haproxy-entra-auth.config" . | fromYaml }}
{{- if .Values.existingConfigMap.name }}
verify: {{ .Values.existingConfigMap.verifyPort }}
metrics: {{ .Values.existingConfigMap.metricsPort }}
{{- with .Values.existingConfigMap.signInPort }}
signIn: {{ . }}
{{- end }}
{{- else }}
verify: {{ $config.listen.port }}
metrics: {{ $config.metrics.port }}
{{- with $config.signIn }}
signIn: {{ .listen.port }}
{{- end }}
{{- end }}
admin: {{ dig "admin" "port" 9091 $config }}
scheme: {{ empty $config.listen.tls | ternary "HTTP" "HTTPS" }}
{{- end }}

{{/* Name of the policy that examples ask for. */}}
{{- define "haproxy-entra-auth.examplePolicy" -}}
{{- $policies := (include "haproxy-entra-auth.config" . | fromYaml).policies | default dict }}
{{- hasKey $policies "default" | ternary "default" (keys $policies | sortAlpha | first | default "default") }}
{{- end }}

{{/* Secret with the keys that seal sessions: your own or the chart's; empty where the file names another folder. */}}
{{- define "haproxy-entra-auth.sealingSecret" -}}
{{- if .Values.signIn.sealingKeys.existingSecret }}
{{- .Values.signIn.sealingKeys.existingSecret }}
{{- else if and .Values.config.signIn (not (dig "signIn" "sealingKeys" "" .Values.config)) }}
{{- include "haproxy-entra-auth.name" . }}-sealing
{{- end }}
{{- end }}

{{/* Whether several pods may run at a time. */}}
{{- define "haproxy-entra-auth.isReplicated" -}}
{{- if or .Values.autoscaling.enabled (gt (int .Values.replicaCount) 1) }}true{{ end }}
{{- end }}

{{/* Whether the revocation file is one that a single pod writes. */}}
{{- define "haproxy-entra-auth.hasOwnRevocations" -}}
{{- with .Values.revocations }}
{{- if and (or .existingClaim $.Values.config.revocationFile) (not .shared) (not $.Values.store.url) (not $.Values.config.store) }}true{{ end }}
{{- end }}
{{- end }}
