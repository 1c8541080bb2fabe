"""For every value of the chart, something right and something wrong."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Case:
    """`needs` is what the right value has no effect without; `before`, where the needs alone are wrong, the values to compare with."""

    right: object
    wrong: list
    needs: dict = dataclasses.field(default_factory=dict)
    before: dict | None = None


LABELS = Case({"team": "platform"}, ["team", {"team": 1}, {"team": "a b"}, {"-team": "a"}, {"app.kubernetes.io/name": "other"}])
ANNOTATIONS = Case({"example.org/owner": "platform"}, [[], {"example.org/owner": 1}, {"a b": "c"}])
NAMESPACE = Case("observability", ["Observability", "a.b", 1, "a" * 64])
SECRET_KEY = {"name": "scrape", "key": "password"}
RELABELINGS = Case(
    [{"sourceLabels": ["__meta_kubernetes_pod_name"], "targetLabel": "exporter_pod"}],
    [
        {}, [{}], [{"targetlabel": "a"}], [{"action": "rename"}], [{"targetLabel": "job"}], [{"regex": "("}],
        [{"sourceLabels": ["a-b"]}],
    ],
)
LIMIT = Case(1000, [-1, "1000", 1.5])
PROBE = {
    "initialDelaySeconds": Case(5, [-1, "5s"]),
    "periodSeconds": Case(30, [0, "30s"]),
    "timeoutSeconds": Case(4, [0, 61]),
    "failureThreshold": Case(7, [0, 1.5]),
}
MONITOR = {
    "enabled": Case(True, ["true", 1]),
    "namespace": NAMESPACE,
    "labels": Case({"release": "kube-prometheus-stack"}, LABELS.wrong),
    "annotations": ANNOTATIONS,
    # The rules look back 3 minutes.
    "interval": Case("30s", ["5m", "0s", "90s", "", 30]),
    "scrapeTimeout": Case("900ms", ["5", "2m", 5]),
    "tlsConfig": Case(
        {"ca": {"secret": SECRET_KEY}, "keySecret": SECRET_KEY, "serverName": "imds-exporter"},
        [{"cafile": "/x"}, {"ca": {}}, {"ca": {"secret": {"name": "a"}}}, {"insecureSkipVerify": "yes"}],
    ),
    "basicAuth": Case(
        {"username": {**SECRET_KEY, "key": "username"}, "password": SECRET_KEY}, [{"user": "a"}, {"password": "secret"}]
    ),
    "honorLabels": Case(True, ["yes"]),
    "attachMetadata.node": Case(True, ["yes"]),
    "proxyUrl": Case("http://proxy.example.org:3128", ["proxy:3128", 1]),
    "relabelings": RELABELINGS,
    "metricRelabelings": Case([{"action": "drop", "sourceLabels": ["__name__"], "regex": "process_.*"}], RELABELINGS.wrong),
    "sampleLimit": LIMIT,
    "targetLimit": LIMIT,
    "labelLimit": LIMIT,
    "labelNameLengthLimit": LIMIT,
    "labelValueLengthLimit": LIMIT,
    "podTargetLabels": Case(["imds-exporter"], ["imds-exporter", [1], ["a b"]]),
}
PULL_SECRETS = Case(["registry", {"name": "other"}], ["registry", [1], [{"secret": "a"}], ["Registry!"], [{}]])
PEERS = Case(
    [{"podSelector": {"matchLabels": {"app": "prometheus"}}}, {"ipBlock": {"cidr": "10.0.0.0/8"}}],
    [{}, [{}], [{"namespaceselector": {}}], [{"ipBlock": {"cidr": "10.0.0.0"}}], [{"ipBlock": {}}]],
)
PORTS = [{"protocol": "TCP", "port": 3128}]


def _under(prefix, cases, needs=None):
    return {f"{prefix}.{name}": dataclasses.replace(case, needs={**(needs or {}), **case.needs}) for name, case in cases.items()}


WEB = {"web.existingSecret": "web"}
SIGNED = {"config.signedCall.interval": "5m"}
RULE = {"prometheusRule.enabled": True}

CASES = {
    "enabled": Case(False, ["false"]),
    "global.imageRegistry": Case("registry.example.org/mirror", ["a b", 1]),
    "global.imagePullSecrets": PULL_SECRETS,
    "nameOverride": Case("credentials", ["Credentials", "a_b", "a" * 64, 1]),
    "fullnameOverride": Case("credentials", ["Credentials", "a.b", "a" * 64, 1]),
    "namespaceOverride": NAMESPACE,
    "commonLabels": LABELS,
    "commonAnnotations": ANNOTATIONS,
    "image.registry": Case("123456789012.dkr.ecr.eu-central-1.amazonaws.com", ["https registry", 1]),
    "image.repository": Case("registry.example.org:5000/tools/imds-exporter", ["", "a b", 1]),
    "image.tag": Case("0.2.0-rc.1", ["a b", "-a", 0.2]),
    "image.digest": Case("sha256:" + "0" * 64, ["sha256:0", "0" * 64]),
    "image.pullPolicy": Case("Always", ["Sometimes", ""]),
    "imagePullSecrets": PULL_SECRETS,
    "config.pollInterval": Case("1m 30s", ["2h", "61m", "3601s", "0s", "999ms", "often", "15", 15]),
    "config.timeout": Case("250ms", ["9ms", "0s", "2h", "1", 1]),
    "config.expectedRole": Case("node-role", ["arn:aws:iam::1:role/a", "a b", "..", "a" * 65]),
    "config.watchProcesses": Case("python|gunicorn", ["(", "[a", "*", r"\p{L}", 1], {"hostPID": True}),
    "config.v1Disabled": Case(True, ["true", 1]),
    "config.stateFile": Case(False, ["no"]),
    "config.log": Case("info,imds_exporter=debug", ["loud", "imds_exporter=loud", "[span]=info", 1]),
    "config.logFormat": Case("text", ["xml", 1]),
    "config.listenHost": Case(
        "[::]",
        [
            "::", "::1", "[::1]", "127.0.0.1", "127.8.8.8", "[::ffff:127.0.0.1]", "[0:0:0:0:0:0:0:1]", "localhost", "1.2.3",
            "1.2.3.256", "0.0.0.0:1",
        ],
    ),
    "config.endpointMode": Case("IPv6", ["ipv5", 6]),
    "config.signedCall.interval": Case("5m", ["59s", "30s", "0m", "25h", "5", 300]),
    "config.signedCall.region": Case("eu-central-1", ["Frankfurt", "eu", 1], SIGNED),
    "config.signedCall.httpsProxy": Case("http://proxy.example.org:3128", ["proxy.example.org:3128", "ftp://a", 1], SIGNED),
    "extraEnv": Case(
        [
            {"name": "AWS_METADATA_SERVICE_TIMEOUT", "value": "2"},
            {"name": "IMDS_EXPORTER_EXPECTED_ROLE", "valueFrom": {"configMapKeyRef": {"name": "roles", "key": "node"}}},
        ],
        [
            {"A": "b"},
            [{"value": "a"}],
            [{"name": "A", "value": 1}],
            [{"name": "A", "value": True}],
            [{"name": "A b"}],
            [{"name": "IMDS_EXPORTER_POL_INTERVAL", "value": "30s"}],
            [{"name": "imds_exporter_timeout", "value": "1s"}],
            [{"name": "IMDS_EXPORTER_POLL_INTERVAL", "value": "2h"}],
            [{"name": "IMDS_EXPORTER_TIMEOUT"}],
            [{"name": "IMDS_EXPORTER_WORKLOAD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            [{"name": "AWS_METADATA_SERVICE_TIMEOUT", "value": "1s"}],
            [{"name": "AWS_METADATA_SERVICE_TIMEOUT", "value": "0"}],
            [{"name": "AWS_EC2_METADATA_SERVICE_ENDPOINT", "value": "169.254.169.254"}],
            [{"name": "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "value": "IPv5"}],
            [{"name": "A", "value": "b", "valueFrom": {"fieldRef": {}}}],
            [{"name": "A", "valueFrom": {"file": "a"}}],
        ],
    ),
    "port": Case(9999, ["10169", 80, 65536, 0, 1.5]),
    "web.existingSecret": Case("imds-exporter-web", ["Web Secret", 1]),
    "web.configKey": Case("config.yaml", ["", "a/b", 1], WEB),
    "web.tls": Case(False, ["no"], WEB),
    "web.probePort": Case(9998, ["10168", 80, 65536], WEB),
    "hostNetwork": Case(True, ["true", 1]),
    "hostPID": Case(True, ["true", 1]),
    "openshift": Case(True, ["yes", "true", 1]),
    "serviceAccount.create": Case(False, ["no", 0]),
    "serviceAccount.name": Case("exporters", ["Exporters", 1]),
    "serviceAccount.annotations": ANNOTATIONS,
    "serviceAccount.automountServiceAccountToken": Case(True, ["yes"]),
    "podSecurityContext": Case(
        {"runAsUser": 1000, "fsGroup": 1000}, [{"runasuser": 1}, {"runAsUser": "1000"}, {"runAsUser": -1}, {"runAsUser": 0}, []]
    ),
    "securityContext": Case(
        {"runAsUser": 1000, "seLinuxOptions": {"level": "s0"}},
        [
            {"privileges": True}, {"privileged": "no"}, {"capabilities": ["ALL"]}, {"privileged": True},
            {"capabilities": {"add": ["SYS_ADMIN"]}}, {"runAsUser": 0}, {"seccompProfile": {"type": "Localhost"}},
        ],
    ),
    "podAnnotations": ANNOTATIONS,
    "podLabels": Case({"team": "platform"}, [*LABELS.wrong, {"imds-exporter": "sidecar"}, {"app.kubernetes.io/instance": "a"}]),
    "nodeSelector": Case({"kubernetes.io/arch": "arm64"}, [[], {"a": True}, {"a": "b c"}]),
    "tolerations": Case(
        [{"key": "gpu", "operator": "Equal", "value": "yes", "effect": "NoSchedule"}],
        [
            {},
            [{"Key": "a"}],
            [{"operator": "In"}],
            [{"effect": "Never"}],
            [{"effect": "NoSchedule"}],
            [{"key": "a", "operator": "Exists", "value": "b"}],
            [{"key": "a", "operator": "Exists", "effect": "NoSchedule", "tolerationSeconds": 5}],
        ],
    ),
    "affinity": Case(
        {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [
                        {"matchExpressions": [{"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]}]}
                    ]
                }
            }
        },
        [[], {"nodeaffinity": {}}],
    ),
    "excludeNodesWithoutImds": Case(False, ["no"]),
    "priorityClassName": Case("system-node-critical", [1000, "System", "a b"]),
    "runtimeClassName": Case("gvisor", [1, "gVisor"]),
    "dnsPolicy": Case("Default", ["default", 1, "None"]),
    "dnsConfig": Case(
        {"nameservers": ["10.0.0.10"], "options": [{"name": "ndots", "value": "1"}]},
        [{"servers": []}, {"nameservers": "10.0.0.10"}, {"nameservers": ["dns"]}, {"nameservers": ["10.0.0.1"] * 4}],
    ),
    "terminationGracePeriodSeconds": Case(30, [0, "30s"]),
    "revisionHistoryLimit": Case(3, [-1, "3"]),
    "minReadySeconds": Case(10, [-1, "10s"]),
    "updateStrategy.type": Case("OnDelete", ["Recreate", 1]),
    "updateStrategy.rollingUpdate.maxUnavailable": Case(2, ["2", "101%", -1, 0, "0%"]),
    "updateStrategy.rollingUpdate.maxSurge": Case(
        "20%", ["20", -1, 0], {"updateStrategy.rollingUpdate.maxUnavailable": 0}, before={}
    ),
    "resources": Case(
        {"limits": {"memory": "64Mi", "cpu": 0.2}},
        [
            {"limit": {}}, {"limits": {"memory": "64 MB"}}, {"requests": {"cpu": True}}, {"requests": {"memory": "64Mi"}},
            {"requests": {"cpu": 1}},
        ],
    ),
    **_under("livenessProbe", PROBE),
    **_under("readinessProbe", PROBE),
    "extraVolumes": Case(
        [{"name": "ca", "configMap": {"name": "ca"}}],
        [
            {}, [{"name": "ca"}], [{"name": "state", "emptyDir": {}}], [{"name": "A", "emptyDir": {}}],
            [{"name": "a", "emptyDir": {}, "configMap": {}}], [{"name": "a", "emptyDir": {}}] * 2,
        ],
    ),
    "extraVolumeMounts": Case(
        [{"name": "ca", "mountPath": "/etc/ca", "readOnly": True}],
        [
            {}, [{"name": "ca"}], [{"name": "ca", "mountPath": "ca"}], [{"name": "ca", "mountPath": "/a", "readonly": True}],
            [{"name": "other", "mountPath": "/a"}], [{"name": "ca", "mountPath": "/var/lib/imds-exporter"}],
            [{"name": "ca", "mountPath": "/a"}] * 2, [{"name": "ca", "mountPath": "/a:b"}],
        ],
        {"extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}]},
    ),
    "networkPolicy.enabled": Case(False, ["no"]),
    "networkPolicy.from": PEERS,
    "networkPolicy.extraIngress": Case(
        [{"from": PEERS.right, "ports": PORTS}], [{}, [{}], [{"from": []}], [{"from": [{}]}], [{"ports": PORTS}]]
    ),
    "networkPolicy.extraEgress": Case(
        [{"to": PEERS.right, "ports": PORTS}],
        [{}, [{}], [{"to": []}], [{"to": [{}]}], [{"to": PEERS.right, "ports": []}]],
    ),
    "service.enabled": Case(True, ["yes"]),
    "service.port": Case(80, [0, "80", 65536], {"service.enabled": True}),
    "service.labels": Case(LABELS.right, LABELS.wrong, {"service.enabled": True}),
    "service.annotations": Case(ANNOTATIONS.right, ANNOTATIONS.wrong, {"service.enabled": True}),
    **_under("podMonitor", MONITOR, {"podMonitor.enabled": True}),
    "podMonitor.enabled": MONITOR["enabled"],
    "podMonitor.sidecars": Case(False, ["no"], {"podMonitor.enabled": True}),
    **_under("serviceMonitor", MONITOR, {"serviceMonitor.enabled": True}),
    "serviceMonitor.enabled": MONITOR["enabled"],
    "serviceMonitor.targetLabels": Case(["team"], ["team", [1]], {"serviceMonitor.enabled": True}),
    "prometheusRule.enabled": Case(True, ["yes"]),
    **_under(
        "prometheusRule",
        {
            "namespace": NAMESPACE,
            "labels": LABELS,
            "annotations": ANNOTATIONS,
            "alertLabels": Case({"team": "platform"}, [{"team": 1}, {"a-b": "c"}, []]),
            "alertNamePrefix": Case("Platform", ["platform", "A b", 1]),
            "severities.critical": Case("page", ["", "page now", 1]),
            "severities.warning": Case("ticket", ["", 1]),
            "runbookUrl": Case("https://wiki.example.org/imds", ["wiki.example.org", "https://a#b", "https://a b", 1]),
            "workloadJobs": Case(["cart", "shop/.+"], [["a b"], ["a\"b"], "cart"]),
            "clusterLabel": Case("k8s_cluster", ["k8s-cluster", "", 1]),
            "kubernetes.enabled": Case(True, ["yes"]),
            "kubernetes.namespaces": Case(
                ["shop", "billing"], ["shop", ["a b"], ["Shop"], [".*"]], {"prometheusRule.kubernetes.enabled": True}
            ),
            "overrides": Case(
                {"ImdsClockSkew": {"warning": {"for": "1w", "severity": "page", "limit": 30, "labels": {"a": "b"}}}},
                [
                    [], {"ImdsClockSkew": {"page": {}}}, {"ImdsClockSkew": {"warning": {"for": 60}}},
                    {"ImdsClockSkew": {"warning": {"For": "1m"}}}, {"ImdsClockSkew": {"warning": {"for": "1 m"}}},
                    {"ImdsClockSkew": {"warning": {"limit": "60"}}}, {"ImdsClockSkew": {"warning": {"expr": ""}}},
                ],
            ),
            "extraGroups": Case(
                [{"name": "own", "rules": [{"alert": "Own", "expr": "imds_up == 0", "for": "1d"}]}],
                [
                    {},
                    [{"name": "own"}],
                    [{"name": "own", "rules": []}],
                    [{"name": "own", "rules": [{"alert": "Own"}]}],
                    [{"name": "own", "rules": [{"alert": "Own", "record": "own:own", "expr": "1"}]}],
                ],
            ),
        },
        RULE,
    ),
    "dashboards.enabled": Case(True, ["yes"]),
    **_under(
        "dashboards",
        {
            "namespace": NAMESPACE,
            "labels": Case({"grafana_dashboard": "yes"}, LABELS.wrong),
            "annotations": Case({"grafana_folder": "AWS"}, ANNOTATIONS.wrong),
            "grafanaOperator.enabled": Case(True, ["yes"]),
            "grafanaOperator.instanceLabels": Case(
                {"team": "platform"}, LABELS.wrong[:4], {"dashboards.grafanaOperator.enabled": True}
            ),
            "grafanaOperator.folder": Case("AWS", [1], {"dashboards.grafanaOperator.enabled": True}),
            "grafanaOperator.allowCrossNamespaceImport": Case(False, ["no"], {"dashboards.grafanaOperator.enabled": True}),
        },
        {"dashboards.enabled": True},
    ),
    "test.enabled": Case(False, ["no"]),
    "extraManifests": Case(
        [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-more"}, "data": {"a": "b"}},
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: text\ndata: {port: {{ .Values.port | quote }}}\n",
        ],
        [{}, "text", [1]],
    ),
}

# Values that are right alone, and wrong together: what the message must name.
CONFLICTS = {
    "processes of the node": ({"config.watchProcesses": "python"}, "hostPID"),
    "timeout": ({"config.timeout": "20s"}, "config.timeout"),
    "timeout of an interval": ({"config.timeout": "20s", "config.pollInterval": "1m"}, None),
    "region": ({"config.signedCall.region": "eu-central-1"}, "signedCall"),
    "ports": ({"web.existingSecret": "a", "web.probePort": 10169}, "web.probePort"),
    "two monitors": ({"podMonitor.enabled": True, "serviceMonitor.enabled": True}, "serviceMonitor.enabled"),
    "scrape timeout": ({"podMonitor.scrapeTimeout": "20s"}, "podMonitor.scrapeTimeout"),
    "scrape timeout of an interval": ({"podMonitor.scrapeTimeout": "20s", "podMonitor.interval": "1m"}, None),
    "IRSA": ({"serviceAccount.annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/a"}}, "role-arn"),
    "surge": ({"hostNetwork": True, "updateStrategy.rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}, "maxSurge"),
    "a variable twice": (
        {"extraEnv": [{"name": "AWS_REGION", "value": "a"}, {"name": "AWS_REGION", "value": "b"}]},
        "AWS_REGION",
    ),
    "a variable beside its value": (
        {
            "config.expectedRole": "a",
            "extraEnv": [{"name": "IMDS_EXPORTER_EXPECTED_ROLE", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}],
        },
        "IMDS_EXPORTER_EXPECTED_ROLE",
    ),
    "an unknown alert": (
        {"prometheusRule.enabled": True, "prometheusRule.overrides": {"ImdsNoSuchAlert": {"warning": {}}}},
        "ImdsNoSuchAlert",
    ),
    "an alert of rules that are not wanted": (
        {"prometheusRule.enabled": True, "prometheusRule.overrides": {"ImdsContainersStartedDuringOutage": {"warning": {}}}},
        "ImdsContainersStartedDuringOutage",
    ),
    "an unknown severity": (
        {"prometheusRule.enabled": True, "prometheusRule.overrides": {"ImdsClockSkew": {"info": {}}}},
        "ImdsClockSkew",
    ),
}


# What people who know the charts of other exporters write, beyond the values above, and what it must name if it is refused; without
# that, it renders to what Kubernetes takes.
EXISTS = {"operator": "Exists"}
HABITS = {
    "node-exporter: everywhere": ({"tolerations": [{**EXISTS, "effect": "NoSchedule"}]}, None),
    "node-exporter: a rollout of one": ({"updateStrategy": {"rollingUpdate": {"maxUnavailable": 1}}}, None),
    "node-exporter: the host": ({"hostNetwork": True, "hostPID": True}, None),
    "node-exporter: its monitor": ({"prometheus": {"monitor": {"enabled": True}}}, "prometheus"),
    "node-exporter: arguments": ({"extraArgs": ["--collector.systemd"]}, "extraArgs"),
    "node-exporter: container's context": ({"containerSecurityContext": {"readOnlyRootFilesystem": True}}, "containerSecurityContext"),
    "node-exporter: root": ({"podSecurityContext": {"runAsNonRoot": False, "runAsUser": 0}}, None),
    "node-exporter: group": ({"podSecurityContext": {"fsGroup": 65534}}, None),
    "node-exporter: environment": ({"env": {"A": "b"}}, "env"),
    "node-exporter: mounts of the host": ({"extraHostVolumeMounts": []}, "extraHostVolumeMounts"),
    "node-exporter: resources": ({"resources": {"limits": {"cpu": "200m", "memory": "50Mi"}, "requests": {"cpu": "100m", "memory": "30Mi"}}}, None),
    "node-exporter: no limit": ({"resources": {"limits": None, "requests": {"memory": "64Mi"}}}, None),
    "node-exporter: a request alone": ({"resources": {"requests": {"memory": "64Mi"}}}, "resources.requests.memory"),
    "node-exporter: linux": ({"nodeSelector": {"kubernetes.io/os": "linux", "kubernetes.io/arch": "arm64"}}, None),
    "node-exporter: version": ({"image": {"tag": "v0.1.0"}}, None),
    "x509: its monitor": ({"prometheusPodMonitor": {"create": True}}, "prometheusPodMonitor"),
    "x509: rules": ({"prometheusRules": {"create": True}}, "prometheusRules"),
    "x509: labels": ({"podExtraLabels": {}}, "podExtraLabels"),
    "x509: control plane": ({"tolerations": [{"key": "node-role.kubernetes.io/control-plane", **EXISTS}]}, None),
    "kube-state-metrics: its monitor": ({"prometheus": {"monitor": {"honorLabels": True}}}, "prometheus"),
    "kube-state-metrics: replicas": ({"replicas": 2}, "replicas"),
    "kube-state-metrics: proxy": ({"kubeRBACProxy": {"enabled": True}}, "kubeRBACProxy"),
    "kube-state-metrics: annotations": ({"customLabels": {}}, "customLabels"),
    "kube-state-metrics: pull secret": ({"imagePullSecrets": [{"name": "registry"}]}, None),
    "kube-state-metrics: mirror": ({"global": {"imageRegistry": "registry.example.org", "imagePullSecrets": ["mirror"]}}, None),
    "blackbox: kind": ({"kind": "DaemonSet"}, "kind"),
    "blackbox: capability": ({"securityContext": {"capabilities": {"add": ["NET_RAW"]}}}, None),
    "blackbox: monitor": ({"serviceMonitor": {"enabled": True, "labels": {"release": "stack"}, "interval": "30s"}}, None),
    "blackbox: monitor's defaults": ({"serviceMonitor": {"defaults": {"interval": "30s"}}}, "defaults"),
    "blackbox: service": ({"service": {"type": "ClusterIP"}}, "type"),
    "blackbox: probes": ({"livenessProbe": {"httpGet": {"path": "/health"}}}, "httpGet"),
    "blackbox: a probe's times": ({"livenessProbe": {"failureThreshold": 5, "periodSeconds": 10}}, None),
    "blackbox: config map": ({"configExistingSecretName": "a"}, "configExistingSecretName"),
    "cloudwatch: region": ({"aws": {"region": "eu-central-1"}}, "aws"),
    "a surge": ({"updateStrategy": {"rollingUpdate": {"maxSurge": 1}}}, "updateStrategy.rollingUpdate"),
    "privileged": ({"securityContext": {"privileged": True}}, "securityContext.privileged"),
    "privileged altogether": ({"securityContext": {"privileged": True, "allowPrivilegeEscalation": True}}, None),
    "a mount": ({"extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ca"}]}, "extraVolumeMounts"),
    "affinity": ({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"a": "b"}}}]}}}, None),
    "a toleration of everything": ({"tolerations": [{"effect": "NoExecute"}]}, "tolerations"),
}


def values(by_path):
    """The values file of {dotted path: value}."""
    tree = {}
    for path, value in by_path.items():
        *groups, name = path.split(".")
        inner = tree
        for group in groups:
            inner = inner.setdefault(group, {})
        inner[name] = value
    return tree
