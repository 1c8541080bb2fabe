"""Building blocks of the dashboards: selectors, panels, variables, links.

Owns what all panels have in common. Must not know which panel answers which question. The result is Grafana's classic
JSON model, which Grafana 10 and later and file provisioning can read.
"""

SCHEMA_VERSION = 39
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
TAG = "imds-exporter"
INSTANCE_UID = "imds-exporter-instance"
FLEET_UID = "imds-exporter-fleet"

# The palette of Okabe and Ito, which is distinguishable with the common kinds of color blindness. Blue is good,
# vermilion is bad.
GOOD, WARN, BAD, NEUTRAL = "#0072B2", "#E69F00", "#D55E00", "#808080"
SERIES = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442"]

# The kinds of failure in groups, as regular expressions on their names, each with a color.
KINDS = {
    "^(connect_|network_|read_timeout|connection_|hop_limit)": SERIES[0],
    "^(token_|unauthorized|imds_disabled|forbidden|disabled_by)": SERIES[1],
    "^(no_role|profile_|role_|assume_|refused)": SERIES[2],
    "^(malformed|incomplete|invalid_|intercepted)": SERIES[3],
    "^(throttled|server_error|unexpected_)": SERIES[5],
}
STEPS = {"token": SERIES[0], "role": SERIES[1], "credentials": SERIES[2]}

# Below this time to expiry, botocore refuses to sign if it cannot refresh.
SDK_REFUSES_BELOW = 900

TARGET = 'job=~"$job", instance=~"$instance", cluster=~"$cluster", namespace=~"$namespace"'


def selector(metric, labels=""):
    """A selector: the metric of the selected targets."""
    return f"{metric}{{{labels + ', ' if labels else ''}{TARGET}}}"


def rate(metric, labels="", function="rate"):
    """The rate or the increase of a counter."""
    return f"{function}({selector(metric, labels)}[$__rate_interval])"


def quantile(q, metric, by):
    """A quantile of a classic histogram."""
    return f"histogram_quantile({q}, sum by (le, {by}) ({rate(metric + '_bucket')}))"


def slower_than_1_s():
    """The share of requests, by step, that took more than 1 s. `le` is 1 on the wire and 1.0 in Prometheus 3."""
    return f"""
        1 - sum by (step) ({rate('imds_request_duration_seconds_bucket', 'le=~"1([.]0)?"')})
          / sum by (step) ({rate('imds_request_duration_seconds_count')})
    """


def time_to_expiry():
    """Time to expiry; negative once past."""
    return f"{selector('imds_credentials_expiration_timestamp_seconds')} - time()"


def clients_stuck():
    """1 if a client that is created now has credentials and one created when the declared workload started does not, else
    0; nothing where no workload is declared."""
    return f"""
        (1 - max without (created) ({selector('imds_client_usable', 'created="at_start"')}))
        * min without (created) ({selector('imds_client_usable', 'created="now"')})
    """


def query(expr, legend="", *, instant=False, format="time_series"):
    """One query of a panel; the panel sets its refId."""
    return {
        "datasource": DATASOURCE,
        "editorMode": "code",
        "expr": " ".join(expr.split()),
        "format": format,
        "instant": instant,
        "range": not instant,
        "legendFormat": legend,
    }


def instant_query(expr, legend=""):
    """A query for the value at the end of the selected time range."""
    return query(expr, legend, instant=True)


def table_query(expr):
    """The same, as rows of a table."""
    return query(expr, instant=True, format="table")


def threshold_steps(*pairs):
    """Thresholds as (value, color): the first color applies from minus infinity, each other one from its value."""
    return {"mode": "absolute", "steps": [{"color": color, "value": value} for value, color in pairs]}


def stat_thresholds(*pairs):
    """Thresholds of single values. Without a value, Grafana uses the first color: it is neither good nor bad."""
    return threshold_steps((None, NEUTRAL), *pairs)


LOWEST = -1e9
EXPIRY_LEVELS = stat_thresholds((LOWEST, BAD), (SDK_REFUSES_BELOW, WARN), (2 * SDK_REFUSES_BELOW, GOOD))
SKEW_LEVELS = stat_thresholds((LOWEST, BAD), (-300, WARN), (-60, GOOD), (60, WARN), (300, BAD))


def value_mappings(mapping):
    """Value mappings: {value: (text, color)} or {value: text}."""
    options = {}
    for index, (value, shown) in enumerate(mapping.items()):
        text, color = (shown, None) if isinstance(shown, str) else shown
        options[str(value)] = {"index": index, "text": text} | ({"color": color} if color else {})
    return [{"type": "value", "options": options}]


def override(name, **properties):
    """An override for one field, by its name in the panel."""
    return {
        "matcher": {"id": "byName", "options": name},
        "properties": [{"id": key.replace("__", "."), "value": value} for key, value in properties.items()],
    }


def runbook_link(instance="${__field.labels.instance}", anchor="", title="Runbook"):
    """A link to the runbook that the exporter itself serves."""
    return {"title": title, "url": f"http://{instance}/runbook{'#' + anchor if anchor else ''}", "targetBlank": True}


def panel(kind, title, description, queries, *, width, height, unit=None, thresholds=None, mappings=None, links=(),
          overrides=(), options=None, custom=None, no_value=None, color=None, transformations=(), **defaults):
    """A panel without a position, which `layout` sets."""
    field = {
        "color": color or {"mode": "thresholds"},
        "thresholds": thresholds or stat_thresholds(),
        "links": list(links),
        "custom": custom or {},
    } | defaults
    if mappings:
        field["mappings"] = mappings
    if unit:
        field["unit"] = unit
    if no_value is not None:
        field["noValue"] = no_value
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "gridPos": {"w": width, "h": height},
        "fieldConfig": {"defaults": field, "overrides": list(overrides)},
        "options": options or {},
        "targets": [q | {"refId": chr(ord("A") + n)} for n, q in enumerate(queries)],
        "transformations": list(transformations),
    }


def stat(title, description, expr, legend="", *, width=4, height=4, text="value", background=True, **rest):
    """A single value. `text` is Grafana's textMode."""
    options = {
        "colorMode": "background" if background else "value",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "textMode": text,
        "wideLayout": True,
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    }
    return panel("stat", title, description, [instant_query(expr, legend)], width=width, height=height, options=options,
                 **rest)


def graph(title, description, queries, *, width=12, height=8, unit, stack=False, bars=False, line_at=None, colors=None,
          fill=0, **rest):
    """Lines over time. `line_at` draws a threshold line; values above it are bad, unless `thresholds` says otherwise.
    `colors` sets the color of series by a regular expression on their names."""
    custom = {
        "drawStyle": "bars" if bars else "line",
        "lineInterpolation": "linear",
        "lineWidth": 1 if bars else 2,
        "fillOpacity": 70 if bars else 40 if stack else fill,
        "pointSize": 4,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"mode": "normal" if stack else "none", "group": "A"},
        "thresholdsStyle": {"mode": "dashed" if line_at is not None else "off"},
    }
    if line_at is not None:
        rest.setdefault("thresholds", threshold_steps((None, "transparent"), (line_at, BAD)))
    options = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return panel("timeseries", title, description, queries, width=width, height=height, unit=unit, custom=custom,
                 options=options, color={"mode": "shades", "fixedColor": SERIES[0]},
                 overrides=color_overrides(colors or {}), **rest)


def color_overrides(colors):
    """Overrides that color series by a regular expression on their names; several matches get shades of the color."""
    return [{"matcher": {"id": "byRegexp", "options": f"/{pattern}/"},
             "properties": [{"id": "color", "value": {"mode": "shades", "fixedColor": color}}]}
            for pattern, color in colors.items()]


def timeline(title, description, queries, *, width=24, height=6, **rest):
    """States as bands over time."""
    custom = {"fillOpacity": 85, "lineWidth": 0}
    options = {
        "alignValue": "left",
        "mergeValues": True,
        "rowHeight": 0.85,
        "showValue": "auto",
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "single", "sort": "none"},
    }
    return panel("state-timeline", title, description, queries, width=width, height=height, custom=custom,
                 options=options, **rest)


def table(title, description, queries, *, columns, width=12, height=8, sort=None, merge=False, **rest):
    """A table. `columns` maps Prometheus' field names to headings, in their order; all other fields are hidden."""
    order = list(columns)
    transformations = [{"id": "merge", "options": {}}] if merge else []
    transformations += [
        {"id": "filterFieldsByName",
         "options": {"include": {"pattern": "^(" + "|".join(order) + ")$"}}},
        {"id": "organize",
         "options": {"excludeByName": {}, "renameByName": dict(columns),
                     "indexByName": {name: n for n, name in enumerate(order)}}},
    ]
    options = {"cellHeight": "sm", "frameIndex": 0, "showHeader": True}
    if sort:
        options["sortBy"] = [{"displayName": sort[0], "desc": sort[1]}]
    custom = {"align": "auto", "cellOptions": {"type": "auto"}, "inspect": False, "filterable": False}
    return panel("table", title, description, queries, width=width, height=height, custom=custom, options=options,
                 transformations=transformations, **rest)


COLORED = {"type": "color-background", "mode": "basic"}


def heatmap(title, description, expr, *, width=12, height=8, unit):
    """The distribution of values over the buckets of a classic histogram."""
    options = {
        "calculate": False,
        "cellGap": 1,
        "color": {"mode": "scheme", "scheme": "Viridis", "steps": 64, "reverse": False, "exponent": 0.5,
                  "scale": "exponential", "fill": BAD},
        "exemplars": {"color": NEUTRAL},
        "filterValues": {"le": 1e-9},
        "legend": {"show": True},
        "rowsFrame": {"layout": "auto"},
        "showValue": "never",
        "tooltip": {"mode": "single", "showColorScale": False, "yHistogram": False},
        "yAxis": {"axisPlacement": "left", "unit": unit, "reverse": False},
    }
    return panel("heatmap", title, description, [query(expr, "{{le}}", format="heatmap")], width=width, height=height,
                 options=options, unit="short")


def bar_gauge(title, description, expr, legend, *, width=12, height=8, unit="short", **rest):
    """A few named values as bars."""
    options = {
        "displayMode": "basic",
        "orientation": "horizontal",
        "showUnfilled": True,
        "minVizHeight": 16,
        "minVizWidth": 8,
        "namePlacement": "auto",
        "sizing": "auto",
        "valueMode": "color",
        "maxVizHeight": 300,
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    }
    return panel("bargauge", title, description, [instant_query(expr, legend)], width=width, height=height, unit=unit,
                 options=options, **rest)


def layout(*sections):
    """Positions the panels from left to right and top to bottom, each section below a row with its question."""
    placed, y = [], 0
    for question, panels in sections:
        placed.append({"type": "row", "title": question, "collapsed": False, "panels": [],
                       "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}})
        y, x, tallest = y + 1, 0, 0
        for one in panels:
            if x + one["gridPos"]["w"] > 24:
                x, y, tallest = 0, y + tallest, 0
            placed.append(one | {"gridPos": one["gridPos"] | {"x": x, "y": y}})
            x, tallest = x + one["gridPos"]["w"], max(tallest, one["gridPos"]["h"])
        y += tallest
    return [one | {"id": number} for number, one in enumerate(placed, start=1)]


def variables(*, all_instances):
    """Data source and targets. The labels `cluster` and `namespace` may be absent: `.*` also matches this."""
    def target(name, query, all_value, *, include_all):
        return {
            "name": name, "label": name.title(), "type": "query", "datasource": DATASOURCE,
            "query": query, "refresh": 2, "sort": 1, "regex": "", "hide": 0, "skipUrlSync": False,
            "multi": True, "includeAll": include_all, "allValue": all_value, "options": [],
        } | ({"current": {"selected": True, "text": ["All"], "value": ["$__all"]}} if include_all else {})

    known = "imds_exporter_build_info"
    chosen = 'cluster=~"$cluster"'
    return [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "regex": "",
         "options": [], "hide": 0, "refresh": 1, "multi": False, "includeAll": False,
         "skipUrlSync": False},
        target("cluster", f"label_values({known}, cluster)", ".*", include_all=True),
        target("namespace", f"label_values({known}{{{chosen}}}, namespace)", ".*", include_all=True),
        target("job", f'label_values({known}{{{chosen}, namespace=~"$namespace"}}, job)', ".+", include_all=True),
        target("instance", f'label_values({known}{{{chosen}, namespace=~"$namespace", job=~"$job"}}, instance)', ".+",
               include_all=all_instances),
    ]


def annotation(name, expr, color, title, text, *, at_value=False, enable=True):
    """Marks on all graphs: where the expression has values or, with `at_value`, at the time given by its value."""
    return {
        "name": name, "datasource": DATASOURCE, "enable": enable, "hide": False, "iconColor": color,
        "target": {"refId": "Anno", "expr": " ".join(expr.split()), "interval": "60s"},
        "titleFormat": title, "textFormat": text, "tagKeys": "", "useValueForTime": at_value,
    }


def dashboard(uid, title, description, *, panels, variables, annotations, links, refresh, past):
    """The dashboard as a document."""
    builtin = {"name": "Annotations & Alerts", "builtIn": 1, "type": "dashboard", "enable": True, "hide": True,
               "iconColor": SERIES[4], "datasource": {"type": "grafana", "uid": "-- Grafana --"}}
    return {
        "id": None, "uid": uid, "title": title, "description": description, "tags": [TAG, "aws", "credentials"],
        "schemaVersion": SCHEMA_VERSION, "version": 1, "editable": False, "graphTooltip": 1, "fiscalYearStartMonth": 0,
        "liveNow": False, "timezone": "utc", "weekStart": "", "refresh": refresh,
        "time": {"from": f"now-{past}", "to": "now"}, "timepicker": {},
        "annotations": {"list": [builtin, *annotations]}, "templating": {"list": variables}, "links": links,
        "panels": panels,
    }


def page_link(title, url, tooltip=""):
    """A link at the top of the dashboard."""
    return {"type": "link", "title": title, "url": url, "tooltip": tooltip, "icon": "doc", "targetBlank": True,
            "asDropdown": False, "includeVars": False, "keepTime": False, "tags": []}


def dashboard_link(title, uid):
    """A link to another dashboard that keeps the selected time range and targets."""
    return {"type": "link", "title": title, "url": f"/d/{uid}", "tooltip": "", "icon": "dashboard",
            "targetBlank": False, "asDropdown": False, "includeVars": True, "keepTime": True, "tags": []}
