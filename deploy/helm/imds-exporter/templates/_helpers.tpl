{{- define "imds-exporter.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "imds-exporter.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains (include "imds-exporter.name" .) .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "imds-exporter.name" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "imds-exporter.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{- define "imds-exporter.selectorLabels" -}}
app.kubernetes.io/name: {{ include "imds-exporter.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* The labels of what belongs to the release, and is not one of the DaemonSet's pods, with a name of its own. */}}
{{- define "imds-exporter.commonLabels" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Nothing that a new version of the chart changes: it would restart every pod. */}}
{{- define "imds-exporter.podLabels" -}}
{{- $own := fromYaml (include "imds-exporter.selectorLabels" .) -}}
{{- mustMergeOverwrite (deepCopy .Values.commonLabels) .Values.podLabels $own (dict "imds-exporter" "node") | toYaml -}}
{{- end -}}

{{- define "imds-exporter.labels" -}}
app.kubernetes.io/name: {{ include "imds-exporter.name" . }}
{{ include "imds-exporter.commonLabels" . }}
{{- end -}}

{{/*
The metadata of an object: (dict "root" $ "suffix" "-dashboard-fleet" "values" (dict "namespace" "" "labels" dict
"annotations" dict)), of which the last two are optional.
*/}}
{{- define "imds-exporter.metadata" -}}
{{- $values := default dict .values -}}
name: {{ printf "%s%s" (include "imds-exporter.fullname" .root | trunc (int (sub 63 (len (default "" .suffix))))) (default "" .suffix) }}
namespace: {{ default (include "imds-exporter.namespace" .root) $values.namespace }}
labels:
  {{- mustMerge (fromYaml (include "imds-exporter.labels" .root)) (default dict $values.labels) | toYaml | nindent 2 }}
{{- with mustMerge dict (default dict $values.annotations) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "imds-exporter.image" -}}
{{- $registry := default (dig "imageRegistry" "" .Values.global) .Values.image.registry -}}
{{- $name := ternary (printf "%s/%s" (trimSuffix "/" $registry) .Values.image.repository) .Values.image.repository (ne $registry "") -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $name .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "imds-exporter.pullSecrets" -}}
{{- $secrets := list -}}
{{- range concat (dig "imagePullSecrets" list .Values.global) .Values.imagePullSecrets -}}
{{- $secrets = append $secrets (ternary (dict "name" .) . (kindIs "string" .)) -}}
{{- end -}}
{{- with $secrets | uniq -}}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}

{{- define "imds-exporter.serviceAccountName" -}}
{{- default (ternary (include "imds-exporter.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name -}}
{{- end -}}

{{/* OpenShift gives each namespace users and groups of its own, and refuses others. */}}
{{- define "imds-exporter.withoutUser" -}}
{{- $found := .root.Capabilities.APIVersions.Has "security.openshift.io/v1" -}}
{{- $omit := ternary $found .root.Values.openshift (kindIs "string" .root.Values.openshift) -}}
{{- ternary (omit .context "runAsUser" "runAsGroup" "fsGroup") .context $omit | toYaml -}}
{{- end -}}

{{/* Fargate and hybrid nodes have no IMDS. The expression is added to each of the user's terms, one of which must match. */}}
{{- define "imds-exporter.affinity" -}}
{{- $affinity := deepCopy .Values.affinity -}}
{{- if .Values.excludeNodesWithoutImds -}}
{{- $expression := dict "key" "eks.amazonaws.com/compute-type" "operator" "NotIn" "values" (list "fargate" "hybrid") -}}
{{- $required := dig "nodeAffinity" "requiredDuringSchedulingIgnoredDuringExecution" dict $affinity -}}
{{- $terms := list -}}
{{- range default (list dict) $required.nodeSelectorTerms -}}
{{- $terms = append $terms (set (deepCopy .) "matchExpressions" (append (default list .matchExpressions) $expression)) -}}
{{- end -}}
{{- $node := set (deepCopy (dig "nodeAffinity" dict $affinity)) "requiredDuringSchedulingIgnoredDuringExecution" (dict "nodeSelectorTerms" $terms) -}}
{{- $_ := set $affinity "nodeAffinity" $node -}}
{{- end -}}
{{- with $affinity -}}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}

{{/* Where and as whom the exporter and the release test run. */}}
{{- define "imds-exporter.pod" -}}
serviceAccountName: {{ include "imds-exporter.serviceAccountName" . }}
automountServiceAccountToken: {{ .Values.serviceAccount.automountServiceAccountToken }}
enableServiceLinks: false
{{- if .Values.hostNetwork }}
hostNetwork: true
{{- end }}
{{- with default (ternary "ClusterFirstWithHostNet" "" .Values.hostNetwork) .Values.dnsPolicy }}
dnsPolicy: {{ . }}
{{- end }}
{{- with .Values.dnsConfig }}
dnsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with include "imds-exporter.pullSecrets" . }}
{{ . }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with include "imds-exporter.affinity" . }}
{{ . }}
{{- end }}
securityContext:
  {{- include "imds-exporter.withoutUser" (dict "root" . "context" .Values.podSecurityContext) | nindent 2 }}
{{- end -}}

{{/* What the exporter and the release test poll, and how. */}}
{{- define "imds-exporter.env" -}}
{{- $config := .Values.config -}}
{{- $env := dict
  "IMDS_EXPORTER_POLL_INTERVAL" $config.pollInterval
  "IMDS_EXPORTER_TIMEOUT" $config.timeout
  "IMDS_EXPORTER_EXPECTED_ROLE" $config.expectedRole
  "IMDS_EXPORTER_WATCH_PROCESSES" $config.watchProcesses
  "IMDS_EXPORTER_SIGNED_CALL_INTERVAL" $config.signedCall.interval
  "IMDS_EXPORTER_LOG" $config.log
  "IMDS_EXPORTER_LOG_FORMAT" $config.logFormat
  "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE" $config.endpointMode
  "AWS_EC2_METADATA_V1_DISABLED" (ternary "true" "" $config.v1Disabled)
  "AWS_REGION" $config.signedCall.region
  "HTTPS_PROXY" $config.signedCall.httpsProxy
-}}
{{- range $name, $value := $env }}
{{- if $value }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}
- name: IMDS_EXPORTER_LISTEN_ADDRESS
  value: {{ printf "%s:%v" $config.listenHost .Values.port | quote }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "imds-exporter.probePort" -}}
{{- ternary .Values.web.probePort .Values.port (ne .Values.web.existingSecret "") -}}
{{- end -}}

{{- define "imds-exporter.scheme" -}}
{{- ternary "https" "http" (and (ne .Values.web.existingSecret "") .Values.web.tls) -}}
{{- end -}}

{{/*
The text of a file of the chart: (dict "root" $ "path" "files/imds-alerts.yaml"). Without it, the chart would install objects
without content, and say nothing.
*/}}
{{- define "imds-exporter.file" -}}
{{- $text := .root.Files.Get .path | trim -}}
{{- if not $text -}}
{{- fail (printf "%s is missing in this copy of the chart, or empty" .path) -}}
{{- end -}}
{{- $text -}}
{{- end -}}
