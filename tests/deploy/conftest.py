"""What the tests of the deployment forms share: the forms, rendered once; one image, and one release of the same commit."""

import pathlib
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from forms import kubernetes_forms
from image_build import image_of
from sources import release, repository

from helpers import paths, reference
from helpers.commands import run


@pytest.fixture(scope="session")
def forms():
    return kubernetes_forms()


@pytest.fixture(scope="session")
def commit(tmp_path_factory):
    """A repository with the sources of this tree as its only commit."""
    return repository(tmp_path_factory.mktemp("release") / "repository")


BUILDS = ("image", "released")


def pytest_collection_modifyitems(items):
    """What is built meanwhile is waited for last."""
    items.sort(key=lambda item: any(build in getattr(item, "fixturenames", ()) for build in BUILDS))


@pytest.fixture(scope="session", autouse=True)
def _under_way(request):
    """The builds that selected tests need, begun before the first test: most tests wait for something else."""
    needed = [name for name in BUILDS if any(name in getattr(item, "fixturenames", ()) for item in request.session.items)]
    if not needed:
        yield {}
        return
    commit = request.getfixturevalue("commit")
    builds = {"image": lambda: _image_of(commit), "released": lambda: _release_of(commit)}
    # One after the other: the second has little left to compile.
    with ThreadPoolExecutor(max_workers=1) as pool:
        yield {name: pool.submit(builds[name]) for name in needed}


def _release_of(commit):
    done = release(commit, reference.version())
    assert done.returncode == 0, done.stdout + done.stderr
    return commit / "target" / "releases" / reference.version()


def _image_of(commit):
    image = image_of(commit)
    program = paths.ROOT / "target" / "static" / "imds-exporter"
    program.parent.mkdir(exist_ok=True)
    # At once, as others may run it.
    with tempfile.TemporaryDirectory(dir=program.parent) as folder:
        pathlib.Path(shutil.copy2(image / "usr/local/bin/imds-exporter", folder)).replace(program)
    return image


@pytest.fixture(scope="session")
def released(_under_way):
    """The folder of the release of that commit."""
    return _under_way["released"].result()


@pytest.fixture(scope="session")
def image(_under_way):
    """What the Dockerfile's own steps put into the image, of the same commit, in a clean root."""
    return _under_way["image"].result()


@pytest.fixture(scope="session")
def program(image):
    """The exporter of the image: static, and without the simulator."""
    return paths.production_exporter()


@pytest.fixture(scope="session")
def package_files(released, tmp_path_factory):
    """What packages contain beside the program: manual, completions and settings, from the archive of the release."""
    archive, = released.glob("*-linux-*.tar.gz")
    folder, files = tmp_path_factory.mktemp("archive"), tmp_path_factory.mktemp("files")
    run("tar", "-C", folder, "--strip-components=1", "-xf", archive)
    for path in (*(folder / "man").iterdir(), *(folder / "completions").iterdir()):
        shutil.copy(path, files)
    shutil.copy(folder / "imds-exporter.default", files / "default")
    return files


@pytest.fixture(scope="session")
def packages(released):
    """Both packages of the release, the .deb first."""
    (deb,), (rpm,) = released.glob("*.deb"), released.glob("*.rpm")
    return deb, rpm
