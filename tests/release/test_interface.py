"""Names that users rely on change only with a line in the changelog."""

import re

import interface

CHANGELOG = interface.ROOT / "deploy" / "CHANGELOG.md"
RELEASED = interface.ROOT / "tests" / "release" / "released.txt"


def newest_section():
    return re.split(r"^## ", CHANGELOG.read_text(), flags=re.M)[1]


def is_named(name, text):
    """Whether the text has this name in code quotes; `prefix.*` and `prefix*` name all that begin like this."""
    quoted = re.findall(r"`([^`]+)`", text)
    return any(name == each or (each.endswith("*") and name.startswith(each[:-1])) for each in quoted)


def test_every_changed_name_stands_in_the_changelog():
    released, now = set(RELEASED.read_text().splitlines()), interface.interface()
    lines = {line: name for (_, name), line in now.items()}
    changed = {lines[line] for line in lines.keys() - released} | {line.split()[1] for line in released - lines.keys()}
    text = newest_section()
    assert sorted(name for name in changed if not is_named(name, text)) == []


def test_every_table_is_read():
    kinds = {line.split()[0] for line in interface.interface().values()}
    assert kinds == {table for tables in interface.TABLES.values() for table in tables}
