"""Prints, as JSON, the calls to sts:GetCallerIdentity that boto3 would send, at a fixed time.

Its input is a list in JSON; each entry has region, time as YYYYMMDDThhmmssZ, key_id, secret, token or null, and variables.
Where boto3 has no such endpoint, it is null. Nothing is sent.
"""

import datetime
import json
import os
import sys

import boto3
import botocore.auth
from botocore.awsrequest import AWSResponse
from botocore.exceptions import EndpointVariantError


class Body:
    def stream(self, **_):
        yield b"<GetCallerIdentityResponse><GetCallerIdentityResult/></GetCallerIdentityResponse>"


def sent(asked):
    now = datetime.datetime.strptime(asked["time"], "%Y%m%dT%H%M%SZ")
    botocore.auth.get_current_datetime = lambda remove_tzinfo=True: now
    seen = []

    def capture(request, **_):
        headers = {
            name.lower(): value.decode() if isinstance(value, bytes) else str(value)
            for name, value in request.headers.items()
        }
        body = request.body.decode() if isinstance(request.body, bytes) else request.body
        seen.append({"method": request.method, "url": request.url, "headers": headers, "body": body})
        return AWSResponse(request.url, 200, {}, Body())

    os.environ.clear()
    os.environ.update(inherited, **asked["variables"])
    session = boto3.session.Session()
    session._session.register_component("data_loader", loader)
    try:
        client = session.client(
            "sts",
            region_name=asked["region"],
            aws_access_key_id=asked["key_id"],
            aws_secret_access_key=asked["secret"],
            aws_session_token=asked["token"],
        )
    except EndpointVariantError:
        return None
    client.meta.events.register("before-send.sts", capture)
    client.get_caller_identity()
    return seen[0]


inherited = dict(os.environ)
loader = boto3.session.Session()._session.get_component("data_loader")
print(json.dumps([sent(asked) for asked in json.load(sys.stdin)]))
