#!/usr/bin/env python3
"""Writes where a release comes from: a SLSA provenance predicate (version 1).

    deploy/provenance.py VERSION COMMIT REPOSITORY > provenance.json

It names the command, the commit and the checksums of all dependencies; `deploy/publish` signs it for the released files.
"""

import json
import subprocess
import sys

import sbom


def predicate(version, commit, repository):
    rustc = subprocess.run(["rustc", "--version"], check=True, capture_output=True, text=True, cwd=sbom.ROOT).stdout.strip()
    dependencies = [{"uri": each["purl"], "digest": {"sha256": each["hashes"][0]["content"]}} for each in sbom.bill()["components"]]
    return {
        "buildDefinition": {
            "buildType": f"{repository}/blob/v{version}/deploy/release",
            "externalParameters": {"version": version},
            "internalParameters": {"compiler": rustc},
            "resolvedDependencies": [{"uri": f"git+{repository}", "digest": {"gitCommit": commit}}, *dependencies],
        },
        "runDetails": {"builder": {"id": f"{repository}/blob/v{version}/.github/workflows/release.yml"}},
    }


if __name__ == "__main__":
    json.dump(predicate(*sys.argv[1:]), sys.stdout, indent=2)
    print()
