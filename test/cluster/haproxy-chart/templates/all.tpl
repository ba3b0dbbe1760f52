{{- $name := printf "%s-%s" .Release.Name .Chart.Name }}
{{- $selector := dict "app.kubernetes.io/name" .Chart.Name "app.kubernetes.io/instance" .Release.Name }}
apiVersion: v1
kind: ConfigMap
metadata: { name: {{ $name }}, namespace: {{ .Release.Namespace }} }
data:
  haproxy.cfg: {{ tpl .Values.config . | toJson }}
---
apiVersion: v1
kind: ConfigMap
metadata: { name: {{ $name }}-includes, namespace: {{ .Release.Namespace }} }
data: {{ .Values.includes | toJson }}
---
apiVersion: v1
kind: Service
metadata: { name: {{ $name }}, namespace: {{ .Release.Namespace }} }
spec:
  selector: {{ $selector | toJson }}
  ports:
    {{- range $key, $port := .Values.containerPorts }}
    - { name: {{ $key }}, port: {{ $port }}, targetPort: {{ $key }} }
    {{- end }}
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: {{ $name }}, namespace: {{ .Release.Namespace }} }
spec:
  replicas: 1
  selector: { matchLabels: {{ $selector | toJson }} }
  template:
    metadata: { labels: {{ $selector | toJson }} }
    spec:
      terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
      initContainers: {{ .Values.initContainers | toJson }}
      containers:
        - name: haproxy
          image: {{ .Values.image.repository }}:{{ .Chart.AppVersion }}
          args: {{ .Values.args | toJson }}
          env: {{ .Values.extraEnvs | toJson }}
          ports:
            {{- range $key, $port := .Values.containerPorts }}
            - { name: {{ $key }}, containerPort: {{ $port }} }
            {{- end }}
          volumeMounts:
            - { name: haproxy-config, mountPath: /usr/local/etc/haproxy }
            - { name: includes, mountPath: /usr/local/etc/haproxy/includes }
            {{- with .Values.extraVolumeMounts }}{{ toYaml . | nindent 12 }}{{ end }}
      volumes:
        - { name: haproxy-config, configMap: { name: {{ $name }} } }
        - { name: includes, projected: { sources: [{ configMap: { name: {{ $name }}-includes } }] } }
        {{- with .Values.extraVolumes }}{{ toYaml . | nindent 8 }}{{ end }}
