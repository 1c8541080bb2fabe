"""What the forms say of the exporter, against what the code says: routes, port, variables, commands."""

import json
import re
import subprocess

import pytest
import yaml

from conftest import DEPLOY, containers, exporter, ours, pods


class Tagged(yaml.SafeLoader):
    """YAML with CloudFormation's short forms, which stand for themselves."""


Tagged.add_multi_constructor("!", lambda loader, suffix, node: loader.construct_scalar(node))


def task():
    template = yaml.load((DEPLOY / "ecs" / "imds-exporter.yaml").read_text(), Loader=Tagged)
    return template["Resources"]["Task"]["Properties"]


def ecs_containers():
    return [container for container in task()["ContainerDefinitions"] if container["Image"] == "ExporterImage"]


def compose():
    return yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())["services"]


def units():
    return sorted((DEPLOY / "systemd").rglob("*.service")) + sorted((DEPLOY / "systemd").rglob("*.conf"))


def unit_values(path, key):
    return re.findall(rf"^{key}=(.*)$", path.read_text(), re.M)


def probes(forms):
    for form, _, pod in pods(forms):
        for container in containers(pod):
            for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
                if "httpGet" in container.get(kind, {}):
                    yield form, container, container[kind]["httpGet"]


def test_every_probe_asks_a_route_that_exists(forms, code):
    asked = {probe["path"] for _, _, probe in probes(forms)}
    assert asked == {"/-/startup", "/-/healthy", "/-/ready", "/-/clients"}
    assert asked <= set(code.routes)


def test_every_scrape_asks_for_the_metrics(forms, code):
    paths = {
        endpoint["path"]
        for documents in forms.values()
        for document in documents
        if document["kind"] == "PodMonitor"
        for endpoint in document["spec"]["podMetricsEndpoints"]
    }
    paths |= {
        document["spec"]["template"]["metadata"]["annotations"]["prometheus.io/path"] for document in chart_pods(forms)
    }
    paths |= {container["DockerLabels"]["PROMETHEUS_EXPORTER_PATH"] for container in ecs_containers()[:1]}
    assert paths == {"/metrics"}
    assert paths <= set(code.routes)


def chart_pods(forms):
    return [document for document in forms["chart"] if document["kind"] == "DaemonSet"]


def test_one_port_everywhere(forms, code):
    ports = {
        **{f"{form}: probe": probe["port"] for form, _, probe in probes(forms) if form != "chart with everything"},
        **{
            f"{form}: container": port["containerPort"]
            for form, _, pod in pods(forms)
            if form != "chart with everything"
            for container in filter(ours, containers(pod))
            for port in container.get("ports", [])
        },
        "chart: annotation": int(chart_pods(forms)[0]["spec"]["template"]["metadata"]["annotations"]["prometheus.io/port"]),
        "image": int(re.search(r"^EXPOSE (\d+)$", (DEPLOY / "Dockerfile").read_text(), re.M)[1]),
        "ECS": ecs_containers()[0]["PortMappings"][0]["ContainerPort"],
        "ECS: label": int(ecs_containers()[0]["DockerLabels"]["PROMETHEUS_EXPORTER_PORT"]),
        "compose": int(compose()["imds"]["ports"][1].rsplit(":", 1)[1]),
        "compose: Prometheus": int(compose_target().rsplit(":", 1)[1]),
    }
    assert {name: port for name, port in ports.items() if port != code.port} == {}
    assert len(ports) > 10


def compose_target():
    prometheus = yaml.safe_load((DEPLOY / "compose" / "prometheus.yml").read_text())
    return prometheus["scrape_configs"][0]["static_configs"][0]["targets"][0]


def test_another_port_in_the_chart_is_another_port_everywhere(forms):
    (pod,) = [pod for form, document, pod in pods(forms) if form == "chart with everything" and document["kind"] == "DaemonSet"]
    (container,) = pod["containers"]
    listen = {v["name"]: v["value"] for v in container["env"]}["IMDS_EXPORTER_LISTEN_ADDRESS"]
    probes = {container[kind]["httpGet"]["port"] for kind in ("readinessProbe", "livenessProbe")}
    assert {listen.rsplit(":", 1)[1], *map(str, probes), str(container["ports"][0]["hostPort"])} == {"10170"}


def environments(forms):
    """Every environment that some form gives to the exporter, by the form."""
    for form, document, pod in pods(forms):
        for container in filter(ours, containers(pod)):
            name = f"{form}: {document['metadata']['name']}: {container['name']}"
            yield name, {variable["name"]: variable["value"] for variable in container.get("env", [])}
    for container in ecs_containers():
        yield f"ECS: {container['Name']}", {v["Name"]: v["Value"] for v in container.get("Environment", [])}
    yield "compose: exporter", compose()["exporter"]["environment"]
    for path in units():
        pairs = (pair.split("=", 1) for pair in unit_values(path, "Environment"))
        yield path.name, {name: value.replace("%S", "/var/lib") for name, value in pairs}


def test_every_variable_is_one_that_the_exporter_reads(forms, code):
    given = {name: set(environment) for name, environment in environments(forms)}
    assert {name: known for name, known in given.items() if not known <= set(code.variables)} == {}
    assert len(given) > 10


def test_the_chart_can_set_every_variable_of_the_exporter(forms, code):
    (everything,) = [e for name, e in environments(forms) if name.startswith("chart with everything") and "check" not in name]
    ours = {name for name in code.variables if name.startswith("IMDS_EXPORTER_")}
    # The image is built without the feature web-config; the listener for probes goes with it.
    ours -= {"IMDS_EXPORTER_WEB_CONFIG_FILE", "IMDS_EXPORTER_PROBE_LISTEN_ADDRESS"}
    assert ours <= set(everything)


def commands(forms):
    """Every command line that some form gives to the exporter."""
    for _, _, pod in pods(forms):
        for container in filter(ours, containers(pod)):
            yield tuple(container.get("args", []))
    for container in ecs_containers():
        yield tuple(container.get("Command", []))
        if check := container.get("HealthCheck"):
            assert check["Command"][:2] == ["CMD", "/imds-exporter"]
            yield tuple(check["Command"][2:])
    yield tuple(compose()["imds"]["command"])
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    yield tuple(json.loads(re.search(r"HEALTHCHECK .* CMD (\[.*\])", dockerfile)[1])[1:])
    for path in units():
        for key in ("ExecStart", "ExecStartPre"):
            for line in unit_values(path, key):
                program, *arguments = line.split()
                assert program == "/usr/local/bin/imds-exporter"
                yield tuple(arguments)


def test_every_command_line_is_one_that_the_exporter_takes(forms):
    seen = set(commands(forms))
    assert {line[0] for line in seen if line} == {"wait", "check", "healthcheck", "simulate"}
    for line in seen:
        # With --help at its end a command is read as far as it would be, and then does nothing.
        done = subprocess.run([exporter(), *line, "--help"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, (line, done.stderr)


def test_every_environment_is_one_that_the_exporter_starts_with(forms, tmp_path):
    """A wrong value is a mistake that it names before anything else: none of the environments makes it."""
    tried = 0
    for name, environment in environments(forms):
        environment = dict(environment)
        environment["AWS_EC2_METADATA_DISABLED"] = "true"
        done = subprocess.run([exporter(), "check"], env=environment, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 1, (name, done.returncode, done.stderr)
        tried += 1
    assert tried > 10
    wrong = subprocess.run([exporter(), "check"], env={"IMDS_EXPORTER_STATEFILE": "x"}, capture_output=True, check=False)
    assert wrong.returncode == 64


@pytest.mark.parametrize("path", ["ecs", "compose"])
def test_there_are_containers_of_the_exporter(path):
    assert {"ecs": len(ecs_containers()), "compose": 2}[path] == 2
