"""The deployment forms agree with the exporter: routes, port, variables, commands."""

import json
import re

import yaml
from forms import (
    DOCKERFILE, compose_services, containers, ecs_exporters, exporters_in, pods, systemd_files, unit_environment,
    unit_values,
)

from helpers import reference
from helpers.commands import complete
from helpers.paths import DEPLOY, exporter

PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


def probes(forms):
    """(form, HTTP probe) of every container."""
    return [
        (form, container[kind]["httpGet"])
        for form, _, pod in pods(forms)
        for container in containers(pod)
        for kind in PROBES
        if "httpGet" in container.get(kind, {})
    ]


def exec_probes(forms):
    """(form, script) of every probe that the kubelet runs in a container of a workload."""
    return [
        (form, container["livenessProbe"]["exec"]["command"][-1])
        for form, _, pod in pods(forms)
        for container in containers(pod)
        if "exec" in container.get("livenessProbe", {})
    ]


def chart_daemonset(forms, form="chart"):
    daemonset, = (document for document in forms[form] if document["kind"] == "DaemonSet")
    return daemonset["spec"]["template"]


def test_every_probe_requests_an_existing_route(forms):
    paths = {probe["path"] for _, probe in probes(forms)}
    paths |= {re.search(r'"GET", "(.*?)\?', script)[1] for _, script in exec_probes(forms)}
    assert paths == {"/-/startup", "/-/healthy", "/-/ready", "/-/clients"}
    assert paths <= set(reference.routes())


def test_every_scrape_requests_the_metrics(forms):
    monitors = [document for documents in forms.values() for document in documents if document["kind"] == "PodMonitor"]
    paths = {endpoint["path"] for monitor in monitors for endpoint in monitor["spec"]["podMetricsEndpoints"]}
    paths.add(chart_daemonset(forms)["metadata"]["annotations"]["prometheus.io/path"])
    paths.add(ecs_exporters()[0]["DockerLabels"]["PROMETHEUS_EXPORTER_PATH"])
    assert paths == {"/metrics"}
    assert paths <= set(reference.routes())


def test_the_port_is_the_same_everywhere(forms):
    # Its values set another port.
    forms = {name: documents for name, documents in forms.items() if name not in ("chart with everything", "chart with protection")}
    prometheus = yaml.safe_load((DEPLOY / "compose" / "prometheus.yml").read_text())
    ports = {
        **{f"{form}: probe": probe["port"] for form, probe in probes(forms)},
        **{f"{form}: exec probe": int(re.search(r'"127\.0\.0\.1", (\d+)', script)[1]) for form, script in exec_probes(forms)},
        **{
            f"{form}: container": port["containerPort"]
            for form, _, pod in pods(forms)
            for container in exporters_in(pod)
            for port in container.get("ports", [])
        },
        "chart: annotation": int(chart_daemonset(forms)["metadata"]["annotations"]["prometheus.io/port"]),
        "image": int(re.search(r"^EXPOSE (\d+)$", DOCKERFILE, re.M)[1]),
        "ECS": ecs_exporters()[0]["PortMappings"][0]["ContainerPort"],
        "ECS: label": int(ecs_exporters()[0]["DockerLabels"]["PROMETHEUS_EXPORTER_PORT"]),
        "compose": int(compose_services()["imds"]["ports"][1].rsplit(":", 1)[1]),
        "compose: Prometheus": int(prometheus["scrape_configs"][0]["static_configs"][0]["targets"][0].rsplit(":", 1)[1]),
    }
    assert {name: port for name, port in ports.items() if port != reference.default_port()} == {}
    assert len(ports) > 10


def test_the_port_of_the_chart_is_set_everywhere(forms):
    (container,) = chart_daemonset(forms, "chart with everything")["spec"]["containers"]
    listen = {v["name"]: v["value"] for v in container["env"]}["IMDS_EXPORTER_LISTEN_ADDRESS"]
    probed = {container[kind]["httpGet"]["port"] for kind in ("readinessProbe", "livenessProbe")}
    assert {listen.rsplit(":", 1)[1], *map(str, probed), str(container["ports"][0]["hostPort"])} == {"10170"}


def environments(forms):
    """(name, environment) of every exporter in a form."""
    for form, document, pod in pods(forms):
        for container in exporters_in(pod):
            name = f"{form}: {document['metadata']['name']}: {container['name']}"
            yield name, {variable["name"]: variable["value"] for variable in container.get("env", [])}
    for container in ecs_exporters():
        yield f"ECS: {container['Name']}", {v["Name"]: v["Value"] for v in container.get("Environment", [])}
    yield "compose: exporter", compose_services()["exporter"]["environment"]
    for path in systemd_files():
        yield path.name, unit_environment(path)


def test_every_variable_in_a_form_is_one_that_the_exporter_reads(forms):
    # The proxy is everybody's.
    known = {*reference.variables(), "HTTPS_PROXY"}
    unknown = {name: set(environment) - known for name, environment in environments(forms)}
    assert {name: variables for name, variables in unknown.items() if variables} == {}
    assert len(unknown) > 10


def test_the_chart_can_set_every_variable_of_the_exporter(forms):
    charts = ("chart with everything", "chart with protection")
    settable = {name for name, environment in environments({form: forms[form] for form in charts}) for name in environment}
    assert {name for name in reference.variables() if name.startswith("IMDS_EXPORTER_")} <= settable


def commands(forms):
    """Every command line that a form gives to the exporter."""
    for _, _, pod in pods(forms):
        for container in exporters_in(pod):
            yield tuple(container.get("args", []))
    for container in ecs_exporters():
        yield tuple(container.get("Command", []))
        if check := container.get("HealthCheck"):
            assert check["Command"][:2] == ["CMD", "imds-exporter"]
            yield tuple(check["Command"][2:])
    yield tuple(compose_services()["imds"]["command"])
    yield tuple(json.loads(re.search(r"HEALTHCHECK .* CMD (\[.*\])", DOCKERFILE)[1])[1:])
    for path in systemd_files():
        for key in ("ExecStart", "ExecStartPre"):
            for line in unit_values(path, key):
                program, *arguments = line.split()
                assert program == "/usr/local/bin/imds-exporter", path
                yield tuple(arguments)


def test_the_exporter_accepts_every_command_line(forms):
    used = set(commands(forms))
    assert {line[0] for line in used if line} == {"wait", "check", "healthcheck", "simulate"}
    for line in used:
        # With --help at its end a command line is parsed and then nothing runs.
        done = complete(exporter(), *line, "--help")
        assert done.returncode == 0, (line, done.stderr)


def test_the_exporter_accepts_every_environment(forms):
    """The exporter reports a wrong value before anything else."""
    tried = 0
    for name, environment in environments(forms):
        done = complete(exporter(), "check", env={**environment, "AWS_EC2_METADATA_DISABLED": "true"}, timeout=30)
        assert done.returncode == 1, (name, done.returncode, done.stderr)
        tried += 1
    assert tried > 10


def test_the_exporter_is_found_in_compose():
    assert len([one for one in compose_services().values() if "imds-exporter" in one.get("image", "")]) == 2
