"""The chart's pods in a cluster: the nodes of a DaemonSet, Pod Security, OpenShift, Fargate, network policies."""

import base64
import os
import ssl

import pytest

from chart_cases import values
from cluster import find, node, nodes_of, pod_security, render
from forms import containers, kustomize

from helpers.certificates import certify
from helpers.exporters import Exporter, simulator
from helpers.http_client import get, samples
from helpers.paths import DEPLOY
from helpers.processes import Process, free_port
from helpers.waiting import until


def chart(by_path=None, versions=()):
    (objects,) = render([(values(by_path or {}), list(versions))])
    assert isinstance(objects, list), objects
    return objects


@pytest.mark.parametrize("by_path", [{}, {"nameOverride": "a", "commonLabels": {"team": "b"}, "podLabels": {"team": "c"}}],
                         ids=["defaults", "names and labels"])
def test_the_pod_of_helm_test_is_none_of_the_daemonset(by_path):
    """Its controller takes over every pod that has these labels and no owner, and deletes what has ended."""
    objects = chart(by_path)
    selector, labels = find(objects, "DaemonSet")["spec"]["selector"], find(objects, "Pod")["metadata"]["labels"]
    assert selector.keys() == {"matchLabels"} and not selector["matchLabels"].items() <= labels.items()


def test_the_release_test_runs_where_and_as_the_exporter_runs():
    objects = chart({
        "hostNetwork": True, "priorityClassName": "system-node-critical", "tolerations": [{"key": "a", "operator": "Exists"}],
        "imagePullSecrets": ["registry"], "image.tag": "2", "podSecurityContext": {"runAsUser": 1000}})
    exporter, test = find(objects, "DaemonSet")["spec"]["template"]["spec"], find(objects, "Pod")["spec"]
    differs = {name for name in exporter.keys() | test.keys() if exporter.get(name) != test.get(name)}
    assert differs == {"restartPolicy", "terminationGracePeriodSeconds", "containers", "volumes"}
    assert test["containers"][0]["image"] == exporter["containers"][0]["image"]


def pods_of(objects):
    template = find(objects, "DaemonSet")["spec"]["template"]
    return [{"metadata": template["metadata"], "spec": template["spec"]}, find(objects, "Pod")]


def test_pod_security_admits_the_pods_at_the_level_restricted():
    for by_path in ({}, {"web.existingSecret": "web"}, {"openshift": True}, {"config.signedCall.interval": "5m"}):
        assert pod_security("restricted", pods_of(chart(by_path))) == ["", ""], by_path


@pytest.mark.parametrize("by_path, reason", [
    ({"hostNetwork": True}, "host namespaces"), ({"hostPID": True}, "host namespaces"),
    ({"securityContext": {"allowPrivilegeEscalation": True}}, "allowPrivilegeEscalation")])
def test_pod_security_refuses_what_the_readme_says_needs_more(by_path, reason):
    assert reason in pod_security("restricted", pods_of(chart(by_path)))[0]
    if "securityContext" not in by_path:
        assert pod_security("privileged", pods_of(chart(by_path))) == ["", ""]


OPENSHIFT = ["security.openshift.io/v1"]
USER = {"runAsUser", "runAsGroup", "fsGroup"}


def users(objects):
    """The fields that choose a user or a group, in all security contexts."""
    specs = [pod["spec"] for pod in pods_of(objects)]
    contexts = [spec["securityContext"] for spec in specs] + [c["securityContext"] for spec in specs for c in containers(spec)]
    return {field for context in contexts for field in USER & context.keys()}


def test_on_openshift_the_namespace_chooses_user_and_groups():
    assert users(chart()) == {"runAsUser", "runAsGroup"}
    assert users(chart(versions=OPENSHIFT)) == set()
    assert users(chart({"openshift": True})) == set()
    assert users(chart({"openshift": False}, OPENSHIFT)) == {"runAsUser", "runAsGroup"}
    own = {"podSecurityContext": {"fsGroup": 1}, "securityContext": {"runAsUser": 2}}
    assert users(chart(own, OPENSHIFT)) == set()
    assert find(chart(versions=OPENSHIFT), "DaemonSet")["spec"]["template"]["spec"]["securityContext"]["runAsNonRoot"] is True


def as_user(uid, command):
    """A command as a user and of the group 0, as OpenShift runs a container."""
    if os.geteuid() == 0:
        return ["setpriv", f"--reuid={uid}", "--regid=0", "--clear-groups", "--no-new-privs", "--", *command]
    return ["unshare", "--user", f"--map-user={uid}", "--map-group=0", "--", *command]


def test_the_exporter_runs_as_any_user(tmp_path, program):
    (container,) = find(chart(versions=OPENSHIFT), "DaemonSet")["spec"]["template"]["spec"]["containers"]
    binary, state = tmp_path / "imds-exporter", tmp_path / "state"
    binary.write_bytes(program.read_bytes())
    binary.chmod(0o555)
    # As the kubelet makes an emptyDir.
    state.mkdir()
    state.chmod(0o777)
    for path in [tmp_path, *list(tmp_path.parents)[:-2]]:
        path.chmod(path.stat().st_mode | 0o111)
    manifest = {variable["name"]: variable["value"] for variable in container["env"]}
    with simulator() as imds:
        environment = {
            "PATH": os.environ["PATH"],
            **{name: value.replace("/var/lib/imds-exporter", str(state)) for name, value in manifest.items()},
            "IMDS_EXPORTER_LISTEN_ADDRESS": "127.0.0.1:0",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": imds.endpoint,
        }
        with Process(as_user(1000680000, [binary]), environment) as process:
            exporter = Exporter(process)
            until(lambda: samples(exporter.url).get("imds_up") == 1, "a poll")
            until(lambda: (state / "state").exists(), "a state file")
            with open(f"/proc/{process.pid}/status") as status:
                uid = next(line for line in status if line.startswith("Uid:")).split()[1]
            assert int(uid) == (1000680000 if os.geteuid() == 0 else os.geteuid())


FARGATE_TAINT = {"key": "eks.amazonaws.com/compute-type", "value": "fargate", "effect": "NoSchedule"}
NODES = [
    node("ec2", kubernetes_io_arch="amd64"),
    node("auto", eks_compute_type="auto"),
    node("hybrid", eks_compute_type="hybrid"),
    node("fargate", taints=[FARGATE_TAINT], eks_compute_type="fargate"),
]


def test_nodes_without_imds_get_no_pod():
    zone_a = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}
    no_zone = {"matchExpressions": [{"key": "zone", "operator": "DoesNotExist"}]}
    own = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [zone_a, no_zone]}}}
    sets = [
        find(chart(by_path), "DaemonSet")
        for by_path in ({}, {"affinity": own}, {"affinity": {"podAntiAffinity": {}}}, {"excludeNodesWithoutImds": False})
    ]
    everywhere = [one["metadata"]["name"] for one in NODES]
    assert nodes_of(sets, NODES) == [["ec2", "auto"]] * 3 + [everywhere]
    manifests = [find(kustomize(DEPLOY / "kubernetes" / "daemonset"), "DaemonSet")]
    assert nodes_of(manifests, NODES) == [["ec2", "auto"]]
    # The pod of `helm test` is scheduled by the same terms.
    for objects in (chart(), chart({"affinity": own})):
        daemonset = find(objects, "DaemonSet")["spec"]["template"]["spec"]
        assert find(objects, "Pod")["spec"]["affinity"] == daemonset["affinity"]


def policy(by_path):
    return find(chart(by_path), "NetworkPolicy")["spec"]


def test_an_empty_list_of_peers_admits_nobody():
    found = policy({"networkPolicy.from": []})
    assert found["ingress"] == [] and "Ingress" in found["policyTypes"]
    others = [{"ipBlock": {"cidr": "10.0.0.0/8"}}]
    only_others = policy({"networkPolicy.from": [], "networkPolicy.extraIngress": [{"from": others}]})
    assert [rule["from"] for rule in only_others["ingress"]] == [others]
    # Without `from` or with an empty one, a rule would admit everybody.
    assert all(rule["from"] for by_path in ({}, {"web.existingSecret": "a"}) for rule in policy(by_path)["ingress"])


def opened(by_path):
    """The (protocol, port) pairs to which the pods may connect anywhere."""
    anywhere = [rule for rule in policy(by_path)["egress"] if {"ipBlock": {"cidr": "0.0.0.0/0"}} in rule["to"]]
    return {(port["protocol"], port["port"]) for rule in anywhere for port in rule["ports"]}


def test_only_with_signed_calls_the_pods_may_leave_the_node():
    assert opened({}) == set()
    signed, dns = {"config.signedCall.interval": "5m"}, {("UDP", 53), ("TCP", 53)}
    assert opened(signed) == {("TCP", 443), *dns}
    for proxy, port in (("http://proxy:3128", 3128), ("http://proxy:3129/", 3129), ("http://proxy", 80), ("https://proxy", 443)):
        assert opened({**signed, "config.signedCall.httpsProxy": proxy}) == {("TCP", 443), ("TCP", port), *dns}


def test_the_network_policy_concerns_the_pod_of_helm_test_too():
    objects = chart()
    selector = find(objects, "NetworkPolicy")["spec"]["podSelector"]
    for pod in pods_of(objects):
        labels = pod["metadata"]["labels"]
        assert all(labels[key] == value for key, value in selector["matchLabels"].items())
        assert all(labels[e["key"]] in e["values"] for e in selector["matchExpressions"])


WEB = {"web.existingSecret": "web", "podMonitor.enabled": True}


def test_with_a_web_configuration_probes_have_a_port_of_their_own():
    pod = find(chart(WEB), "DaemonSet")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    environment = {v["name"]: v.get("value") for v in container["env"]}
    assert environment["IMDS_EXPORTER_PROBE_LISTEN_ADDRESS"] == ":10168"
    assert {container[probe]["httpGet"]["port"] for probe in ("livenessProbe", "readinessProbe")} == {10168}
    assert [(port["name"], port["containerPort"]) for port in container["ports"]] == [("imds-metrics", 10169), ("imds-probes", 10168)]
    folder, name = environment["IMDS_EXPORTER_WEB_CONFIG_FILE"].rsplit("/", 1)
    (mount,) = (m for m in container["volumeMounts"] if m["mountPath"] == folder)
    assert name == "web-config.yml" and mount["readOnly"]
    assert {"name": mount["name"], "secret": {"secretName": "web"}} in pod["volumes"]


# The hash of `secret`, by crypt(3).
WEB_CONFIG = """\
tls_server_config: {cert_file: tls.crt, key_file: tls.key}
basic_auth_users: {prometheus: $2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW}
"""


def test_prometheus_needs_certificate_and_password_and_the_kubelet_needs_neither(tmp_path, program):
    """The container as rendered, with the Secret that the README tells to make."""
    (tmp_path / "web-config.yml").write_text(WEB_CONFIG)
    certify(tmp_path / "tls.crt", tmp_path / "tls.key")
    objects = chart({
        **WEB, "port": free_port(), "web.probePort": free_port(), "config.listenHost": "0.0.0.0", "config.stateFile": False})
    (container,) = find(objects, "DaemonSet")["spec"]["template"]["spec"]["containers"]
    manifest = {variable["name"]: variable["value"].replace("0.0.0.0", "127.0.0.1") for variable in container["env"]}
    probes = {container[kind]["httpGet"]["path"]: container[kind]["httpGet"]["port"] for kind in ("livenessProbe", "readinessProbe")}
    metrics = f"https://{manifest['IMDS_EXPORTER_LISTEN_ADDRESS']}/metrics"
    trusted = ssl.create_default_context(cafile=tmp_path / "tls.crt")

    def scrape(password=None):
        token = base64.b64encode(f"prometheus:{password}".encode()).decode()
        return get(metrics, trusted, **({"Authorization": f"Basic {token}"} if password else {}))[0]

    with simulator() as imds:
        web_config = manifest["IMDS_EXPORTER_WEB_CONFIG_FILE"].replace("/etc/imds-exporter/web", str(tmp_path))
        environment = {"PATH": os.environ["PATH"], **manifest, "AWS_EC2_METADATA_SERVICE_ENDPOINT": imds.endpoint,
                       "IMDS_EXPORTER_WEB_CONFIG_FILE": web_config}
        with Process([program], environment) as process:
            for path, port in probes.items():
                until(lambda: get(f"http://127.0.0.1:{port}{path}")[0] == 200, lambda: f"{path}: {process.output}")
            assert [scrape(password) for password in ("secret", "wrong", None)] == [200, 401, 401]
            assert get(f"http://127.0.0.1:{port}/metrics")[0] == 404


def test_the_sidecars_of_the_cluster_are_scraped_without_tls_and_password():
    secret = {"name": "scrape", "key": "a"}
    objects = chart({
        **WEB, "podMonitor.tlsConfig": {"serverName": "a"}, "podMonitor.basicAuth": {"username": secret, "password": secret}})
    (own,) = find(objects, "PodMonitor", "release-imds-exporter")["spec"]["podMetricsEndpoints"]
    (sidecars,) = find(objects, "PodMonitor", "-sidecars")["spec"]["podMetricsEndpoints"]
    assert own["scheme"] == "https" and own["tlsConfig"] and own["basicAuth"]
    assert sidecars["scheme"] == "http" and not {"tlsConfig", "basicAuth"} & sidecars.keys()
    (without_tls,) = find(chart({**WEB, "web.tls": False}), "PodMonitor", "release-imds-exporter")["spec"]["podMetricsEndpoints"]
    assert without_tls["scheme"] == "http"


def test_the_service_monitor_finds_the_service_and_that_the_pods():
    objects = chart({"serviceMonitor.enabled": True})
    service, monitor = find(objects, "Service"), find(objects, "ServiceMonitor")["spec"]
    labels = service["metadata"]["labels"]
    assert monitor["selector"]["matchLabels"].items() <= labels.items()
    pod = find(objects, "DaemonSet")["spec"]["template"]
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    (port,) = service["spec"]["ports"]
    assert port["name"] == monitor["endpoints"][0]["port"]
    assert port["targetPort"] in {p["name"] for p in pod["spec"]["containers"][0]["ports"]}
    # An exporter whose first poll has not ended yet.
    assert service["spec"]["publishNotReadyAddresses"] is True
