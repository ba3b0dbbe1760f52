{{/* Names and labels. */}}

{{- define "haproxy-entra-auth.chartName" -}}
{{ .Values.nameOverride | default .Chart.Name | trunc 53 | trimSuffix "-" }}
{{- end }}

{{/* At most 46 characters: Kubernetes cuts the name of a Deployment in the names of its pods at 47, and
     the alerts find pods by name. */}}
{{- define "haproxy-entra-auth.name" -}}
{{- $chart := include "haproxy-entra-auth.chartName" . -}}
{{- $both := contains $chart .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $chart) -}}
{{ .Values.fullnameOverride | default $both | trunc 46 | trimSuffix "-" }}
{{- end }}

{{- define "haproxy-entra-auth.namespace" -}}
{{ .Values.namespaceOverride | default .Release.Namespace }}
{{- end }}

{{/* Name of what goes into HAProxy's namespace, where releases of other namespaces put theirs too. */}}
{{- define "haproxy-entra-auth.haproxyName" -}}
{{- $name := include "haproxy-entra-auth.name" . -}}
{{- $namespace := include "haproxy-entra-auth.namespace" . -}}
{{- $target := .Values.haproxy.namespace | default $namespace -}}
{{ eq $target $namespace | ternary $name (printf "%s-%s" $namespace $name) }}
{{- end }}

{{/* Secrets with the credentials of registries: the chart's own and those of all charts. */}}
{{- define "haproxy-entra-auth.pullSecrets" -}}
{{- $secrets := .Values.image.pullSecrets | default list }}
{{- range (.Values.global | default dict).imagePullSecrets }}
{{- $secrets = append $secrets (kindIs "string" . | ternary (dict "name" .) .) }}
{{- end }}
{{- with $secrets | uniq }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "haproxy-entra-auth.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (.Values.serviceAccount.create | ternary (include "haproxy-entra-auth.name" .) "default") }}
{{- end }}

{{- define "haproxy-entra-auth.image" -}}
{{- $registry := (.Values.global | default dict).imageRegistry | default .Values.image.registry -}}
{{- with .Values.image -}}
{{ with $registry }}{{ . }}/{{ end }}{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{/* What never changes: selectors are immutable. */}}
{{- define "haproxy-entra-auth.selector" -}}
app.kubernetes.io/name: {{ include "haproxy-entra-auth.chartName" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: verifier
{{- end }}

{{/* Labels of every object; argument: (dict "root" $ "component" "verifier" "more" dict) */}}
{{- define "haproxy-entra-auth.labels" -}}
{{- $root := .root -}}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
app.kubernetes.io/name: {{ include "haproxy-entra-auth.chartName" $root | quote }}
app.kubernetes.io/instance: {{ $root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
{{- /* One mapping, since a key that is written twice is no YAML: an object's own labels win. */}}
{{- with merge (dict) (.more | default dict) ($root.Values.commonLabels | default dict) }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Head of an object; argument: (dict "root" $ "name" "" "component" "" "namespace" "" "labels" dict "annotations" dict) */}}
{{- define "haproxy-entra-auth.metadata" -}}
metadata:
  name: {{ .name | default (include "haproxy-entra-auth.name" .root) | quote }}
  namespace: {{ .namespace | default (include "haproxy-entra-auth.namespace" .root) | quote }}
  labels:
    {{- include "haproxy-entra-auth.labels" (dict "root" .root "component" (.component | default "verifier") "more" .labels) | nindent 4 }}
  {{- with merge (dict) (.annotations | default dict) (.root.Values.commonAnnotations | default dict) }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
