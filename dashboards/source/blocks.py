"""Building blocks of the dashboards: selectors, panels, variables, links.

Owns what all panels have in common. Must not know which panel answers which question. The result is Grafana's classic
JSON model, which Grafana 9.4 to 13 and file provisioning can read. Where the versions differ, both forms are written.
"""

from source import runbook

SCHEMA_VERSION = 37
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
TAG = "imds-exporter"
INSTANCE_UID = "imds-exporter-instance"
FLEET_UID = "imds-exporter-fleet"

# The palette of Okabe and Ito, which is distinguishable with the common kinds of color blindness. Blue is good,
# vermilion is bad. Yellow is a warning, because Grafana draws orange and vermilion tiles as nearly the same gradient.
GOOD, WARN, BAD, NEUTRAL = "#0072B2", "#F0E442", "#D55E00", "#808080"
SERIES = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442"]


def alternatives(names):
    """A regular expression that matches exactly these names."""
    return "^(" + "|".join(names) + ")$"


STEPS = {"token": SERIES[0], "role": SERIES[1], "credentials": SERIES[2]}

# Below this time to expiry, botocore refuses to sign if it cannot refresh.
SDK_REFUSES_BELOW = 900
HOUR = 3600

TARGET = 'job=~"$job", instance=~"$instance", cluster=~"$cluster", namespace=~"$namespace"'
# The labels of an alert are those of its rule: any of these may be absent.
ALERT_TARGET = 'job=~"$job|", instance=~"$instance|", cluster=~"$cluster|", namespace=~"$namespace|"'
# What the labels of a target may be. Labels that a setup does not use are absent.
IDENTITY = "cluster, namespace, job, instance"

# Signed calls that AWS refused. With every other reason, STS did not judge the credentials.
REFUSED = "expired_token|invalid_token|signature|clock_skew|access_denied"


def selector(metric, labels=""):
    """A selector: the metric of the selected targets."""
    return f"{metric}{{{labels + ', ' if labels else ''}{TARGET}}}"


def per_instance(expr):
    """One value for each instance, without the labels that tell a target's series apart."""
    return f"max by (instance) ({expr})"


# The verdicts, in their order of precedence: text and color.
VERDICTS = {
    "starting": ("first poll runs", NEUTRAL), "unused": ("IMDS not used", SERIES[4]), "proxied": ("sent to a proxy", SERIES[6]),
    "failing": ("failing", BAD), "expired": ("expired", SERIES[3]), "refused": ("AWS refuses", SERIES[2]),
    "stuck": ("clients stuck", SERIES[1]), "fine": ("fine", GOOD),
}


def verdict_overrides():
    """Names and colors of bands, one for each verdict."""
    return [{"matcher": {"id": "byRegexp", "options": f"/^{state}$/"}, "properties": [
        {"id": "displayName", "value": text}, {"id": "mappings", "value": value_mappings({1: (text, color)})}]}
        for state, (text, color) in VERDICTS.items()]


def verdict(state=""):
    """1 for the verdict that is in force, 0 for the others; or whether this one is."""
    return selector("imds_state", f'state="{state}"' if state else "")


def with_machine(expr):
    """With the name of the machine: the label `node` or, where there is none, the host of `instance`."""
    named = f'label_replace({expr}, "machine", "$1", "instance", "(.+?)(?::[0-9]+)?")'
    return f'label_replace({named}, "machine", "$1", "node", "(.+)")'


def roles():
    """The current roles. Prometheus renames the exporter's own label where the target has one of that name."""
    return f'label_replace({selector("imds_role_info")}, "role", "$1", "exported_role", "(.+)")'


def labelled(expr, **labels):
    """The same values with constant labels."""
    for name, value in labels.items():
        expr = f'label_replace({expr}, "{name}", "{value}", "", "")'
    return expr


def rate(metric, labels="", function="rate", window="$__rate_interval"):
    """The rate or the increase of a counter."""
    return f"{function}({selector(metric, labels)}[{window}])"


def per_minute(metric):
    """How often a counter rises in a minute."""
    return f"60 * {rate(metric)}"


def quantile(q, metric, by, labels=""):
    """A quantile of a classic histogram over half an hour: a shorter time has too few polls."""
    buckets = rate(metric + "_bucket", labels, "increase", "30m")
    return f"histogram_quantile({q}, sum by (le{', ' + by if by else ''}) ({buckets}))"


def slower_than_1_s():
    """The share of requests, by step, that took more than 1 s. `le` is 1 on the wire and 1.0 in Prometheus 3."""
    return f"""
        1 - sum by (step) ({rate('imds_request_duration_seconds_bucket', 'le=~"1([.]0)?"')})
          / sum by (step) ({rate('imds_request_duration_seconds_count')})
    """


def time_to_expiry():
    """Time to expiry; negative once past."""
    return f"{selector('imds_credentials_expiration_timestamp_seconds')} - time()"


def stalled():
    """1 for each exporter whose polls do not end any more: by its clock, which may be wrong, and as Prometheus saw it."""
    last = selector("imds_fetch_last_attempt_timestamp_seconds")
    return f"(time() - {last} > 5 * {selector('imds_poll_interval_seconds')}) and changes({last}[3m]) == 0"


def suspects(by):
    """The start times of the suspect processes, in milliseconds, with container ids that are as long as people write
    them."""
    start = selector("imds_suspect_process_start_time_seconds")
    start = f'label_replace({start}, "container_id", "$1", "container_id", "(.{{12}}).+")'
    return f"1000 * max by ({by}) ({start})"


# What the exporters say of the clients of a declared workload.
CLIENTS_FINE, CLIENTS_STUCK, CLIENTS_UNKNOWN = 0, 1, 2


def clients_at_start(by):
    """One of the three states above. Stuck: a client that is created now has credentials, one created at the workload's start
    has none. While a client created now has none either, that cannot be told. Nothing where no workload is declared."""
    at_start = selector("imds_client_usable", 'created="at_start", sdk="boto3"')
    now = selector("imds_client_usable", 'created="now", sdk="boto3"')
    return f"max by ({by}) (1 - {at_start}) * on ({by}) ({CLIENTS_UNKNOWN} - max by ({by}) ({now}))"


def _of_this_exporter(series, offset=""):
    """Series of alerts about this exporter, about its machine, or about all machines. Alerts about a machine have no instance."""
    everywhere = f"""{series.replace("}", ', machine=""}')}{offset}"""
    return f"{everywhere} or {series}{offset} and on (cluster, machine) imds:exporter:up{{{TARGET}}}{offset}"


def firing(by, offset="", name="Imds.+"):
    """1 for each alert of this exporter that fires. The chart may put a prefix before the names of all alerts."""
    series = f'ALERTS{{alertname=~".*{name}", alertstate="firing", {ALERT_TARGET}}}'
    return f"max by ({by}) ({_of_this_exporter(series, offset)})"


def firing_alerts(by):
    """For how long each firing alert has been active; NaN where Prometheus does not say."""
    series = f'ALERTS_FOR_STATE{{alertname=~".*Imds.+", {ALERT_TARGET}}}'
    since = f"max by ({by}) ({_of_this_exporter(series)})"
    active = f"((time() - {since}) and on ({by}) {firing(by)}) or NaN * {firing(by)}"
    return f'label_replace({active}, "summary", "$1", "alertname", ".*(Imds.+)")'


def query(expr, legend="", *, instant=False, format="time_series"):
    """One query of a panel; the panel sets its refId."""
    return {
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


# A cell filled with its color: as Grafana 9.4 names it, and as 9.5 and later do.
FILLED = {
    "custom__displayMode": "color-background-solid",
    "custom__cellOptions": {"type": "color-background", "mode": "basic"},
}
# A cell whose text may be longer than the column is wide: Grafana 12 and later wrap it, earlier ones show it on hover.
LONG_TEXT = {"custom__wrapText": True}


# A time or duration that no metric tells.
NO_TIME = [{"type": "special", "options": {"match": "nan", "result": {"index": 0, "text": "–"}}}]


def width_of(pixels):
    """The width of a column. A table is narrower than its columns need only where a last one has no width."""
    return {"custom__width": pixels}


def runbook_link(instance="${__field.labels.instance}", anchor="", title="Runbook"):
    """A link to the runbook that the exporter itself serves."""
    return {"title": title, "url": f"http://{instance}/runbook{'#' + anchor if anchor else ''}", "targetBlank": True}


def status_link():
    """A link to the exporter's own status page."""
    return {"title": "Status page", "url": "http://${__field.labels.instance}/", "targetBlank": True}


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


def stat(title, description, expr, legend="", *, width=4, height=4, text="value", filled=True, **rest):
    """A single value, on a tile of its color or, if it is neither good nor bad, as plain text. `text` is Grafana's
    textMode."""
    options = {
        "colorMode": "background" if filled else "none",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "textMode": text,
        "wideLayout": True,
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    }
    return panel("stat", title, description, [instant_query(expr, legend)], width=width, height=height, options=options,
                 **rest)


def name_stat(title, description, expr, label, *, absent, **rest):
    """A label of the only series, as text. Grafana does not show `noValue` in place of a name, so that `absent` is a
    series too."""
    return stat(title, description, f'({expr}) or on () {labelled("vector(0)", **{label: absent})}', f"{{{{{label}}}}}",
                text="name", unit="none", **rest)


def graph(title, description, queries, *, width=12, height=8, unit, stack=False, bars=False, line_at=None, colors=None,
          palette=False, fill=0, log=False, soft_min=None, soft_max=None, legend="list", names=None, **rest):
    """Lines over time, of one color unless `colors` says otherwise, by regular expressions on the names, or `palette`
    gives each its own; `names` renames series in the same way. `line_at` draws a threshold line; values above it are
    bad, unless `thresholds` says otherwise."""
    custom = {
        "drawStyle": "bars" if bars else "line",
        "lineInterpolation": "linear",
        # An area of no height shows no line.
        "lineWidth": 0 if bars or stack else 2,
        "barWidthFactor": 1,
        "fillOpacity": 70 if bars or stack else fill,
        "pointSize": 4,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"mode": "normal" if stack else "none", "group": "A"},
        "thresholdsStyle": {"mode": "line" if line_at is not None else "off"},
        "scaleDistribution": {"type": "log", "log": 10} if log else {"type": "linear"},
    }
    if soft_min is not None:
        custom["axisSoftMin"] = soft_min
    if soft_max is not None:
        custom["axisSoftMax"] = soft_max
    if line_at is not None:
        rest.setdefault("thresholds", threshold_steps((None, "transparent"), (line_at, BAD)))
    options = {
        "legend": {"displayMode": legend, "placement": "bottom" if legend == "list" else "right", "showLegend": True,
                   "calcs": [] if legend == "list" else ["lastNotNull"]},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    color = {"mode": "palette-classic"} if palette else {"mode": "fixed", "fixedColor": SERIES[0]}
    return panel("timeseries", title, description, queries, width=width, height=height, unit=unit, custom=custom,
                 options=options, color=color, overrides=series_overrides(colors or {}, names or {}), **rest)


def counts(title, description, queries, **rest):
    """A graph of small whole numbers: its axis has no fractions, and shows at least 0 and 1."""
    return graph(title, description, queries, unit="none", min=0, decimals=0, soft_max=1, **rest)


def series_overrides(colors, names):
    """Overrides that color and rename series by regular expressions on their names."""
    return [{"matcher": {"id": "byRegexp", "options": f"/{pattern}/"},
             "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": colors[pattern]}}] * (pattern in colors)
             + [{"id": "displayName", "value": names.get(pattern)}] * (pattern in names)}
            for pattern in colors | names]


def timeline(title, description, queries, *, width=24, height=6, **rest):
    """States as bands over time. With the color mode `thresholds`, Grafana would show thresholds, not the mapped
    values."""
    custom = {"fillOpacity": 85, "lineWidth": 0}
    options = {
        "alignValue": "left",
        "mergeValues": True,
        "rowHeight": 0.85,
        "showValue": "auto",
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False, "calcs": []},
        "tooltip": {"mode": "single", "sort": "none"},
    }
    return panel("state-timeline", title, description, queries, width=width, height=height, custom=custom,
                 options=options, color={"mode": "fixed", "fixedColor": NEUTRAL}, **rest)


def table(title, description, queries, *, columns, width=12, height=8, sort=None, merge=False, **rest):
    """A table. `columns` maps Prometheus' field names to headings, in their order; all other fields are hidden. Units,
    decimals and levels belong to single columns: most columns are text."""
    order = list(columns)
    transformations = [{"id": "merge", "options": {}}] if merge else []
    transformations += [
        {"id": "filterFieldsByName", "options": {"include": {"pattern": alternatives(order)}}},
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


def alerts_table(by, columns, *, width=24, height=5):
    """The firing alerts, the longest first. The alert links to its section of the runbook of `instance`."""
    return table("Firing alerts", "The alerts of this exporter's rules that fire, with the alert's summary.",
                 [table_query(firing_alerts(by))], columns=columns, width=width, height=height, sort=("Active for", True),
                 overrides=[
                     override("Alert", **width_of(260)),
                     override("Active for", unit="s", decimals=1, mappings=NO_TIME, **width_of(120)),
                     override("Severity", **width_of(110), **FILLED, mappings=value_mappings(
                         {"critical": ("critical", BAD), "warning": ("warning", WARN), "info": ("info", NEUTRAL)})),
                     override("Summary", mappings=value_mappings(runbook.ALERTS), **LONG_TEXT),
                 ])


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


def layout(*sections):
    """Positions the panels, each as far up and then as far left as it fits, each section below a row with its question. A
    section with a third item is collapsed: it shows its panels when the reader opens the row."""
    placed, top, number = [], 0, 0
    for question, panels, *collapsed in sections:
        number += 1
        row = {"type": "row", "title": question, "collapsed": bool(collapsed), "panels": [],
               "gridPos": {"x": 0, "y": top, "w": 24, "h": 1}, "id": number}
        placed.append(row)
        # Where each column of the grid is free from.
        free = [top + 1] * 24
        for one in panels:
            number += 1
            w, h = one["gridPos"]["w"], one["gridPos"]["h"]
            y, x = min((max(free[x:x + w]), x) for x in range(24 - w + 1))
            free[x:x + w] = [y + h] * w
            where = row["panels"] if collapsed else placed
            where.append(one | {"gridPos": {"x": x, "y": y, "w": w, "h": h}, "id": number})
        top = max(free)
    return placed


def variables(*, all_instances):
    """Data source and targets. The labels `cluster` and `namespace` may be absent: `.*` also matches this."""
    def target(name, query, all_value, *, many=True):
        return {
            "name": name, "label": name.title(), "type": "query", "datasource": DATASOURCE,
            "query": query, "refresh": 2, "sort": 1, "regex": "", "hide": 0, "skipUrlSync": False,
            "multi": many, "includeAll": many, "options": [],
        } | ({"allValue": all_value, "current": {"selected": True, "text": ["All"], "value": ["$__all"]}} if many else {})

    known = "imds_exporter_build_info"
    chosen = 'cluster=~"$cluster"'
    return [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "regex": "",
         "options": [], "hide": 0, "refresh": 1, "multi": False, "includeAll": False, "skipUrlSync": False,
         "current": {"selected": True, "text": "default", "value": "default"}},
        target("cluster", f"label_values({known}, cluster)", ".*"),
        target("namespace", f"label_values({known}{{{chosen}}}, namespace)", ".*"),
        target("job", f'label_values({known}{{{chosen}, namespace=~"$namespace"}}, job)', ".+"),
        target("instance", f'label_values({known}{{{chosen}, namespace=~"$namespace", job=~"$job"}}, instance)', ".+",
               many=all_instances),
    ]


# The longest step at which Grafana before 12.1 draws consecutive values as one region: twelve hours on the screen.
REGION_STEP = "5m"
REGION_STEP_MS = 300_000


def _annotation(name, expr, old_expr, color, title, text, *, hide, at_value):
    return {
        "name": name, "datasource": DATASOURCE, "enable": True, "hide": hide, "iconColor": color,
        # Grafana before 12.1 reads the first two, later versions the third.
        "expr": " ".join(old_expr.split()), "step": REGION_STEP,
        "target": {"refId": "Anno", "expr": " ".join(expr.split()), "interval": "60s"},
        "titleFormat": title, "textFormat": text, "tagKeys": "", "useValueForTime": at_value,
    }


def mark(name, expr, color, title, text=""):
    """A line on all graphs at each time that the expression has as its value, in seconds. Times before the selected range
    would stick to its edge."""
    expr = f"1000 * ({expr}) > $__from"
    return _annotation(name, expr, expr, color, title, text, hide=True, at_value=True)


def region(name, expr, before, color, title, text="", *, hide=False):
    """Regions on all graphs while the expression is above 0. `before` is the expression with the offset `$__interval`:
    over ranges that are too long for regions, Grafana before 12.1 marks only where one begins."""
    short = f"on () (vector($__interval_ms) <= {REGION_STEP_MS})"
    old = f"(({expr}) and {short}) or (({expr}) unless ({before}))"
    return _annotation(name, expr, old, color, title, text, hide=hide, at_value=False)


def for_one_instance(node):
    """The same with `instance` as one value. Grafana escapes a value for a regular expression only where the variable can
    have several, and the address of an IPv6 target has brackets."""
    if isinstance(node, dict):
        return {key: for_one_instance(child) for key, child in node.items()}
    if isinstance(node, list):
        return [for_one_instance(child) for child in node]
    if isinstance(node, str):
        return node.replace('instance=~"$instance"', 'instance="$instance"').replace(
            'instance=~"$instance|"', "instance=~`${instance:regex}|`")
    return node


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


# The variables that mean the same on both dashboards. `instance` does not: one wants one, the other wants all.
_SHARED = "&".join(f"${{{name}:queryparam}}" for name in ("datasource", "cluster", "namespace", "job"))


def dashboard_link(title, uid):
    """A link to the other dashboard that keeps the time range and the targets, but for the instance."""
    return {"type": "link", "title": title, "url": f"/d/{uid}?{_SHARED}", "tooltip": "", "icon": "dashboard",
            "targetBlank": False, "asDropdown": False, "includeVars": False, "keepTime": True, "tags": []}


def instance_link():
    """A link from an instance in a table to its dashboard."""
    return {"title": "Open ${__value.text}",
            "url": f"/d/{INSTANCE_UID}?var-instance=${{__value.raw}}&{_SHARED}&${{__url_time_range}}"}
