"""The dashboards' JSON: current, well-typed, portable, readable by everyone, and about metrics that exist."""

import json
import pathlib
import re
import subprocess
import sys

import pytest
import stage
import story
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).resolve().parent
TOOLS = ROOT / "target" / "tools"
NODE = TOOLS / "node"
FILES = [ROOT / "dashboards" / name for name in ("imds-instance.json", "imds-fleet.json")]
DASHBOARDS = [json.loads(file.read_text(encoding="utf-8")) for file in FILES]
NAMES = [file.stem for file in FILES]
each = pytest.mark.parametrize("dashboard", DASHBOARDS, ids=NAMES)


def walk(node, path=()):
    """Every value in the document, with the keys that lead to it."""
    yield path, node
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        yield from walk(child, (*path, key))


def expressions(dashboard):
    """Every query: of panels, annotations and variables."""
    for path, node in walk(dashboard):
        if path and path[-1] == "expr" or isinstance(node, str) and node.startswith("label_values("):
            yield node


def catalogue():
    """The exporter's metrics with their labels, from their only declaration."""
    source = (ROOT / "src" / "metrics" / "catalog.rs").read_text(encoding="utf-8")
    found = re.findall(r'= "(imds_\w+)", (\w+), \[(.*?)\],', source)
    assert found
    metrics = {}
    for name, kind, labels in found:
        labels = frozenset(re.findall(r'"(\w+)"', labels))
        if kind == "Histogram":
            metrics |= {f"{name}_bucket": labels | {"le"}, f"{name}_sum": labels, f"{name}_count": labels}
        else:
            metrics[name] = labels
    return metrics


def kinds():
    """The failure kinds, from their only declaration."""
    source = (ROOT / "src" / "model" / "kind.rs").read_text(encoding="utf-8")
    return re.findall(r'= "(\w+)" \{', source)


def test_the_committed_json_is_what_the_source_says():
    subprocess.run([sys.executable, "-B", ROOT / "dashboards" / "generate.py", "--check"], check=True)


def test_grafanas_types_hold(tmp_path):
    """Against @grafana/schema, under tsc --strict: a wrong type is an error and so is a name that nobody knows."""
    literal = ",\n".join(f"{json.dumps(name)}: {file.read_text(encoding='utf-8')}" for name, file in zip(NAMES, FILES))
    check = tmp_path / "check.ts"
    check.write_text(f"{(HERE / 'grafana.ts').read_text(encoding='utf-8')}\n({{{literal}}}) "
                     "satisfies Record<string, Classic>;\n", encoding="utf-8")
    (tmp_path / "node_modules").symlink_to(NODE / "node_modules")
    done = subprocess.run(
        [NODE / "node_modules" / ".bin" / "tsc", "--noEmit", "--strict", "--skipLibCheck", "--target", "es2022",
         "--module", "esnext", "--moduleResolution", "bundler", check], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_units_are_grafanas():
    """Against @grafana/data."""
    known = set(json.loads(subprocess.run(["node", HERE / "units.cjs", NODE], check=True, capture_output=True).stdout))
    units = {node for dashboard in DASHBOARDS for path, node in walk(dashboard) if path and path[-1] == "unit"}
    units |= {node["value"] for dashboard in DASHBOARDS for _, node in walk(dashboard)
              if isinstance(node, dict) and node.get("id") == "unit"}
    assert units and units <= known


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_dashboard_linter(file):
    done = subprocess.run([TOOLS / "go" / "bin" / "dashboard-linter", "lint", "--strict", file], capture_output=True,
                          text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@each
def test_it_can_be_provisioned_anywhere(dashboard):
    assert dashboard["id"] is None and re.fullmatch(r"[a-z-]{8,40}", dashboard["uid"])
    assert dashboard["schemaVersion"] <= 41
    assert not {"__inputs", "__requires", "__elements"} & dashboard.keys()
    sources = [node for path, node in walk(dashboard) if path and path[-1] == "datasource"]
    builtin = {"type": "grafana", "uid": "-- Grafana --"}
    assert all(source in ({"type": "prometheus", "uid": "${datasource}"}, builtin) for source in sources)
    first, *others = dashboard["templating"]["list"]
    assert (first["name"], first["type"], first["query"]) == ("datasource", "datasource", "prometheus")
    assert {one["name"]: one["allValue"] for one in others} == {
        "cluster": ".*", "namespace": ".*", "job": ".+", "instance": ".+"}


@each
def test_panels_have_places_of_their_own(dashboard):
    taken = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                 for y in range(place["y"], place["y"] + place["h"])}
        assert place["x"] + place["w"] <= 24 and not taken & cells, panel["title"]
        taken |= cells
    # Nor is a place left empty.
    assert len(taken) == 24 * (1 + max(y for _, y in taken))
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(numbers)) == len(numbers)


@each
def test_panels_explain_themselves(dashboard):
    for panel in dashboard["panels"]:
        assert panel["title"]
        if panel["type"] == "row":
            assert panel["title"].endswith("?") or "," in panel["title"]
            continue
        assert panel["description"].endswith(".")
        defaults = panel["fieldConfig"]["defaults"]
        assert "unit" in defaults or "mappings" in defaults, panel["title"]
        # A figure that may be missing says what that means.
        assert panel["type"] != "stat" or "noValue" in defaults or "increase(" in panel["targets"][0]["expr"]


@each
def test_colours_are_of_a_palette_for_everyone(dashboard):
    """Okabe and Ito's, and grey; and no mode that brings Grafana's own."""
    palette = {"#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#808080", "transparent"}
    fixed = {node for path, node in walk(dashboard) if path and path[-1] in ("fixedColor", "iconColor", "fill")
             or path and path[-1] == "color" and isinstance(node, str)}
    assert fixed and fixed <= palette
    modes = {node["mode"] for path, node in walk(dashboard) if path and path[-1] == "color" and isinstance(node, dict)}
    assert modes <= {"fixed", "shades", "thresholds", "scheme"}
    assert {node["scheme"] for _, node in walk(dashboard) if isinstance(node, dict) and "scheme" in node} <= {"Viridis"}


@each
def test_a_figure_that_is_missing_looks_neither_good_nor_bad(dashboard):
    """Grafana paints it in the colour that holds from minus infinity on."""
    for panel in dashboard["panels"]:
        if panel["type"] in ("stat", "bargauge"):
            defaults = panel["fieldConfig"]["defaults"]
            assert defaults["color"] == {"mode": "thresholds"}
            assert defaults["thresholds"]["steps"][0] == {"color": "#808080", "value": None}, panel["title"]


@each
def test_every_kind_of_failure_has_a_colour(dashboard):
    for panel in dashboard["panels"]:
        if panel.get("title") in ("Failed polls by kind", "Failing by kind"):
            patterns = [one["matcher"]["options"].strip("/") for one in panel["fieldConfig"]["overrides"]]
            for kind in kinds():
                assert sum(bool(re.search(pattern, kind)) for pattern in patterns) == 1, kind


def alerts():
    """The names of the alerts."""
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "imds-alerts.yaml").read_text(encoding="utf-8"))
    return {rule["alert"] for group in rules["groups"] for rule in group["rules"] if "alert" in rule}


def test_links_lead_to_the_runbook_and_to_each_other():
    uids = {dashboard["uid"] for dashboard in DASHBOARDS}
    for dashboard in DASHBOARDS:
        anchors = set(kinds()) | alerts()
        urls = [node for path, node in walk(dashboard) if path and path[-1] == "url"]
        assert any("/runbook" in url for url in urls)
        for url in urls:
            if url.startswith("/d/"):
                assert re.match(r"/d/([a-z-]+)", url)[1] in uids
            else:
                anchor = re.fullmatch(r"http://\$\{[\w.]+\}/(?:runbook(?:#(.+))?)?", url)
                assert anchor, url
                assert anchor[1] is None or anchor[1].startswith("${") or anchor[1] in anchors, url
        assert {re.match(r"/d/([a-z-]+)", url)[1] for url in urls if url.startswith("/d/")} == uids - {dashboard["uid"]}


def test_dashboards_and_story_know_the_exporters_metrics():
    """Every name exists, and each metric of the exporter is shown somewhere."""
    metrics = catalogue()
    used = {name for dashboard in DASHBOARDS for expr in expressions(dashboard)
            for name in re.findall(r"\bimds_\w+", expr)}
    assert used <= metrics.keys()
    # A histogram's sum is for averages, which hide what its buckets tell; the remainder is computed from the instant.
    unused = {name for name in metrics if name.endswith("_sum")} | {
        "imds_fetch_duration_seconds_count", "imds_credentials_remaining_seconds"}
    assert metrics.keys() - used == unused
    told = {name: labels for name, labels in story.series().items() if name.startswith("imds_")}
    assert told == {name: {labels} for name, labels in metrics.items()}



def test_an_exporter_exposes_what_the_story_tells(tmp_path):
    """A real one, in the states that bring forth the most."""
    exposed = ""
    for state in (stage.stuck, stage.failing):
        with state(tmp_path / state.__name__) as exporter:
            exposed += exporter.get("/metrics").decode()
    # These take what no state here has: a configured role.
    for name in story.series().keys() - {"up", "scrape_duration_seconds", "ALERTS", "imds_role_expected"}:
        found = {frozenset(re.findall(r'(\w+)="', labels))
                 for labels in re.findall(rf"^{name}(?:{{(.*)}})? ", exposed, re.M)}
        assert found == story.series()[name], name


def test_the_story_speaks_of_kinds_and_alerts_that_exist():
    assert set(story.KINDS) <= set(kinds())
    assert {labels["alertname"] for at in (story.END, story.OUTAGE[0] + 120) for labels in story.alerts(at)} <= alerts()


def test_provisioning_names_what_is_there():
    folder = ROOT / "dashboards" / "provisioning"
    provider, = yaml.safe_load((folder / "dashboards" / "imds-exporter.yaml").read_text(encoding="utf-8"))["providers"]
    assert provider["type"] == "file" and provider["options"]["path"].startswith("/")
    source, = yaml.safe_load((folder / "datasources" / "prometheus.yaml").read_text(encoding="utf-8"))["datasources"]
    assert source["type"] == "prometheus" and source["jsonData"]["timeInterval"]
