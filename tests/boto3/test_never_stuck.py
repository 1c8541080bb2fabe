"""heal and fail_loudly with real SDKs and the simulator, through outages of every kind."""

import concurrent.futures
import json
import subprocess
import tomllib

import pytest
from conftest import KEYS, SDKS, environment, running

from helpers import paths

REFUSED = 'fault = "connect_refused"'
SERVER_ERROR = 'fault = "server_error"'
# A program's own end of the outage.
RECOVER = """import urllib.request
urllib.request.build_opener(urllib.request.ProxyHandler({})).open("%s/", b'fault = "none"')"""


def faults():
    """Every fault of the bundled scenario that has each kind."""
    steps = tomllib.loads((paths.ROOT / "src/simulator/scenarios/all-kinds.toml").read_text())["step"]
    for step in steps:
        fault = {key: step[key] for key in ("fault", "step", "variant", "field", "only_step") if key in step}
        if fault.get("fault", "none") != "none":
            yield "\n".join(f"{key} = {json.dumps(value)}" for key, value in fault.items())


FAULTS = list(faults())


# What a client does in an outage of this kind if it is not bound to nothing: its creation raises, or it signs.
OTHER_OUTCOMES = {
    "invalid_response": {"aiobotocore": "HTTPClientError"},
    "invalid_timestamp": {"boto3": "ParserError", "aiobotocore": "ParserError"},
    "refused": {"boto3": "signs", "aiobotocore": "signs"},
    "unexpected_status": {"aiobotocore": "HTTPClientError"},
}


def error(answer):
    return answer.get("raised") if isinstance(answer, dict) else None


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.replace("\n", ", "))
def test_a_client_of_an_outage_is_healed_at_its_first_call_after_it(sdks, fault):
    def story(sdk):
        sdk.healed_session(name="s")
        sdk.session(name="loud", kind=sdk.kind, remedies=["fail_loudly"])
        sdk.fail(fault)
        try:
            loud = sdk.create(name="loud", session="loud")
            before = sdk.searches()
            created = sdk.create(name="c", session="s")
            one_search = sdk.searches() - before
            if error(created):
                assert error(loud) == error(created)
                return error(created)
            if created["bound"]:
                assert loud == created
                return "signs"
            assert error(loud) == "NoCredentialsError"
            before = sdk.searches()
            assert error(sdk.call(name="c")) == "NoCredentialsError"
            asked = sdk.searches()
            assert asked - before == one_search
            # The next call, within the second, asks nobody.
            assert error(sdk.call(name="c")) == "NoCredentialsError"
            assert sdk.searches() == asked
            sdk.recover()
            assert sdk.call(name="c") == sdk.key
            assert sdk.searches() == asked + 1
            assert sdk.call(name="c") == sdk.key
            assert sdk.searches() == asked + 1
            return "healed"
        finally:
            sdk.recover()

    kind = tomllib.loads(fault)["fault"]
    outcomes = OTHER_OUTCOMES.get(kind, {})
    expected = {sdk.name: outcomes.get(sdk.kind, "healed") for sdk in sdks}
    assert sdks.each(story) == expected


def test_whatever_is_signed_is_healed(sdks):
    """Resources, paginators, waiters, and presigned URLs and forms, each with a client of its own."""
    def story(sdk):
        hows = ["call", "paginator", "waiter", "get", "post"] + ["resource"] * (not sdk.is_asynchronous)
        sdk.healed_session(name="s")
        sdk.fail(REFUSED)
        for how in hows:
            assert sdk.create(name=how, session="s", resource=how == "resource") == {"bound": False}
            assert error(sdk.call(name=how, how=how))
        sdk.recover()
        before = sdk.searches()
        for how in hows:
            assert sdk.call(name=how, how=how) == sdk.key, how
        assert sdk.searches() == before + 1, "one search serves all clients of a session"

    sdks.each(story)


@pytest.mark.parametrize("kind", ["botocore", "default"])
def test_sessions_of_botocore_and_the_default_session(sdks, kind):
    def story(sdk):
        if sdk.is_asynchronous:
            return
        sdk.session(name="s", kind=kind, remedies=["heal"])
        sdk.session(name="loud", kind=kind, remedies=["heal", "fail_loudly"])
        sdk.fail(REFUSED)
        assert error(sdk.create(name="c", session="loud")) == "NoCredentialsError"
        sdk.session(name="s", kind=kind, remedies=["heal", "heal"])
        assert sdk.create(name="c", session="s") == {"bound": False}
        sdk.recover()
        before = sdk.searches()
        assert sdk.call(name="c") == sdk.key
        assert sdk.searches() == before + 1

    sdks.each(story)


def test_what_has_credentials_or_needs_none_is_left_alone(sdks):
    def story(sdk):
        sdk.healed_session("s", "fail_loudly")
        sdk.healed_session("keys", "fail_loudly", keys=["AKIASESSION", "secret"])
        sdk.healed_session("quiet")
        sdk.fail(SERVER_ERROR)
        before = sdk.searches()
        assert sdk.create(name="unsigned", session="s", unsigned=True) == {"bound": False}
        assert sdk.call(name="unsigned") == ""
        assert sdk.create(name="explicit", session="s", keys=["AKIACLIENT", "secret"]) == {"bound": True}
        assert sdk.call(name="explicit") == "AKIACLIENT"
        assert sdk.create(name="keys", session="keys") == {"bound": True}
        assert sdk.call(name="keys") == "AKIASESSION"
        assert sdk.searches() == before
        # A client that has none, and whose operation needs none.
        assert sdk.create(name="sts", session="quiet", service="sts") == {"bound": False}
        asked = sdk.searches()
        assert sdk.call(name="sts", how="unsigned_operation") == ""
        assert sdk.searches() == asked
        sdk.recover()
        assert sdk.call(name="sts", how="unsigned_operation") == ""
        assert sdk.searches() == asked
        assert sdk.call(name="sts", how="identity") == sdk.key
        assert sdk.call(name="unsigned") == ""
        assert sdk.call(name="explicit") == "AKIACLIENT"

    sdks.each(story)


def test_fifty_calls_at_once_share_one_search(sdks):
    def story(sdk):
        sdk.healed_session(name="s")
        # Slow enough that the calls meet.
        sdk.fail(f'{SERVER_ERROR}\ndelay = "300ms"')
        sdk.create(name="c", session="s")
        before = sdk.searches()
        (failed, count), = sdk.call_at_once(name="c", count=50).items()
        assert (error(json.loads(failed)), count) == ("NoCredentialsError", 50)
        assert sdk.searches() <= before + 1
        sdk.recover()
        before = sdk.searches()
        assert sdk.call_at_once(name="c", count=50) == {json.dumps(sdk.key): 50}
        assert sdk.searches() == before + 1
        sdk.simulator.change('delay = "0s"')

    sdks.each(story)


def test_the_stuck_clients_of_a_session_search_once_a_second_at_most(sdks):
    def story(sdk):
        sdk.healed_session(name="s")
        sdk.fail(SERVER_ERROR)
        for client in ("a", "b"):
            assert sdk.create(name=client, session="s") == {"bound": False}
        before = sdk.searches()
        # Five seconds, in which each is called four times a second.
        for _ in range(20):
            for client in ("a", "b"):
                assert error(sdk.call(name=client, how="get")) == "NoCredentialsError"
            sdk.advance(seconds=0.25)
        assert sdk.searches() == before + 5
        sdk.recover()

    sdks.each(story)


def test_a_call_in_an_outage_that_began_after_the_client_is_left_to_botocore(sdks):
    """A client with credentials signs with them."""
    def story(sdk):
        sdk.healed_session("s", "fail_loudly")
        assert sdk.create(name="c", session="s") == {"bound": True}
        sdk.fail(REFUSED)
        before = sdk.searches()
        assert sdk.call(name="c") == sdk.key
        assert sdk.searches() == before
        sdk.recover()

    sdks.each(story)


def test_the_error_of_a_search_is_the_cause(sdks):
    def story(sdk):
        sdk.healed_session(name="s")
        sdk.fail(REFUSED)
        sdk.create(name="c", session="s")
        sdk.fail('fault = "invalid_timestamp"')
        raised = sdk.call(name="c")
        assert raised == {"raised": "NoCredentialsError", "cause": "ParserError"}
        sdk.recover()
        assert sdk.call(name="c") == sdk.key

    sdks.each(story)


@pytest.mark.parametrize("how", ["copy", "deepcopy"])
def test_the_clients_of_a_copied_session_are_healed(sdks, how):
    def story(sdk):
        sdk.healed_session(name="original")
        sdk.duplicate(name="copy", original="original", how=how)
        sdk.fail(REFUSED)
        assert sdk.create(name="c", session="copy") == {"bound": False}
        sdk.recover()
        assert sdk.call(name="c") == sdk.key

    sdks.each(story)


def test_a_session_can_be_pickled_as_little_as_before(sdks):
    def story(sdk):
        sdk.session(name="plain", kind=sdk.kind)
        sdk.healed_session("s", "fail_loudly")
        assert sdk.can_be_pickled(name="plain") is False
        assert sdk.can_be_pickled(name="s") is False

    sdks.each(story)


def test_each_client_is_counted_once_and_each_failed_call(sdks):
    def story(sdk):
        sdk.healed_session(name="s")
        before = sdk.counted()
        sdk.fail(REFUSED)
        sdk.create(name="a", session="s")
        sdk.create(name="b", session="s")
        sdk.create(name="never called", session="s")
        for client in ["a", "a", "b"]:
            sdk.call(name=client)
        sdk.recover()
        sdk.call(name="a")
        sdk.call(name="a")
        assert [now - then for now, then in zip(sdk.counted(), before)] == [2, 1, 3]

    sdks.each(story)


@pytest.mark.parametrize("profile", ["static", "process", "sso", "sso-signed-out"])
def test_other_sources_of_credentials_are_unchanged(sdks, profile):
    """The same results with the remedies as without them, and never a question to IMDS."""
    def story(sdk):
        if profile == "sso" and sdk.name in ("boto3-1.20", "boto3-1.26"):
            # These have no setting that leads them to the portal of this test.
            return None
        sdk.session(name="plain", kind=sdk.kind, profile=profile)
        sdk.healed_session("s", "fail_loudly", profile=profile)
        sdk.fail(REFUSED)
        before = sdk.searches()
        results = []
        for session in ("plain", "s"):
            created = sdk.create(name=session, session=session)
            results.append([created, None if error(created) else sdk.call(name=session)])
        sdk.recover()
        assert sdk.searches() == before
        assert results[0] == results[1]
        return results[0]

    told = [result for result in sdks.each(story).values() if result is not None]
    if profile == "sso-signed-out":
        assert all(error(called) == "SSOTokenLoadError" for _, called in told), told
    else:
        assert all(result == [{"bound": True}, KEYS[profile]] for result in told), told


@pytest.mark.parametrize("folder, kind", SDKS)
def test_a_botocore_without_the_private_name_is_refused(folder, kind):
    program = f"""
import {kind}.session, botocore.signers, never_stuck
real = botocore.signers.RequestSigner.__init__
def renamed(self, *arguments):
    real(self, *arguments)
    self._renamed = vars(self).pop("_credentials")
botocore.signers.RequestSigner.__init__ = renamed
session = {kind}.session.{"AioSession" if kind == "aiobotocore" else "Session"}()
for remedy in never_stuck.heal, never_stuck.fail_loudly:
    try:
        remedy(session)
    except never_stuck.UnsupportedBotocoreError as error:
        print(error)
"""
    output = subprocess.run([paths.tool("python"), "-c", program], env=environment("http://127.0.0.1:1", folder),
                            check=True, capture_output=True, text=True).stdout
    lines = output.splitlines()
    assert len(lines) == 2 and all("RequestSigner._credentials" in line for line in lines), output


def test_a_child_process_heals_though_its_parent_was_searching(sdks):
    """A fork copies a lock that another thread holds."""
    program = """
import os, threading, boto3, never_stuck
from botocore.config import Config
session = boto3.Session(region_name="eu-west-1")
never_stuck.heal(session)
client = session.client("s3")
searching, go_on = threading.Event(), threading.Event()
real = session.get_credentials
def search():
    searching.set()
    go_on.wait(60)
    return real()
session.get_credentials = search
thread = threading.Thread(target=client.generate_presigned_url, args=("get_object", {"Bucket": "b", "Key": "k"}))
thread.start()
searching.wait(60)
child = os.fork()
if not child:
    session.get_credentials = real
    client.generate_presigned_url("get_object", {"Bucket": "b", "Key": "k"})
    os._exit(0)
status = os.waitpid(child, 0)[1]
go_on.set()
thread.join()
raise SystemExit(os.waitstatus_to_exitcode(status))
"""
    with running(None, "boto3") as sdk:
        sdk.fail(REFUSED)
        # The client is created in the outage; it is over once the program has started.
        program = program.replace("searching, go_on", f"{RECOVER % sdk.simulator.control}\nsearching, go_on", 1)
        subprocess.run([paths.tool("python"), "-c", program], env=environment(sdk.simulator.endpoint, None),
                       check=True, timeout=120)


def test_a_file_system_of_s3fs_is_healed():
    program = """
import aiobotocore.session, fsspec, s3fs, sys, never_stuck
from botocore.exceptions import EndpointConnectionError, NoCredentialsError
def result():
    try:
        files.ls("bucket", refresh=True)
    except Exception as error:
        return type(error).__name__
session = aiobotocore.session.AioSession()
never_stuck.heal(session)
never_stuck.RETRY_SECONDS = 0
files = s3fs.S3FileSystem(session=session, endpoint_url="http://127.0.0.1:1", config_kwargs={"retries": {"max_attempts": 0}})
s3fs.core.S3_RETRYABLE_ERRORS = ()
first = result()
%s
print(first, result())
"""
    with running("aiobotocore", "aiobotocore") as sdk:
        sdk.fail(REFUSED)
        output = subprocess.run([paths.tool("python"), "-c", program % RECOVER % sdk.simulator.control],
                                env=environment(sdk.simulator.endpoint, "aiobotocore", AWS_DEFAULT_REGION="eu-west-1"),
                                check=True, capture_output=True, text=True, timeout=120).stdout
    assert output.split() == ["NoCredentialsError", "EndpointConnectionError"], output


def test_it_installs_and_its_types_hold(tmp_path):
    subprocess.run([paths.tool("python"), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps",
                    "--no-build-isolation", "--target", tmp_path, paths.DEPLOY / "boto3"], check=True)
    installed = tmp_path / "never_stuck.py"
    assert installed.read_bytes() == (paths.DEPLOY / "boto3" / "never_stuck.py").read_bytes()
    subprocess.run([paths.tool("python"), "-m", "mypy", "--strict", "--ignore-missing-imports", "--cache-dir=/dev/null",
                    installed], check=True)
