#!/usr/bin/env python3
"""Writes the licenses of the crates that are linked into the shipped program, for both architectures, into
deploy/THIRD-PARTY-LICENSES.txt, which images, packages and archives contain.

    deploy/licenses.py            writes the file again, after a change of the dependencies
    deploy/licenses.py --check    ends with 1 if it would change

A crate that may be used under Apache-2.0 is used under that license, the text of which stands once. Of all others, the texts
are those that the crate itself ships.
"""

import re
import sys
from pathlib import Path

import sbom

OUTPUT = sbom.ROOT / "deploy" / "THIRD-PARTY-LICENSES.txt"
TARGETS = ["x86_64-unknown-linux-musl", "aarch64-unknown-linux-musl"]
TEXT = re.compile(r"(?i)(licen[cs]e|copying|unlicense|copyright)")
# For crates under MIT that ship no text: the license as the SPDX list has it.
MIT = """\
Copyright (c) {holders}

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated documentation
files (the "Software"), to deal in the Software without restriction, including without limitation the rights to use, copy,
modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the
Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE,
ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE."""


def may_be_apache(expression):
    """Whether Apache-2.0 alone is enough: one of the alternatives of an expression without AND."""
    return "AND" not in expression.split() and "Apache-2.0" in expression.split(" OR ")


def texts(package):
    """The license texts that the crate ships, and its notices."""
    folder = Path(package["manifest_path"]).parent
    files = sorted(path for path in folder.iterdir() if path.is_file() and TEXT.match(path.name))
    found = [path.read_text(errors="replace").strip() for path in files]
    if found:
        return found
    if package["license"] == "MIT":
        holders = ", ".join(package["authors"]) or f"the authors of {package['name']}"
        return [MIT.format(holders=holders)]
    sys.exit(f"deploy/licenses.py: {package['name']} {package['version']} ships no text of its license, {package['license']}")


def notices(package):
    folder = Path(package["manifest_path"]).parent
    return [path.read_text(errors="replace").strip() for path in sorted(folder.glob("NOTICE*"))]


def document():
    apache, others = [], {}
    for package in sbom.packages(edges="normal", targets=TARGETS):
        if package["source"] is None:
            continue
        name = f"{package['name']} {package['version']}"
        if may_be_apache(sbom.license_expression(package)):
            apache.append(name)
            found = notices(package)
        else:
            found = texts(package) + notices(package)
        for text in found:
            others.setdefault(text, []).append(f"{name} ({package['license']})")
    line = "=" * 100
    parts = ["imds-exporter contains the following crates. The source of each is in the public registry of Rust, by this name and version.",
             "Under the Apache License 2.0, the text of which is at the end:\n\n  " + "\n  ".join(apache)]
    for text, names in sorted(others.items(), key=lambda item: item[1]):
        parts.append(f"{line}\n" + "\n".join(names) + f"\n{line}\n\n{text}")
    parts.append(f"{line}\nApache License 2.0\n{line}\n\n{(sbom.ROOT / 'LICENSE').read_text().strip()}")
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    made = document()
    if sys.argv[1:] == ["--check"]:
        if not OUTPUT.exists() or OUTPUT.read_text() != made:
            sys.exit(f"deploy/licenses.py: {OUTPUT.relative_to(sbom.ROOT)} is not that of Cargo.lock: run deploy/licenses.py")
    else:
        OUTPUT.write_text(made)
