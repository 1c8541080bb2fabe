"""What `check` advises, where it runs and for what answers there: the texts of the kind that it tells, and of the situation."""

import concurrent.futures
import json
import tomllib

import pytest
from test_never_stuck import FAULTS

from helpers import paths
from helpers.commands import complete
from helpers.exporters import environment, simulator

RUNBOOK = paths.ROOT / "src/runbook"
KINDS = tomllib.loads((RUNBOOK / "kinds.toml").read_text())["kinds"]
COMMANDS = tomllib.loads((RUNBOOK / "commands.toml").read_text())
PLACES = {
    "host": {},
    "kubernetes": {"KUBERNETES_SERVICE_HOST": "10.0.0.1"},
    "ecs": {"ECS_CONTAINER_METADATA_URI_V4": "http://127.0.0.1:1/v4"},
}
# The situation of a kind in a place, where the usual advice does not fit: all answers are EC2's.
SITUATIONS = {
    ("hop_limit", "kubernetes"): "kubernetes",
    ("hop_limit", "ecs"): "ecs",
    ("connect_timeout", "kubernetes"): "kubernetes",
    ("connect_timeout", "ecs"): "ecs",
    ("connect_refused", "kubernetes"): "kubernetes",
    ("token_forbidden", "kubernetes"): "kubernetes",
    ("profile_without_role", "kubernetes"): "iam_proxy",
    ("role_not_found", "kubernetes"): "iam_proxy",
    ("forbidden", "kubernetes"): "iam_proxy",
    # Only if the token request was answered.
    ("read_timeout", "kubernetes"): "iam_proxy",
    ("server_error", "kubernetes"): "iam_proxy",
}


@pytest.fixture(scope="module")
def imds():
    with simulator() as simulator_:
        yield simulator_


def advice(imds, place, **more):
    """The kind of failure that `check` tells, its step, and the texts; None where credentials resolve."""
    env = environment(imds.endpoint, **PLACES[place], **more)
    failure = json.loads(complete(paths.exporter(), "check", "--json", env=env).stdout)["failure"]
    return failure and (failure["kind"], failure["step"], {name: failure[name] for name in ("cause", "confirm", "action")})


def texts(kind, situation, place, principal="ec2.amazonaws.com (in China: ec2.amazonaws.com.cn)"):
    """The texts as they are written, filled in."""
    values = {**COMMANDS["places"][place], **COMMANDS["commands"], "refresh": "15", "principal": principal}

    def filled(text):
        for name, value in values.items():
            text = text.replace("{%s}" % name, value)
        return text

    written = {**KINDS[kind], **(KINDS[kind][situation] if situation else {})}
    return {name: filled(written[name]) for name in ("cause", "confirm", "action")}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.replace("\n", ", "))
def test_each_kind_has_the_advice_of_the_place(imds, fault):
    imds.change(fault)
    with concurrent.futures.ThreadPoolExecutor(len(PLACES)) as pool:
        told = dict(zip(PLACES, pool.map(lambda place: advice(imds, place), PLACES)))
    for place, (kind, step, said) in told.items():
        situation = SITUATIONS.get((kind, place))
        if (kind, step) in (("read_timeout", "token"), ("server_error", "token")):
            situation = None
        assert said == texts(kind, situation, place), (place, kind)


# What `check` tells in each step of a scenario: the kind and the situation, or None where credentials resolve.
PLAYED = {
    "kube2iam": ("kubernetes", [None, None, None, ("profile_without_role", "iam_proxy"), ("profile_without_role", "iam_proxy"),
                                ("read_timeout", "iam_proxy"), None]),
    "kiam": ("kubernetes", [None, None, ("no_role", "iam_proxy"), None, ("no_role", "iam_proxy"), ("server_error", "iam_proxy"), None]),
    # OpenStack, Google Cloud, Azure, an Envoy without a route.
    "not-ec2": ("host", [("no_role", "not_ec2"), ("no_role", "not_ec2"), ("token_rejected", "not_ec2"), ("no_role", "not_ec2"),
                         None]),
}


@pytest.mark.parametrize("name", PLAYED)
def test_proxies_and_other_clouds_have_advice_of_their_own(name):
    place, expected = PLAYED[name]
    scenario = (paths.ROOT / "src/simulator/scenarios" / f"{name}.toml").read_text()
    steps = scenario.split("[[step]]\n")[1:]
    assert len(steps) == len(expected)
    with simulator() as imds:
        for step, wanted in zip(steps, expected):
            at, said, *change = step.splitlines()
            assert at.startswith("at = ") and said.startswith("say = ")
            imds.change("\n".join(change))
            told = advice(imds, place)
            assert (told and told[0]) == (wanted and wanted[0]), said
            if told:
                assert told[2] == texts(*wanted, place), said


@pytest.mark.parametrize("region, principal", [("cn-north-1", "ec2.amazonaws.com.cn"), ("eu-west-1", "ec2.amazonaws.com")])
def test_the_service_that_assumes_the_role_is_that_of_the_partition(imds, region, principal):
    imds.change('fault = "assume_role_denied"')
    _, _, said = advice(imds, "host", AWS_REGION=region)
    assert said == texts("assume_role_denied", None, "host", principal)
