{{/* Values that contradict each other: each stops the rendering with one sentence. */}}

{{- define "haproxy-entra-auth.checks" -}}
{{- if not .Values.image.repository }}
{{- fail "There is no public image: set image.repository to where you pushed yours, such as registry.example.com/haproxy-entra-auth." }}
{{- end }}
{{- include "haproxy-entra-auth.checkSource" . }}
{{- include "haproxy-entra-auth.checkListeners" . }}
{{- include "haproxy-entra-auth.checkSignIn" . }}
{{- include "haproxy-entra-auth.checkKeys" . }}
{{- include "haproxy-entra-auth.checkRevocations" . }}
{{- include "haproxy-entra-auth.checkPods" . }}
{{- include "haproxy-entra-auth.checkNetwork" . }}
{{- include "haproxy-entra-auth.checkAdmission" . }}
{{- end }}

{{- define "haproxy-entra-auth.checkAdmission" -}}
{{- with .Values.admissionPolicy }}
{{- if and .requireAuthUrl (not .enabled) }}
{{- fail "admissionPolicy.requireAuthUrl does nothing while the policy is off: set admissionPolicy.enabled too." }}
{{- end }}
{{- if and (has "Deny" .validationActions) (has "Warn" .validationActions) }}
{{- fail "admissionPolicy.validationActions has Deny and Warn, which Kubernetes refuses together: keep one of them." }}
{{- end }}
{{- end }}
{{- end }}

{{- define "haproxy-entra-auth.checkSource" -}}
{{- $v := .Values }}
{{- if $v.existingConfigMap.name }}
{{- if or $v.config $v.tenantId $v.audience }}
{{- fail "existingConfigMap is the whole configuration: remove config, tenantId and audience, or remove existingConfigMap." }}
{{- end }}
{{- else }}
{{- if has (lower ($v.tenantId | default "")) (list "common" "organizations" "consumers") }}
{{- fail (printf "tenantId is \"%s\", which stands for every tenant in the world: write the id (a GUID) of the tenant that you trust, as \"az account show --query tenantId\" prints it; several go under config.tenants." $v.tenantId) }}
{{- end }}
{{- if and $v.tenantId (not (regexMatch "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$" $v.tenantId)) }}
{{- fail (printf "tenantId is \"%s\", which is no GUID: write the id of the tenant, not a domain name, as \"az account show --query tenantId\" prints it." $v.tenantId) }}
{{- end }}
{{- if and $v.tenantId $v.config.tenants }}
{{- fail "tenantId and config.tenants both name the tenants: keep one of them." }}
{{- end }}
{{- if and $v.audience $v.config.policies }}
{{- fail "audience and config.policies both make policies: keep one of them." }}
{{- end }}
{{- if not (or $v.tenantId $v.config.tenants) }}
{{- fail "No tenant is trusted: set tenantId, config.tenants or existingConfigMap.name." }}
{{- end }}
{{- if not (or $v.audience $v.config.policies) }}
{{- fail "There is no policy: set audience, config.policies or existingConfigMap.name." }}
{{- end }}
{{- end }}
{{- range $v.extraEnv }}
{{- if has .name (list "ENTRA_AUTH_TENANT_ID" "ENTRA_AUTH_AUDIENCE" "ENTRA_AUTH_CLOUD" "ENTRA_AUTH_AUTHORITY" "ENTRA_AUTH_CONFIG" "ENTRA_AUTH_HOST" "ENTRA_AUTH_PORT" "ENTRA_AUTH_METRICS_PORT" "ENTRA_AUTH_ADMIN_PORT" "ENTRA_AUTH_TLS_CERTIFICATE_FILE" "ENTRA_AUTH_TLS_KEY_FILE" "ENTRA_AUTH_CLIENT_ID" "ENTRA_AUTH_HOSTS" "ENTRA_AUTH_SIGN_IN_HOST" "ENTRA_AUTH_SIGN_IN_PORT" "ENTRA_AUTH_REVOCATION_FILE") }}
{{- fail (printf "extraEnv sets %s, which the configuration file decides: write it under config." .name) }}
{{- end }}
{{- if eq .name "NODE_TLS_REJECT_UNAUTHORIZED" }}
{{- fail "extraEnv sets NODE_TLS_REJECT_UNAUTHORIZED, with which anybody can pretend to be Entra: name the certificates in privateCa." }}
{{- end }}
{{- end }}
{{- end }}

{{- define "haproxy-entra-auth.checkListeners" -}}
{{- $config := include "haproxy-entra-auth.config" . | fromYaml }}
{{- $ports := include "haproxy-entra-auth.ports" . | fromYaml }}
{{- range list "listen" "metrics" "admin" }}
{{- $own := index $.Values.config . | default dict }}
{{- if and (hasKey $own "port") (eq (int $own.port) 0) }}
{{- fail (printf "config.%s.port is 0, any free port, which nothing could find: write the port." .) }}
{{- end }}
{{- $host := dig . "host" "" $config | default "127.0.0.1" }}
{{- $isLoopback := or (hasPrefix "127." $host) (has $host (list "localhost" "::1")) }}
{{- if and (ne . "admin") $isLoopback }}
{{- fail (printf "config.%s.host is %s, which only the pod itself reaches: write 0.0.0.0 or \"::\", or remove it." . $host) }}
{{- end }}
{{- if and (eq . "admin") (not $isLoopback) (not $config.admin.adminKeyFile) }}
{{- fail "config.admin.host is not on loopback and there is no key: set adminKey.existingSecret or keyVault.adminKey, or remove config.admin.host." }}
{{- end }}
{{- end }}
{{- $all := list $ports.verify $ports.metrics $ports.admin }}
{{- with $ports.signIn }}{{ $all = append $all . }}{{ end }}
{{- if ne (len (uniq $all)) (len $all) }}
{{- fail "Two listeners have the same port: give listen, metrics, admin and signIn.listen a port each." }}
{{- end }}
{{- if and .Values.tls.existingSecret (dig "listen" "tls" "" .Values.config) }}
{{- fail "tls.existingSecret and config.listen.tls both name the certificate: keep one of them." }}
{{- end }}
{{- end }}

{{- define "haproxy-entra-auth.checkSignIn" -}}
{{- $signIn := .Values.config.signIn | default dict }}
{{- $sources := compact (list .Values.signIn.certificate.existingSecret (.Values.signIn.federatedToken.enabled | ternary "x" "") (empty $signIn.credential | ternary "" "x")) }}
{{- if and $signIn .Values.signIn.sealingKeys.existingSecret $signIn.sealingKeys }}
{{- fail "signIn.sealingKeys.existingSecret and config.signIn.sealingKeys both name the sealing keys: keep one of them." }}
{{- end }}
{{- if and $signIn (gt (len $sources) 1) }}
{{- fail "Sign-in has more than one credential: keep one of signIn.certificate.existingSecret, signIn.federatedToken.enabled and config.signIn.credential." }}
{{- end }}
{{- if and $signIn (not $sources) (not .Values.workloadIdentity.enabled) }}
{{- fail "Sign-in has no credential: set workloadIdentity.enabled, signIn.federatedToken.enabled, signIn.certificate.existingSecret or config.signIn.credential." }}
{{- end }}
{{- if and (not $signIn) (not .Values.existingConfigMap.name) (or $sources .Values.signIn.sealingKeys.existingSecret) }}
{{- fail "signIn is set and nobody can sign in: write config.signIn, or remove signIn." }}
{{- end }}
{{- with $signIn }}
{{- $host := dig "listen" "host" "0.0.0.0" . }}
{{- if or (hasPrefix "127." $host) (has $host (list "localhost" "::1")) }}
{{- fail (printf "config.signIn.listen.host is %s, which only the pod itself reaches: write 0.0.0.0 or \"::\", or remove it." $host) }}
{{- end }}
{{- if eq (dig "listen" "port" 8081 . | int) 0 }}
{{- fail "config.signIn.listen.port is 0, any free port, which nothing could find: write the port." }}
{{- end }}
{{- end }}
{{- end }}

{{- define "haproxy-entra-auth.checkKeys" -}}
{{- $vault := .Values.keyVault }}
{{- $inFile := dict "callerKey" (.Values.config.callerKeyFile | default "") "adminKey" (dig "admin" "adminKeyFile" "" .Values.config) }}
{{- range list "callerKey" "adminKey" }}
{{- $sources := compact (list (index $.Values .).existingSecret (index $vault .) (index $inFile .)) }}
{{- if gt (len $sources) 1 }}
{{- fail (printf "The %s comes from more than one place: keep one of %s.existingSecret, keyVault.%s and the file in config." . . .) }}
{{- end }}
{{- end }}
{{- $wanted := or $vault.callerKey $vault.adminKey }}
{{- if and $wanted (not $vault.enabled) }}
{{- fail "keyVault names a key and is off: set keyVault.enabled, or remove keyVault.callerKey and keyVault.adminKey." }}
{{- end }}
{{- if $vault.enabled }}
{{- if not $wanted }}
{{- fail "keyVault is on and reads nothing: set keyVault.callerKey or keyVault.adminKey." }}
{{- end }}
{{- $identity := $vault.clientId | default .Values.workloadIdentity.clientId }}
{{- if not (or $vault.existingSecretProviderClass (and $vault.name $vault.tenantId $identity)) }}
{{- fail "keyVault needs name, tenantId and clientId (or workloadIdentity.clientId), or existingSecretProviderClass." }}
{{- end }}
{{- end }}
{{- end }}

{{- define "haproxy-entra-auth.checkRevocations" -}}
{{- with .Values.revocations }}
{{- if gt (len (compact (list .existingConfigMap .existingClaim ($.Values.config.revocationFile | default "")))) 1 }}
{{- fail "Revocations come from more than one place: keep one of revocations.existingConfigMap, revocations.existingClaim and config.revocationFile." }}
{{- end }}
{{- if and .shared (not .existingClaim) (not $.Values.config.revocationFile) }}
{{- fail "revocations.shared speaks of a claim that is not there: set revocations.existingClaim, or remove it." }}
{{- end }}
{{- end }}
{{- if and (include "haproxy-entra-auth.isReplicated" .) (include "haproxy-entra-auth.hasOwnRevocations" .) }}
{{- fail "Several pods would each have revocations of their own, and a revoked token would pass at the others: use a ReadWriteMany claim with revocations.shared, or revocations.existingConfigMap, or one pod without autoscaling." }}
{{- end }}
{{- end }}

{{- define "haproxy-entra-auth.checkPods" -}}
{{- with .Values.autoscaling }}
{{- if and .enabled (gt (int .minReplicas) (int .maxReplicas)) }}
{{- fail "autoscaling.minReplicas is more than autoscaling.maxReplicas." }}
{{- end }}
{{- if and .enabled (not (dig "requests" "cpu" "" $.Values.resources)) }}
{{- fail "autoscaling measures CPU against its request: set resources.requests.cpu." }}
{{- end }}
{{- end }}
{{- with .Values.podDisruptionBudget }}
{{- if and .enabled (has (toString .maxUnavailable) (list "0" "0%")) }}
{{- fail "podDisruptionBudget.maxUnavailable is 0, with which no node can ever be drained: write 1 or more, or switch the budget off." }}
{{- end }}
{{- end }}
{{- with .Values.shutdown }}
{{- if lt (int .terminationGracePeriodSeconds) (add (int .preStopSleepSeconds) 12 | int) }}
{{- fail (printf "shutdown.terminationGracePeriodSeconds is too short for requests under way: write at least %d, preStopSleepSeconds and 12 more." (add (int .preStopSleepSeconds) 12)) }}
{{- end }}
{{- end }}
{{- with .Values.workloadIdentity }}
{{- if and .enabled $.Values.serviceAccount.create (not .clientId) }}
{{- fail "workloadIdentity needs the identity's client id: set workloadIdentity.clientId." }}
{{- end }}
{{- if and .enabled (eq (include "haproxy-entra-auth.serviceAccount" $) "default") }}
{{- fail "workloadIdentity would give its identity to every pod of the namespace: set serviceAccount.create or serviceAccount.name." }}
{{- end }}
{{- end }}
{{- end }}

{{- define "haproxy-entra-auth.checkNetwork" -}}
{{- $policy := .Values.networkPolicy }}
{{- $hasMonitor := or .Values.monitoring.serviceMonitor.enabled .Values.monitoring.podMonitor.enabled }}
{{- $hasProxy := or .Values.proxy.url .Values.proxy.existingSecret }}
{{- if and $policy.enabled (not $policy.verifyFrom) }}
{{- fail "networkPolicy lets no HAProxy in: name its pods in networkPolicy.verifyFrom." }}
{{- end }}
{{- if and $policy.enabled $hasMonitor (not $policy.metricsFrom) }}
{{- fail "networkPolicy lets no Prometheus in: name its pods in networkPolicy.metricsFrom." }}
{{- end }}
{{- if and $policy.enabled .Values.proxy.existingSecret (not $policy.extraEgress) }}
{{- fail "networkPolicy lets nothing out to the proxy: add a rule for it to networkPolicy.extraEgress." }}
{{- end }}
{{- if $policy.enabled }}
{{- range include "haproxy-entra-auth.destinations" . | fromYamlArray }}
{{- if include "haproxy-entra-auth.isShut" (dict "policy" $policy "port" .port) }}
{{- fail (printf "networkPolicy lets nothing out to port %d, where %s is: add a rule with this port to networkPolicy.extraEgress." (int .port) .what) }}
{{- end }}
{{- end }}
{{- end }}
{{- if and .Values.monitoring.serviceMonitor.enabled .Values.monitoring.podMonitor.enabled }}
{{- fail "monitoring.serviceMonitor and monitoring.podMonitor would count everything twice: keep one of them." }}
{{- end }}
{{- if and .Values.proxy.url .Values.proxy.existingSecret }}
{{- fail "proxy.url and proxy.existingSecret both name the proxy: keep one of them." }}
{{- end }}
{{- if contains "@" (.Values.proxy.url | default "") }}
{{- fail "proxy.url holds credentials: put the address into a Secret and name it in proxy.existingSecret." }}
{{- end }}
{{- if and .Values.proxy.noProxy (not $hasProxy) }}
{{- fail "proxy.noProxy makes exceptions from a proxy that is not there: set proxy.url, or remove it." }}
{{- end }}
{{- if and .Values.privateCa.existingConfigMap .Values.privateCa.existingSecret }}
{{- fail "privateCa.existingConfigMap and privateCa.existingSecret both hold the certificates: keep one of them." }}
{{- end }}
{{- end }}

{{/* Where the pods connect to, as far as the values say it: a list of port and what is there. */}}
{{- define "haproxy-entra-auth.destinations" -}}
{{- $config := include "haproxy-entra-auth.config" . | fromYaml }}
{{- $env := dict }}
{{- range .Values.extraEnv }}{{ $_ := set $env .name (.value | default "") }}{{ end }}
{{- $urls := list (dict "what" "store.url" "url" (dig "store" "url" "" $config)) }}
{{- $credential := dig "signIn" "credential" dict $config }}
{{- $hasEndpoint := or (hasKey $env "IDENTITY_ENDPOINT") (hasKey $env "AZURE_POD_IDENTITY_AUTHORITY_HOST") }}
{{- if and (or $credential.managedIdentity $credential.keyVaultKey) (not $hasEndpoint) }}
{{- $urls = append $urls (dict "what" "the managed identity of sign-in" "url" "http://169.254.169.254") }}
{{- end }}
{{- if .Values.proxy.url }}
{{- $urls = append $urls (dict "what" "proxy.url" "url" .Values.proxy.url) }}
{{- else if not .Values.proxy.existingSecret }}
{{- range $config.tenants }}
{{- $authority := kindIs "map" . | ternary . dict | dig "authority" "https://login.microsoftonline.com" }}
{{- $urls = append $urls (dict "what" (printf "the authority %s" $authority) "url" $authority) }}
{{- end }}
{{- with $credential.keyVaultKey }}
{{- $urls = append $urls (dict "what" "the vault of sign-in" "url" .) }}
{{- end }}
{{- range list "OTEL_EXPORTER_OTLP_ENDPOINT" "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" }}
{{- $urls = append $urls (dict "what" . "url" (index $env . | default "")) }}
{{- end }}
{{- end }}
{{- $found := list }}
{{- range $urls }}
{{- $authority := regexReplaceAll "^[a-z]+://([^@/]*@)?|[/?#].*$" (lower .url) "" }}
{{- $scheme := regexFind "^[a-z]+" (lower .url) }}
{{- $usual := dict "http" 80 "https" 443 "redis" 6379 "rediss" 6379 }}
{{- $port := regexFind ":[0-9]+$" $authority | trimPrefix ":" | default (index $usual $scheme | default 0) | int }}
{{- if and $port (not (regexMatch "^(127\\.|localhost(:|$)|\\[::1\\])" $authority)) }}
{{- $found = append $found (dict "what" .what "port" $port) }}
{{- end }}
{{- end }}
{{- toYaml $found }}
{{- end }}

{{/* Whether no rule of the policy lets TCP out to a port; names of ports and addresses are taken on trust. */}}
{{- define "haproxy-entra-auth.isShut" -}}
{{- $isOpen := and (eq (int .port) 443) (gt (len .policy.httpsCidrs) 0) }}
{{- $port := int .port }}
{{- range .policy.extraEgress }}
{{- if not .ports }}{{ $isOpen = true }}{{ end }}
{{- range .ports }}
{{- $isTcp := eq (.protocol | default "TCP") "TCP" }}
{{- $isIn := or (not .port) (kindIs "string" .port) (and (le (int .port) $port) (le $port (int (.endPort | default .port)))) }}
{{- if and $isTcp $isIn }}{{ $isOpen = true }}{{ end }}
{{- end }}
{{- end }}
{{- if not $isOpen }}true{{ end }}
{{- end }}
