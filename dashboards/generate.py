#!/usr/bin/env python3
"""Generates the dashboards from their source. Requires only Python.

    dashboards/generate.py          write the JSON files
    dashboards/generate.py --check  exit with status 1 if a JSON file differs from what the source generates
"""

import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from source import fleet, instance  # noqa: E402

DASHBOARDS = {"imds-instance.json": instance.DASHBOARD, "imds-fleet.json": fleet.DASHBOARD}


def text(dashboard):
    """The JSON file's content."""
    return json.dumps(dashboard, indent=2, ensure_ascii=False) + "\n"


def main():
    stale = [name for name, one in DASHBOARDS.items()
             if not (HERE / name).exists() or (HERE / name).read_text(encoding="utf-8") != text(one)]
    if "--check" in sys.argv[1:]:
        for name in stale:
            print(f"dashboards/{name} differs from its source: run dashboards/generate.py", file=sys.stderr)
        return 1 if stale else 0
    for name in stale:
        (HERE / name).write_text(text(DASHBOARDS[name]), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
