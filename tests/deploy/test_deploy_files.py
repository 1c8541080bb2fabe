"""The image, ECS and compose, each checked by the tool for its format."""

import re

import yaml

from forms import DOCKERFILE, compose_services, ecs_exporters, ecs_task

from helpers import reference
from helpers.commands import run
from helpers.paths import DASHBOARDS, DEPLOY, ROOT, RULES, tool


def test_the_dockerfile_lints():
    run(tool("hadolint"), "--failure-threshold", "style", DEPLOY / "Dockerfile")


def test_the_image_contains_the_production_binary_and_runs_unprivileged():
    build, image = re.split(r"^FROM scratch$", DOCKERFILE, flags=re.M)
    assert f"ARG RUST_VERSION={reference.toolchain()}\n" in build
    assert 'ARG FEATURES=""' in build
    assert "USER 65534:65534\n" in image
    assert f"ARG VERSION={reference.version()}\n" in image
    labels = set(re.findall(r"org\.opencontainers\.image\.(\w+)=", image))
    assert labels == {"title", "description", "version", "revision", "source", "created", "licenses"}


def test_the_build_context_contains_exactly_what_is_copied():
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.M)
    names = {name for line in copied for name in line.split()}
    kept = set(re.findall(r"^!(.+)$", (DEPLOY / "Dockerfile.dockerignore").read_text(), re.M))
    assert names == kept
    assert all((ROOT / name).exists() for name in names)


def test_the_task_definition_lints():
    run(tool("cfn-lint"), "--template", DEPLOY / "ecs" / "imds-exporter.yaml")


def test_the_ecs_task_holds_the_workload_back():
    named = {container["Name"]: container for container in ecs_task()["ContainerDefinitions"]}
    conditions = {d["ContainerName"]: d["Condition"] for d in named["workload"]["DependsOn"]}
    assert conditions == {"imds-exporter": "HEALTHY", "imds-wait": "SUCCESS"}
    # ECS accepts no condition on an essential container but HEALTHY and START.
    assert named["imds-wait"]["Essential"] is False
    assert named["imds-exporter"]["HealthCheck"]["Command"][-1] == "healthcheck"
    for container in ecs_exporters():
        assert container["ReadonlyRootFilesystem"] is True
        assert container["User"] == "65534:65534"
        assert container["LinuxParameters"]["Capabilities"]["Drop"] == ["ALL"]


def test_the_compose_file_is_valid():
    run(tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose" / "compose.yaml")


def test_every_file_that_compose_mounts_exists():
    mounted = [
        volume.split(":")[0]
        for service in compose_services().values()
        for volume in service.get("volumes", [])
        if volume.startswith(".")
    ]
    assert len(mounted) == 7
    for path in mounted:
        assert (DEPLOY / "compose" / path).is_file(), path


def test_compose_publishes_on_loopback_only():
    ports = [port for service in compose_services().values() for port in service.get("ports", [])]
    assert len(ports) == 5
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_prometheus_accepts_the_configuration_of_compose(tmp_path):
    text = (DEPLOY / "compose" / "prometheus.yml").read_text()
    config = tmp_path / "prometheus.yml"
    config.write_text(text.replace("/etc/prometheus/imds-alerts.yaml", str(RULES)))
    run(tool("promtool"), "check", "config", config)


def test_alertmanager_accepts_the_configuration_of_compose():
    run(tool("amtool"), "check-config", DEPLOY / "prometheus" / "alertmanager.yaml")


def test_the_dashboards_of_compose_have_a_data_source_and_a_folder():
    datasources = yaml.safe_load((DEPLOY / "compose" / "grafana-datasource.yaml").read_text())["datasources"]
    assert [(source["type"], source["isDefault"]) for source in datasources] == [("prometheus", True)]
    grafana = compose_services()["grafana"]
    mounted = dict(volume.split(":")[:2] for volume in grafana["volumes"])
    provisioning = "/etc/grafana/provisioning/dashboards/"
    (provider,) = [path for path, inside in mounted.items() if inside.startswith(provisioning)]
    (provider,) = yaml.safe_load((DEPLOY / "compose" / provider).read_text())["providers"]
    dashboards = [inside for path, inside in mounted.items() if path.endswith(".json")]
    assert len(dashboards) == len(DASHBOARDS)
    assert {inside.rsplit("/", 1)[0] for inside in dashboards} == {provider["options"]["path"]}
    assert grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] in dashboards
