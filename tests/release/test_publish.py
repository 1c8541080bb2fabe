"""Publishing: refused where a release would carry placeholders, or is not what was built of the tag."""

import pathlib
import shutil
import subprocess

import pytest

import interface

ROOT = interface.ROOT
VERSION = "1.2.3"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def git(folder, *arguments):
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def project(tmp_path):
    """A tagged commit of what publishing reads, and a folder as `deploy/release` makes it, whose files are empty."""
    folder, made = tmp_path / "project", tmp_path / "made"
    made.mkdir()
    (folder / "deploy").mkdir(parents=True)
    for name in ("publish", "release-notes", "project.env"):
        shutil.copy(ROOT / "deploy" / name, folder / "deploy" / name)
    (folder / "deploy" / "CHANGELOG.md").write_text(f"# Changelog\n\n## {VERSION} - 2026-01-02\n\n- News.\n\n## 1.2.2\n\n- Old.\n")
    for name in (f"imds-exporter-{VERSION}.tgz", f"imds-exporter-{VERSION}-image.oci.tar"):
        (made / name).touch()
    sums = subprocess.run("sha256sum -- *", shell=True, cwd=made, check=True, capture_output=True, text=True).stdout
    (made / "SHA256SUMS").write_text(sums)
    return folder, made


def commit(folder):
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "test")
    git(folder, "tag", f"v{VERSION}")


def fill_in(folder):
    """A real owner in the one place that names one, and nowhere else."""
    file = folder / "deploy" / "project.env"
    file.write_text(file.read_text().replace("YOUR_ORGANISATION", "example").replace("YOUR_ADDRESS", "team@example.org"))


def publish(folder, made, programs):
    """The completed command, with programs of these names that only say what they were called with."""
    tools = folder.parent / "programs"
    tools.mkdir(exist_ok=True)
    for name in programs:
        path = tools / name
        path.write_text('#!/bin/sh\necho "$(basename "$0") $*" >> "$0.calls"\n')
        path.chmod(0o755)
    return subprocess.run([folder / "deploy" / "publish", "--check", made], capture_output=True, text=True,
                          env={"PATH": f"{tools}:/usr/bin:/bin"})


PROGRAMS = ("cosign", "skopeo", "helm", "gh")


def test_a_complete_release_of_the_tag_passes_the_checks(project):
    folder, made = project
    fill_in(folder)
    commit(folder)
    done = publish(folder, made, PROGRAMS)
    assert done.returncode == 0, done.stderr
    assert f"ghcr.io/example/imds-exporter:{VERSION}" in done.stdout
    assert (made / "notes.md").read_text().split() == ["-", "News."]


def test_placeholders_are_refused(project):
    folder, made = project
    commit(folder)
    done = publish(folder, made, PROGRAMS)
    assert done.returncode == 64
    for name in ("OWNER", "REPOSITORY", "REGISTRY", "MAINTAINER"):
        assert name in done.stderr


def test_what_is_not_the_release_of_the_tag_is_refused(project):
    folder, made = project
    fill_in(folder)
    commit(folder)
    git(folder, "commit", "-qm", "later", "--allow-empty")
    assert publish(folder, made, PROGRAMS).returncode == 64
    git(folder, "reset", "-q", "--hard", f"v{VERSION}")
    assert publish(folder, made, PROGRAMS).returncode == 0
    assert publish(folder.parent / "project", made, ()).returncode == 0
    (made / f"imds-exporter-{VERSION}.tgz").write_text("changed")
    assert publish(folder, made, PROGRAMS).returncode == 64


def test_the_workflows_are_valid_and_run_only_commands_of_the_project():
    linter = ROOT / "target" / "tools" / "go" / "bin" / "actionlint"
    subprocess.run([linter, "-shellcheck=", "-pyflakes=", *WORKFLOWS], check=True, cwd=ROOT)
    for name in ("deploy/release", "deploy/publish", "tests/run"):
        assert name in "".join(path.read_text() for path in WORKFLOWS)
        assert (ROOT / name).stat().st_mode & 0o111


def test_the_owner_stands_in_one_place():
    """What names an owner of the project is derived from deploy/project.env."""
    listed = subprocess.run(["git", "grep", "-lE", "YOUR_ORGANISATION"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert set(map(pathlib.Path, listed.split())) <= {pathlib.Path("deploy/project.env"), pathlib.Path("tests/release/test_publish.py")}
