"""What the three programs share. Each attempt waits for a line on standard input, so that a test controls the time."""

import sys

import boto3
from botocore.config import Config
from botocore.exceptions import EndpointConnectionError, NoCredentialsError

# Nothing listens there: a signed call fails to connect.
NOWHERE = "http://127.0.0.1:1"


def new_client():
    config = Config(retries={"max_attempts": 0}, connect_timeout=2)
    return boto3.client("sts", region_name="eu-west-1", endpoint_url=NOWHERE, config=config)


def call(client):
    try:
        client.get_caller_identity()
    except NoCredentialsError:
        return "NoCredentialsError"
    except EndpointConnectionError:
        return "signed"
    raise AssertionError("something answered at an address where nothing listens")


def next_attempt():
    return bool(sys.stdin.readline())


def report(what):
    print(what, flush=True)
