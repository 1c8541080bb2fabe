"""What the Dockerfile's own steps make, in a clean root. That it does not depend on the place, test_release.py shows."""

import stat
import subprocess

from image_build import instructions

from helpers.paths import DEPLOY

PROGRAM = "usr/local/bin/imds-exporter"


def test_the_layer_contains_the_program_the_licenses_and_the_state_directory(image):
    assert {str(path.relative_to(image)) for path in image.rglob("*")} == {
        "licenses", "licenses/LICENSE", "licenses/THIRD-PARTY-LICENSES.txt",
        "usr", "usr/local", "usr/local/bin", PROGRAM, "var", "var/lib", "var/lib/imds-exporter"}
    # The layer depends on its content alone.
    assert len({path.stat().st_mtime for path in image.rglob("*")}) == 1
    assert stat.S_IMODE((image / PROGRAM).stat().st_mode) == 0o755
    state = (image / "var/lib/imds-exporter").stat()
    assert (state.st_uid, state.st_gid) == (65534, 65534)


def test_the_program_shows_no_path_of_the_machine_that_built_it(image):
    program = (image / PROGRAM).read_bytes()
    for path in (b"/usr/local/cargo", b"/src/target", b"/root/", b"registry/src"):
        assert path not in program
    assert b"/crates/" in program


def test_no_step_needs_more_than_the_docker_of_a_distribution():
    """No other frontend, no emulation; an unknown architecture is an error and not an image of the wrong one."""
    text = (DEPLOY / "Dockerfile").read_text()
    assert "# syntax=" not in text
    stages = [rest for keyword, rest in instructions(text) if keyword == "FROM"]
    assert stages == ["--platform=${BUILDPLATFORM} ${RUST_IMAGE} AS build", "scratch"]
    wrong = subprocess.run([DEPLOY / "build-binary", "s390x", "/nonexistent/out"], capture_output=True, check=False)
    assert wrong.returncode == 64 and b"s390x" in wrong.stderr
