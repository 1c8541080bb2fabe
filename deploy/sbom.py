#!/usr/bin/env python3
"""Writes the software bill of materials (SBOM) of the program as CycloneDX JSON. It lists the packages that are linked
into the program or run to build it, with versions, licenses and checksums, from Cargo's own metadata.

    deploy/sbom.py [features, as for cargo --features; none by default, like the image] > sbom.json

In the environment: TARGET, the target; by default that of this machine.
"""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def cargo(command, features):
    wanted = ["--no-default-features", *(["--features", features] if features else [])]
    command = ["cargo", *command, "--locked", *wanted]
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout


def packages(features="", edges="normal,build", targets=()):
    """Cargo's metadata of this package and of what is built for these targets, in the order of their names."""
    # `cargo tree` gives what is built; `cargo metadata` also includes what tests enable in the same crates.
    chosen = [argument for target in targets for argument in ("--target", target)]
    tree = cargo(["tree", f"--edges={edges}", "--prefix=none", "--no-dedupe", *chosen], features)
    built = {tuple(line.split()[:2]) for line in tree.splitlines() if line.strip()}
    known = json.loads(cargo(["metadata", "--format-version=1"], features))["packages"]
    return sorted((each for each in known if (each["name"], f"v{each['version']}") in built),
                  key=lambda each: (each["name"], each["version"]))


def license_expression(package):
    """The SPDX expression; older manifests write a slash for OR."""
    return package["license"].replace(" / ", " OR ").replace("/", " OR ")


def bill(features=""):
    found = packages(features, targets=filter(None, [os.environ.get("TARGET")]))
    with open(ROOT / "Cargo.lock", "rb") as file:
        locked = {(each["name"], each["version"]): each.get("checksum") for each in tomllib.load(file)["package"]}
    root = next(package for package in found if package["source"] is None)

    def component(package, kind):
        name, version = package["name"], package["version"]
        made = {"type": kind, "bom-ref": f"pkg:cargo/{name}@{version}", "name": name, "version": version}
        made["purl"] = made["bom-ref"]
        if package["license"]:
            made["licenses"] = [{"expression": license_expression(package)}]
        if locked[name, version]:
            made["hashes"] = [{"alg": "SHA-256", "content": locked[name, version]}]
        return made

    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": component(root, "application")},
        "components": [component(package, "library") for package in found if package is not root],
    }


if __name__ == "__main__":
    json.dump(bill(",".join(sys.argv[1:])), sys.stdout, indent=2)
    print()
