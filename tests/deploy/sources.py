"""A commit of this tree in a repository of its own, and the release that is made of it."""

import os
import subprocess

from helpers.commands import complete, run
from helpers.paths import ROOT

ARCH = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
DAY = "2026-01-02T03:04:05Z"


def repository(folder):
    """The sources of this tree, committed in a repository of their own."""
    folder.mkdir()
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT).split("\0")
    names = "\n".join(name for name in listed if name and os.path.lexists(ROOT / name))
    subprocess.run(["tar", "-C", ROOT, "-cf", folder / "all.tar", "-T", "-"], input=names, text=True, check=True)
    run("tar", "-C", folder, "-xf", folder / "all.tar")
    (folder / "all.tar").unlink()
    # What only a publisher knows.
    project = folder / "deploy" / "project.env"
    project.write_text(project.read_text().replace("YOUR_ADDRESS", "maintainers@example.org"))
    commit = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org", "commit", "-qm", "test"]
    environment = {**os.environ, "GIT_AUTHOR_DATE": DAY, "GIT_COMMITTER_DATE": DAY}
    for command in (["git", "init", "-q"], ["git", "add", "-A"], commit):
        run(*command, cwd=folder, env=environment)
    # The tools are fetched already.
    (folder / "target").mkdir()
    (folder / "target" / "tools").symlink_to(ROOT / "target" / "tools")
    return folder


def release(folder, *arguments):
    """The completed command, for this machine's architecture, with what this tree has compiled."""
    environment = {**os.environ, "ARCHITECTURES": ARCH, "CARGO_TARGET_DIR": str(ROOT / "target")}
    return complete(folder / "deploy" / "release", *arguments, env=environment, timeout=3600)
