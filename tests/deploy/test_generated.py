"""What is made from other files is up to date, and the chart is whole however it is fetched."""

import shutil

import pytest
import yaml

from forms import CHART, KUBERNETES, generate

from helpers.alert_rules import GROUPS, KUBERNETES_GROUPS
from helpers.commands import complete, run
from helpers.paths import DASHBOARDS, ROOT, tool

EVERYTHING = ["--set", "prometheusRule.enabled=true,prometheusRule.kubernetes.enabled=true,dashboards.enabled=true"]


@pytest.mark.parametrize("path", generate.generated(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_generated_file_is_up_to_date(path):
    assert path.read_text() == generate.generated()[path], "run target/tools/python/bin/python deploy/generate.py"


def test_the_repository_has_no_links():
    """source-controller drops links, a clone on Windows turns them into texts, and Helm warns of each."""
    assert [line for line in run("git", "ls-files", "--stage", cwd=ROOT).splitlines() if line.startswith("120000")] == []


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The chart, packaged from a copy of it alone that has no links, as Flux and Argo CD fetch it."""
    folder = tmp_path_factory.mktemp("fetched")
    for path in CHART.rglob("*"):
        if path.is_file() and not path.is_symlink():
            to = folder / CHART.name / path.relative_to(CHART)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, to)
    done = complete(tool("helm"), "package", folder / CHART.name, "--destination", folder)
    assert (done.returncode, done.stderr) == (0, "")
    (package,) = folder.glob("*.tgz")
    return package


def test_the_packaged_chart_has_all_rules_and_dashboards(package):
    text = run(tool("helm"), "template", "release", package, "--kube-version", KUBERNETES, *EVERYTHING)
    objects = [document for document in yaml.load_all(text, yaml.CSafeLoader) if document]
    (rule,) = (document for document in objects if document["kind"] == "PrometheusRule")
    assert rule["spec"]["groups"][: len(GROUPS)] == GROUPS
    assert [group["name"] for group in rule["spec"]["groups"]] == [group["name"] for group in [*GROUPS, *KUBERNETES_GROUPS]]
    boards = {}
    for document in objects:
        if document["kind"] == "ConfigMap":
            assert len(document["data"]) == 1
            boards.update(document["data"])
    assert {name: text.strip() for name, text in boards.items()} == {path.name: path.read_text().strip() for path in DASHBOARDS}


def test_the_packaged_chart_has_no_values_of_the_tests(package):
    assert not any("/ci/" in name for name in run("tar", "--list", "--file", package).splitlines())


@pytest.mark.parametrize("name", ["imds-alerts.yaml", "imds-kubernetes.yaml", "imds-fleet.json", "imds-instance.json", "thresholds.json"])
def test_a_chart_without_a_file_or_with_an_empty_one_installs_nothing(tmp_path, name):
    shutil.copytree(CHART, tmp_path / "chart")
    file = tmp_path / "chart" / "files" / name
    for break_it in (lambda: file.write_text("\n"), file.unlink):
        break_it()
        done = complete(tool("helm"), "template", "release", tmp_path / "chart", "--kube-version", KUBERNETES, *EVERYTHING)
        assert done.returncode != 0 and f"files/{name} is missing" in done.stderr
