"""The packages: the linters of both systems accept them, they install and are removed without a trace, and what they hold
is readable and right."""

import gzip
import os
import re
import shutil

import pytest

from forms import unit_values
from helpers import reference
from helpers.commands import complete, run
from helpers.paths import DEPLOY, ROOT, exporter, tool

# What they hold beside folders and, for each system, the license and the completion for zsh.
FILES = {
    "/etc/default/imds-exporter",
    "/usr/bin/imds-exporter",
    "/usr/lib/systemd/system/imds-exporter.service",
    "/usr/share/bash-completion/completions/imds-exporter",
    "/usr/share/doc/imds-exporter/changelog.gz",
    "/usr/share/doc/imds-exporter/examples/hold-back.conf",
    "/usr/share/doc/imds-exporter/examples/signed-call.conf",
    "/usr/share/doc/imds-exporter/examples/watch-processes.conf",
    "/usr/share/fish/vendor_completions.d/imds-exporter.fish",
    "/usr/share/man/man1/imds-exporter.1.gz",
    "/usr/share/man/man1/imds-exporter-check.1.gz",
    "/usr/share/man/man1/imds-exporter-healthcheck.1.gz",
    "/usr/share/man/man1/imds-exporter-serve.1.gz",
    "/usr/share/man/man1/imds-exporter-wait.1.gz",
}
DEB_FILES = {
    "/usr/share/doc/imds-exporter/THIRD-PARTY-LICENSES.txt",
    "/usr/share/doc/imds-exporter/changelog.Debian.gz",
    "/usr/share/doc/imds-exporter/copyright",
    "/usr/share/lintian/overrides/imds-exporter",
    "/usr/share/zsh/vendor-completions/_imds-exporter",
}
RPM_FILES = {
    "/usr/share/licenses/imds-exporter/LICENSE",
    "/usr/share/licenses/imds-exporter/THIRD-PARTY-LICENSES.txt",
    "/usr/share/zsh/site-functions/_imds-exporter",
}

# Whoever publishes the packages signs them. The program needs no library on purpose.
RPMLINT = 'Filters = ["no-signature", "statically-linked-binary"]\n'
# rpmlint unpacks with cpio, and nfpm names files by absolute paths: they would land on this machine.
CPIO = '#!/bin/sh\nexec /usr/bin/cpio --no-absolute-filenames "$@"\n'


def build_packages(folder, program, files, arch):
    """Builds both packages into a folder, as a release of the same day does: their paths, the .deb first."""
    environment = {"PATH": os.environ["PATH"], "NFPM": str(tool("nfpm")), "SOURCE_DATE_EPOCH": "1700000000"}
    run(DEPLOY / "packages" / "build", reference.version(), arch, program, files, folder, env=environment)
    (deb,), (rpm,) = folder.glob("*.deb"), folder.glob("*.rpm")
    return deb, rpm


# Folders that every system has, of the package `filesystem`.
SYSTEM = {"/etc", "/etc/default", "/usr", "/usr/bin", "/usr/lib", "/usr/lib/systemd", "/usr/lib/systemd/system", "/usr/share",
          "/usr/share/doc", "/usr/share/licenses", "/usr/share/man", "/usr/share/man/man1"}


def folders_below(root):
    return {f"/{path.relative_to(root)}" for path in root.rglob("*") if path.is_dir() and not path.is_symlink()}


def files_below(root):
    return {f"/{path.relative_to(root)}" for path in root.rglob("*") if not path.is_dir() or path.is_symlink()}


def test_the_linter_of_debian_finds_no_error_and_no_warning(packages):
    done = complete("lintian", "--fail-on", "error,warning", packages[0])
    assert (done.returncode, done.stdout) == (0, "")


def test_the_linter_of_rpm_finds_no_error(packages, tmp_path):
    config = tmp_path / "rpmlint.toml"
    config.write_text(RPMLINT)
    cpio = tmp_path / "bin" / "cpio"
    cpio.parent.mkdir()
    cpio.write_text(CPIO)
    cpio.chmod(0o755)
    environment = {**os.environ, "PATH": f"{cpio.parent}:{os.environ['PATH']}"}
    done = complete("rpmlint", "--config", config, packages[1], env=environment)
    assert not os.path.exists("/usr/bin/imds-exporter")
    assert (done.returncode, re.findall(r": E: (.*)", done.stdout)) == (0, []), done.stdout
    assert "1 packages" in done.stdout


def test_the_same_sources_make_the_same_packages(tmp_path, program, package_files):
    first, second = (build_packages(folder, program, package_files, "amd64") for folder in (tmp_path / "first", tmp_path / "second"))
    assert [each.name for each in first] == [each.name for each in second]
    assert [each.read_bytes() for each in first] == [each.read_bytes() for each in second]


@pytest.mark.parametrize("arch, deb_arch, rpm_arch", [("amd64", "amd64", "x86_64"), ("arm64", "arm64", "aarch64")])
def test_packages_are_named_by_the_architecture_of_each_system(tmp_path, program, package_files, arch, deb_arch, rpm_arch):
    deb, rpm = build_packages(tmp_path, program, package_files, arch)
    version = reference.version()
    assert deb.name == f"imds-exporter_{version}-1_{deb_arch}.deb"
    assert run("dpkg-deb", "--field", deb, "Architecture", "Version").split()[1::2] == [deb_arch, f"{version}-1"]
    assert rpm.name == f"imds-exporter-{version}-1.{rpm_arch}.rpm"
    assert run("rpm", "-qp", "--nosignature", "--queryformat", "%{ARCH} %{VERSION}-%{RELEASE}", rpm) == f"{rpm_arch} {version}-1"


def test_a_deb_is_installed_into_an_empty_root_and_purged_without_a_trace(packages, tmp_path):
    root, deb = tmp_path / "root", packages[0]
    database = root / "var/lib/dpkg"
    for folder in ("updates", "info", "triggers"):
        (database / folder).mkdir(parents=True)
    for name in ("status", "available"):
        (database / name).touch()
    # The scripts of the package run on this machine, with the root in DPKG_ROOT.
    dpkg = ["dpkg", f"--root={root}", "--force-script-chrootless", "--force-architecture", "--force-depends", f"--log={tmp_path / 'log'}"]
    run(*dpkg, "--install", deb)
    own = {path for path in files_below(root) if not path.startswith(("/var/lib/dpkg", "/var/lib/systemd"))}
    enabled = "/etc/systemd/system/multi-user.target.wants/imds-exporter.service"
    assert own == FILES | DEB_FILES | {enabled}
    assert verify(root) == ""
    state = root / "var/lib/private/imds-exporter/state"
    state.parent.mkdir(parents=True)
    state.write_text("a state")
    (root / "var/lib/imds-exporter").symlink_to("private/imds-exporter")

    run(*dpkg, "--remove", "imds-exporter")
    # The settings and the state are the administrator's until a purge.
    assert (root / "etc/default/imds-exporter").exists() and state.exists()
    assert not (root / "usr/bin/imds-exporter").exists()
    run(*dpkg, "--purge", "imds-exporter")
    assert {path for path in files_below(root) if not path.startswith("/var/lib/dpkg")} == set()


def test_an_rpm_is_installed_into_an_empty_root_and_erased_without_a_trace(packages, tmp_path):
    root, rpm = tmp_path / "root", packages[1]
    root.mkdir()
    # --force-debian: this rpm is not that of the machine. In an empty root there is no shell for the scripts, which
    # test_host.py runs.
    command = ["rpm", "--root", root, "--dbpath", "/rpmdb", "--force-debian", "--nosignature"]
    run(*command, "--install", "--noscripts", "--nodeps", rpm)
    own = {path for path in files_below(root) if not path.startswith("/rpmdb")}
    assert own == FILES | RPM_FILES
    assert verify(root) == ""
    documents = set(run(*command, "--query", "--docfiles", "imds-exporter").split())
    assert documents == {path for path in FILES if path.startswith(("/usr/share/man", "/usr/share/doc"))}
    assert run(*command, "--query", "--configfiles", "imds-exporter").split() == ["/etc/default/imds-exporter"]
    run(*command, "--erase", "--noscripts", "--nodeps", "imds-exporter")
    assert {path for path in files_below(root) if not path.startswith("/rpmdb")} == set()
    assert {path for path in folders_below(root) if not path.startswith("/rpmdb")} <= SYSTEM


def test_both_packages_require_a_systemd_that_knows_the_unit(packages):
    """DynamicUser= with StateDirectory=, and IPAddressDeny=: an older one would run the service as root, unfiltered."""
    deb, rpm = packages
    assert run("dpkg-deb", "--field", deb, "Depends") == "systemd (>= 235)\n"
    assert "systemd >= 235" in run("rpm", "-qp", "--nosignature", "--requires", rpm).splitlines()


def verify(root):
    """What systemd says of the installed unit. It needs the units to which that refers."""
    units = root / "usr/lib/systemd/system"
    for name in ("basic.target", "network-online.target", "shutdown.target", "sysinit.target"):
        shutil.copy(f"/lib/systemd/system/{name}", units / name)
    (root / "bin").mkdir()
    shutil.copy("/bin/kill", root / "bin")
    done = complete("systemd-analyze", "verify", "--man=no", f"--root={root}", "imds-exporter.service")
    security = complete("systemd-analyze", "security", "--offline=true", "--threshold=15", f"--root={root}",
                        "imds-exporter.service")
    assert security.returncode == 0, security.stdout[-200:]
    for path in units.iterdir():
        if path.name != "imds-exporter.service":
            path.unlink()
    shutil.rmtree(root / "bin")
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_the_packaged_units_run_the_packaged_program(packages, program, tmp_path):
    run("dpkg-deb", "--extract", packages[0], tmp_path)
    assert (tmp_path / "usr/bin/imds-exporter").read_bytes() == program.read_bytes()
    unit = tmp_path / "usr/lib/systemd/system/imds-exporter.service"
    assert unit_values(unit, "ExecStart") == ["/usr/bin/imds-exporter"]
    hold_back = tmp_path / "usr/share/doc/imds-exporter/examples/hold-back.conf"
    assert [line.split()[0] for line in unit_values(hold_back, "ExecStartPre")] == ["/usr/bin/imds-exporter"]
    for path in (unit, hold_back):
        assert "/usr/local" not in path.read_text()
        source, = DEPLOY.glob(f"systemd/**/{path.name}")
        assert path.read_text() == source.read_text().replace("/usr/local/bin/", "/usr/bin/")


def test_the_documented_commands_name_the_packages_and_the_examples():
    text = (DEPLOY / "README.md").read_text()
    named = re.findall(r"install \./(\S+)", text)
    version = reference.version()
    assert named == [f"imds-exporter_{version}-1_amd64.deb", f"imds-exporter-{version}-1.x86_64.rpm"]
    folder = re.search(r"installed, in `(/usr/share/\S+)`", text)[1]
    assert f"{folder}/hold-back.conf" in FILES


# The pages.

@pytest.fixture
def pages(package_files):
    return sorted(package_files.glob("*.1"))


def test_the_linter_of_manuals_finds_nothing(pages):
    assert len(pages) == 5
    done = complete("mandoc", "-T", "lint", "-W", "warning", *pages)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def read(page):
    """The page as a reader sees it, without bold and underlined letters."""
    shown = run("man", "--local-file", page, env={**os.environ, "MANWIDTH": "120", "MANPAGER": "cat", "LC_ALL": "C"})
    return re.sub(".\b", "", shown)


def test_the_manual_names_every_variable_with_its_default(package_files):
    text = read(package_files / "imds-exporter.1")
    for name, default in reference.variables().items():
        entry = re.search(rf"^ +{name}\n(.*?)(?=^ +[A-Z0-9_]+\n|^[A-Z])", text, re.M | re.S)
        assert entry, name
        # `man` hyphenates long words at the end of a line.
        words = re.sub(r"[-\s]+", "", entry[1])
        assert words.endswith(re.sub(r"[-\s]+", "", f"Default: {default}.")), name


def test_the_manual_has_the_sections_that_a_reader_expects(package_files, pages):
    text = read(package_files / "imds-exporter.1")
    assert re.findall(r"^[A-Z][A-Z ]+$", text, re.M) == [
        "NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "COMMANDS", "ENVIRONMENT", "EXIT STATUS", "FILES"]
    commands = set(re.findall(r"imds-exporter-(\w+)\(1\)", text))
    assert commands == {page.stem.removeprefix("imds-exporter-") for page in pages} - {"imds-exporter"}
    assert commands == {"serve", "check", "wait", "healthcheck"}
    assert "--timeout" in read(package_files / "imds-exporter-wait.1")


def test_bash_completes_commands_and_options(package_files):
    script = package_files / "imds-exporter.bash"

    def completions(*words):
        line = " ".join(f"'{word}'" for word in words)
        program = f'source "$1"; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; ' \
                  f'_imds__exporter imds-exporter "{words[-1]}" "{words[-2]}"; printf "%s\\n" "${{COMPREPLY[@]}}"'
        return set(run("bash", "-c", program, "bash", script).split())

    assert {"check", "wait", "healthcheck", "serve"} <= completions("imds-exporter", "")
    assert completions("imds-exporter", "wa") == {"wait"}
    assert "--timeout" in completions("imds-exporter", "wait", "--")
    assert "simulate" not in completions("imds-exporter", "")


def test_the_shipped_settings_are_the_defaults(package_files):
    """Each setting with its comment sign removed is one that the exporter accepts; the unit's own are not among them."""
    text = (package_files / "default").read_text()
    settings = dict(re.findall(r"^#([A-Z_]+)=(.*)$", text, re.M))
    unit = {value.split("=")[0] for value in unit_values(DEPLOY / "systemd" / "imds-exporter.service", "Environment")}
    own = {name for name in reference.variables() if name.startswith("IMDS_EXPORTER_")}
    assert set(settings) == own - unit
    for line in text.splitlines():
        assert not line or line.startswith("#")
    for name, default in settings.items():
        assert (default or "none") == reference.variables()[name], name
    done = complete(exporter(), "check", env={**settings, "AWS_EC2_METADATA_DISABLED": "true"}, timeout=30)
    assert done.returncode == 1, done.stderr


def test_the_pages_are_compressed_without_a_time(pages, packages, tmp_path):
    run("dpkg-deb", "--extract", packages[0], tmp_path)
    for page in pages:
        packed = (tmp_path / f"usr/share/man/man1/{page.name}.gz").read_bytes()
        assert gzip.decompress(packed) == page.read_bytes()
        assert packed[4:8] == bytes(4)


def test_the_licenses_and_the_changelog_are_those_of_the_repository(packages, tmp_path):
    deb, rpm = packages
    run("dpkg-deb", "--extract", deb, tmp_path / "deb")
    run("sh", "-c", 'rpm2cpio "$1" | cpio --quiet -id --no-absolute-filenames -D "$2"', "sh", rpm, tmp_path)
    licenses, documents = tmp_path / "usr/share/licenses/imds-exporter", tmp_path / "deb/usr/share/doc/imds-exporter"
    assert (licenses / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert re.search(r"^License: Apache-2.0$", (documents / "copyright").read_text(), re.M)
    for folder in (licenses, documents):
        assert (folder / "THIRD-PARTY-LICENSES.txt").read_bytes() == (DEPLOY / "THIRD-PARTY-LICENSES.txt").read_bytes()
    notes = run(DEPLOY / "release-notes", reference.version())
    assert notes.strip()
    for folder in (documents, tmp_path / "usr/share/doc/imds-exporter"):
        assert gzip.decompress((folder / "changelog.gz").read_bytes()).decode() == notes
