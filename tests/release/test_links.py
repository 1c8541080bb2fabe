"""No link of a Markdown file of this repository is dead, anchors included."""

import re
import subprocess
import urllib.parse

import interface

ROOT = interface.ROOT


def markdown():
    listed = subprocess.run(["git", "ls-files", "*.md", ".github/*.md"], cwd=ROOT, check=True, capture_output=True, text=True)
    return [ROOT / name for name in listed.stdout.split()]


def prose(text):
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^(```|~~~).*?^\1", "", text, flags=re.M | re.S))


def anchors(path):
    """The anchors of headings, as the usual renderers make them, and those that a file sets itself."""
    text = re.sub(r"^(```|~~~).*?^\1", "", path.read_text(), flags=re.M | re.S)
    found, seen = set(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", text)), {}
    for heading in re.findall(r"^#+ (.+)$", text, re.M):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        count = seen.get(slug, 0)
        seen[slug] = count + 1
        found.add(f"{slug}-{count}" if count else slug)
    return found


def is_dead(path, link):
    target, _, anchor = urllib.parse.unquote(link).partition("#")
    file = (path.parent / target).resolve() if target else path
    if not file.exists() or not file.is_relative_to(ROOT):
        return True
    return bool(anchor) and file.suffix == ".md" and anchor not in anchors(file) | {each.lower() for each in anchors(file)}


def test_no_link_is_dead():
    files = markdown()
    assert len(files) > 5
    links = [(path, link) for path in files for link in re.findall(r"\]\(([^)\s]+)\)", prose(path.read_text()))
             if not re.match(r"[a-z]+:", link)]
    assert len(links) > 50
    dead = [f"{path.relative_to(ROOT)}: {link}" for path, link in links if is_dead(path, link)]
    assert dead == []
