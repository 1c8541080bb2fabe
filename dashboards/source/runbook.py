"""What the runbook says: the kinds of failure, the alerts, and what an operator does about each.

Reads deploy/prometheus/RUNBOOK.md, which is generated from the exporter's code and has its anchors.
"""

import pathlib
import re

_FILE = pathlib.Path(__file__).resolve().parents[2] / "deploy" / "prometheus" / "RUNBOOK.md"
# A cell shows about this many characters in one line, where the page is 1280 pixels wide. What is beyond is left to the runbook.
_LINE = 124


def _chapters():
    """Title to {anchor: section}."""
    chapters = re.split(r"^## (.+)$", _FILE.read_text(encoding="utf-8"), flags=re.M)
    for title, text in zip(chapters[1::2], chapters[2::2]):
        sections = re.split(r"^### (.+)$", text, flags=re.M)
        yield title, dict(zip(sections[1::2], sections[2::2]))


def _paragraph(section, heading):
    """The text of a section's paragraph, without Markdown."""
    found = re.search(rf"^\*\*{heading}\.\*\* (.+)$", section, re.M)
    return found[1].replace("`", "") if found else ""


def _in_a_line(text):
    """The leading sentences that fit in a line, or the leading part of the first one."""
    shown, *others = re.split(r"(?<=[.!?]) (?=[A-Z])", text)
    if len(shown) > _LINE:
        return shown[:shown.rindex(" ", 0, _LINE - 1)].rstrip(",;:") + " …"
    for sentence in others:
        if len(shown) + 1 + len(sentence) > _LINE:
            break
        shown += f" {sentence}"
    return shown


_CHAPTERS = dict(_chapters())
# The kinds of failure, neighbours being alike.
KINDS = list(_CHAPTERS["Kinds of failure"])
# Alert to its summary.
ALERTS = {name: _paragraph(section, "Alert") for name, section in _CHAPTERS["Alerts"].items()}
# What to do now, by anchor: an alert, a kind of failure, or any other section that says it.
ACTIONS = {anchor: _in_a_line(action) for chapter in _CHAPTERS.values() for anchor, section in chapter.items()
           if (action := _paragraph(section, "What to do"))}
