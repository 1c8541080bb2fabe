"""Measures in interleaved rounds, and prints the medians' ratios.

Absolute values move from machine to machine and from minute to minute; each round measures all, so that the ratios hold.
"""

import os
import pathlib
import socket
import statistics
import subprocess
import sys
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
BENCH, TOOLS = ROOT / "target/bench", ROOT / "target/tools"
PYTHON = TOOLS / "python/bin/python"
PROGRAMS = BENCH / "release"

SCRAPES, LOAD_CONNECTIONS, POLLS = 10_000, 4, 2_000
# A slow peer is measured over fewer, which changes no median.
SCRAPES_OF_PYTHON, POLLS_OF_PYTHON = 1_000, 200
NAMES = {
    "exporter": "imds-exporter",
    "blackbox": "blackbox_exporter",
    "node": "node_exporter",
    "python": "boto3 + prometheus_client",
    "fixed": "fixed body, axum",
}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Process:
    """A program that is measured; CPU and memory are the kernel's figures."""

    def __init__(self, arguments, environment=None):
        self.process = subprocess.Popen([str(a) for a in arguments], env=environment or {}, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.proc = pathlib.Path(f"/proc/{self.process.pid}")

    def cpu_us(self, threads_come_and_go=False):
        if threads_come_and_go:
            # In hundredths of a second, but with the threads that have ended.
            fields = (self.proc / "stat").read_text().rsplit(")", 1)[1].split()
            return (int(fields[11]) + int(fields[12])) * 1e6 / os.sysconf("SC_CLK_TCK")
        tasks = (self.proc / "task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1000

    def rss_kib(self):
        status = (self.proc / "status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")))

    def stop(self):
        self.process.kill()
        self.process.wait()


def command(name, port, imds, body):
    address = f"127.0.0.1:{port}"
    imds_environment = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://{imds}"}
    return {
        "exporter": ([ROOT / "target/static/imds-exporter"],
                     {**imds_environment, "IMDS_EXPORTER_LISTEN_ADDRESS": address, "IMDS_EXPORTER_POLL_INTERVAL": "1s"}),
        "blackbox": ([TOOLS / "debian/usr/bin/prometheus-blackbox-exporter", f"--web.listen-address={address}",
                      f"--config.file={TOOLS / 'debian/etc/prometheus/blackbox.yml'}"], {}),
        "node": ([TOOLS / "debian/usr/bin/prometheus-node-exporter", f"--web.listen-address={address}",
                  "--collector.disable-defaults", "--collector.textfile"], {}),
        "python": ([PYTHON, ROOT / "tests/bench/peers/exporter.py", port], imds_environment),
        "fixed": ([PROGRAMS / "fixed", "axum", address, body], {}),
    }[name]


def started(name, imds, body):
    """The program once it answers, its port and the milliseconds that this took."""
    port = free_port()
    arguments, environment = command(name, port, imds, body)
    began = time.perf_counter()
    process = Process(arguments, environment)
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read()
            return process, port, (time.perf_counter() - began) * 1000
        except OSError:
            if time.perf_counter() - began > 30:
                raise
            time.sleep(0.0002)


def scrape(port, scrapes, connections):
    arguments = [BENCH / "scrape", f"127.0.0.1:{port}", "/metrics", scrapes, connections]
    output = subprocess.run([str(a) for a in arguments], check=True, capture_output=True, text=True).stdout
    return [float(value) for value in output.split()]


def serve(name, imds, body, results):
    process, port, start_ms = started(name, imds, body)
    try:
        scrape(port, 20, 1)
        # Two polls go by, so that idle is what it is in the long run.
        time.sleep(2.2)
        threads = name == "python"
        idle, cpu = process.rss_kib(), process.cpu_us(threads)
        time.sleep(2)
        idle_cpu = (process.cpu_us(threads) - cpu) / 2
        scrapes = SCRAPES_OF_PYTHON if name == "python" else SCRAPES
        cpu = process.cpu_us(threads)
        began = time.perf_counter()
        p50, p99, _ = scrape(port, scrapes, 1)
        elapsed = time.perf_counter() - began
        per_scrape = (process.cpu_us(threads) - cpu - idle_cpu * elapsed) / scrapes
        scrape(port, scrapes, LOAD_CONNECTIONS)
        figures = {"start to first answer, ms": start_ms, "RSS idle, KiB": idle, "CPU idle, µs/s": idle_cpu,
                   "CPU per scrape, µs": per_scrape, "scrape p50, µs": p50, "scrape p99, µs": p99,
                   "RSS after 10,000 scrapes and load, KiB": process.rss_kib()}
        for what, value in figures.items():
            results.setdefault((what, name), []).append(value)
        results.setdefault(("growth", name), []).append(process.rss_kib() - idle)
    finally:
        process.stop()


def polls(endpoint, results, mode):
    programs = {"exporter": [PROGRAMS / "poll-exporter"], "reqwest": [PROGRAMS / "poll-reqwest"],
                "sdk": [PROGRAMS / "poll-sdk"], "botocore": [PYTHON, ROOT / "tests/bench/peers/poll.py"]}
    for name, program in programs.items():
        count = POLLS_OF_PYTHON if name == "botocore" else POLLS
        arguments = [*map(str, program), f"http://{endpoint}", str(count)]
        output = subprocess.run(arguments, check=True, capture_output=True, text=True, env={}).stdout
        wall, cpu, _ = map(float, output.split())
        results.setdefault((f"poll, connection {mode}, wall", name), []).append(wall / 1000)
        results.setdefault((f"poll, connection {mode}, CPU", name), []).append(cpu / 1000)


def main():
    rounds, results = int(sys.argv[1]), {}
    imds = {mode: Process([BENCH / "imds", argument]) for mode, argument in (("kept", "keep"), ("closed", "close"))}
    endpoints = {mode: process.process.stdout.readline().strip() for mode, process in imds.items()}
    body = BENCH / "body.txt"
    try:
        process, port, _ = started("exporter", endpoints["kept"], body)
        time.sleep(0.5)
        text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read()
        body.write_bytes(text)
        process.stop()
        for _ in range(rounds):
            for name in NAMES:
                serve(name, endpoints["kept"], body, results)
            for mode, endpoint in endpoints.items():
                polls(endpoint, results, mode)
    finally:
        for process in imds.values():
            process.stop()
    report(results, rounds, text.decode())


def report(results, rounds, exposition):
    median = {key: statistics.median(values) for key, values in results.items()}
    lines = [f"Medians of {rounds} interleaved rounds; in brackets, how many times imds-exporter's. "
             "`tests/bench/run` measures again.", "",
             "| | " + " | ".join(NAMES.values()) + " |", "| --- |" + " --- |" * len(NAMES)]
    for what in dict.fromkeys(what for what, name in median if name == "blackbox" and what != "growth"):
        own = median[what, "exporter"]
        cells = [f"{own:,.1f}"] + [f"{median[what, n]:,.1f} (×{median[what, n] / own:,.1f})" for n in list(NAMES)[1:]]
        lines.append(f"| {what} | " + " | ".join(cells) + " |")
    lines += ["", "| one poll, µs | imds-exporter | bare reqwest | official Rust SDK | botocore's fetcher |",
              "| --- | --- | --- | --- | --- |"]
    for what in dict.fromkeys(what for what, name in median if name == "sdk"):
        own = median[what, "exporter"]
        cells = [f"{own:,.0f}"] + [f"{median[what, n]:,.0f} (×{median[what, n] / own:,.2f})" for n in ("reqwest", "sdk", "botocore")]
        lines.append(f"| {what.removeprefix('poll, ')} | " + " | ".join(cells) + " |")
    series = sum(1 for line in exposition.splitlines() if line and not line.startswith("#"))
    binary = (ROOT / "target/static/imds-exporter").stat().st_size / 1e6
    lines += ["", f"Static binary, which is all that the image holds: {binary:.2f} MB. Series: {series}. RSS grows by "
              f"{median['growth', 'exporter']:.0f} KiB from idle over 20,000 scrapes. botocore asks for a session token at every poll: three "
              "requests, where the others make two."]
    text = "\n".join(lines) + "\n"
    (ROOT / "tests/bench/RESULT.md").write_text(text)
    print(text)


main()
