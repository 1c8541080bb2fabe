"""What Grafana does between a dashboard's JSON and the screen, as far as the tests need it: it puts variables into
queries, sends the queries, names the series, and builds the columns of tables."""

import re

RANGE = 6 * 3600
STEP = 60


def seconds(text):
    """The seconds of a duration such as 5m."""
    return int(text[:-1]) * {"s": 1, "m": 60, "h": 3600}[text[-1]]


def fill(template, labels):
    """A legend with the labels that it names; a missing label is a mistake in the dashboard."""
    return re.sub(r"{{\s*(\w+)\s*}}", lambda hit: labels[hit[1]], template)


class View:
    """A dashboard with values of its variables, at a time. `step` is the time between two points of its graphs."""

    def __init__(self, dashboard, prometheus, now, *, step=STEP, **variables):
        self.prometheus, self.now, self.step = prometheus, now, step
        self.variables = {one["name"]: variables.get(one["name"], one.get("allValue"))
                          for one in dashboard["templating"]["list"]}

    def interpolate(self, text):
        """The text with the variables' values; an unknown variable is a mistake in the dashboard."""
        known = {**self.variables, "__rate_interval": f"{4 * STEP}s", "__range": f"{RANGE}s", "__interval": f"{self.step}s",
                 "__interval_ms": str(1000 * self.step), "__from": str(1000 * (self.now - RANGE))}
        text = re.sub(r"\$\{(\w+):regex\}", lambda hit: re.escape(known[hit[1]]), text)
        done = re.sub(r"\$(?:\{(\w+)\}|([a-z_]\w*))", lambda hit: known[hit[1] or hit[2]], text)
        assert not re.search(r"\$[^1]", done), done
        return done

    def query_range(self, expression):
        return self.prometheus.query_range(self.interpolate(expression), self.now - RANGE, self.now, self.step)

    def query(self, target):
        """The result of a panel's query: [(labels, values)]."""
        assert target["instant"] != target["range"]
        if target["instant"]:
            result = self.prometheus.query(self.interpolate(target["expr"]), time=self.now)
            return [(labels, [value]) for labels, value in result]
        return [(labels, [value for _, value in samples]) for labels, samples in self.query_range(target["expr"])]

    def series(self, panel):
        """What a panel shows: {name: values}. Equal names would make series indistinguishable."""
        shown = {}
        for target in panel["targets"]:
            for labels, values in self.query(target):
                name = fill(target["legendFormat"], labels)
                assert name not in shown, f"{panel['title']}: {name} twice"
                shown[name] = values
        return shown

    def events(self, annotation, *, old):
        """What an annotation shows: [(title, text, start, end)], in seconds. `old` is for Grafana before 12.1, which reads
        other fields, and joins times into a region that are at most the annotation's own step apart, and not that of the
        query."""
        expression = annotation["expr"] if old else annotation["target"]["expr"]
        apart = seconds(annotation["step"]) if old else self.step
        found = []
        for labels, samples in self.query_range(expression):
            texts = fill(annotation["titleFormat"], labels), fill(annotation["textFormat"], labels)
            # A value of 0 or less shows nothing, unless it is a time.
            times = [value / 1000 for _, value in samples] if annotation["useValueForTime"] else [
                time for time, value in samples if value > 0]
            start = None
            for time in times:
                if start is not None and end + apart >= time:
                    end = time
                    continue
                if start is not None:
                    found.append((*texts, start, end))
                start = end = time
            if start is not None:
                found.append((*texts, start, end))
        return sorted(found, key=lambda event: event[2])

    def rows(self, panel):
        """What a table shows: a list of {heading: text or value}."""
        several = len(panel["targets"]) > 1
        merged = []
        for target in panel["targets"]:
            value = f"Value #{target['refId']}" if several else "Value"
            for labels, values in self.query(target):
                row = {**labels, value: values[0]}
                same = [one for one in merged if all(one[key] == row[key] for key in one.keys() & labels.keys())]
                if several and same:
                    for one in same:
                        one.update(row)
                else:
                    merged.append(row)
        assert [step["id"] for step in panel["transformations"]] == ["merge"] * several + [
            "filterFieldsByName", "organize"]
        kept = re.compile(panel["transformations"][-2]["options"]["include"]["pattern"])
        renamed = panel["transformations"][-1]["options"]["renameByName"]
        return [{renamed[key]: text for key, text in row.items() if kept.search(key)} for row in merged]


def panels(dashboard):
    """The panels other than rows, by type and title."""
    found = {}
    for one in dashboard["panels"]:
        for panel in one["panels"] if one["type"] == "row" else [one]:
            key = panel["type"], panel["title"]
            assert key not in found, f"{key} twice"
            found[key] = panel
    return found


def columns(panel):
    """The names of a panel's fields: a table's headings, else the legends of its queries."""
    for transformation in panel["transformations"]:
        if transformation["id"] == "organize":
            return set(transformation["options"]["renameByName"].values())
    return {target["legendFormat"] for target in panel["targets"]}
