"""The licenses of all that is linked into the program are in the file that is shipped with it."""

import re
import subprocess

import interface

ROOT = interface.ROOT
FILE = ROOT / "deploy" / "THIRD-PARTY-LICENSES.txt"


def linked():
    """What Cargo itself lists for both targets."""
    found = set()
    for cpu in ("x86_64", "aarch64"):
        command = ["cargo", "tree", "--locked", "--no-default-features", "--edges=normal", "--prefix=none", "--no-dedupe",
                   "--format={p}|{l}", f"--target={cpu}-unknown-linux-musl"]
        listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
        found |= {tuple(line.split("|")) for line in listed.splitlines() if line}
    return {(*package.split()[:2], license) for package, license in found if "(/" not in package}


def test_every_linked_crate_has_its_license_in_the_file():
    crates = linked()
    assert len(crates) > 50
    text = FILE.read_text()
    named = set(re.findall(r"^ *(\S+) (\d\S*)(?: \(.*\))?$", text, re.M))
    assert named == {(name, version.removeprefix("v")) for name, version, _ in crates}
    assert all(license for *_, license in crates)


def test_the_file_is_that_of_the_lock_file():
    done = subprocess.run([ROOT / "deploy" / "licenses.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
