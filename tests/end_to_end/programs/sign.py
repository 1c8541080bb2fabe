"""Prints, as JSON, the call to sts:GetCallerIdentity that boto3 would send, at a fixed time.

Its argument is JSON: region, time as YYYYMMDDThhmmssZ, key_id, secret, and token or null. Nothing is sent.
"""

import datetime
import json
import sys

import boto3
import botocore.auth
from botocore.awsrequest import AWSResponse

asked = json.loads(sys.argv[1])
now = datetime.datetime.strptime(asked["time"], "%Y%m%dT%H%M%SZ")
botocore.auth.get_current_datetime = lambda remove_tzinfo=True: now


class Body:
    def stream(self, **_):
        yield b"<GetCallerIdentityResponse><GetCallerIdentityResult/></GetCallerIdentityResponse>"


def capture(request, **_):
    headers = {name.lower(): value.decode() if isinstance(value, bytes) else str(value) for name, value in request.headers.items()}
    body = request.body.decode() if isinstance(request.body, bytes) else request.body
    print(json.dumps({"method": request.method, "url": request.url, "headers": headers, "body": body}))
    return AWSResponse(request.url, 200, {}, Body())


client = boto3.client(
    "sts",
    region_name=asked["region"],
    aws_access_key_id=asked["key_id"],
    aws_secret_access_key=asked["secret"],
    aws_session_token=asked["token"],
)
client.meta.events.register("before-send.sts", capture)
client.get_caller_identity()
