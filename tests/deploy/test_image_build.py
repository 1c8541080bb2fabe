"""The image is reproducible: two runs of the Dockerfile's own steps, in clean roots, make the same layer."""

import os
import stat
import struct
import subprocess

import pytest

from image_build import build_image, instructions, layer

from helpers.commands import complete
from helpers.paths import DEPLOY

EPOCH = 1_700_000_000
PROGRAM = "usr/local/bin/imds-exporter"


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    arguments = {"SOURCE_DATE_EPOCH": str(EPOCH), "REVISION": "0123456789ab"}
    return [build_image(tmp_path_factory.mktemp("image"), **arguments) for _ in range(2)]


def test_two_builds_make_the_same_layer(images):
    first, second = (layer(image) for image in images)
    assert first == second
    # A layer is another one as soon as a single time differs.
    os.utime(images[1] / PROGRAM)
    assert layer(images[1]) != first


def test_the_layer_contains_the_program_and_the_state_directory(images):
    image = images[0]
    assert {str(path.relative_to(image)) for path in image.rglob("*")} == {
        "usr", "usr/local", "usr/local/bin", PROGRAM, "var", "var/lib", "var/lib/imds-exporter"}
    assert {path.stat().st_mtime for path in image.rglob("*")} == {EPOCH}
    assert stat.S_IMODE((image / PROGRAM).stat().st_mode) == 0o755
    state = (image / "var/lib/imds-exporter").stat()
    assert (state.st_uid, state.st_gid) == (65534, 65534)


def test_the_program_shows_no_path_of_the_machine_that_built_it(images):
    program = (images[0] / PROGRAM).read_bytes()
    for path in (b"/usr/local/cargo", b"/src/target", b"/root/", b"registry/src"):
        assert path not in program
    assert b"/crates/" in program
    assert b"0123456789ab" in program


def test_the_program_is_static_and_runs(images):
    program = images[0] / PROGRAM
    offset, size, count = (struct.unpack_from(form, program.read_bytes(), at)[0]
                           for form, at in (("<Q", 32), ("<H", 54), ("<H", 56)))
    interpreter = 3
    assert interpreter not in {struct.unpack_from("<I", program.read_bytes(), offset + i * size)[0] for i in range(count)}
    assert complete(program, "--version").returncode == 0
    # Without the simulator, as every image but that of the compose file.
    assert complete(program, "demo").returncode == 64


def test_no_step_needs_more_than_the_docker_of_a_distribution():
    """No other frontend, no emulation; an unknown architecture is an error and not an image of the wrong one."""
    text = (DEPLOY / "Dockerfile").read_text()
    assert "# syntax=" not in text
    stages = [rest for keyword, rest in instructions(text) if keyword == "FROM"]
    assert stages == ["--platform=${BUILDPLATFORM} ${RUST_IMAGE} AS build", "scratch"]
    wrong = subprocess.run([DEPLOY / "build-binary", "s390x", "/nonexistent/out"], capture_output=True, check=False)
    assert wrong.returncode == 64 and b"s390x" in wrong.stderr
