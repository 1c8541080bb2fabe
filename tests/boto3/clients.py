"""Clients of boto3, botocore or aiobotocore that a test controls, with the remedies of never_stuck.

Reads one JSON command per line, a function's name and its arguments, and answers each with one line.
"""

import asyncio
import collections
import concurrent.futures
import copy
import inspect
import json
import pickle
import re
import sys
import types

import botocore
import botocore.config
import botocore.exceptions
import botocore.loaders

import never_stuck

# Nothing listens there: a signed call fails to connect.
NOWHERE = "http://127.0.0.1:1"

sessions, clients, contexts = {}, {}, {}
# The API descriptions, which are read once for all sessions.
loader = botocore.loaders.Loader()
# The clock of never_stuck stands still, so that a slow machine changes nothing.
now = 0.0
never_stuck.time = types.SimpleNamespace(monotonic=lambda: now)


def advance(seconds):
    global now
    now += seconds


async def resolved(value):
    return await value if inspect.isawaitable(value) else value


def session(name, kind, remedies=(), profile=None, keys=None):
    if kind == "aiobotocore":
        import aiobotocore.session
        made = core = aiobotocore.session.AioSession(profile=profile)
    else:
        import boto3
        import botocore.session
        made = core = botocore.session.Session(profile=profile)
        if kind == "boto3":
            made = boto3.session.Session(botocore_session=core)
        if kind == "default":
            boto3.DEFAULT_SESSION = None
            for remedy in remedies:
                getattr(never_stuck, remedy)()
            made, core, remedies = boto3, boto3.DEFAULT_SESSION._session, ()
    core.register_component("data_loader", loader)
    if keys:
        core.set_credentials(*keys)
    for remedy in remedies:
        getattr(never_stuck, remedy)(made)
    sessions[name] = made


def duplicate(name, original, how):
    sessions[name] = getattr(copy, how)(sessions[original])


def can_be_pickled(name):
    try:
        return bool(pickle.dumps(sessions[name]))
    except (AttributeError, TypeError, pickle.PicklingError):
        return False


async def outcome(function):
    """What it returns, or {"raised": ...}."""
    try:
        return await resolved(function())
    except Exception as error:
        cause = error.__cause__ and type(error.__cause__).__name__
        return {"raised": type(error).__name__, "cause": cause}


async def create(name, session, service="s3", unsigned=False, keys=None, resource=False):
    """Whether the client has credentials, or what its creation raises."""
    made = sessions[session]
    config = {"retries": {"max_attempts": 0}, "connect_timeout": 2, "signature_version": "s3v4"}
    if service != "s3":
        del config["signature_version"]
    if unsigned:
        config["signature_version"] = botocore.UNSIGNED
    # Nothing is encrypted. To read the authorities, as aiohttp does for each client, takes half of its time.
    options = {"region_name": "eu-west-1", "endpoint_url": NOWHERE, "verify": False, "config": botocore.config.Config(**config)}
    if keys:
        options.update(zip(("aws_access_key_id", "aws_secret_access_key"), keys))

    async def creation():
        if resource:
            return made.resource(service, **options)
        if hasattr(made, "client"):
            return made.client(service, **options)
        created = made.create_client(service, **options)
        if not hasattr(created, "__aenter__"):
            return created
        contexts[name] = created
        return await created.__aenter__()

    created = await outcome(creation)
    if isinstance(created, dict):
        return created
    clients[name] = created
    client = created.meta.client if resource else created
    client.meta.events.register("before-send", lambda request, **_: keep_signature(client, request))
    return {"bound": client._request_signer._credentials is not None}


signatures = {}


def keep_signature(client, request):
    value = request.headers.get("Authorization", "")
    value = value.decode() if isinstance(value, bytes) else value
    signatures[client] = found[1] if (found := re.search("Credential=([^/]+)/.*Signature=", value)) else ""


async def call(name, how="call"):
    """The key that the call was signed with, "" without a signature, or {"raised": ...}."""
    client = clients[name]

    async def first_page():
        pages = client.get_paginator("list_objects_v2").paginate(Bucket="b")
        if hasattr(pages, "__aiter__"):
            return [page async for page in pages]
        return list(pages)

    async def wait():
        waiter = client.get_waiter("bucket_exists")
        return await resolved(waiter.wait(Bucket="b"))

    calls = {
        "call": lambda: client.list_buckets(),
        "resource": lambda: list(client.buckets.all()),
        "paginator": first_page,
        "waiter": wait,
        "get": lambda: client.generate_presigned_url("get_object", {"Bucket": "b", "Key": "k"}),
        "post": lambda: client.generate_presigned_post("b", "k"),
        "identity": lambda: client.get_caller_identity(),
        # An operation without a signature, of a service whose others have one.
        "unsigned_operation": lambda: client.assume_role_with_web_identity(
            RoleArn="arn:aws:iam::123456789012:role/r", RoleSessionName="session", WebIdentityToken="token"),
    }
    try:
        answer = await resolved(calls[how]())
    except botocore.exceptions.EndpointConnectionError:
        return signatures.pop(client.meta.client if how == "resource" else client)
    except Exception as error:
        return {"raised": type(error).__name__, "cause": error.__cause__ and type(error.__cause__).__name__}
    found = re.search("X-Amz-Credential['\"=: ]+([A-Z0-9]+)", str(answer), re.IGNORECASE)
    assert found, "something answered at an address where nothing listens"
    return found[1]


async def call_at_once(name, count):
    """How often each result came of so many calls at the same time: in threads, or in tasks of the event loop."""
    if inspect.iscoroutinefunction(clients[name]._make_api_call):
        results = await asyncio.gather(*(call(name, "get") for _ in range(count)))
    else:
        with concurrent.futures.ThreadPoolExecutor(count) as pool:
            results = list(pool.map(lambda _: asyncio.run(call(name, "get")), range(count)))
    return collections.Counter(json.dumps(result) for result in results)


def counted():
    import prometheus_client
    names = ("stuck_clients", "healed_clients", "calls_without_credentials")
    return [prometheus_client.REGISTRY.get_sample_value(f"boto3_{name}_total") for name in names]


async def main():
    for line in sys.stdin:
        name, arguments = json.loads(line)
        print(json.dumps(await resolved(globals()[name](**arguments))), flush=True)


asyncio.run(main())
