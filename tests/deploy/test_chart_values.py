"""Every value of the chart, once right and at least once wrong; and what several values make together."""

import concurrent.futures
import json
import os
import re

import kubernetes_validate
import pytest
import yaml

from chart_cases import CASES, CONFLICTS, values
from chart_documents import README, VALUES, leaves, readme, schema, values_yaml
from cluster import VERSIONS, mistakes, render
from forms import OPERATOR
from operator_schemas import operator_mistakes


@pytest.fixture(scope="module")
def rendered():
    """By path: the objects with the right value, and without it."""
    cases = [values({**case.needs, **more}) for path, case in CASES.items() for more in ({path: case.right}, {})]
    answers = iter(render(cases))
    return {path: (next(answers), next(answers)) for path in CASES}


def test_every_value_has_both_cases():
    assert [path for path in map(".".join, dict(leaves(schema()))) if path not in CASES] == []
    assert set(CASES) == set(map(".".join, dict(leaves(schema()))))
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
    others = [d for d in objects.values() if d["apiVersion"] != OPERATOR]
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


def test_the_values_in_the_readme_are_accepted():
    blocks = re.findall(r"^```yaml\n(.*?)^```", README.read_text(), re.M | re.S)
    assert len(blocks) >= 2
    for objects in render([yaml.safe_load(block) for block in blocks]):
        assert isinstance(objects, list), objects


def test_every_value_is_described():
    for path, value in leaves(schema()):
        assert value["description"].endswith((".", ")")), path
        assert "default" in value, path


def test_the_values_file_and_the_readme_are_up_to_date():
    if os.environ.get("UPDATE") == "1":
        VALUES.write_text(values_yaml())
        README.write_text(readme())
    assert VALUES.read_text() == values_yaml()
    assert README.read_text() == readme()
