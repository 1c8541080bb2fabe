"""What a stranger does with a release's folder alone: the container from its OCI layout, the chart by Helm, the package; and `check` in
each."""

import json
import pathlib

import pytest
import yaml

from forms import KUBERNETES
from sources import ARCH

from helpers import reference
from helpers.commands import complete, run
from helpers.exporters import simulator
from helpers.paths import tool

VERSION = reference.version()


@pytest.fixture(scope="module")
def imds():
    with simulator() as imds:
        yield imds


@pytest.fixture(scope="module")
def container(released, tmp_path_factory):
    """Runs a command in a container of the image, with variables."""
    folder = tmp_path_factory.mktemp("container")
    run("tar", "-C", folder, "-xf", released / f"imds-exporter-{VERSION}-image.oci.tar")
    buildah = ["buildah", "--storage-driver", "vfs", "--root", folder / "storage", "--runroot", folder / "run"]
    name = run(*buildah, "from", f"oci:{folder}/image:{VERSION}").strip()

    def in_container(*command, **variables):
        settings = [f"--env={name}={value}" for name, value in variables.items()]
        return complete(*buildah, "run", "--isolation", "chroot", "--network", "host", *settings, name, "--", *command)

    yield in_container
    run(*buildah, "rm", name)


def is_usable(done):
    """Whether `check --json` found credentials."""
    assert done.returncode == 0, done.stdout + done.stderr
    return isinstance(json.loads(done.stdout), dict)


def test_the_container(container, imds):
    assert is_usable(container("imds-exporter", "check", "--json", AWS_EC2_METADATA_SERVICE_ENDPOINT=imds.endpoint))


def test_the_chart(released, container, imds):
    chart = released / f"imds-exporter-{VERSION}.tgz"
    rendered = run(tool("helm"), "template", "release", chart, "--kube-version", KUBERNETES)
    (daemonset,) = (each for each in yaml.safe_load_all(rendered) if each and each["kind"] == "DaemonSet")
    (exporter,) = daemonset["spec"]["template"]["spec"]["containers"]
    assert pathlib.PurePosixPath(exporter["image"]).name == f"imds-exporter:{VERSION}"
    settings = {each["name"]: each["value"] for each in exporter["env"]}
    settings["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = imds.endpoint
    assert is_usable(container("imds-exporter", "check", "--json", **settings))


def test_the_package(released, imds, tmp_path):
    run("dpkg-deb", "--extract", released / f"imds-exporter_{VERSION}-1_{ARCH}.deb", tmp_path)
    variables = {"PATH": "/usr/sbin:/usr/bin", "AWS_EC2_METADATA_SERVICE_ENDPOINT": imds.endpoint}
    assert is_usable(complete("chroot", tmp_path, "/usr/bin/imds-exporter", "check", "--json", env=variables))
