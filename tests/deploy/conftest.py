"""What the tests of the deployment forms share: the forms, rendered once; one release, and one image of the same commit."""

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


@pytest.fixture(scope="session")
def released(commit):
    """The folder of the release of that commit."""
    done = release(commit, reference.version())
    assert done.returncode == 0, done.stdout + done.stderr
    return commit / "target" / "releases" / reference.version()


@pytest.fixture(scope="session")
def image(commit, tmp_path_factory):
    """What the Dockerfile's own steps put into the image, of the same commit, in a clean root."""
    revision, time = run("git", "log", "-1", "--format=%h %ct", "--abbrev=12", cwd=commit).split()
    return build_image(tmp_path_factory.mktemp("image"), commit, REVISION=revision, SOURCE_DATE_EPOCH=time)
