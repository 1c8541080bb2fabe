"""Every value of the chart, once right and at least once wrong; and what several values make together."""

import concurrent.futures
import json
import re
import shutil

import kubernetes_validate
import pytest
import yaml

from chart_cases import CASES, CONFLICTS, HABITS, values
from cluster import VERSIONS, find, mistakes, render
from forms import CHART, KUBERNETES_APIS, OPERATOR, generate
from operator_schemas import operator_mistakes


@pytest.fixture(scope="module")
def rendered():
    """By path: the objects with the right value, and without it."""
    cases = [
        values(by_path)
        for path, case in CASES.items()
        for by_path in ({**case.needs, path: case.right}, case.needs if case.before is None else case.before)
    ]
    answers = iter(render(cases))
    return {path: (next(answers), next(answers)) for path in CASES}


def test_every_value_has_both_cases():
    assert set(CASES) == set(map(".".join, dict(generate.leaves(generate.schema()))))
    assert len(CASES) >= 120
    assert all(case.wrong for case in CASES.values())


@pytest.mark.parametrize("path", CASES)
def test_a_right_value_renders_and_has_an_effect(rendered, path):
    with_value, without = rendered[path]
    assert isinstance(with_value, list), with_value
    assert isinstance(without, list), without
    # A parent chart reads it.
    assert (with_value != without) == (path != "enabled")


def test_what_the_right_values_render_is_valid(rendered):
    objects = {json.dumps(document, sort_keys=True): document for pair in rendered.values() for document in pair[0]}
    of_the_operator = [d for d in objects.values() if d["apiVersion"] == OPERATOR]
    others = [d for d in objects.values() if d["apiVersion"] in KUBERNETES_APIS]
    (board,) = {d["apiVersion"] for d in objects.values()} - {OPERATOR, *KUBERNETES_APIS}
    assert board.startswith("grafana.integreatly.org/")
    assert len(of_the_operator) > 30 and len(others) > 100
    assert operator_mistakes(of_the_operator) == []
    assert [(mistake, d["metadata"]) for d, mistake in zip(others, mistakes(others)) if mistake] == []
    with concurrent.futures.ProcessPoolExecutor() as pool:
        assert list(pool.map(_schema_mistakes, [others] * len(VERSIONS), VERSIONS)) == [[]] * len(VERSIONS)


def _schema_mistakes(documents, version):
    mistakes = []
    for document in documents:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as mistake:
            mistakes.append(f"{version}: {document['kind']}: {mistake}")
    return mistakes


WRONG = [(path, wrong) for path, case in CASES.items() for wrong in case.wrong]


@pytest.fixture(scope="module")
def refusals():
    # What the right value needs is right, so that only the wrong value can be refused.
    return render([values({**CASES[path].needs, path: wrong}) for path, wrong in WRONG])


@pytest.mark.parametrize("number", range(len(WRONG)), ids=[f"{path}={json.dumps(wrong)}" for path, wrong in WRONG])
def test_a_wrong_value_is_refused_by_name(refusals, number):
    (path, wrong), error = WRONG[number], refusals[number]
    assert isinstance(error, str), f"{path}: {wrong!r} is accepted"
    assert path in error.replace("/", "."), error


@pytest.fixture(scope="module")
def conflicts():
    return dict(zip(CONFLICTS, render([values(by_path) for by_path, _ in CONFLICTS.values()])))


@pytest.mark.parametrize("name", CONFLICTS)
def test_values_that_are_wrong_together_are_refused_by_name(conflicts, name):
    _, expected = CONFLICTS[name]
    if expected is None:
        assert isinstance(conflicts[name], list), conflicts[name]
    else:
        assert isinstance(conflicts[name], str) and expected in conflicts[name], conflicts[name]


@pytest.fixture(scope="module")
def habits():
    return dict(zip(HABITS, render([values for values, _ in HABITS.values()])))


@pytest.mark.parametrize("name", HABITS)
def test_what_is_written_by_habit_is_refused_by_name_or_taken_by_kubernetes(habits, name):
    _, refused = HABITS[name]
    if refused:
        assert isinstance(habits[name], str) and refused in habits[name].replace("/", "."), habits[name]
    else:
        assert isinstance(habits[name], list), habits[name]
        objects = [document for document in habits[name] if document["apiVersion"] in KUBERNETES_APIS]
        assert [mistake for mistake in mistakes(objects) if mistake] == []


NULLS = [path for path, value in generate.leaves(generate.schema())]
GROUPS = sorted({path[:length] for path in NULLS for length in range(1, len(path))})


def test_every_value_and_every_group_of_values_can_be_null():
    """A list or a map becomes empty, everything else has its default. Each is null where it has an effect."""
    optional = ["podMonitor", "serviceMonitor", "prometheusRule", "dashboards", "service"]
    paths = [".".join(path) for path in [*NULLS, *GROUPS]]
    cases = [
        values({**{f"{part}.enabled": True for part in optional if path.startswith(f"{part}.") and path != f"{part}.enabled"}, path: None})
        for path in paths
    ]
    for path, objects in zip(paths, render(cases), strict=True):
        assert isinstance(objects, list), f"{path}: {objects}"
        assert [one for one in objects if one["kind"] == "DaemonSet"], path


def test_null_removes_a_default():
    cases = [{"resources": {"limits": None}}, {"tolerations": None}, {"podSecurityContext": {"runAsUser": None}}, {"resources": None}]
    limits, tolerations, user, resources = (
        find(objects, "DaemonSet")["spec"]["template"]["spec"] for objects in render(cases))
    assert limits["containers"][0]["resources"] == {"requests": {"cpu": "5m", "memory": "8Mi"}}
    assert "tolerations" not in tolerations
    assert "runAsUser" not in user["securityContext"] and user["securityContext"]["runAsNonRoot"] is True
    assert "resources" not in resources["containers"][0]


def test_a_new_version_of_the_chart_alone_restarts_no_pod(tmp_path):
    shutil.copytree(CHART, tmp_path / "chart")
    manifest = tmp_path / "chart" / "Chart.yaml"
    manifest.write_text(re.sub("^version: .*$", "version: 99.0.0", manifest.read_text(), flags=re.M))
    before, after = (render([{}], chart) for chart in (CHART, tmp_path / "chart"))
    assert before != after
    assert find(before[0], "DaemonSet")["spec"] == find(after[0], "DaemonSet")["spec"]


def test_the_values_in_the_readme_are_accepted():
    blocks = re.findall(r"^```yaml\n(.*?)^```", generate.README.read_text(), re.M | re.S)
    assert len(blocks) >= 2
    for objects in render([yaml.safe_load(block) for block in blocks]):
        assert isinstance(objects, list), objects


def test_every_value_is_described():
    for path, value in generate.leaves(generate.schema()):
        assert value["description"].endswith((".", ")")), path
        assert "default" in value, path
