{{/* Environment and volumes of the pod. */}}

{{- define "haproxy-entra-auth.env" -}}
# The image sets it for those without a file; here the file alone decides.
- { name: ENTRA_AUTH_HOST, value: "" }
{{- with .Values.proxy }}
{{- if .existingSecret }}
- name: HTTPS_PROXY
  valueFrom:
    secretKeyRef: { name: {{ .existingSecret | quote }}, key: {{ .key | quote }} }
{{- else if .url }}
- { name: HTTPS_PROXY, value: {{ .url | quote }} }
{{- end }}
{{- if .noProxy }}
- { name: NO_PROXY, value: {{ .noProxy | quote }} }
{{- end }}
{{- end }}
{{- with .Values.privateCa }}
{{- if or .existingConfigMap .existingSecret }}
- { name: NODE_EXTRA_CA_CERTS, value: /etc/haproxy-entra-auth/private-ca/{{ .key }} }
{{- end }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* What is mounted, one list for volumes and mounts: path, writable, volume. */}}
{{- define "haproxy-entra-auth.mounts" -}}
{{- $folder := "/etc/haproxy-entra-auth" -}}
- path: {{ $folder }}/config
  volume:
    name: config
    configMap:
      name: {{ .Values.existingConfigMap.name | default (include "haproxy-entra-auth.name" .) | quote }}
{{- with .Values.callerKey.existingSecret }}
- path: {{ $folder }}/caller-key
  volume: { name: caller-key, secret: { secretName: {{ . | quote }}, defaultMode: 0440 } }
{{- end }}
{{- with .Values.adminKey.existingSecret }}
- path: {{ $folder }}/admin-key
  volume: { name: admin-key, secret: { secretName: {{ . | quote }}, defaultMode: 0440 } }
{{- end }}
{{- with .Values.tls.existingSecret }}
- path: {{ $folder }}/tls
  volume: { name: tls, secret: { secretName: {{ . | quote }}, defaultMode: 0440 } }
{{- end }}
{{- with include "haproxy-entra-auth.sealingSecret" . }}
- path: {{ $folder }}/sealing
  volume: { name: sealing, secret: { secretName: {{ . | quote }}, defaultMode: 0440 } }
{{- end }}
{{- with .Values.signIn.certificate.existingSecret }}
- path: {{ $folder }}/sign-in
  volume: { name: sign-in, secret: { secretName: {{ . | quote }}, defaultMode: 0440 } }
{{- end }}
{{- with .Values.signIn.federatedToken }}
{{- if .enabled }}
- path: /var/run/secrets/haproxy-entra-auth
  volume:
    name: federated-token
    projected:
      defaultMode: 0440
      sources:
        - serviceAccountToken: { path: token, audience: {{ .audience | quote }}, expirationSeconds: {{ .expirationSeconds | int }} }
{{- end }}
{{- end }}
{{- if .Values.keyVault.enabled }}
- path: {{ $folder }}/key-vault
  volume:
    name: key-vault
    csi:
      driver: secrets-store.csi.k8s.io
      readOnly: true
      volumeAttributes:
        secretProviderClass: {{ .Values.keyVault.existingSecretProviderClass | default (include "haproxy-entra-auth.name" .) | quote }}
{{- end }}
{{- with .Values.privateCa.existingConfigMap }}
- path: {{ $folder }}/private-ca
  volume: { name: private-ca, configMap: { name: {{ . | quote }} } }
{{- end }}
{{- with .Values.privateCa.existingSecret }}
- path: {{ $folder }}/private-ca
  volume: { name: private-ca, secret: { secretName: {{ . | quote }}, defaultMode: 0440 } }
{{- end }}
{{- with .Values.store.existingSecret }}
- path: {{ $folder }}/store
  volume: { name: store, secret: { secretName: {{ . | quote }}, defaultMode: 0440 } }
{{- end }}
{{- with .Values.revocations.existingConfigMap }}
- path: {{ $folder }}/revocations
  volume: { name: revocations, configMap: { name: {{ . | quote }} } }
{{- end }}
{{- with .Values.revocations.existingClaim }}
- path: /var/lib/haproxy-entra-auth/revocations
  writable: true
  volume: { name: revocations, persistentVolumeClaim: { claimName: {{ . | quote }} } }
{{- end }}
{{- if .Values.keyStore.enabled }}
- path: /var/lib/haproxy-entra-auth/keys
  writable: true
  volume:
    name: key-store
    {{- with .Values.keyStore.existingClaim }}
    persistentVolumeClaim: { claimName: {{ . | quote }} }
    {{- else }}
    # A copy of all revocations of the store is kept there too.
    emptyDir: { sizeLimit: {{ $.Values.store.url | empty | ternary "16Mi" "512Mi" }} }
    {{- end }}
{{- end }}
{{- end }}
