"""The build stage of the Dockerfile without Docker: its own steps, each in a clean root. As a program, it makes the image of this tree
for the tests to come, and prints its folder."""

import fcntl
import os
import pathlib
import re
import shlex
import shutil
import tempfile

from forms import DOCKERFILE
from sources import repository

from helpers import reference
from helpers.commands import complete, run
from helpers.paths import ROOT

THOROUGH = os.environ.get("THOROUGH") == "1"

# A root of its own over that of the machine, which has the compilers that the base image has. What the steps write is lost
# with the namespace, but for the folders that are mounted: the build context's target, the image, and the caches.
ENTER = """
set -e
mount -t tmpfs tmpfs "$scratch"
mkdir "$scratch/upper" "$scratch/work" "$scratch/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$scratch/upper,workdir=$scratch/work" "$scratch/root"
cd "$scratch/root"
mount -t proc proc proc
mount --bind /dev dev
mount -t tmpfs tmpfs tmp
for pair in $mounts; do
  mkdir -p "./${pair#*:}"
  mount --bind "${pair%%:*}" "./${pair#*:}"
done
exec chroot . /bin/sh -c 'cd "$1" && exec /bin/sh -c "$2"' sh "$directory" "$step"
"""


def instructions(text):
    """(keyword, rest) of every instruction."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    for line in lines.replace("\\\n", " ").splitlines():
        if line.strip():
            keyword, rest = line.split(None, 1)
            yield keyword, " ".join(rest.split())


def image_of(commit):
    """The folder with the image of a repository's commit; what it was compiled to stays for other tests of the same commit."""
    revision, time = run("git", "log", "-1", "--format=%h %ct", "--abbrev=12", cwd=commit).split()
    images = ROOT / "target" / ("images-apart" if THOROUGH else "images")
    images.mkdir(parents=True, exist_ok=True)
    with open(images / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        image = images / revision
        if not image.exists():
            for old in images.glob("[!.]*"):
                shutil.rmtree(old)
            with tempfile.TemporaryDirectory(dir=images, prefix="build-") as folder:
                build_image(pathlib.Path(folder), commit, REVISION=revision, SOURCE_DATE_EPOCH=time).rename(image)
    return image


def build_image(folder, context, **arguments):
    """Runs the build stage and returns the folder that the final stage copies. The caches are this machine's own, so that what is
    compiled already is not compiled again; with THOROUGH=1 they begin empty but for the sources of the dependencies, and all paths
    are those of the base image."""
    source, image, scratch = (folder / name for name in ("src", "image", "scratch"))
    for each in (source, image, scratch):
        each.mkdir(parents=True)
    cargo = pathlib.Path(os.environ.get("CARGO_HOME", pathlib.Path.home() / ".cargo"))
    rustup = pathlib.Path(os.environ.get("RUSTUP_HOME", pathlib.Path.home() / ".rustup"))
    home, target = ("/usr/local/cargo", folder / "target") if THOROUGH else (cargo, ROOT / "target")
    target.mkdir(exist_ok=True)
    mounts = {cargo / "registry": f"{home}/registry", cargo / "bin": f"{home}/bin", rustup: "/usr/local/rustup",
              source: "/src", image: "/image"}
    # What the base image sets.
    variables = {"CARGO_HOME": str(home), "RUSTUP_HOME": "/usr/local/rustup", "HOME": "/root",
                 "RUSTUP_TOOLCHAIN": reference.toolchain(), "CARGO_NET_OFFLINE": "true",
                 "PATH": f"{home}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    given = {"TARGETARCH": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine], **arguments}
    build, _ = re.split(r"^FROM scratch$", DOCKERFILE, flags=re.M)
    directory = "/"
    for keyword, rest in instructions(build.split("AS build\n", 1)[1]):
        if keyword == "ARG":
            name, _, default = rest.partition("=")
            variables[name] = given.get(name, default.strip('"'))
        elif keyword == "WORKDIR":
            assert rest == "/src"
            directory = rest
        elif keyword == "COPY":
            *paths, to = rest.split()
            base = image.parent if to.startswith("/image/") else source
            for path in paths:
                _copy(context / path, base / to.removeprefix("/"))
        elif keyword == "RUN":
            caches = re.findall(r"--mount=type=cache,target=([^, ]+)\S* ", rest)
            assert set(caches) <= {"/src/target", "/usr/local/cargo/registry"}
            step = re.sub(r"--mount=\S+ ", "", rest)
            here = {**mounts, **({target: "/src/target"} if "/src/target" in caches else {})}
            enter = {"scratch": scratch, "directory": directory, "step": step,
                     "mounts": " ".join(f"{there}:{inside}" for there, inside in here.items())}
            assignments = "\n".join(f"{name}={shlex.quote(str(value))}" for name, value in enter.items())
            done = complete("unshare", "--mount", "sh", "-c", assignments + ENTER, env=variables, timeout=3600)
            # Clippy lints the program with the simulator; nothing of the rest is left over without it.
            assert done.returncode == 0 and "warning: " not in done.stderr, done.stdout + done.stderr
        else:
            raise AssertionError(f"{keyword}: this is not part of the build stage")
    copied, = (rest for keyword, rest in instructions(DOCKERFILE) if rest.startswith("--from=build "))
    assert copied == "--from=build /image/ /"
    return image


def _copy(path, to):
    """As COPY does: a folder's content goes into the destination, a file under its own name."""
    if path.is_dir():
        shutil.copytree(path, to, dirs_exist_ok=True)
    else:
        to.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, to)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        print(image_of(repository(pathlib.Path(place) / "repository")))
