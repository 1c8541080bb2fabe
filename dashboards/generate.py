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
    """The JSON file's content: a line for each panel, variable, annotation and link. Indented, the two files would be larger
    than what `kubectl apply` accepts as one ConfigMap."""
    def compact(node):
        return json.dumps(node, ensure_ascii=False, separators=(",", ":"))

    def lines(node):
        if isinstance(node, list) and node and isinstance(node[0], dict):
            return "[\n" + ",\n".join(map(compact, node)) + "\n]"
        if isinstance(node, dict) and any(isinstance(child, list) for child in node.values()):
            return "{" + ",".join(f"{compact(key)}:{lines(child)}" for key, child in node.items()) + "}"
        return compact(node)
    return "{\n" + ",\n".join(f"{compact(key)}: {lines(child)}" for key, child in dashboard.items()) + "\n}\n"


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
