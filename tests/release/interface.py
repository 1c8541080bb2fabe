#!/usr/bin/env python3
"""Lists the public interface, a name a line, as the generated tables of the documentation have it:

    tests/release/interface.py > tests/release/released.txt        after a release

released.txt is the interface of the last release.
"""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Which columns of a generated table are the interface; the texts beside them may change at any time.
TABLES = {
    "deploy/REFERENCE.md": {"metrics": 3, "kinds": 1, "reasons": 1, "alerts": 2, "variables": 1, "routes": 1},
    "deploy/helm/imds-exporter/README.md": {"values": 1},
}


def rows(text, table, columns):
    body = text.split(f"<!-- generated: {table} -->\n", 1)[1].split("<!-- end -->", 1)[0]
    for line in body.splitlines()[2:]:
        if line.startswith("|"):
            cells = [cell.strip() for cell in line.strip("|").split(" | ")]
            # The links of names lead into documents.
            yield [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", cell).replace("`", "") for cell in cells[:columns]]


def interface(root=ROOT):
    """{(table, name): the line}"""
    found = {}
    for path, tables in TABLES.items():
        text = (root / path).read_text()
        for table, columns in tables.items():
            for name, *others in rows(text, table, columns):
                found[table, name] = " ".join([table, name, *others]).strip()
    return found


if __name__ == "__main__":
    print("\n".join(interface().values()))
