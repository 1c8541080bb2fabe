"""A machine without a cluster: what a manifest names runs as processes, with the commands and the environment of the
manifest, beside a simulated IMDS and a fake STS. The exporters poll every second."""

import contextlib
import os
import re
import sys

from forms import WORKER, pod_of

from helpers.exporters import simulator
from helpers.http_client import get, samples
from helpers.processes import Process, free_port
from helpers.sts import sts
from helpers.waiting import until

OUTAGE = 'fault = "server_error"'
END_OF_OUTAGE = 'fault = "none"'
# The interpreter of the tests, under the name that it has in an image: the kernel takes the name of a process from the file.
PYTHON = os.path.join(os.path.dirname(sys.executable), "python")


class Machine:
    """Starts what a manifest names, in place of the kubelet, the ECS agent or systemd."""

    def __init__(self, directory, imds, aws, stack):
        self.directory, self.imds, self.aws, self.stack = directory, imds, aws, stack
        self.address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{self.address}"
        self.running = {}
        self.stopping = False
        self.startup_when_the_worker_started = None
        # The process namespace is that of the whole machine: a program of this test alone.
        self.program = directory / "worker.py"
        self.program.write_text(WORKER.read_text())

    def environment(self, manifest=(), listen=True):
        """The environment in the manifest, with the addresses and folders of this test in place of an instance's."""
        folder = str(self.directory)
        return {
            **{name: value.replace("/var/lib/imds-exporter", folder) for name, value in dict(manifest).items()},
            **({"IMDS_EXPORTER_LISTEN_ADDRESS": self.address} if listen else {}),
            "PATH": os.environ["PATH"],
            "IMDS_EXPORTER_POLL_INTERVAL": "1s",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": self.imds.endpoint,
            "IMDS_EXPORTER_WATCH_PROCESSES": re.escape(str(self.program)),
            "HOME": folder,
            "AWS_ENDPOINT_URL_STS": self.aws.url,
            "AWS_DEFAULT_REGION": "eu-central-1",
            "WORKER_INTERVAL_SECONDS": "0.2",
        }

    def get(self, path):
        """Status and body, requested as the kubelet does."""
        return get(self.url + path, User_Agent="kube-probe/1.33")

    def samples(self):
        return samples(self.url)

    def start(self, name, command, environment):
        child = self.stack.enter_context(Process(command, environment))
        self.running[name] = child
        return child

    def run(self, name, command, environment):
        """Runs a command until it exits with 0."""
        while not self.stopping:
            child = self.start(name, command, environment)
            until(lambda: child.poll() is not None or self.stopping, f"{name} exits")
            if child.returncode == 0:
                return

    def worker(self):
        """Starts the workload of the example: one boto3 client for the life of the process."""
        self.startup_when_the_worker_started = self.get("/-/startup")
        return self.start("worker", [PYTHON, self.program], self.environment())


def container_environment(machine, container):
    return machine.environment((v["name"], v["value"]) for v in container.get("env", []))


def example_pod(forms):
    return next(pod_of(document) for document in forms["example Deployment"] if document["kind"] == "Deployment")


def output(machine, name):
    """What the programs with this in their name have printed."""
    return "".join(child.output for known, child in list(machine.running.items()) if name in known)


@contextlib.contextmanager
def machine_in_an_outage(directory):
    with contextlib.ExitStack() as stack:
        imds, aws = stack.enter_context(simulator()), stack.enter_context(sts())
        imds.change(OUTAGE)
        machine = Machine(directory, imds, aws, stack)
        try:
            yield machine
        finally:
            machine.stopping = True
