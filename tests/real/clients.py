"""Real boto3 clients at the command of a test.

Reads one JSON command a line and answers each with one line. botocore's clock can be advanced: the credentials' age
is all that it is used for here, so hours pass in no time.

    {"do": "create", "client": NAME, "session": NAME}   creates a client, and the session if there is none
    {"do": "sign", "client": NAME}                      makes an API call; what matters is whether it could be signed
    {"do": "advance", "seconds": N}
"""

import datetime
import json
import sys

import boto3
import botocore.compat
import botocore.config
import botocore.credentials
import botocore.exceptions
import botocore.utils

# Nothing listens there: a call that was signed fails to connect.
NOWHERE = "http://127.0.0.1:1"

ahead = datetime.timedelta()
real_init = botocore.credentials.RefreshableCredentials.__init__
real_now = botocore.compat.get_current_datetime


def local_now():
    return datetime.datetime.now(datetime.timezone.utc) + ahead


def init(self, *arguments, **options):
    options["time_fetcher"] = local_now
    real_init(self, *arguments, **options)


botocore.credentials.RefreshableCredentials.__init__ = init
botocore.utils.get_current_datetime = lambda *a, **k: real_now(*a, **k) + ahead

sessions, clients = {}, {}


def create(client, session):
    sessions.setdefault(session, boto3.session.Session())
    config = botocore.config.Config(retries={"max_attempts": 0}, connect_timeout=2)
    clients[client] = sessions[session].client("sts", region_name="eu-west-1", endpoint_url=NOWHERE, config=config)
    return {"bound": clients[client]._request_signer._credentials is not None}


def sign(client):
    try:
        clients[client].get_caller_identity()
    except botocore.exceptions.EndpointConnectionError:
        return {"signed": True}
    except (botocore.exceptions.NoCredentialsError, botocore.exceptions.CredentialRetrievalError) as error:
        return {"signed": False, "error": type(error).__name__}
    raise AssertionError("something answered at an address where nothing listens")


def advance(seconds):
    global ahead
    ahead += datetime.timedelta(seconds=seconds)
    return {}


for line in sys.stdin:
    command = json.loads(line)
    action = {"create": create, "sign": sign, "advance": advance}[command.pop("do")]
    print(json.dumps(action(**command)), flush=True)
