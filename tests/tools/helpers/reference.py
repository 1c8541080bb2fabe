"""The tables of deploy/REFERENCE.md, which are generated from the code, and the versions in the crate's manifest."""

import functools
import re
import tomllib

from helpers.paths import DEPLOY, ROOT

FILE = DEPLOY / "REFERENCE.md"


def _cells(line):
    inner = line.strip().removeprefix("|").removesuffix("|")
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", inner)]


@functools.cache
def _table(heading):
    """The rows of the first table under a heading: dicts from the column's title to the cell as written."""
    text = FILE.read_text(encoding="utf-8")
    section = re.search(rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", text, re.M | re.S)
    assert section, f"{FILE} has no section '{heading}'"
    table = re.search(r"(?:^\|.*\n)+", section[1], re.M)
    assert table, f"{heading}: no table"
    header, rule, *rows = map(_cells, table[0].splitlines())
    assert all(re.fullmatch(r":?-+:?", cell) for cell in rule), f"{heading}: the second row of the table is {rule}"
    assert rows and all(len(row) == len(header) for row in rows), f"{heading}: rows differ in length"
    return [dict(zip(header, row)) for row in rows]


def _code(cell):
    """The texts in back-ticks."""
    return re.findall(r"`([^`]*)`", cell)


def _name(cell):
    name, = _code(cell)
    return name


def metrics():
    """Name to (type, label names) of every metric of the exporter's own."""
    return {_name(row["metric"]): (row["type"].strip("`"), frozenset(_code(row["labels"])))
            for row in _table("Metrics")}


def kinds():
    """The kinds of failure."""
    return [_name(row["kind"]) for row in _table("Kinds of failure")]


def variables():
    """Name to default of every variable that the exporter reads."""
    return {_name(row["variable"]): _name(row["default"]) for row in _table("Configuration")}


def routes():
    """Every path that is served."""
    return [_name(row["path"]) for row in _table("Routes")]


def default_port():
    return int(variables()["IMDS_EXPORTER_LISTEN_ADDRESS"].rsplit(":", 1)[1])


def _toml(name):
    return tomllib.loads((ROOT / name).read_text(encoding="utf-8"))


def version():
    """The exporter's version."""
    return _toml("Cargo.toml")["package"]["version"]


def minimum_rust():
    """The oldest Rust that the crate promises to build with."""
    return _toml("Cargo.toml")["package"]["rust-version"]


def toolchain():
    """The Rust release that everything is built with."""
    return _toml("rust-toolchain.toml")["toolchain"]["channel"]
