"""Prometheus and its tools: promtool, backfilled data, a running server and its query interface."""

import contextlib
import json
import urllib.parse

from helpers.commands import GO, complete, run
from helpers.http_client import body, get
from helpers.paths import DEBIAN, TOOLS, tool
from helpers.processes import Process
from helpers.waiting import until


# The oldest version that the rules are for, which is Debian's, and a current one.
PROMTOOLS = {"2.42": DEBIAN / "usr" / "bin" / "promtool", "3": TOOLS / "go" / "bin" / "promtool"}


def promtool(*arguments, version="2.42", patient=False):
    """The completed process; a patient one leaves the CPU to others that need it."""
    return complete(*GO, *["nice"] * patient, PROMTOOLS[version], *arguments, timeout=1800)


def listening(process):
    """The address that Prometheus or Alertmanager took, from its log."""
    return process.printed(r"Listening on.* address=\"?(127\.0\.0\.1:[1-9]\d*)")[1]


class Prometheus:
    """A running Prometheus over its HTTP interface."""

    def __init__(self, process):
        self.process = process
        self.url = f"http://{listening(process)}"
        until(lambda: get(f"{self.url}/-/ready")[0] == 200, lambda: f"readiness: {process.output}")

    def get(self, path, **parameters):
        """The data of an answer of the API, which must have no warnings."""
        answer = json.loads(body(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters, doseq=True)}"))
        assert answer["status"] == "success", answer
        assert not answer.get("warnings"), answer
        return answer["data"]

    def query(self, expression, **parameters):
        """The result of an instant query: [(labels, value)]."""
        result = self.get("query", query=expression, **parameters)["result"]
        return [(series["metric"], float(series["value"][1])) for series in result]

    def query_range(self, expression, start, end, step):
        """The result of a range query: [(labels, [(time, value)])]."""
        result = self.get("query_range", query=expression, start=start, end=end, step=step)["result"]
        return [(series["metric"], [(time, float(value)) for time, value in series["values"]]) for series in result]


def backfill(home, openmetrics):
    """Writes samples, lines in the OpenMetrics format, to the data of a Prometheus that `prometheus` starts there."""
    text = home / "backfill.om"
    with text.open("w", encoding="utf-8") as out:
        out.writelines(openmetrics)
    run(*GO, PROMTOOLS["2.42"], "tsdb", "create-blocks-from", "openmetrics", "--quiet", text, home / "data",
        timeout=1800)


@contextlib.contextmanager
def prometheus(home, configuration, *arguments):
    """A Prometheus with its data and its configuration in this folder."""
    file = home / "prometheus.json"
    file.write_text(json.dumps(configuration), encoding="utf-8")
    command = [tool("prometheus"), f"--config.file={file}", f"--storage.tsdb.path={home / 'data'}",
               "--web.listen-address=127.0.0.1:0", *arguments]
    with Process(command, cwd=home) as process:
        yield Prometheus(process)


def loaded_rules(home, *files):
    """The groups of some rule files as a running Prometheus has loaded them, in the form of a rule file."""
    with prometheus(home, {"rule_files": [str(file) for file in files]}) as server:
        return [{"name": group["name"], "rules": [_of_a_file(rule) for rule in group["rules"]]}
                for group in server.get("rules")["groups"]]


def _of_a_file(rule):
    found = {"alert" if rule["type"] == "alerting" else "record": rule["name"], "expr": rule["query"]}
    for key, field in (("for", "duration"), ("keep_firing_for", "keepFiringFor")):
        if rule.get(field):
            found[key] = f"{rule[field]:.0f}s"
    return found | {key: rule[key] for key in ("labels", "annotations") if rule.get(key)}
