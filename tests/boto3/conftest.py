"""The SDKs in several versions, each in a process of its own with a simulator of its own."""

import concurrent.futures
import contextlib
import hashlib
import json
import pathlib
import subprocess
import urllib.request

import pytest

from helpers import paths
from helpers.exporters import simulator
from helpers.http_client import OPENER, body
from helpers.http_server import Handler, serve

HERE = pathlib.Path(__file__).parent
REMEDY = paths.DEPLOY / "boto3"
# The folder of packages, None for the newest boto3, which is in the environment; and the kind of its sessions.
SDKS = [
    ("boto3-1.20", "boto3"),
    ("boto3-1.26", "boto3"),
    ("boto3-1.34", "boto3"),
    ("boto3-1.40", "boto3"),
    (None, "boto3"),
    ("aiobotocore-2.13", "aiobotocore"),
    ("aiobotocore", "aiobotocore"),
]

# What the profiles of the configuration file lead to.
KEYS = {"static": "AKIASTATIC", "process": "AKIAPROCESS", "sso": "AKIASSO"}
START = "https://start.example"
CONFIG = f"""
[profile static]
aws_access_key_id = {KEYS["static"]}
aws_secret_access_key = secret
[profile process]
credential_process = echo '{{"Version": 1, "AccessKeyId": "{KEYS["process"]}", "SecretAccessKey": "secret"}}'
[profile sso]
sso_start_url = {START}
sso_region = eu-west-1
sso_account_id = 123456789012
sso_role_name = role
[profile sso-signed-out]
sso_start_url = https://other.example
sso_region = eu-west-1
sso_account_id = 123456789012
sso_role_name = role
"""


class Portal(Handler):
    """AWS SSO: the credentials of a role for whoever is signed in."""

    def do_GET(self):
        keys = {"accessKeyId": KEYS["sso"], "secretAccessKey": "secret", "sessionToken": "token",
                "expiration": 4_000_000_000_000}
        self.answer(json.dumps({"roleCredentials": keys}).encode(), "application/json")


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """A home directory with profiles, and a user signed in to SSO."""
    home = tmp_path_factory.mktemp("home")
    (home / ".aws/sso/cache").mkdir(parents=True)
    (home / ".aws/config").write_text(CONFIG)
    token = {"startUrl": START, "region": "eu-west-1", "accessToken": "token", "expiresAt": "2099-01-01T00:00:00Z"}
    (home / ".aws/sso/cache" / f"{hashlib.sha1(START.encode()).hexdigest()}.json").write_text(json.dumps(token))
    return home


def environment(endpoint, folder, **more):
    """Where no credentials are found but those of this IMDS."""
    path = [REMEDY] if folder is None else [paths.TOOLS / folder, REMEDY]
    return {
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"{endpoint}/",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_CONFIG_FILE": "/dev/null",
        "PYTHONPATH": ":".join(map(str, path)),
        "PYTHONPYCACHEPREFIX": str(paths.TOOLS / "pycache"),
        **more,
    }


def credentials(endpoint):
    """The document that this IMDS serves."""
    token = request("PUT", f"{endpoint}/latest/api/token", **{"X-aws-ec2-metadata-token-ttl-seconds": "60"})
    document = f"{endpoint}/latest/meta-data/iam/security-credentials/simulated-role"
    return json.loads(request("GET", document, **{"X-aws-ec2-metadata-token": token}))


def request(method, url, **headers):
    with OPENER.open(urllib.request.Request(url, method=method, headers=headers)) as answer:
        return answer.read().decode()


class Sdk:
    """A running clients.py. Each of its functions is a method here."""

    def __init__(self, folder, kind, simulator, **more):
        self.name = folder or "the newest boto3"
        self.kind = kind
        self.simulator = simulator
        self.key = credentials(simulator.endpoint)["AccessKeyId"]
        self._process = subprocess.Popen(
            [paths.tool("python"), HERE / "clients.py"], env=environment(simulator.endpoint, folder, **more),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __getattr__(self, name):
        def ask(**arguments):
            self._process.stdin.write(json.dumps([name, arguments]) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())
        return ask

    def healed_session(self, name, *remedies, **more):
        self.session(name=name, kind=self.kind, remedies=["heal", *remedies], **more)

    @property
    def is_asynchronous(self):
        return self.kind == "aiobotocore"

    def fail(self, fault):
        self.simulator.change(fault)

    def recover(self):
        """IMDS answers again, and a new search is allowed."""
        self.simulator.change('fault = "none"')
        self.advance(seconds=1)

    def searches(self):
        """How often IMDS was asked for credentials: botocore begins each time with a session token."""
        return json.loads(body(f"{self.simulator.control}/state"))["counts"]["token"]

    def close(self):
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


@contextlib.contextmanager
def running(folder, kind, **more):
    with simulator() as imds, contextlib.closing(Sdk(folder, kind, imds, **more)) as sdk:
        yield sdk


class Sdks(list):
    """All SDKs, which are let do the same thing at the same time, since they mostly wait."""

    def each(self, story):
        with concurrent.futures.ThreadPoolExecutor(len(self)) as pool:
            told = {sdk.name: pool.submit(story, sdk) for sdk in self}
        failed = {name: future.exception() for name, future in told.items() if future.exception()}
        assert not failed, "\n\n".join(f"{name}: {error!r}" for name, error in failed.items())
        return {name: future.result() for name, future in told.items()}


@pytest.fixture(scope="session")
def sdks(home):
    with contextlib.ExitStack() as stack:
        portal = stack.enter_context(serve(Portal))
        more = {"HOME": str(home), "AWS_CONFIG_FILE": str(home / ".aws/config"), "AWS_ENDPOINT_URL_SSO": portal.url,
                "PATH": "/usr/bin:/bin"}
        yield Sdks(stack.enter_context(running(folder, kind, **more)) for folder, kind in SDKS)
