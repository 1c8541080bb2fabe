{{/* What a value is that is `null`: made from values.schema.json. */}}
{{- define "imds-exporter.null" -}}
{
  "enabled": true,
  "global": {
    "imageRegistry": "",
    "imagePullSecrets": []
  },
  "nameOverride": "",
  "fullnameOverride": "",
  "namespaceOverride": "",
  "commonLabels": {},
  "commonAnnotations": {},
  "image": {
    "registry": "",
    "repository": "imds-exporter",
    "tag": "",
    "digest": "",
    "pullPolicy": "IfNotPresent"
  },
  "imagePullSecrets": [],
  "config": {
    "pollInterval": "",
    "timeout": "",
    "expectedRole": "",
    "watchProcesses": "",
    "v1Disabled": false,
    "stateFile": true,
    "log": "",
    "logFormat": "json",
    "listenHost": "",
    "endpointMode": "",
    "signedCall": {
      "interval": "",
      "region": "",
      "httpsProxy": ""
    }
  },
  "extraEnv": [],
  "port": 10169,
  "web": {
    "existingSecret": "",
    "configKey": "web-config.yml",
    "tls": true,
    "probePort": 10168
  },
  "hostNetwork": false,
  "hostPID": false,
  "openshift": "auto",
  "serviceAccount": {
    "create": true,
    "name": "",
    "annotations": {},
    "automountServiceAccountToken": false
  },
  "podSecurityContext": {},
  "securityContext": {},
  "podAnnotations": {},
  "podLabels": {},
  "nodeSelector": {},
  "tolerations": [],
  "affinity": {},
  "excludeNodesWithoutImds": true,
  "priorityClassName": "",
  "runtimeClassName": "",
  "dnsPolicy": "",
  "dnsConfig": {},
  "terminationGracePeriodSeconds": 10,
  "revisionHistoryLimit": 10,
  "minReadySeconds": 0,
  "updateStrategy": {
    "type": "RollingUpdate",
    "rollingUpdate": {
      "maxUnavailable": "10%",
      "maxSurge": 0
    }
  },
  "resources": {},
  "livenessProbe": {
    "initialDelaySeconds": 0,
    "periodSeconds": 15,
    "timeoutSeconds": 5,
    "failureThreshold": 3
  },
  "readinessProbe": {
    "initialDelaySeconds": 0,
    "periodSeconds": 5,
    "timeoutSeconds": 1,
    "failureThreshold": 3
  },
  "extraVolumes": [],
  "extraVolumeMounts": [],
  "networkPolicy": {
    "enabled": true,
    "from": [],
    "extraIngress": [],
    "extraEgress": []
  },
  "service": {
    "enabled": false,
    "port": 10169,
    "labels": {},
    "annotations": {}
  },
  "podMonitor": {
    "enabled": false,
    "namespace": "",
    "labels": {},
    "annotations": {},
    "interval": "15s",
    "scrapeTimeout": "5s",
    "tlsConfig": {},
    "basicAuth": {},
    "honorLabels": false,
    "attachMetadata": {
      "node": false
    },
    "proxyUrl": "",
    "relabelings": [],
    "metricRelabelings": [],
    "sampleLimit": 0,
    "targetLimit": 0,
    "labelLimit": 0,
    "labelNameLengthLimit": 0,
    "labelValueLengthLimit": 0,
    "podTargetLabels": [],
    "sidecars": true
  },
  "serviceMonitor": {
    "enabled": false,
    "namespace": "",
    "labels": {},
    "annotations": {},
    "interval": "15s",
    "scrapeTimeout": "5s",
    "tlsConfig": {},
    "basicAuth": {},
    "honorLabels": false,
    "attachMetadata": {
      "node": false
    },
    "proxyUrl": "",
    "relabelings": [],
    "metricRelabelings": [],
    "sampleLimit": 0,
    "targetLimit": 0,
    "labelLimit": 0,
    "labelNameLengthLimit": 0,
    "labelValueLengthLimit": 0,
    "podTargetLabels": [],
    "targetLabels": []
  },
  "prometheusRule": {
    "enabled": false,
    "namespace": "",
    "labels": {},
    "annotations": {},
    "alertLabels": {},
    "alertNamePrefix": "",
    "severities": {
      "critical": "critical",
      "warning": "warning"
    },
    "runbookUrl": "",
    "clusterLabel": "cluster",
    "kubernetes": {
      "enabled": false,
      "namespaces": []
    },
    "overrides": {},
    "extraGroups": []
  },
  "dashboards": {
    "enabled": false,
    "namespace": "",
    "labels": {},
    "annotations": {},
    "grafanaOperator": {
      "enabled": false,
      "instanceLabels": {},
      "folder": "",
      "allowCrossNamespaceImport": true
    }
  },
  "test": {
    "enabled": true
  },
  "extraManifests": []
}
{{- end -}}
