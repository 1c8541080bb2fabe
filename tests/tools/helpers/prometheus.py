"""Prometheus and its tools: promtool, backfilled data, a running server and its query interface."""

import contextlib
import json
import os
import urllib.parse

from helpers.commands import complete, run
from helpers.http_client import body, get
from helpers.paths import tool
from helpers.processes import Process
from helpers.waiting import until


def promtool(*arguments):
    """Debian's promtool, or the one that the environment variable PROMTOOL names; the completed process."""
    return complete(os.environ.get("PROMTOOL") or tool("promtool"), *arguments)


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
    run(tool("promtool"), "tsdb", "create-blocks-from", "openmetrics", "--quiet", text, home / "data",
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
