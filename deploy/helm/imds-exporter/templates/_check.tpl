{{/*
What is refused beside values.schema.json, which knows names and types: values with which the exporter or Kubernetes would not
start, each with a sentence that names the value. `imds-exporter.check` begins every template.
*/}}
{{- define "imds-exporter.check" -}}
{{- with .Capabilities.HelmVersion.Version -}}
{{- if semverCompare "<3.14.0-0" . -}}
{{- fail (printf "this chart requires Helm 3.14 or later, and this is %s" .) -}}
{{- end -}}
{{- end -}}
{{- $_ := include "imds-exporter.fill" (dict "values" .Values "null" (fromJson (include "imds-exporter.null" .))) -}}
{{- include "imds-exporter.checkConfig" . -}}
{{- include "imds-exporter.checkLabels" . -}}
{{- include "imds-exporter.checkPod" . -}}
{{- include "imds-exporter.checkVolumes" . -}}
{{- include "imds-exporter.checkMonitors" . -}}
{{- end -}}

{{/* Helm removes a value that is `null`: a list or a map becomes empty, everything else gets its default. */}}
{{- define "imds-exporter.fill" -}}
{{- $values := .values -}}
{{- range $name, $null := .null -}}
{{- if or (not (hasKey $values $name)) (kindIs "invalid" (index $values $name)) -}}
{{- $_ := set $values $name (ternary (deepCopy $null) $null (kindIs "map" $null)) -}}
{{- else if and (kindIs "map" $null) $null -}}
{{- include "imds-exporter.fill" (dict "values" (index $values $name) "null" $null) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* (dict "name" "config.log" "value" "loud" "pattern" "^...$" "is" "a log level"): an empty value is always right. */}}
{{- define "imds-exporter.matches" -}}
{{- if and (ne (toString .value) "") (not (regexMatch .pattern (toString .value))) -}}
{{- fail (printf "%s: %q is not %s" .name (toString .value) .is) -}}
{{- end -}}
{{- end -}}

{{/* How many milliseconds a duration has. */}}
{{- define "imds-exporter.milliseconds" -}}
{{- $milliseconds := 0 -}}
{{- range regexFindAll "[0-9]+(ms|s|m|h)" . -1 -}}
{{- $unit := get (dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000) (regexFind "[a-z]+" .) -}}
{{- $milliseconds = add $milliseconds (mul (regexFind "[0-9]+" . | int64) $unit) -}}
{{- end -}}
{{- $milliseconds -}}
{{- end -}}

{{/* (dict "name" "config.timeout" "value" "1s" "from" "10ms" "to" "1h" "parts" "(ms|s)") */}}
{{- define "imds-exporter.checkDuration" -}}
{{- $is := printf "a duration from %s to %s, such as 15s" .from .to -}}
{{- include "imds-exporter.matches" (dict "name" .name "value" .value "pattern" (printf "^[0-9]{1,8}%s$" .parts) "is" $is) -}}
{{- if .value -}}
{{- $milliseconds := include "imds-exporter.milliseconds" .value | int64 -}}
{{- if or (lt $milliseconds (include "imds-exporter.milliseconds" .from | int64)) (gt $milliseconds (include "imds-exporter.milliseconds" .to | int64)) -}}
{{- fail (printf "%s: %q is not %s" .name .value $is) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What `imds-exporter` would end for, with the exit code 64. */}}
{{- define "imds-exporter.checkConfig" -}}
{{- $config := .Values.config -}}
{{- include "imds-exporter.checkDuration" (dict "name" "config.pollInterval" "value" $config.pollInterval "from" "1s" "to" "1h" "parts" "(ms|s|m|h|m ?[0-9]{1,2}s)") -}}
{{- include "imds-exporter.checkDuration" (dict "name" "config.timeout" "value" $config.timeout "from" "10ms" "to" "1h" "parts" "(ms|s|m|h)") -}}
{{- include "imds-exporter.checkDuration" (dict "name" "config.signedCall.interval" "value" $config.signedCall.interval "from" "1m" "to" "24h" "parts" "(s|m|h)") -}}
{{- $interval := include "imds-exporter.milliseconds" (default "15s" $config.pollInterval) | int64 -}}
{{- if gt (include "imds-exporter.milliseconds" $config.timeout | int64) $interval -}}
{{- fail "config.timeout must be at most config.pollInterval" -}}
{{- end -}}
{{- include "imds-exporter.matches" (dict "name" "config.expectedRole" "value" $config.expectedRole "pattern" "^([A-Za-z0-9_+=,@-]|[.][.]?[A-Za-z0-9_+=,@-]|[.]{3})[A-Za-z0-9_+=,.@-]{0,63}$" "is" "the name of a role: it has no path and is no ARN") -}}
{{- include "imds-exporter.matches" (dict "name" "config.expectedRole" "value" $config.expectedRole "pattern" "^.{1,64}$" "is" "the name of a role: these have at most 64 characters") -}}
{{- if and $config.watchProcesses (not .Values.hostPID) -}}
{{- fail "config.watchProcesses requires hostPID: true, because without it the exporter sees only its own process" -}}
{{- end -}}
{{- if regexMatch "\\\\[pPQEC]|&&|--|~~|\\{," $config.watchProcesses -}}
{{- fail (printf "config.watchProcesses: %q: this chart does not pass on \\p, \\Q, \\E, \\C, &&, --, ~~ and {, which regular expressions of Go and of Rust read differently" $config.watchProcesses) -}}
{{- end -}}
{{- if not (regexMatch (printf "(%s)|" $config.watchProcesses) "") -}}
{{- fail (printf "config.watchProcesses: %q is not a regular expression" $config.watchProcesses) -}}
{{- end -}}
{{- $level := "([A-Za-z0-9_:-]+=)?(?i:off|error|warn|info|debug|trace)" -}}
{{- include "imds-exporter.matches" (dict "name" "config.log" "value" $config.log "pattern" (printf "^%s(,%s)*$" $level $level) "is" "a log level (off, error, warn, info, debug or trace) or a list such as info,imds_exporter=debug") -}}
{{- $byte := "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])" -}}
{{- $group := "[0-9a-fA-F]{1,4}" -}}
{{- $ipv6 := list (printf "(%s:){7}%s" $group $group) (printf "(%s:){1,7}:" $group) (printf ":(:%s){1,7}" $group) "::" -}}
{{- range $before := untilStep 1 7 1 -}}
{{- $ipv6 = append $ipv6 (printf "(%s:){1,%d}(:%s){1,%d}" $group $before $group (sub 7 $before)) -}}
{{- end -}}
{{- include "imds-exporter.matches" (dict "name" "config.listenHost" "value" $config.listenHost "pattern" (printf "^((%s[.]){3}%s|\\[(%s)\\])$" $byte $byte (join "|" $ipv6)) "is" "an address such as 0.0.0.0 or [::]") -}}
{{- if regexMatch "^127[.]|^\\[(0{1,4}:){7}0{0,3}1\\]$|^\\[((0{1,4}:)*|:):(0{1,4}:)*0{0,3}1\\]$" $config.listenHost -}}
{{- fail (printf "config.listenHost: %s is a loopback address: the kubelet and Prometheus could not reach it" $config.listenHost) -}}
{{- end -}}
{{- range .Values.extraEnv -}}
{{- if and (eq .name "AWS_METADATA_SERVICE_TIMEOUT") .value (not $config.timeout) (gt (mul 1000 (int64 .value)) $interval) -}}
{{- fail "extraEnv: AWS_METADATA_SERVICE_TIMEOUT must be at most config.pollInterval" -}}
{{- end -}}
{{- end -}}
{{- if and (or $config.signedCall.region $config.signedCall.httpsProxy) (not $config.signedCall.interval) -}}
{{- fail "config.signedCall.region and httpsProxy have no effect without config.signedCall.interval" -}}
{{- end -}}
{{- if and .Values.web.existingSecret (eq (int .Values.web.probePort) (int .Values.port)) -}}
{{- fail "web.probePort and port must differ" -}}
{{- end -}}
{{- $names := list -}}
{{- range fromYamlArray (include "imds-exporter.env" .) -}}
{{- if has .name $names -}}
{{- fail (printf "extraEnv: %s is set twice, here or by config" .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- end -}}

{{- define "imds-exporter.checkLabels" -}}
{{- $name := "^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$" -}}
{{- $own := list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/version" "app.kubernetes.io/managed-by" "helm.sh/chart" "imds-exporter" -}}
{{- $labels := dict "commonLabels" .Values.commonLabels "podLabels" .Values.podLabels "service.labels" .Values.service.labels "podMonitor.labels" .Values.podMonitor.labels "serviceMonitor.labels" .Values.serviceMonitor.labels "prometheusRule.labels" .Values.prometheusRule.labels "dashboards.labels" .Values.dashboards.labels -}}
{{- range $path, $map := $labels -}}
{{- range $own -}}
{{- if hasKey $map . -}}
{{- fail (printf "%s: %s is a label of the chart's own" $path .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $_ := set $labels "nodeSelector" .Values.nodeSelector -}}
{{- $_ := set $labels "dashboards.grafanaOperator.instanceLabels" .Values.dashboards.grafanaOperator.instanceLabels -}}
{{- range $path, $map := $labels -}}
{{- range $label, $value := $map -}}
{{- include "imds-exporter.matches" (dict "name" $path "value" (printf "%s:" $label | trimSuffix ":") "pattern" $name "is" "the name of a label") -}}
{{- include "imds-exporter.matches" (dict "name" (printf "%s.%s" $path $label) "value" $value "pattern" "^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$" "is" "the value of a label: letters, digits, hyphens, dots and underscores") -}}
{{- end -}}
{{- end -}}
{{- $annotations := dict "commonAnnotations" .Values.commonAnnotations "podAnnotations" .Values.podAnnotations "serviceAccount.annotations" .Values.serviceAccount.annotations "service.annotations" .Values.service.annotations "podMonitor.annotations" .Values.podMonitor.annotations "serviceMonitor.annotations" .Values.serviceMonitor.annotations "prometheusRule.annotations" .Values.prometheusRule.annotations "dashboards.annotations" .Values.dashboards.annotations -}}
{{- range $path, $map := $annotations -}}
{{- range $annotation, $_ := $map -}}
{{- include "imds-exporter.matches" (dict "name" $path "value" $annotation "pattern" $name "is" "the name of an annotation") -}}
{{- end -}}
{{- end -}}
{{- if hasKey .Values.serviceAccount.annotations "eks.amazonaws.com/role-arn" -}}
{{- fail "serviceAccount.annotations: eks.amazonaws.com/role-arn gives the exporter credentials that do not come from IMDS: it would say nothing about the node's role" -}}
{{- end -}}
{{- end -}}

{{/* A quantity as a number, for comparisons. */}}
{{- define "imds-exporter.quantity" -}}
{{- $suffix := regexFind "[A-Za-z]+$" (toString .) -}}
{{- $powers := dict "n" -9 "u" -6 "m" -3 "k" 3 "M" 6 "G" 9 "T" 12 "P" 15 "E" 18 -}}
{{- $factor := 1.0 -}}
{{- if hasKey $powers $suffix -}}
{{- $factor = float64 (printf "1e%d" (index $powers $suffix)) -}}
{{- else if $suffix -}}
{{- range until (add1 (index (dict "Ki" 0 "Mi" 1 "Gi" 2 "Ti" 3 "Pi" 4 "Ei" 5) $suffix) | int) -}}
{{- $factor = mulf $factor 1024 -}}
{{- end -}}
{{- end -}}
{{- mulf (trimSuffix $suffix (toString .) | float64) $factor -}}
{{- end -}}

{{/* What the API server or the kubelet would refuse in the pods. */}}
{{- define "imds-exporter.checkPod" -}}
{{- range $kind, $quantities := .Values.resources -}}
{{- range $resource, $quantity := $quantities -}}
{{- include "imds-exporter.matches" (dict "name" (printf "resources.%s.%s" $kind $resource) "value" $quantity "pattern" "^[0-9]+([.][0-9]+)?([eE][+-]?[0-9]+|[EPTGM]i?|Ki|[munk])?$" "is" "a quantity such as 64Mi or 100m") -}}
{{- end -}}
{{- end -}}
{{- $limits := default dict .Values.resources.limits -}}
{{- range $resource, $request := .Values.resources.requests -}}
{{- if hasKey $limits $resource -}}
{{- if gt (include "imds-exporter.quantity" $request | float64) (include "imds-exporter.quantity" (index $limits $resource) | float64) -}}
{{- fail (printf "resources.requests.%s: %v is above resources.limits.%s, which is %v: set both" $resource $request $resource (index $limits $resource)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- with .Values.updateStrategy -}}
{{- if eq .type "RollingUpdate" -}}
{{- range $name, $count := .rollingUpdate -}}
{{- include "imds-exporter.matches" (dict "name" (printf "updateStrategy.rollingUpdate.%s" $name) "value" $count "pattern" (ternary "^(100|[1-9]?[0-9])%$" "^[0-9]+$" (kindIs "string" $count)) "is" "a number of nodes or a percentage such as 10%") -}}
{{- end -}}
{{- $surge := not (has (toString .rollingUpdate.maxSurge) (list "0" "0%")) -}}
{{- $unavailable := not (has (toString .rollingUpdate.maxUnavailable) (list "0" "0%")) -}}
{{- if and $surge $.Values.hostNetwork -}}
{{- fail "updateStrategy.rollingUpdate.maxSurge must be 0 with hostNetwork: two pods of one node cannot have the same port" -}}
{{- end -}}
{{- if and $surge $unavailable -}}
{{- fail "updateStrategy.rollingUpdate.maxSurge requires updateStrategy.rollingUpdate.maxUnavailable: 0" -}}
{{- end -}}
{{- if not (or $surge $unavailable) -}}
{{- fail "updateStrategy.rollingUpdate.maxUnavailable and updateStrategy.rollingUpdate.maxSurge are both 0: no pod could ever be replaced" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- with .Values.securityContext -}}
{{- if eq (toString .allowPrivilegeEscalation) "false" -}}
{{- if .privileged -}}
{{- fail "securityContext.privileged requires allowPrivilegeEscalation: true" -}}
{{- end -}}
{{- range dig "capabilities" "add" list . -}}
{{- if has . (list "SYS_ADMIN" "CAP_SYS_ADMIN") -}}
{{- fail (printf "securityContext.capabilities.add: %s requires allowPrivilegeEscalation: true" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $name, $context := dict "podSecurityContext" .Values.podSecurityContext "securityContext" .Values.securityContext -}}
{{- if and (eq (toString $context.runAsUser) "0") (ternary $context.runAsNonRoot $.Values.podSecurityContext.runAsNonRoot (hasKey $context "runAsNonRoot")) -}}
{{- fail (printf "%s.runAsUser: 0 is root, which runAsNonRoot: true does not allow" $name) -}}
{{- end -}}
{{- with $context.seccompProfile -}}
{{- if ne (eq (toString .type) "Localhost") (hasKey . "localhostProfile") -}}
{{- fail (printf "%s.seccompProfile: localhostProfile belongs to the type Localhost, and is required there" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- range $number, $toleration := .Values.tolerations -}}
{{- $exists := eq (toString $toleration.operator) "Exists" -}}
{{- if and (not $toleration.key) (not $exists) -}}
{{- fail (printf "tolerations[%d]: without a key, the operator must be Exists" $number) -}}
{{- end -}}
{{- if and $exists $toleration.value -}}
{{- fail (printf "tolerations[%d].value has no meaning with the operator Exists" $number) -}}
{{- end -}}
{{- if and (hasKey $toleration "tolerationSeconds") (ne (toString $toleration.effect) "NoExecute") -}}
{{- fail (printf "tolerations[%d].tolerationSeconds requires the effect NoExecute" $number) -}}
{{- end -}}
{{- end -}}

{{- if and (eq .Values.dnsPolicy "None") (not .Values.dnsConfig.nameservers) -}}
{{- fail "dnsPolicy: None requires dnsConfig.nameservers" -}}
{{- end -}}
{{- range .Values.dnsConfig.nameservers -}}
{{- include "imds-exporter.matches" (dict "name" "dnsConfig.nameservers" "value" . "pattern" "^[0-9.]{7,15}$|^[0-9a-fA-F:.]*:[0-9a-fA-F:.]*$" "is" "an address") -}}
{{- end -}}
{{- if gt (len (default list .Values.dnsConfig.nameservers)) 3 -}}
{{- fail "dnsConfig.nameservers: Kubernetes takes at most 3" -}}
{{- end -}}
{{- range .Values.networkPolicy.from -}}
{{- if and .ipBlock (or (hasKey . "podSelector") (hasKey . "namespaceSelector")) -}}
{{- fail "networkPolicy.from: a peer is either an ipBlock or selectors: make two peers of it" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "imds-exporter.checkVolumes" -}}
{{- $own := list "state" "web-config" -}}
{{- $names := list -}}
{{- range .Values.extraVolumes -}}
{{- if has .name $own -}}
{{- fail (printf "extraVolumes: %s is the name of a volume of the chart's own" .name) -}}
{{- end -}}
{{- if has .name $names -}}
{{- fail (printf "extraVolumes: there are two volumes with the name %s" .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- $paths := ternary (list "/var/lib/imds-exporter") list .Values.config.stateFile -}}
{{- $paths = ternary (append $paths "/etc/imds-exporter/web") $paths (ne .Values.web.existingSecret "") -}}
{{- range .Values.extraVolumeMounts -}}
{{- if not (has .name $names) -}}
{{- fail (printf "extraVolumeMounts: extraVolumes has no volume with the name %s" .name) -}}
{{- end -}}
{{- if has (trimSuffix "/" .mountPath) $paths -}}
{{- fail (printf "extraVolumeMounts: something else is mounted at %s" .mountPath) -}}
{{- end -}}
{{- if contains ":" .mountPath -}}
{{- fail (printf "extraVolumeMounts: mountPath %s must not contain a colon" .mountPath) -}}
{{- end -}}
{{- if and .subPath .subPathExpr -}}
{{- fail (printf "extraVolumeMounts: subPath and subPathExpr of %s exclude each other" .name) -}}
{{- end -}}
{{- $paths = append $paths (trimSuffix "/" .mountPath) -}}
{{- end -}}
{{- end -}}

{{- define "imds-exporter.checkMonitors" -}}
{{- if and .Values.podMonitor.enabled .Values.serviceMonitor.enabled -}}
{{- fail "podMonitor.enabled and serviceMonitor.enabled: each of them scrapes every pod, choose one" -}}
{{- end -}}
{{- if and (or .Values.service.enabled .Values.serviceMonitor.enabled) (regexMatch "^[0-9]" (include "imds-exporter.fullname" .)) -}}
{{- fail "fullnameOverride: the name of a Service must begin with a letter" -}}
{{- end -}}
{{- range $kind := list "podMonitor" "serviceMonitor" -}}
{{- with index $.Values $kind -}}
{{- include "imds-exporter.checkDuration" (dict "name" (printf "%s.interval" $kind) "value" (default "0s" .interval) "from" "1s" "to" "1m" "parts" "(s|m)") -}}
{{- include "imds-exporter.checkDuration" (dict "name" (printf "%s.scrapeTimeout" $kind) "value" (default "0s" .scrapeTimeout) "from" "10ms" "to" "1m" "parts" "(ms|s|m)") -}}
{{- if gt (include "imds-exporter.milliseconds" .scrapeTimeout | int64) (include "imds-exporter.milliseconds" .interval | int64) -}}
{{- fail (printf "%s.scrapeTimeout must be at most %s.interval" $kind $kind) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
