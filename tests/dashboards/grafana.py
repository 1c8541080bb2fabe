"""What Grafana does between a dashboard's JSON and the screen, as far as the tests need it: variables are put into
queries, queries are sent, series get their names, tables their columns."""

import json
import re
import urllib.parse
import urllib.request

RANGE = 6 * 3600
STEP = 60


def fill(template, labels):
    """A name from the labels that it mentions; one that is not there is a mistake in the dashboard."""
    return re.sub(r"{{\s*(\w+)\s*}}", lambda hit: labels[hit[1]], template)


class Prometheus:
    """A Prometheus, over its HTTP interface."""

    def __init__(self, url):
        self.url = url

    def get(self, path, **parameters):
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=30) as answer:
            body = json.load(answer)
        assert body["status"] == "success", body
        assert not body.get("warnings"), body
        return body["data"]

    def at(self, expr, time):
        return [(one["metric"], [float(one["value"][1])])
                for one in self.get("query", query=expr, time=time)["result"]]

    def over(self, expr, start, end, step=STEP):
        return [(one["metric"], [float(value) for _, value in one["values"]])
                for one in self.get("query_range", query=expr, start=start, end=end, step=step)["result"]]


class Viewer:
    """Someone who looks at a dashboard, with a choice of its variables, at a time."""

    def __init__(self, dashboard, prometheus, now, **chosen):
        self.dashboard, self.prometheus, self.now = dashboard, prometheus, now
        self.chosen = {one["name"]: one for one in dashboard["templating"]["list"]}
        self.chosen = {name: chosen.get(name, one.get("allValue")) for name, one in self.chosen.items()}

    def interpolate(self, text):
        """Puts the variables in; one that is left over is a mistake in the dashboard."""
        known = {**self.chosen, "__rate_interval": f"{4 * STEP}s", "__range": f"{RANGE}s"}
        done = re.sub(r"\$(?:\{(\w+)\}|(\w+))", lambda hit: known[hit[1] or hit[2]], text)
        assert "$" not in done, done
        return done

    def ask(self, target):
        """The answer to a query: [(labels, values)]."""
        expr = self.interpolate(target["expr"])
        assert target["instant"] != target["range"]
        if target["instant"]:
            return self.prometheus.at(expr, self.now)
        return self.prometheus.over(expr, self.now - RANGE, self.now)

    def series(self, panel):
        """What a panel shows: {name: values}. Names are unique, or a person could not tell the lines apart."""
        shown = {}
        for target in panel["targets"]:
            for labels, values in self.ask(target):
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
            for labels, values in self.ask(target):
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
    """The panels that show something, by kind and title."""
    found = {}
    for one in dashboard["panels"]:
        if one["type"] != "row":
            key = one["type"], one["title"]
            assert key not in found, f"{key} twice"
            found[key] = one
    return found
