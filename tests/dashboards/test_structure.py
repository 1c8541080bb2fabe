"""The dashboards' JSON: generated, well-typed, portable, accessible, and about metrics that exist."""

import json
import pathlib
import re
import sys

import grafana
import pytest
import sample_fleet
import yaml

from helpers import alert_rules, reference, states
from helpers.commands import run
from helpers.paths import DASHBOARDS as FILES, NODE, ROOT

HERE = pathlib.Path(__file__).resolve().parent
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


def exposed_series():
    """Name to label names of every series that the exporter's metrics have."""
    series = {}
    for name, (kind, labels) in reference.metrics().items():
        if not name.startswith("imds_"):
            continue
        if kind == "histogram":
            series |= {f"{name}_bucket": labels | {"le"}, f"{name}_sum": labels, f"{name}_count": labels}
        else:
            series[name] = labels
    assert series
    return series


def test_the_committed_json_is_up_to_date():
    run(sys.executable, "-B", ROOT / "dashboards" / "generate.py", "--check")


def test_the_json_has_grafanas_types(tmp_path):
    """Against @grafana/schema and @grafana/data, with tsc --strict: unknown names are errors as well as wrong types."""
    literal = ",\n".join(f"{json.dumps(name)}: {file.read_text(encoding='utf-8')}" for name, file in zip(NAMES, FILES))
    check = tmp_path / "check.ts"
    check.write_text(f"{(HERE / 'grafana.ts').read_text(encoding='utf-8')}\n({{{literal}}}) "
                     "satisfies Record<string, Classic>;\n", encoding="utf-8")
    (tmp_path / "node_modules").symlink_to(NODE / "node_modules")
    run(NODE / "node_modules" / ".bin" / "tsc", "--noEmit", "--strict", "--skipLibCheck", "--target", "es2022",
        "--module", "esnext", "--moduleResolution", "bundler", check)


def test_every_unit_is_one_of_grafanas():
    """Against @grafana/data."""
    known = set(json.loads(run("node", HERE / "units.cjs", NODE)))
    units = {node for dashboard in DASHBOARDS for path, node in walk(dashboard) if path[-2:] == ("defaults", "unit")}
    units |= {node["value"] for dashboard in DASHBOARDS for _, node in walk(dashboard)
              if isinstance(node, dict) and node.get("id") == "unit"}
    assert units and {unit for unit in units if not unit.startswith("suffix:")} <= known


def test_they_fit_into_one_config_map():
    """`kubectl apply` writes all of it into an annotation, as JSON."""
    content = {file.name: file.read_text(encoding="utf-8") for file in FILES}
    assert len(json.dumps(content)) < 250_000


def test_every_selector_of_the_instance_dashboard_is_of_that_instance():
    """For equality, which the linter does not know: an address with brackets would be another regular expression."""
    for panel in grafana.panels(DASHBOARDS[0]).values():
        for target in panel["targets"]:
            selectors = re.findall(r"\b\w+\{([^{}]*(?:\{[^}]*\}[^{}]*)?)\}", target["expr"])
            assert selectors and all('instance="$instance"' in one or "instance=~`${instance:regex}|`" in one
                                     for one in selectors), panel["title"]


@each
def test_an_override_by_name_names_a_column(dashboard):
    seen = 0
    for panel in grafana.panels(dashboard).values():
        for override in panel["fieldConfig"]["overrides"]:
            if override["matcher"]["id"] == "byName":
                assert override["matcher"]["options"] in grafana.columns(panel), panel["title"]
                seen += 1
    assert seen


@each
def test_it_can_be_provisioned_anywhere(dashboard):
    assert dashboard["id"] is None and re.fullmatch(r"[a-z-]{8,40}", dashboard["uid"])
    # That of Grafana 9.4.
    assert dashboard["schemaVersion"] <= 37
    assert not {"__inputs", "__requires", "__elements"} & dashboard.keys()
    sources = [node for path, node in walk(dashboard) if path and path[-1] == "datasource"]
    builtin = {"type": "grafana", "uid": "-- Grafana --"}
    assert all(source in ({"type": "prometheus", "uid": "${datasource}"}, builtin) for source in sources)
    first, *others = dashboard["templating"]["list"]
    assert (first["name"], first["type"], first["query"]) == ("datasource", "datasource", "prometheus")
    assert {one["name"]: one["allValue"] for one in others if one["includeAll"]} | {"instance": ".+"} == {
        "cluster": ".*", "namespace": ".*", "job": ".+", "instance": ".+"}


@each
def test_panels_fill_the_grid_without_overlap(dashboard):
    panels = [one for panel in dashboard["panels"] for one in (panel, *panel.get("panels", ()))]
    taken = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                 for y in range(place["y"], place["y"] + place["h"])}
        assert place["x"] + place["w"] <= 24 and not taken & cells, panel["title"]
        taken |= cells
    assert len(taken) == 24 * (1 + max(y for _, y in taken))
    numbers = [panel["id"] for panel in panels]
    assert len(set(numbers)) == len(numbers)


@each
def test_panels_explain_themselves(dashboard):
    rows = [one["title"] for one in dashboard["panels"] if one["type"] == "row"]
    assert rows and all(title.endswith("?") or "," in title for title in rows)
    for panel in grafana.panels(dashboard).values():
        assert panel["title"] and panel["description"].endswith("."), panel["title"]
        defaults = panel["fieldConfig"]["defaults"]
        assert panel["type"] == "table" or "unit" in defaults or "mappings" in defaults, panel["title"]
        # A value that may be missing has a text for that case.
        assert panel["type"] != "stat" or "noValue" in defaults or "or on ()" in panel["targets"][0]["expr"]


# At 1280 pixels, without the edges of the page, in the letters of Grafana's tables.
TABLE_PIXELS, LETTER_PIXELS = 1240, 6.9


@each
def test_what_to_do_now_fits_into_its_column_on_a_small_screen(dashboard):
    seen = 0
    for title, panel in typed_panels(dashboard, "table"):
        properties = {override["matcher"]["options"]: {one["id"]: one["value"] for one in override["properties"]}
                      for override in panel["fieldConfig"]["overrides"]}
        if "What to do now" in properties:
            others = sum(one.get("custom.width", 0) for one in properties.values())
            texts = [shown["text"] for shown in properties["What to do now"]["mappings"][0]["options"].values()]
            assert max(map(len, texts)) * LETTER_PIXELS <= TABLE_PIXELS - others, title
            seen += 1
    assert seen


MANY = {"Exporters by version", "Failed polls per minute", "Machines failing by kind"}


@each
def test_colors_within_a_graph_differ(dashboard):
    for title, panel in typed_panels(dashboard, "timeseries"):
        colors = [one["value"]["fixedColor"] for override in panel["fieldConfig"]["overrides"]
                  for one in override["properties"] if one["id"] == "color"]
        assert len(set(colors)) == len(colors), title


@each
def test_colors_are_of_an_accessible_palette(dashboard):
    """That of Okabe and Ito, and gray. Only versions, whose number is unknown, have Grafana's own colors."""
    palette = {"#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#808080", "transparent"}
    fixed = {node for path, node in walk(dashboard) if path and path[-1] in ("fixedColor", "iconColor", "fill")
             or path and path[-1] == "color" and isinstance(node, str)}
    assert fixed and fixed <= palette
    for panel in grafana.panels(dashboard).values():
        modes = {node["mode"] for path, node in walk(panel) if path and path[-1] == "color" and isinstance(node, dict)}
        # Of kinds and versions there are more than colors that all can tell apart: Grafana's palette has most.
        own = {"palette-classic"} if panel["title"] in MANY else set()
        assert modes <= {"fixed", "thresholds", "scheme"} | own, panel["title"]
    assert {node["scheme"] for _, node in walk(dashboard) if isinstance(node, dict) and "scheme" in node} <= {"Viridis"}


@each
def test_a_missing_value_looks_neither_good_nor_bad(dashboard):
    """Grafana gives it the color that applies from minus infinity."""
    for panel in grafana.panels(dashboard).values():
        if panel["type"] == "stat":
            defaults = panel["fieldConfig"]["defaults"]
            assert defaults["color"] == {"mode": "thresholds"}
            assert defaults["thresholds"]["steps"][0] == {"color": "#808080", "value": None}, panel["title"]


def test_links_lead_to_the_runbook_and_to_the_other_dashboard():
    uids = {dashboard["uid"] for dashboard in DASHBOARDS}
    anchors = set(reference.kinds()) | {rule["alert"] for rule in alert_rules.EVERY_ALERT} | {"signed_call_${__value.raw}"}
    for dashboard in DASHBOARDS:
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


def test_dashboards_and_sample_fleet_use_the_exporters_metrics():
    """Every name exists, and every metric of the exporter is shown somewhere."""
    series = exposed_series()
    used = {name for dashboard in DASHBOARDS for expr in expressions(dashboard)
            for name in re.findall(r"\bimds_\w+", expr)}
    assert used <= series.keys()
    # A sum gives averages, which say less than the buckets; the remaining time is computed from the time of expiry.
    unused = {name for name in series if name.endswith("_sum")} | {
        "imds_fetch_duration_seconds_count", "imds_signed_call_duration_seconds_count", "imds_credentials_remaining_seconds",
        # For how long something has failed says more than how often.
        "imds_fetch_consecutive_failures", "imds_signed_call_failures_total",
        "imds_signed_call_last_attempt_timestamp_seconds"}
    assert series.keys() - used == unused
    # No exporter of the sample fleet has a proxy.
    del series["imds_requests_proxied"]
    sample = {name: labels for name, labels in sample_fleet.series().items() if name.startswith("imds_")}
    assert sample == {name: {labels} for name, labels in series.items()}


def test_the_dashboards_and_the_exporter_agree_why_aws_refuses_a_signed_call():
    used = {found for dashboard in DASHBOARDS for expr in expressions(dashboard)
            for found in re.findall(r'reason[=!]~"([^"]+)"', expr)}
    reasons, = used
    listed = re.findall(r"^\| \[`(\w+)`\]\([^)]*#signed_call_\w+\) \| (.+?) \|",
                        reference.FILE.read_text(encoding="utf-8"), re.M)
    assert set(reasons.split("|")) == {reason for reason, of in listed if of == "AWS refuses"}


def test_a_real_exporter_exposes_the_series_of_the_sample_fleet():
    """In the states with the most series."""
    exposed = ""
    for state in (states.stuck, states.failing, states.fallback, states.shadowed):
        with state() as exporter:
            exposed += exporter.get("/metrics")
    # Prometheus and its rules make the first five; the others take a configured role or signed calls, which no state has.
    elsewhere = {"up", "scrape_duration_seconds", "ALERTS", "ALERTS_FOR_STATE", "imds:exporter:up", "imds_role_expected"}
    for name in sample_fleet.series().keys() - elsewhere:
        if name.startswith(("imds_signed_call", "boto3_")):
            continue
        found = {frozenset(re.findall(r'(\w+)="', labels))
                 for labels in re.findall(rf"^{name}(?:{{(.*)}})? ", exposed, re.M)}
        assert found == sample_fleet.series()[name], name


def test_the_sample_fleet_has_existing_alerts():
    firing = {labels["alertname"] for at in (sample_fleet.END, sample_fleet.OUTAGE[0] + 120)
              for labels, _ in sample_fleet.alerts(at)}
    assert firing <= alert_rules.NAMES


def test_the_provisioning_files_match_the_dashboards():
    folder = ROOT / "dashboards" / "provisioning"
    provider, = yaml.safe_load((folder / "dashboards" / "imds-exporter.yaml").read_text(encoding="utf-8"))["providers"]
    assert provider["type"] == "file" and provider["options"]["path"].startswith("/")
    source, = yaml.safe_load((folder / "datasources" / "prometheus.yaml").read_text(encoding="utf-8"))["datasources"]
    assert source["type"] == "prometheus" and source["jsonData"]["timeInterval"]


# What Grafana draws wrongly, in one or another of its versions. Each rule yields what breaks it.

def timelines_that_show_thresholds(dashboard):
    """With the color mode `thresholds`, merged values show the thresholds' names in place of the mapped texts."""
    for title, panel in typed_panels(dashboard, "state-timeline"):
        if panel["fieldConfig"]["defaults"]["color"]["mode"] != "fixed":
            yield title


def tables_with_a_unit_for_text(dashboard):
    """A default unit makes numbers and dates of text columns."""
    for title, panel in typed_panels(dashboard, "table"):
        if {"unit", "decimals", "noValue"} & panel["fieldConfig"]["defaults"].keys():
            yield title


def names_that_may_be_missing(dashboard):
    """The text mode `name` does not show `noValue`: the tile is empty."""
    for title, panel in typed_panels(dashboard, "stat"):
        if panel["options"]["textMode"] == "name" and (
                "noValue" in panel["fieldConfig"]["defaults"] or "or on () label_replace(vector(0)"
                not in panel["targets"][0]["expr"]):
            yield title


def annotations_that_never_show(dashboard):
    """Before 12.1 the expression stands beside the target; values of 0 and below are left out; a filter `== 0` has no
    others."""
    for one in dashboard["annotations"]["list"]:
        if not one.get("builtIn"):
            forms = one.get("expr"), one["target"]["expr"]
            if not all(forms) or not one.get("step") or not one["useValueForTime"] and any(
                    re.search(r"== 0\W*$", form) for form in forms):
                yield one["name"]


def links_that_narrow_or_widen(dashboard):
    """The other dashboard's `instance` is not this one's: one of them is about all instances."""
    for path, node in walk(dashboard):
        if isinstance(node, dict) and str(node.get("url", "")).startswith("/d/"):
            of_a_row = "var-instance=${__value.raw}" in node["url"]
            if node.get("includeVars") or "${instance" in node["url"] or "${datasource:queryparam}" not in node["url"]:
                yield node["title"]
            if not of_a_row and "var-instance" in node["url"]:
                yield node["title"]


def several_instances_where_one_is_meant(dashboard):
    """Tiles of several instances are unnamed."""
    one = next(one for one in dashboard["templating"]["list"] if one["name"] == "instance")
    if dashboard["uid"].endswith("-instance") and (one["multi"] or one["includeAll"]):
        yield "instance"


def another_data_source_than_the_default(dashboard):
    """Without a current value Grafana takes the first one in the order of their names."""
    first = dashboard["templating"]["list"][0]
    if first.get("current", {}).get("value") != "default":
        yield first["name"]


def values_that_are_off_screen(dashboard):
    """A table's first column names the row, the second one has the value."""
    for title, panel in typed_panels(dashboard, "table"):
        columns = list(panel["transformations"][-1]["options"]["renameByName"])
        if columns[0].startswith("Value") or not columns[1].startswith("Value"):
            yield title


def colors_that_change(dashboard):
    """Shades depend on the place of a series among the others."""
    for title, panel in grafana.panels(dashboard).items():
        if any(node == "shades" for _, node in walk(panel["fieldConfig"])):
            yield title[1]


def cells_that_some_version_does_not_color(dashboard):
    """Grafana 9.4 has another name for it."""
    for title, panel in typed_panels(dashboard, "table"):
        for override in panel["fieldConfig"]["overrides"]:
            properties = {one["id"] for one in override["properties"]}
            if ("custom.cellOptions" in properties) != ("custom.displayMode" in properties):
                yield title


def tiles_that_look_switched_off(dashboard):
    """A tile that is filled, but knows no color other than gray."""
    for title, panel in typed_panels(dashboard, "stat"):
        defaults = panel["fieldConfig"]["defaults"]
        colors = {node["color"] for _, node in walk(defaults) if isinstance(node, dict) and isinstance(node.get("color"), str)}
        if panel["options"]["colorMode"] not in ("none", "background") or (
                panel["options"]["colorMode"] == "background" and colors <= {"#808080"}):
            yield title


def counts_that_are_not_whole(dashboard):
    """`short` writes 4 K for 4321, and an axis without values goes from 0 to 100 or has halves."""
    for (kind, title), panel in grafana.panels(dashboard).items():
        defaults = panel["fieldConfig"]["defaults"]
        if kind != "heatmap" and any(node == "short" for _, node in walk(panel["fieldConfig"])):
            yield title
        if kind == "timeseries" and defaults["unit"] == "none" and defaults.get("decimals") == 0 and (
                "axisSoftMax" not in defaults["custom"]):
            yield title


def legends_that_repeat_the_instance(dashboard):
    for (_, title), panel in grafana.panels(dashboard).items():
        if any("instance" in target["legendFormat"] for target in panel["targets"]):
            yield title


def panels_that_are_empty_giants_or_unnamed(dashboard):
    """A bar gauge has no name for a single bar, and shows an empty bar where there is none."""
    return (title for title, _ in typed_panels(dashboard, "bargauge"))


def switches_that_fill_a_second_line(dashboard):
    shown = [one["name"] for one in dashboard["annotations"]["list"] if not one["hide"]]
    return shown if len(shown) > 2 else ()


def typed_panels(dashboard, kind):
    return [(title, panel) for (found, title), panel in grafana.panels(dashboard).items() if found == kind]


RULES = [
    timelines_that_show_thresholds, tables_with_a_unit_for_text, names_that_may_be_missing, annotations_that_never_show,
    links_that_narrow_or_widen, several_instances_where_one_is_meant, another_data_source_than_the_default, values_that_are_off_screen,
    colors_that_change, cells_that_some_version_does_not_color, tiles_that_look_switched_off, counts_that_are_not_whole,
    legends_that_repeat_the_instance, panels_that_are_empty_giants_or_unnamed, switches_that_fill_a_second_line]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_grafana_draws_it_as_it_is_meant(rule):
    assert not [broken for dashboard in DASHBOARDS for broken in rule(dashboard)]
