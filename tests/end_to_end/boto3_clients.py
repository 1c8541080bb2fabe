"""boto3 clients that a test controls, of whichever version is imported.

Reads one JSON command per line and answers each with one line. All clocks of this process but the monotonic one are
libfaketime's, which reads how far they are ahead from FAKETIME_TIMESTAMP_FILE.

    {"do": "create", "client": NAME, "session": NAME}   creates a client, and its session if it does not exist
    {"do": "sign", "client": NAME}                      makes an API call and says whether and with which key it was signed
    {"do": "find", "environment": {NAME: VALUE}}        where a new session gets its credentials from, with these variables
    {"do": "advance", "seconds": N}
    {"do": "version"}
"""

import json
import os
import re
import sys
import threading
import time

# Python's own fails under libfaketime. Before the imports, as botocore keeps it in default arguments.
time.sleep = threading.Event().wait

import boto3
import botocore.config
import botocore.exceptions
import botocore.loaders
import botocore.session

# Nothing listens there: a signed call fails to connect.
NOWHERE = "http://127.0.0.1:1"

ahead = 0
# The API descriptions, which are read once for all sessions.
loader = botocore.loaders.Loader()
sessions, clients = {}, {}


def named(session):
    if session not in sessions:
        # Without the handlers for single services, which take most of the time: none concerns credentials.
        core = botocore.session.Session(include_builtin_handlers=False)
        core.register_component("data_loader", loader)
        sessions[session] = boto3.session.Session(botocore_session=core)
    return sessions[session]


def create(client, session):
    config = botocore.config.Config(retries={"max_attempts": 0}, connect_timeout=2)
    try:
        clients[client] = named(session).client("sts", region_name="eu-west-1", endpoint_url=NOWHERE, config=config)
    except Exception as error:
        return {"raised": type(error).__name__}
    clients[client].meta.events.register("before-send.sts", keep_signature)
    return {"bound": clients[client]._request_signer._credentials is not None}


def keep_signature(request, **_):
    global signature
    signature = request.headers.get("Authorization", b"").decode()


def sign(client):
    global signature
    signature = ""
    try:
        clients[client].get_caller_identity()
    except botocore.exceptions.EndpointConnectionError:
        return {"signed": True, "key": re.search("Credential=([^/]+)/.*Signature=[0-9a-f]+", signature)[1]}
    except Exception as error:
        return {"signed": False, "error": type(error).__name__}
    raise AssertionError("something answered at an address where nothing listens")


def find(environment):
    os.environ.update(environment)
    try:
        credentials = boto3.session.Session().get_credentials()
    except Exception as error:
        return {"raised": type(error).__name__}
    finally:
        for name in environment:
            del os.environ[name]
    return {"method": credentials and credentials.method}


def advance(seconds):
    global ahead
    ahead += seconds
    file = os.environ["FAKETIME_TIMESTAMP_FILE"]
    with open(file + ".new", "w") as new:
        new.write(f"{ahead:+}\n")
    os.replace(file + ".new", file)
    return {}


def version():
    return {"version": boto3.__version__}


for line in sys.stdin:
    command = json.loads(line)
    action = {"create": create, "sign": sign, "find": find, "advance": advance, "version": version}[command.pop("do")]
    print(json.dumps(action(**command)), flush=True)
