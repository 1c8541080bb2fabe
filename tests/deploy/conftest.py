"""What the tests of the deployment forms share: the forms, rendered once; one release, and one image of the same commit."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from forms import kubernetes_forms
from image_build import build_image
from sources import release, repository

from helpers import reference
from helpers.commands import run


@pytest.fixture(scope="session")
def forms():
    return kubernetes_forms()


@pytest.fixture(scope="session")
def commit(tmp_path_factory):
    """A repository with the sources of this tree as its only commit."""
    return repository(tmp_path_factory.mktemp("release") / "repository")


BUILDS = {"released", "image"}


def pytest_collection_modifyitems(items):
    """What is built meanwhile is waited for last."""
    items.sort(key=lambda item: not BUILDS.isdisjoint(getattr(item, "fixturenames", ())))


@pytest.fixture(scope="session", autouse=True)
def _under_way(request, tmp_path_factory):
    """The builds that selected tests need, begun before the first test: most tests wait for something else."""
    needed = {name for name in BUILDS for item in request.session.items if name in getattr(item, "fixturenames", ())}
    if not needed:
        yield {}
        return
    folder, commit = tmp_path_factory.mktemp("image"), request.getfixturevalue("commit")
    builds = {"released": lambda: _release_of(commit), "image": lambda: _image_of(commit, folder)}
    with ThreadPoolExecutor() as pool:
        yield {name: pool.submit(builds[name]) for name in needed}


def _release_of(commit):
    done = release(commit, reference.version())
    assert done.returncode == 0, done.stdout + done.stderr
    return commit / "target" / "releases" / reference.version()


def _image_of(commit, folder):
    revision, time = run("git", "log", "-1", "--format=%h %ct", "--abbrev=12", cwd=commit).split()
    return build_image(folder, commit, REVISION=revision, SOURCE_DATE_EPOCH=time)


@pytest.fixture(scope="session")
def released(_under_way):
    """The folder of the release of that commit."""
    return _under_way["released"].result()


@pytest.fixture(scope="session")
def image(_under_way):
    """What the Dockerfile's own steps put into the image, of the same commit, in a clean root."""
    return _under_way["image"].result()
