"""README.md, followed to the letter, with a real boto3 and the simulator."""

import re
import shlex
import subprocess

from conftest import environment, running

from helpers import paths
from helpers.commands import complete
from helpers.exporters import environment as environment_of_check
from helpers.exporters import simulator

README = (paths.ROOT / "README.md").read_text()
# A worker that is created in an outage, calls AWS, and calls again once the outage is over.
WORKER = """
import boto3, urllib.request
from botocore.exceptions import NoCredentialsError
client = boto3.client("s3", region_name="eu-west-1")
post = urllib.request.build_opener(urllib.request.ProxyHandler({{}})).open
def call():
    try:
        return "signs" if "Signature=" in client.generate_presigned_url("list_buckets") else "unsigned"
    except NoCredentialsError:
        return "stuck"
first = call()
post("{control}/", b'fault = "none"')
{wait}
print(first, call())
"""


def worker(sdk, code, installed=None):
    program = code + WORKER.format(control=sdk.simulator.control, wait="import time; time.sleep(1.1)")
    sdk.fail('fault = "connect_refused"')
    environ = environment(sdk.simulator.endpoint, None, PATH="/usr/bin:/bin")
    environ["PYTHONPATH"] = str(installed or "")
    return subprocess.run([paths.tool("python"), "-c", program], env=environ, check=True, capture_output=True, text=True,
                          timeout=60).stdout.strip()


def test_a_worker_that_is_born_in_an_outage_heals_with_the_readme_s_lines(tmp_path):
    install, = re.findall(r"`(pip install \S+)`", README)
    code, = re.findall(r"```python\n(.*?)```", README, re.S)
    subprocess.run([paths.tool("python"), "-m", *shlex.split(install), "-q", "--disable-pip-version-check", "--no-deps",
                    "--no-build-isolation", "--target", tmp_path], check=True, cwd=paths.ROOT)
    with running(None, "boto3") as sdk:
        assert worker(sdk, "") == "stuck stuck"
        assert worker(sdk, code, tmp_path) == "stuck signs"


def test_the_check_that_the_readme_shows_is_one():
    shown, = re.findall(r"```text\n\$ imds-exporter check\n(.*?)```", README, re.S)
    with simulator() as imds:
        imds.change('fault = "hop_limit"')
        output = complete(paths.exporter(), "check", env=environment_of_check(imds.endpoint)).stdout
    # Addresses and times differ; an ellipsis stands for what is left out.
    same = re.sub(r"http://\S+(?=,)|\d+\.\d(?= ms)", "…", shown)
    flat = " ".join(re.sub(r"http://127\S+(?=,)|\d+\.\d(?= ms)", "…", output).split())
    at = 0
    for part in same.split("…"):
        words = " ".join(part.split())
        at = flat.index(words, at) + len(words)
