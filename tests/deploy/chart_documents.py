"""The chart's values.yaml and the table in its README.md, made from its values.schema.json: the only place that has the
values, their defaults and what they mean."""

import json
import re
import textwrap

import yaml

from forms import CHART

VALUES, README, SCHEMA = CHART / "values.yaml", CHART / "README.md", CHART / "values.schema.json"

HEAD = """\
# All values with their defaults, made from values.schema.json, which rejects unknown and wrong values.
"""
TABLE = re.compile(r"(?<=<!-- generated: values -->\n).*?(?=<!-- end -->)", re.S)


def schema():
    return json.loads(SCHEMA.read_text())


def is_group(value):
    """Whether a value is a group of values, which have their own defaults."""
    return "default" not in value


def leaves(values, path=()):
    """(path, schema) of every value that is not a group."""
    for name, value in values["properties"].items():
        if is_group(value):
            yield from leaves(value, (*path, name))
        else:
            yield (*path, name), value


def _comment(text, indent):
    return textwrap.fill(
        text,
        110,
        initial_indent=f"{indent}# ",
        subsequent_indent=f"{indent}# ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _lines(values, indent=""):
    for name, value in values["properties"].items():
        if not indent:
            yield ""
        yield _comment(value["description"], indent)
        if is_group(value):
            yield f"{indent}{name}:"
            yield from _lines(value, indent + "  ")
        else:
            text = yaml.safe_dump({name: value["default"]}, sort_keys=False, default_flow_style=False, width=1000)
            # As people write an empty text.
            yield textwrap.indent(text.replace(": ''\n", ': ""\n').rstrip(), indent)


def values_yaml():
    return HEAD + "\n".join(_lines(schema())) + "\n"


def table():
    rows = ["| value | default | meaning |", "| --- | --- | --- |"]
    for path, value in leaves(schema()):
        default = json.dumps(value["default"], separators=(", ", ": "))
        meaning = value["description"].replace("|", "\\|")
        rows.append(f"| `{'.'.join(path)}` | `{default}` | {meaning} |")
    return "\n".join(rows) + "\n"


def readme():
    text = README.read_text()
    assert TABLE.search(text)
    return TABLE.sub(lambda _: table(), text)
