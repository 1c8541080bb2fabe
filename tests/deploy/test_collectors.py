"""The configurations of other collectors, each given to what its program parses it with, as far as that can be had."""

import json
import re

import pytest
import yaml

from helpers.commands import complete, run
from helpers.paths import DEPLOY, tool
from helpers.prometheus import PROMTOOLS
from helpers.reference import metrics

FOLDER = DEPLOY / "collectors"
VMAGENT = FOLDER / "vmagent.yaml"
ALLOY = (FOLDER / "alloy.alloy").read_text()


def test_vmagent_accepts_its_configuration():
    done = complete(tool("vmagent"), f"-promscrape.config={VMAGENT}", "-promscrape.config.strictParse", "-dryRun")
    assert done.returncode == 0, done.stderr


def test_prometheus_accepts_what_the_cloudwatch_agent_reads():
    run(PROMTOOLS["3"], "check", "config", VMAGENT)


def test_the_collector_of_opentelemetry_scrapes_as_prometheus_does(tmp_path):
    """Its receiver hands this part to Prometheus' own parser. A dollar sign would be doubled."""
    text = (FOLDER / "otel-collector.yaml").read_text()
    config = yaml.safe_load(text)
    assert "$" not in re.sub("#.*", "", text)
    (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump(config["receivers"]["prometheus"]["config"]))
    run(PROMTOOLS["3"], "check", "config", tmp_path / "prometheus.yaml")
    (pipeline,) = config["service"]["pipelines"].values()
    assert set(pipeline["receivers"]) == set(config["receivers"]) and set(pipeline["exporters"]) == set(config["exporters"])


def components():
    """The components in Alloy's configuration, by name and label."""
    return {f"{block['name']}.{block['label']}": block for block in json.loads(run(tool("alloy-syntax"), input=ALLOY))}


def test_alloy_parses_and_evaluates_its_configuration():
    """The syntax and the references between components alone: Alloy's parser knows no component, and no name of an attribute."""
    found = components()
    assert list(found) == ["discovery.kubernetes.pods", "discovery.relabel.imds_exporter", "prometheus.scrape.imds_exporter",
                           "prometheus.remote_write.store"]
    scrape = found["prometheus.scrape.imds_exporter"]["attributes"]
    assert scrape["targets"] == {"export": "discovery.relabel.imds_exporter.output"}
    assert scrape["forward_to"] == [{"export": "prometheus.remote_write.store.receiver"}]


@pytest.mark.parametrize("part, instead, mistake", [
    ('"drop"\n\t}', '"drop"\n', "expected }"),
    ('"15s"', "15s", "expected TERMINATOR"),
    ('"imds-metrics"', "'imds-metrics'", "illegal single-quoted string"),
    ("imds_exporter.output", "exporter.output", 'field "exporter" does not exist'),
    ("pods.targets", "pods.output", 'field "output" does not exist'),
])
def test_alloy_refuses_a_mistake(part, instead, mistake):
    assert ALLOY.count(part) == 1
    done = complete(tool("alloy-syntax"), input=ALLOY.replace(part, instead))
    assert done.returncode == 1 and mistake in done.stderr, done.stderr


def rules():
    """What each collector keeps, drops and copies."""
    (job,) = yaml.safe_load(VMAGENT.read_text())["scrape_configs"]
    otel = yaml.safe_load((FOLDER / "otel-collector.yaml").read_text())
    (other,) = otel["receivers"]["prometheus"]["config"]["scrape_configs"]
    relabel = components()["discovery.relabel.imds_exporter"]["blocks"]
    assert {block["name"] for block in relabel} == {"rule"}
    return job["relabel_configs"], other["relabel_configs"], [block["attributes"] for block in relabel]


def test_all_collectors_find_the_same_targets_with_the_same_labels():
    vmagent, otel, alloys = rules()
    assert vmagent == otel == alloys
    assert [rule["target_label"] for rule in vmagent if "target_label" in rule] == ["namespace", "pod", "node"]
    assert components()["prometheus.scrape.imds_exporter"]["attributes"]["job_name"] == "imds-exporter"


@pytest.mark.parametrize("text", ["cloudwatch-agent.json", "datadog.yaml"])
def test_the_metrics_that_are_named_exist(text):
    named = set(re.findall(r"\bimds_\w+", (FOLDER / text).read_text()))
    # Datadog's check drops the ending of a counter.
    assert len(named) >= 5 and named <= {known.removesuffix("_total") for known in metrics()} | set(metrics())


def test_the_files_that_are_json_are():
    json.loads((FOLDER / "cloudwatch-agent.json").read_text())
    (check,) = yaml.safe_load((FOLDER / "datadog.yaml").read_text()).values()
    (instance,) = json.loads(check)["openmetrics"]["instances"]
    assert instance["openmetrics_endpoint"].endswith(":10169/metrics")
