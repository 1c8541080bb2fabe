"""The dependencies: licenses, sources and bans of deny.toml, and the bill of materials."""

import json
import re
import tomllib

from forms import program

from helpers import reference
from helpers.commands import run
from helpers.paths import DEPLOY, ROOT

DENY = tomllib.loads((ROOT / "deny.toml").read_text())
LOCK = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]

sbom = program(DEPLOY / "sbom.py")


def is_allowed(expression, allowed):
    """Whether an SPDX expression, or the older form with slashes for OR, can be met with the allowed licenses."""
    tokens = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))

    def accept(token):
        if tokens[:1] == [token]:
            return tokens.pop(0)
        return None

    def license():
        if accept("("):
            inner = disjunction()
            assert accept(")"), expression
            return inner
        name = tokens.pop(0)
        if accept("WITH"):
            name = f"{name} WITH {tokens.pop(0)}"
        return name in allowed

    def chain(operator, operand, combine):
        operands = [operand()]
        while accept(operator):
            operands.append(operand())
        return combine(operands)

    def disjunction():
        return chain("OR", lambda: chain("AND", license, all), any)

    result = disjunction()
    assert not tokens, expression
    return result


def test_license_expressions_are_evaluated():
    allowed = {"MIT", "ISC", "Apache-2.0 WITH LLVM-exception"}
    for good in ["MIT", "GPL-3.0 OR MIT", "GPL-3.0/MIT", "(GPL-3.0 OR MIT) AND ISC", "Apache-2.0 WITH LLVM-exception"]:
        assert is_allowed(good, allowed), good
    for bad in ["GPL-3.0", "MIT AND GPL-3.0", "(MIT OR ISC) AND GPL-3.0", "Apache-2.0", "MIT WITH LLVM-exception"]:
        assert not is_allowed(bad, allowed), bad


def test_every_license_is_allowed_and_every_allowed_license_is_used():
    # With the simulator, which the shipped program lacks.
    components = sbom.bill("simulator")["components"]
    allowed = set(DENY["licenses"]["allow"])
    wrong = [
        (each["name"], each["licenses"]) for each in components if not is_allowed(each["licenses"][0]["expression"], allowed)
    ]
    assert wrong == []
    seen = " ".join(each["licenses"][0]["expression"] for each in components)
    assert [each for each in allowed if each not in seen] == []


def test_every_crate_comes_from_the_public_registry_with_a_checksum():
    foreign = [each["name"] for each in LOCK if each["name"] != "imds-exporter" and "checksum" not in each]
    assert foreign == []
    assert {each.get("source", "here").split("+")[0] for each in LOCK} == {"registry", "here"}


def test_no_banned_crate_is_a_dependency():
    names = {each["name"] for each in sbom.bill("simulator")["components"]}
    for ban in DENY["bans"]["deny"]:
        users = {each["name"] for each in LOCK if ban["name"] in {name.split()[0] for name in each.get("dependencies", [])}}
        assert users & names <= set(ban.get("wrappers", [])), ban


def test_the_bill_of_materials_names_what_the_exporter_is_built_on():
    names = {each["name"] for each in sbom.bill()["components"]}
    assert {"tokio", "hyper", "prometheus", "rustls", "ring", "bcrypt"} <= names
    features = tomllib.loads((ROOT / "Cargo.toml").read_text())["features"]
    assert set(features) == {"default", "simulator"}


def test_the_bill_of_materials_is_complete():
    bill = json.loads(run(DEPLOY / "sbom.py"))
    assert bill["metadata"]["component"]["name"] == "imds-exporter"
    locked = {(each["name"], each["version"]): each.get("checksum") for each in LOCK}
    assert len(bill["components"]) > 50
    for each in bill["components"]:
        assert each["hashes"][0]["content"] == locked[each["name"], each["version"]]
        assert each["licenses"][0]["expression"], each["name"]
        assert each["purl"] == f"pkg:cargo/{each['name']}@{each['version']}"
    # Dependencies of the tests alone are left out.
    assert {each["name"] for each in bill["components"]}.isdisjoint({"rcgen", "clap_mangen"})


def test_the_toolchain_is_pinned():
    assert re.fullmatch(r"\d+\.\d+\.\d+", reference.toolchain())
    assert reference.toolchain().startswith(reference.minimum_rust())
