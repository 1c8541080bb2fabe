"""The packages, built as a release builds them: from the program that tests/tools/build-static built."""

import functools
import os
import shutil

from helpers import paths, reference
from helpers.commands import run
from helpers.paths import DEPLOY, ROOT, tool

# Whatever the day, so that packages of one test are the same.
EPOCH = "1700000000"


@functools.cache
def package_files():
    """Man pages, completions and settings, as the example writes them."""
    folder = ROOT / "target" / "package-files"
    run("cargo", "run", "--quiet", "--locked", "--no-default-features", "--example", "package_files", "--", folder, cwd=ROOT,
        env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH}, timeout=600)
    return folder


def build_packages(folder, program=None, arch=None):
    """Builds both packages into a folder: their paths, the .deb first."""
    arch = arch or {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    environment = {"PATH": os.environ["PATH"], "NFPM": str(tool("nfpm")), "SOURCE_DATE_EPOCH": EPOCH}
    run(DEPLOY / "packages" / "build", reference.version(), arch, program or paths.production_exporter(), package_files(),
        folder, env=environment)
    (deb,), (rpm,) = folder.glob("*.deb"), folder.glob("*.rpm")
    return deb, rpm


@functools.cache
def packages():
    """Both packages for this machine."""
    folder = ROOT / "target" / "packages"
    shutil.rmtree(folder, ignore_errors=True)
    return build_packages(folder)
