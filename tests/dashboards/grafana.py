"""What Grafana does between a dashboard's JSON and the screen, as far as the tests need it: it puts variables into
queries, sends the queries, names the series, and builds the columns of tables."""

import re

RANGE = 6 * 3600
STEP = 60


def fill(template, labels):
    """A legend with the labels that it names; a missing label is a mistake in the dashboard."""
    return re.sub(r"{{\s*(\w+)\s*}}", lambda hit: labels[hit[1]], template)


class View:
    """A dashboard with values of its variables, at a time."""

    def __init__(self, dashboard, prometheus, now, **variables):
        self.prometheus, self.now = prometheus, now
        self.variables = {one["name"]: variables.get(one["name"], one.get("allValue"))
                          for one in dashboard["templating"]["list"]}

    def interpolate(self, text):
        """The text with the variables' values; an unknown variable is a mistake in the dashboard."""
        known = {**self.variables, "__rate_interval": f"{4 * STEP}s", "__range": f"{RANGE}s"}
        done = re.sub(r"\$(?:\{(\w+)\}|(\w+))", lambda hit: known[hit[1] or hit[2]], text)
        assert "$" not in done, done
        return done

    def query_range(self, expression):
        return self.prometheus.query_range(self.interpolate(expression), self.now - RANGE, self.now, STEP)

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
        if one["type"] != "row":
            key = one["type"], one["title"]
            assert key not in found, f"{key} twice"
            found[key] = one
    return found


def columns(panel):
    """The names of a panel's fields: a table's headings, else the legends of its queries."""
    for transformation in panel["transformations"]:
        if transformation["id"] == "organize":
            return set(transformation["options"]["renameByName"].values())
    return {target["legendFormat"] for target in panel["targets"]}
