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

{{- define "imds-exporter.selectorLabels" -}}
app.kubernetes.io/name: {{ include "imds-exporter.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "imds-exporter.labels" -}}
{{ include "imds-exporter.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "imds-exporter.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "imds-exporter.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65534
runAsGroup: 65534
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "imds-exporter.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* The environment of the exporter and of the release test. */}}
{{- define "imds-exporter.env" -}}
{{- $config := .Values.config -}}
{{- $env := dict
  "IMDS_EXPORTER_POLL_INTERVAL" $config.pollInterval
  "IMDS_EXPORTER_TIMEOUT" $config.timeout
  "IMDS_EXPORTER_EXPECTED_ROLE" $config.expectedRole
  "IMDS_EXPORTER_WATCH_PROCESSES" $config.watchProcesses
  "IMDS_EXPORTER_SDKS" $config.sdks
  "IMDS_EXPORTER_LOG" $config.log
  "IMDS_EXPORTER_LOG_FORMAT" $config.logFormat
  "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE" $config.endpointMode
-}}
{{- range $name, $value := $env }}
{{- if $value }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}
- name: IMDS_EXPORTER_LISTEN_ADDRESS
  value: {{ printf "%s:%v" $config.listenHost .Values.port | quote }}
{{- end -}}
