{{/*
The spec of a PodMonitor or a ServiceMonitor without its selector: (dict "values" .Values.podMonitor "endpoints"
"podMetricsEndpoints" "protected" true "root" $). `protected` endpoints have the scheme and the credentials of the web
configuration.
*/}}
{{- define "imds-exporter.monitor" -}}
{{- $values := .values -}}
{{- range $limit := list "sampleLimit" "targetLimit" "labelLimit" "labelNameLengthLimit" "labelValueLengthLimit" -}}
{{- with index $values $limit }}
{{ $limit }}: {{ int64 . }}
{{- end -}}
{{- end }}
{{- with $values.podTargetLabels }}
podTargetLabels:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.targetLabels }}
targetLabels:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if $values.attachMetadata.node }}
attachMetadata:
  node: true
{{- end }}
{{ .endpoints }}:
  - port: imds-metrics
    path: /metrics
    scheme: {{ ternary (include "imds-exporter.scheme" .root) "http" .protected }}
    interval: {{ $values.interval }}
    scrapeTimeout: {{ $values.scrapeTimeout }}
    {{- if $values.honorLabels }}
    honorLabels: true
    {{- end }}
    {{- with $values.proxyUrl }}
    proxyUrl: {{ . | quote }}
    {{- end }}
    {{- if .protected }}
    {{- with $values.tlsConfig }}
    tlsConfig:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with $values.basicAuth }}
    basicAuth:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- end }}
    relabelings:
      # The job name that the rules and the dashboards use.
      - targetLabel: job
        replacement: imds-exporter
      - sourceLabels: [__meta_kubernetes_pod_node_name]
        targetLabel: node
      {{- with $values.relabelings }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    {{- with $values.metricRelabelings }}
    metricRelabelings:
      {{- toYaml . | nindent 6 }}
    {{- end }}
{{- end -}}
