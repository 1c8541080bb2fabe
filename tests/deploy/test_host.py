"""The packages on a host that boots, with systemd itself: the service runs under all of the unit's restrictions, waits
and restarts as the documentation says, and leaves nothing behind."""

import pytest

from host import IMDS, STS, booted_host

from helpers.certificates import certify
from helpers.waiting import until

SERVICE = "imds-exporter.service"
UNITS = "/etc/systemd/system"
SETTINGS = "/etc/default/imds-exporter"
HOLD_BACK = "/usr/share/doc/imds-exporter/examples/hold-back.conf"
PORT = 20169
ENDPOINT = f"AWS_EC2_METADATA_SERVICE_ENDPOINT=http://{IMDS}"
OUTAGE, END_OF_OUTAGE = 'fault = "connect_refused"', 'fault = "none"'

# Written down when the workload runs: what the exporter says then. The workload ends orderly when it is asked to.
WORKLOAD = f"""
[Service]
ExecStart=/bin/sh -c 'python3 -c "import urllib.request as u; print(u.urlopen(\\'http://127.0.0.1:{PORT}/metrics\\').read().decode())" > /root/scrape; exec sleep infinity'
Restart=always
RestartSec=0
"""


@pytest.fixture
def host(tmp_path, packages):
    with booted_host(tmp_path) as host:
        host.packages = packages
        # The exporter of a test never talks to an address outside of it.
        host.write(f"{UNITS}/{SERVICE}.d/test.conf",
                   f"[Service]\nEnvironment={ENDPOINT}\n")
        yield host


def install_deb(host):
    host.copy(host.packages[0], "/root/package.deb")
    host.must("dpkg", "--force-unsafe-io", "--no-triggers", "--install", "/root/package.deb")


def install_rpm(host, *options):
    host.copy(host.packages[1], "/root/package.rpm")
    host.must("rpm", "--install", "--force-debian", "--nosignature", "--nodeps", *options, "/root/package.rpm")


def metric(host, name, port=10169):
    for line in host.get(f"http://127.0.0.1:{port}/metrics").splitlines():
        if line.startswith(f"{name} "):
            return float(line.split()[1])
    return None


def test_the_deb_runs_from_its_installation_to_its_purge(host):
    before = host.changes()
    install_deb(host)
    assert host.states(SERVICE) == ("active", "running")
    assert host.property(SERVICE, "UnitFileState") == "enabled"
    until(lambda: metric(host, "imds_up") == 1, lambda: f"a poll: {host.journal(SERVICE)}")
    until(lambda: "resolve" in host.property(SERVICE, "StatusText"), "a status text")
    # The watchdog, the state directory and the dynamic user are systemd's.
    assert host.property(SERVICE, "WatchdogUSec") == "2min"
    assert host.must("ls", "/var/lib/private/imds-exporter").split() == ["state", "state.lock"]
    assert host.must("ps", "-o", "user=", "-p", host.property(SERVICE, "MainPID")).strip() not in ("root", "nobody")
    assert host.must("imds-exporter", "healthcheck") is not None
    # Installed once more, as in an upgrade: the service restarts.
    first = host.property(SERVICE, "MainPID")
    install_deb(host)
    assert host.states(SERVICE) == ("active", "running")
    assert host.property(SERVICE, "MainPID") != first

    host.must("dpkg", "--purge", "imds-exporter")
    assert host.states(SERVICE) == ("inactive", "dead")
    assert {path for path in host.changes() - before if not path.startswith("/var/lib/dpkg/")} == set()


def test_an_administrators_decision_outlives_an_upgrade_of_the_deb(host):
    install_deb(host)
    host.must("systemctl", "disable", "--now", SERVICE)
    install_deb(host)
    assert host.property(SERVICE, "UnitFileState") == "disabled"


def test_the_rpm_is_enabled_by_its_owner_and_erased_without_a_trace(host):
    # As Amazon Linux and Fedora have it: nothing is enabled unless a preset says so.
    host.write("/etc/systemd/system-preset/99-default.preset", "disable *\n")
    before = host.changes()
    install_rpm(host)
    assert (host.states(SERVICE), host.property(SERVICE, "UnitFileState")) == (("inactive", "dead"), "disabled")
    host.must("systemctl", "enable", "--now", SERVICE)
    until(lambda: metric(host, "imds_up") == 1, lambda: f"a poll: {host.journal(SERVICE)}")
    host.must("rpm", "--erase", "imds-exporter")
    assert host.states(SERVICE) == ("inactive", "dead")
    left = {path for path in host.changes() - before if not path.startswith(("/root/.rpmdb", "/var/lib/rpm"))}
    assert left == set()


def test_a_wrong_setting_ends_the_service_at_once_and_a_crash_does_not(host):
    install_deb(host)
    host.must("systemctl", "kill", "--signal=KILL", SERVICE)
    until(lambda: host.property(SERVICE, "NRestarts") == "1" and host.states(SERVICE) == ("active", "running"), "a restart")

    host.write(SETTINGS, "IMDS_EXPORTER_POLL_INTERVAL=often\n")
    assert host.run("systemctl", "restart", SERVICE).returncode != 0
    # A restart that is to come shows as ("activating", "auto-restart").
    assert host.states(SERVICE) == ("failed", "failed")
    assert host.property(SERVICE, "ExecMainStatus") == "64"
    assert "IMDS_EXPORTER_POLL_INTERVAL" in host.journal(SERVICE)

    host.write(SETTINGS, "")
    host.must("systemctl", "start", SERVICE)
    assert host.states(SERVICE) == ("active", "running")


def test_a_service_is_held_back_until_the_exporter_on_another_port_has_seen_the_end_of_an_outage(host):
    host.change_imds(OUTAGE)
    install_deb(host)
    # Nobody but the file of settings says where the exporter listens, and what IMDS is.
    host.write(SETTINGS, f"IMDS_EXPORTER_LISTEN_ADDRESS=127.0.0.1:{PORT}\n{ENDPOINT}\n")
    host.must("rm", f"{UNITS}/{SERVICE}.d/test.conf")
    host.must("systemctl", "daemon-reload")
    host.must("systemctl", "restart", SERVICE)
    host.write(f"{UNITS}/workload.service", WORKLOAD)
    # As the head of the example says.
    host.must("install", "-D", "-m", "0644", HOLD_BACK, f"{UNITS}/workload.service.d/50-imds.conf")
    host.must("systemctl", "daemon-reload")
    host.must("systemctl", "start", "--no-block", "workload.service")

    until(lambda: "connect_refused" in host.journal("workload.service"), "a message of the waiting program")
    assert host.states("workload.service") == ("activating", "start-pre")
    until(lambda: metric(host, "imds_fetch_consecutive_failures", PORT) >= 2, "failed polls")
    host.change_imds(END_OF_OUTAGE)
    until(lambda: host.states("workload.service") == ("active", "running"), "the start of the workload")
    until(lambda: "imds_fetches_total" in host.run("cat", "/root/scrape").stdout, "a scrape by the workload")
    assert "\nimds_up 1\n" in host.must("cat", "/root/scrape")

    # The service's own Restart= holds: with `on-failure`, an orderly end would not be followed by a start.
    assert host.property("workload.service", "Restart") == "always"
    host.must("systemctl", "kill", "--kill-whom=main", "workload.service")
    until(lambda: host.property("workload.service", "NRestarts") == "1", "a restart")
    until(lambda: host.states("workload.service") == ("active", "running"), "the workload again")


SIGNED = "/usr/share/doc/imds-exporter/examples/signed-call.conf"


def test_the_filter_of_the_unit_drops_signed_calls_until_the_drop_in_opens_it(host, tmp_path):
    """Under systemd with control groups of version 2, whose filter sees every packet. STS has a public address."""
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    certify(certificate, key, STS.split(":")[0], "-addext", "basicConstraints=critical,CA:FALSE")
    with host.sts(certificate, key):
        install_deb(host)
        host.copy(certificate, "/etc/imds-exporter.crt")
        host.write(SETTINGS, f"IMDS_EXPORTER_SIGNED_CALL_INTERVAL=1m\nAWS_REGION=eu-central-1\n"
                             f"AWS_ENDPOINT_URL_STS=https://{STS}\nAWS_CA_BUNDLE=/etc/imds-exporter.crt\n")
        host.must("systemctl", "restart", SERVICE)
        until(lambda: metric(host, "imds_signed_calls_total") == 1, lambda: f"a call: {host.journal(SERVICE)}")
        assert metric(host, "imds_signed_call_up") == 0
        # The same call from a shell, which misleads.
        assert host.run("sh", "-c", f"set -a; . {SETTINGS}; {ENDPOINT} imds-exporter check --signed").returncode == 0
        # As the head of the example says.
        host.must("install", "-D", "-m", "0644", SIGNED, f"{UNITS}/{SERVICE}.d/50-signed-call.conf")
        host.must("systemctl", "daemon-reload")
        host.must("systemctl", "restart", SERVICE)
        until(lambda: metric(host, "imds_signed_call_up") == 1, lambda: f"an accepted call: {host.journal(SERVICE)}")
