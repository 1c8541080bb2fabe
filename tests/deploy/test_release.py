"""A release: one command makes everything that is published, of a commit alone, and the same bytes each time."""

import hashlib
import io
import json
import os
import re
import shutil
import stat
import tarfile

from forms import KUBERNETES
from sources import ARCH, release, repository

from helpers import reference
from helpers.commands import run
from helpers.paths import tool

VERSION = reference.version()
RPM_ARCH = os.uname().machine
PROGRAM, STATE = "usr/local/bin/imds-exporter", "var/lib/imds-exporter"
NAMES = {
    f"imds-exporter-{VERSION}-linux-{ARCH}.tar.gz",
    f"imds-exporter-{VERSION}-linux-{ARCH}.cdx.json",
    f"imds-exporter_{VERSION}-1_{ARCH}.deb",
    f"imds-exporter-{VERSION}-1.{RPM_ARCH}.rpm",
    f"imds-exporter-{VERSION}.tgz",
    f"imds-exporter-{VERSION}-monitoring.tar.gz",
    f"imds-exporter-{VERSION}-image.oci.tar",
    "provenance.json",
    "SHA256SUMS",
}


def test_a_release_holds_everything_with_its_checksums(released):
    folder = released
    assert {path.name for path in folder.iterdir()} == NAMES
    sums = dict(line.split()[::-1] for line in (folder / "SHA256SUMS").read_text().splitlines())
    assert sums == {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in NAMES - {"SHA256SUMS"}}


def test_an_archive_depends_on_its_content_alone(released):
    """Names in order, one time, no user; with the program's bytes, which do not depend on the folder either, the same commit makes
    the same release."""
    archives = [name for name in NAMES if name.endswith((".tgz", ".tar.gz", ".tar"))]
    assert len(archives) == 4
    for name in archives:
        # gzip's own time.
        assert name.endswith(".tar") or (released / name).read_bytes()[4:8] == bytes(4)
        with tarfile.open(released / name) as archive:
            members = archive.getmembers()
        assert [member.name for member in members] == sorted(member.name for member in members)
        assert {(member.uid, member.gid, member.uname, member.gname) for member in members} == {(0, 0, "", "")}
        assert len({member.mtime for member in members}) == 1


def test_the_program_is_that_of_the_commit(released, image, tmp_path):
    name = f"imds-exporter-{VERSION}-linux-{ARCH}"
    with tarfile.open(released / f"{name}.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    inside = {str(path.relative_to(tmp_path / name)) for path in (tmp_path / name).rglob("*") if path.is_file()}
    assert {"imds-exporter", "LICENSE", "THIRD-PARTY-LICENSES.txt", "CHANGELOG.md", "imds-exporter.service", "imds-exporter.default",
            "examples/hold-back.conf", "man/imds-exporter.1", "completions/imds-exporter.bash"} <= inside
    program = tmp_path / name / "imds-exporter"
    assert run(program, "--version") == f"imds-exporter {VERSION}\n"
    commit = run("git", "rev-parse", "--short=12", "HEAD", cwd=released.parents[2]).strip()
    assert commit.encode() in program.read_bytes()
    # The package has the same program, and so has the image, which THOROUGH=1 compiles in another place, from nothing.
    run("dpkg-deb", "--extract", released / f"imds-exporter_{VERSION}-1_{ARCH}.deb", tmp_path / "deb")
    assert (tmp_path / "deb/usr/bin/imds-exporter").read_bytes() == program.read_bytes()
    assert (image / PROGRAM).read_bytes() == program.read_bytes()


def test_the_image_is_an_oci_layout_of_what_the_dockerfile_makes(released, commit, image):
    with tarfile.open(released / f"imds-exporter-{VERSION}-image.oci.tar") as archive:
        files = {member.name: archive.extractfile(member).read() for member in archive.getmembers() if member.isfile()}

    def blob(descriptor):
        content = files["image/blobs/" + descriptor["digest"].replace(":", "/")]
        assert (len(content), f"sha256:{hashlib.sha256(content).hexdigest()}") == (descriptor["size"], descriptor["digest"])
        return content

    assert json.loads(files["image/oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    (index,) = json.loads(files["image/index.json"])["manifests"]
    assert index["annotations"]["org.opencontainers.image.ref.name"] == VERSION
    (described,) = json.loads(blob(index))["manifests"]
    assert (described["platform"]["os"], described["platform"]["architecture"]) == ("linux", ARCH)
    manifest = json.loads(blob(described))
    config = json.loads(blob(manifest["config"]))
    revision, day = run("git", "log", "-1", "--format=%h %cd", "--abbrev=12", "--date=format-local:%Y-%m-%dT%H:%M:%SZ", cwd=commit,
                        env={**os.environ, "TZ": "UTC"}).split()
    assert (config["os"], config["architecture"], config["created"]) == ("linux", ARCH, day)
    settings = config["config"]
    assert (settings["User"], settings["Entrypoint"]) == ("65534:65534", [f"/{PROGRAM}"])
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in settings["Labels"].items()}
    assert (labels["version"], labels["revision"], labels["created"], labels["licenses"]) == (VERSION, revision, day, "Apache-2.0")
    (layer,) = manifest["layers"]
    with tarfile.open(fileobj=io.BytesIO(blob(layer))) as content:
        members = {member.name.rstrip("/"): member for member in content.getmembers()}
        assert set(members) == {str(path.relative_to(image)) for path in image.rglob("*")}
        for name, member in members.items():
            owner = 65534 if name == STATE else 0
            assert (member.uid, member.gid) == (owner, owner), name
            if member.isfile():
                assert content.extractfile(member).read() == (image / name).read_bytes(), name
        assert stat.S_IMODE(members[PROGRAM].mode) == 0o755 and members[STATE].isdir()


def test_the_provenance_names_the_commit_and_every_dependency(released, commit):
    made = json.loads((released / "provenance.json").read_text())["buildDefinition"]
    source, *dependencies = made["resolvedDependencies"]
    assert source["digest"] == {"gitCommit": run("git", "rev-parse", "HEAD", cwd=commit).strip()}
    assert made["externalParameters"] == {"version": VERSION}
    bill = json.loads((released / f"imds-exporter-{VERSION}-linux-{ARCH}.cdx.json").read_text())
    named = {each["uri"]: each["digest"]["sha256"] for each in dependencies}
    assert {each["purl"]: each["hashes"][0]["content"] for each in bill["components"]}.items() <= named.items()


def test_the_chart_is_one_that_helm_accepts_and_holds_the_rules(released):
    chart = released / f"imds-exporter-{VERSION}.tgz"
    run(tool("helm"), "lint", "--strict", chart)
    rendered = run(tool("helm"), "template", "release", chart, "--kube-version", KUBERNETES, "--set", "prometheusRule.enabled=true")
    assert "ImdsClientsStuck" in rendered and f"imds-exporter:{VERSION}" in rendered


def test_the_monitoring_archive_holds_rules_that_prometheus_accepts(released, tmp_path):
    with tarfile.open(released / f"imds-exporter-{VERSION}-monitoring.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    folder = tmp_path / f"imds-exporter-{VERSION}-monitoring"
    run(tool("promtool"), "check", "rules", folder / "prometheus" / "imds-alerts.yaml")
    run(tool("amtool"), "check-config", folder / "prometheus" / "alertmanager.yaml")
    for name in ("imds-instance.json", "imds-fleet.json"):
        assert json.loads((folder / "dashboards" / name).read_text())["panels"]


def test_the_bill_of_materials_names_what_is_linked(released):
    bill = json.loads((released / f"imds-exporter-{VERSION}-linux-{ARCH}.cdx.json").read_text())
    assert bill["metadata"]["component"]["version"] == VERSION
    names = {each["name"] for each in bill["components"]}
    assert {"tokio", "hyper", "prometheus"} <= names
    assert names.isdisjoint({"rcgen", "clap_mangen"})


def test_a_tree_with_changes_is_refused(tmp_path):
    folder = repository(tmp_path / "repository")
    (folder / "README.md").write_text("changed")
    done = release(folder, VERSION)
    assert done.returncode == 64 and "README.md" in done.stderr
    assert not (folder / "target" / "releases").exists()


def test_another_version_than_that_of_the_sources_is_refused(tmp_path):
    folder = repository(tmp_path / "repository")
    done = release(folder, "99.0.0")
    assert done.returncode == 64
    assert set(re.findall(r"^  (\S+) has", done.stderr, re.M)) == {
        "Cargo.toml", "deploy/helm/imds-exporter/Chart.yaml(version)", "deploy/helm/imds-exporter/Chart.yaml(appVersion)",
        "deploy/Dockerfile"}
    for wrong in ("", "one", "1.2", "1.2.3/../.."):
        assert release(folder, wrong).returncode == 64
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine").touch()
    assert release(folder, VERSION, full).returncode == 64
    assert (full / "mine").exists()
    shutil.rmtree(folder)
