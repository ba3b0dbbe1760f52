{{/* Names and labels. */}}

{{- define "haproxy-entra-auth.chartName" -}}
{{ .Values.nameOverride | default .Chart.Name | trunc 53 | trimSuffix "-" }}
{{- end }}

{{- define "haproxy-entra-auth.name" -}}
{{- $chart := include "haproxy-entra-auth.chartName" . -}}
{{- $both := contains $chart .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $chart) -}}
{{ .Values.fullnameOverride | default $both | trunc 53 | trimSuffix "-" }}
{{- end }}

{{- define "haproxy-entra-auth.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (.Values.serviceAccount.create | ternary (include "haproxy-entra-auth.name" .) "default") }}
{{- end }}

{{- define "haproxy-entra-auth.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{/* What never changes: selectors are immutable. */}}
{{- define "haproxy-entra-auth.selector" -}}
app.kubernetes.io/name: {{ include "haproxy-entra-auth.chartName" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: verifier
{{- end }}

{{/* Labels of every object; argument: (dict "root" $ "component" "verifier") */}}
{{- define "haproxy-entra-auth.labels" -}}
{{- $root := .root -}}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
app.kubernetes.io/name: {{ include "haproxy-entra-auth.chartName" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Head of an object; argument: (dict "root" $ "name" "" "component" "" "namespace" "" "labels" dict "annotations" dict) */}}
{{- define "haproxy-entra-auth.metadata" -}}
metadata:
  name: {{ .name | default (include "haproxy-entra-auth.name" .root) }}
  namespace: {{ .namespace | default .root.Release.Namespace }}
  labels:
    {{- include "haproxy-entra-auth.labels" (dict "root" .root "component" (.component | default "verifier")) | nindent 4 }}
    {{- with .labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
