"""What the program is made of: licences, sources and bans as deny.toml has them, and the bill of materials."""

import importlib.util
import json
import re
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
DENY = tomllib.loads((ROOT / "deny.toml").read_text())
LOCK = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]

_spec = importlib.util.spec_from_file_location("sbom", ROOT / "deploy" / "sbom.py")
sbom = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(sbom)


def is_allowed(expression, allowed):
    """An SPDX expression, or the older form with slashes for OR."""
    words = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))
    position = 0

    def one():
        nonlocal position
        word = words[position]
        position += 1
        if word == "(":
            inside = either()
            position += 1
            return inside
        if words[position : position + 1] == ["WITH"]:
            word = f"{word} WITH {words[position + 1]}"
            position += 2
        return word in allowed

    def both():
        nonlocal position
        good = one()
        while words[position : position + 1] == ["AND"]:
            position += 1
            good = one() and good
        return good

    def either():
        nonlocal position
        good = both()
        while words[position : position + 1] == ["OR"]:
            position += 1
            good = both() or good
        return good

    return either()


def test_the_reader_of_licences_reads_them():
    allowed = {"MIT", "ISC", "Apache-2.0 WITH LLVM-exception"}
    for good in ["MIT", "GPL-3.0 OR MIT", "GPL-3.0/MIT", "(GPL-3.0 OR MIT) AND ISC", "Apache-2.0 WITH LLVM-exception"]:
        assert is_allowed(good, allowed), good
    for bad in ["GPL-3.0", "MIT AND GPL-3.0", "(MIT OR ISC) AND GPL-3.0", "Apache-2.0", "MIT WITH LLVM-exception"]:
        assert not is_allowed(bad, allowed), bad


def test_all_licences_are_allowed_and_every_allowance_is_needed():
    # The features of the program as it is shipped, and of all that it could be.
    components = sbom.bill("simulator,web-config")["components"]
    allowed = set(DENY["licenses"]["allow"])
    wrong = [
        (each["name"], each["licenses"]) for each in components if not is_allowed(each["licenses"][0]["expression"], allowed)
    ]
    assert wrong == []
    seen = " ".join(each["licenses"][0]["expression"] for each in components)
    assert [each for each in allowed if each not in seen] == []


def test_all_crates_come_from_the_public_registry_with_a_checksum():
    foreign = [each["name"] for each in LOCK if each["name"] != "imds-exporter" and "checksum" not in each]
    assert foreign == []
    assert {each.get("source", "here").split("+")[0] for each in LOCK} == {"registry", "here"}


def test_no_banned_crate_is_a_part_of_it():
    names = {each["name"] for each in sbom.bill("simulator,web-config")["components"]}
    assert names.isdisjoint(each["name"] for each in DENY["bans"]["deny"])


def test_the_small_build_has_no_tls_and_no_simulator():
    names = {each["name"] for each in sbom.bill()["components"]}
    assert names.isdisjoint({"rustls", "ring", "bcrypt", "toml"})
    assert {"tokio", "hyper", "prometheus"} <= names
    assert "rustls" in {each["name"] for each in sbom.bill("web-config")["components"]}


def test_the_bill_is_of_this_program_and_whole():
    bill = json.loads(subprocess.run([ROOT / "deploy" / "sbom.py"], check=True, capture_output=True).stdout)
    assert bill["metadata"]["component"]["name"] == "imds-exporter"
    locked = {(each["name"], each["version"]): each.get("checksum") for each in LOCK}
    assert len(bill["components"]) > 50
    for each in bill["components"]:
        assert each["hashes"][0]["content"] == locked[each["name"], each["version"]]
        assert each["licenses"][0]["expression"], each["name"]
        assert each["purl"] == f"pkg:cargo/{each['name']}@{each['version']}"
    # What only tests use is no part of it.
    assert {each["name"] for each in bill["components"]}.isdisjoint({"proptest", "tempfile", "promql-parser"})


def test_the_toolchain_is_pinned():
    channel = tomllib.loads((ROOT / "rust-toolchain.toml").read_text())["toolchain"]["channel"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", channel)
    assert channel.startswith(tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["rust-version"])
