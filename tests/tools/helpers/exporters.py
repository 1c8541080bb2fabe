"""The exporter and the simulated IMDS as running programs."""

import contextlib
import json
import os
import tomllib

from helpers import paths
from helpers.http_client import body, post
from helpers.processes import Process
from helpers.waiting import until


class Simulator:
    """A running simulator: `endpoint` is its IMDS."""

    def __init__(self, process):
        self.endpoint = process.printed(r"IMDS +(http://\S+)")[1]
        self.control = process.printed(r"control +(http://\S+)")[1]

    def change(self, toml):
        tomllib.loads(toml)
        post(self.control, toml)


@contextlib.contextmanager
def simulator():
    command = [paths.exporter(), "simulate", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"]
    with Process(command, {}) as process:
        yield Simulator(process)


def environment(endpoint, address="127.0.0.1:0", **more):
    """The environment of an exporter that polls this IMDS every second."""
    return {
        "PATH": os.environ["PATH"],
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": endpoint,
        "IMDS_EXPORTER_LISTEN_ADDRESS": address,
        "IMDS_EXPORTER_POLL_INTERVAL": "1s",
        **more,
    }


class Exporter:
    """A running exporter."""

    def __init__(self, process):
        self.process = process
        # The log may color its fields.
        self.address = process.printed(r"serving.*?address\S*?(127\.0\.0\.1:\d+)")[1]
        self.url = f"http://{self.address}"

    def get(self, path):
        return body(self.url + path)

    def status(self):
        return json.loads(self.get("/api/v1/status"))

    def reach(self, **values):
        """Waits for a status with these values."""
        until(lambda: values.items() <= self.status().items(), lambda: f"{values} in {self.status()}")


@contextlib.contextmanager
def exporter(endpoint, address="127.0.0.1:0", **more):
    """An exporter that polls this IMDS every second; `more` is further environment."""
    with Process([paths.exporter()], environment(endpoint, address, **more)) as process:
        yield Exporter(process)
