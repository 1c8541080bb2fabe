"""For each line with the URL of an IMDS, and variables: creates a boto3 client, makes a signed call with it, and reports how
far it gets. Nothing is sent but to IMDS."""

import os
import sys

import boto3
import botocore.session
from botocore.awsrequest import AWSResponse
from botocore.exceptions import NoCredentialsError


class Accepted:
    """The body of an answer of STS."""

    def stream(self):
        yield b"<GetCallerIdentityResponse><GetCallerIdentityResult/></GetCallerIdentityResponse>"


def outcome(data_loader):
    try:
        # Without the handlers for single services, which take most of the time: none concerns credentials.
        core = botocore.session.Session(include_builtin_handlers=False)
        core.register_component("data_loader", data_loader)
        client = boto3.session.Session(botocore_session=core).client("sts", region_name="eu-west-1")
    except Exception:  # noqa: BLE001: which error it is makes no difference.
        return "raises"
    # What a handler of this event returns is taken for the answer: the request was signed, and is not sent.
    client.meta.events.register("before-send.*", lambda request, **_: AWSResponse(request.url, 200, {}, Accepted()))
    try:
        client.get_caller_identity()
    except NoCredentialsError:
        return "nothing"
    except Exception:  # noqa: BLE001
        return "fails"
    return "signs"


loader = boto3.session.Session()._session.get_component("data_loader")
inherited = dict(os.environ)
for line in sys.stdin:
    endpoint, *variables = line.split()
    os.environ.clear()
    os.environ.update(inherited, AWS_EC2_METADATA_SERVICE_ENDPOINT=endpoint)
    os.environ.update(pair.split("=", 1) for pair in variables)
    print(outcome(loader), flush=True)
