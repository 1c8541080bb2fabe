"""The image, ECS and compose, each checked by the tool for its format."""

import re

import pytest
import yaml

from forms import DOCKERFILE, compose_services, ecs_exporters, ecs_resources, ecs_task

from helpers import reference
from helpers.commands import run
from helpers.paths import DASHBOARDS, DEPLOY, ROOT, RULES, tool


ECS_PROMETHEUS = DEPLOY / "ecs" / "prometheus.yaml"


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


@pytest.mark.parametrize("name", ["imds-exporter.yaml", "daemon.yaml"])
def test_the_templates_lint(name):
    run(tool("cfn-lint"), "--template", DEPLOY / "ecs" / name)


@pytest.mark.parametrize("name", ["imds-exporter.yaml", "daemon.yaml"])
def test_a_stack_can_be_made_as_often_as_one_likes_and_a_bad_version_is_rolled_back(name):
    """No resource has a fixed name, of which there can be one in an account and region."""
    resources = ecs_resources(name)
    assert "LogGroupName" not in resources["Logs"]["Properties"]
    assert resources["Task"]["Properties"]["Family"] == "AWS::StackName"
    if "Discovery" in resources:
        assert "${AWS::StackName}" in resources["Discovery"]["Properties"]["Name"]
    fixed = {"ServiceName", "GroupName", "TableName", "RoleName"}
    assert not any(fixed & resource["Properties"].keys() for resource in resources.values())
    assert resources["Service"]["Properties"]["DeploymentConfiguration"]["DeploymentCircuitBreaker"] == {
        "Enable": True, "Rollback": True}


def test_the_daemon_runs_once_on_each_instance_as_the_sidecar_runs_in_its_task():
    resources = ecs_resources("daemon.yaml")
    service, task = resources["Service"]["Properties"], resources["Task"]["Properties"]
    assert service["SchedulingStrategy"] == "DAEMON" and service["LaunchType"] == "EC2" and "DesiredCount" not in service
    # Two of them cannot have one port of the instance.
    assert service["DeploymentConfiguration"]["MaximumPercent"] == 100
    (daemon,) = task["ContainerDefinitions"]
    sidecar = ecs_exporters()[0]
    assert {"Name": "IMDS_EXPORTER_WORKLOAD", "Value": "independent"} in daemon["Environment"]
    for key in ("User", "ReadonlyRootFilesystem", "LinuxParameters", "HealthCheck", "Cpu", "Memory", "MemoryReservation"):
        assert daemon[key] == sidecar[key], key
    assert daemon["PortMappings"][0]["HostPort"] == reference.default_port()
    # The same tag, by which Prometheus finds the tasks.
    assert task["Tags"] == ecs_task()["Tags"] and service["PropagateTags"] == "TASK_DEFINITION"


def test_the_ecs_service_runs_the_task_where_prometheus_reaches_it():
    resources = ecs_resources()
    task, service, group = (resources[name]["Properties"] for name in ("Task", "Service", "SecurityGroup"))
    assert (task["NetworkMode"], service["LaunchType"], service["TaskDefinition"]) == ("awsvpc", "EC2", "Task")
    assert "TaskRoleArn" not in task
    assert service["NetworkConfiguration"]["AwsvpcConfiguration"]["SecurityGroups"] == ["SecurityGroup"]
    (ingress,) = group["SecurityGroupIngress"]
    port = reference.default_port()
    assert (ingress["FromPort"], ingress["ToPort"]) == (port, port)
    # From the security group of Prometheus alone.
    assert ingress["SourceSecurityGroupId"] == "PrometheusSecurityGroupId" and "CidrIp" not in ingress


def test_prometheus_finds_the_tasks_of_ecs():
    """By the tag of the task, which the service hands on. The labels are those of Prometheus' own discovery."""
    (job,) = yaml.safe_load(ECS_PROMETHEUS.read_text())["scrape_configs"]
    (discovery,) = job["aws_sd_configs"]
    assert (job["job_name"], discovery["role"], discovery["port"]) == ("imds-exporter", "ecs", reference.default_port())
    keep = next(relabel for relabel in job["relabel_configs"] if relabel.get("action") == "keep")
    resources = ecs_resources()
    (tag,) = resources["Task"]["Properties"]["Tags"]
    assert keep["source_labels"] == ["__meta_ecs_tag_task_" + tag["Key"].replace("-", "_")] and keep["regex"] == tag["Value"]
    assert resources["Service"]["Properties"]["PropagateTags"] == "TASK_DEFINITION"


def test_prometheus_accepts_the_discovery_of_ecs_by_dns(tmp_path):
    """The second job, with its comment signs removed."""
    head, alternative = ECS_PROMETHEUS.read_text().split("  # - job_name", 1)
    lines = ("  # - job_name" + alternative).splitlines()
    config = tmp_path / "prometheus.yml"
    config.write_text("scrape_configs:\n" + "\n".join(line.replace("  # ", "  ", 1) for line in lines) + "\n")
    run(tool("promtool"), "check", "config", config)
    (job,) = yaml.safe_load(config.read_text())["scrape_configs"]
    (discovery,) = job["dns_sd_configs"]
    assert (job["job_name"], discovery["type"], discovery["port"]) == ("imds-exporter", "A", reference.default_port())
    name = ecs_resources()["Discovery"]["Properties"]["Name"]
    assert discovery["names"][0].split(".")[0] == name.replace("${AWS::StackName}", "workload")


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
    volumes = [volume for service in compose_services().values() for volume in service.get("volumes", [])]
    mounted = [volume.split(":")[0] for volume in volumes if volume.startswith(".")]
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
