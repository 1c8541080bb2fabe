"""Measures the exporter and its alternatives in interleaved rounds, and prints the ratios of the medians.

Absolute values differ between machines and minutes; each round measures every program, so that the ratios hold.
Programs start, idle and are loaded on all CPUs. The cost of a scrape or a poll is measured with client and server on
one CPU: otherwise most of it is the time that an idle CPU takes to wake up, above all on a virtual machine. Scrapes ask for
gzip, as Prometheus does.
"""

import contextlib
import gzip
import io
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tools"))
import counting  # noqa: E402
from helpers.http_client import samples  # noqa: E402
from helpers.paths import ROOT, TOOLS, exporter, production_exporter, tool  # noqa: E402
from helpers.processes import free_port  # noqa: E402
from helpers.waiting import until  # noqa: E402

BENCH = ROOT / "target/bench"
PYTHON = TOOLS / "python/bin/python"
PROGRAMS = BENCH / "release"

SCRAPES, LOAD_CONNECTIONS, POLLS = 10_000, 4, 2_000
# Counts do not vary: fewer suffice.
SCRAPES_COUNTED, POLLS_COUNTED = 1_000, 500
# The slow alternatives are measured over fewer, which does not change the medians.
SCRAPES_OF_PYTHON, POLLS_OF_PYTHON = 1_000, 200
NAMES = {
    "exporter": "imds-exporter",
    "glibc": "the same, static glibc",
    "blackbox": "blackbox_exporter",
    "node": "node_exporter",
    "python": "boto3 + prometheus_client",
    "fixed": "fixed body, axum",
}
POLLERS = {
    "exporter": "imds-exporter, built as these",
    "reqwest": "bare reqwest",
    "sdk": "official Rust SDK",
    "botocore": "botocore's fetcher",
}
# What the signed call costs: programs that differ in nothing else, and today's. tests/bench/run builds the former ones.
SIGNED_CALL = {
    "before-signed-call": "before the signed call",
    "with-signed-call": "with it, off",
    "exporter": "today, off",
    "signing": "today, on, over HTTP",
}
# The packages that the Python script needs, beside the interpreter and the standard library.
PYTHON_PACKAGES = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "urllib3", "six.py", "prometheus_client")
LOADED_RSS = f"RSS after {SCRAPES:,} scrapes and load, KiB"
WIRE = "bytes per scrape, head included"
# For the traffic of a fleet.
EXPORTERS, SCRAPE_INTERVAL_SECONDS = 10_000, 15
# How many times blackbox_exporter's figure must be the exporter's, at least.
BUDGET = {"start to first answer, ms": 4, "CPU per scrape, µs": 20, LOADED_RSS: 8}
ALL_CPUS = os.sched_getaffinity(0)
ONE_CPU = {min(ALL_CPUS)}


@contextlib.contextmanager
def on_one_cpu(pid=None):
    """Runs this program, its children and a process on the same CPU."""
    def pin(cpus):
        os.sched_setaffinity(0, cpus)
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir() if pid else ():
            os.sched_setaffinity(int(task.name), cpus)
    pin(ONE_CPU)
    try:
        yield
    finally:
        pin(ALL_CPUS)


class Process:
    """A program that is measured; CPU and memory are the kernel's figures."""

    def __init__(self, arguments, environment=None):
        self.process = subprocess.Popen([str(a) for a in arguments], env=environment or {}, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.proc = pathlib.Path(f"/proc/{self.process.pid}")

    def cpu_us(self, threads_come_and_go=False):
        if threads_come_and_go:
            # In hundredths of a second, but including the threads that have ended.
            fields = (self.proc / "stat").read_text().rsplit(")", 1)[1].split()
            return (int(fields[11]) + int(fields[12])) * 1e6 / os.sysconf("SC_CLK_TCK")
        tasks = (self.proc / "task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1000

    def rss_kib(self):
        return counting.resident_kib(self.process.pid)

    def stop(self):
        self.process.kill()
        self.process.wait()


def binary(name):
    return {
        "exporter": production_exporter(),
        "glibc": BENCH / "imds-exporter-glibc",
        "blackbox": tool("prometheus-blackbox-exporter"),
        "node": tool("prometheus-node-exporter"),
        "signing": production_exporter(),
        "before-signed-call": BENCH / "imds-exporter-before-signed-call",
        "with-signed-call": BENCH / "imds-exporter-with-signed-call",
    }[name]


def command(name, port, imds, body, sts=None):
    address = f"127.0.0.1:{port}"
    imds_environment = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://{imds}"}
    own = {**imds_environment, "IMDS_EXPORTER_LISTEN_ADDRESS": address, "IMDS_EXPORTER_POLL_INTERVAL": "1s"}
    return {
        "signing": ([binary("signing")], {**own, "IMDS_EXPORTER_SIGNED_CALL_INTERVAL": "1m", "AWS_REGION": "eu-west-1",
                                          "AWS_ENDPOINT_URL_STS": f"http://{sts}"}),
        **{name: ([binary(name)], own) for name in ("exporter", "glibc", "before-signed-call", "with-signed-call")},
        "blackbox": ([binary("blackbox"), f"--web.listen-address={address}",
                      f"--config.file={TOOLS / 'debian/etc/prometheus/blackbox.yml'}"], {}),
        "node": ([binary("node"), f"--web.listen-address={address}",
                  "--collector.disable-defaults", "--collector.textfile"], {}),
        "python": ([PYTHON, ROOT / "tests/bench/peers/exporter.py", port], imds_environment),
        "fixed": ([PROGRAMS / "fixed", "axum", address, body], {}),
    }[name]


def started(name, imds, body=None, sts=None):
    """Starts a program and waits for its first answer: process, port, milliseconds until then."""
    port = free_port()
    arguments, environment = command(name, port, imds, body, sts)
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
        # Two polls happen before, so that the memory is that of a program that has run for long.
        time.sleep(2.2)
        threads = name == "python"
        idle, cpu = process.rss_kib(), process.cpu_us(threads)
        time.sleep(2)
        idle_cpu = (process.cpu_us(threads) - cpu) / 2
        scrapes = SCRAPES_OF_PYTHON if name == "python" else SCRAPES
        with on_one_cpu(process.process.pid):
            scrape(port, 200, 1)
            cpu = process.cpu_us(threads)
            began = time.perf_counter()
            p50, p99, answer_bytes = scrape(port, scrapes, 1)
            elapsed = time.perf_counter() - began
        per_scrape = (process.cpu_us(threads) - cpu - idle_cpu * elapsed) / scrapes
        scrape(port, scrapes, LOAD_CONNECTIONS)
        figures = {"start to first answer, ms": start_ms, "RSS idle, KiB": idle, "CPU idle, µs/s": idle_cpu,
                   "CPU per scrape, µs": per_scrape, "scrape p50, µs": p50, "scrape p99, µs": p99,
                   LOADED_RSS: process.rss_kib(), WIRE: answer_bytes}
        for what, value in figures.items():
            results.setdefault((what, name), []).append(value)
        if name == "exporter":
            results.setdefault(("growth", name), []).append(process.rss_kib() - idle)
    finally:
        process.stop()


@contextlib.contextmanager
def simulator():
    """The addresses of a simulated IMDS and of an STS that knows its credentials."""
    addresses = [f"127.0.0.1:{free_port()}" for _ in range(3)]
    options = zip(("--listen", "--sts", "--control"), addresses)
    process = Process([exporter(), "simulate", *(part for option in options for part in option)])
    try:
        yield addresses[:2]
    finally:
        process.stop()


def could_sign(name, imds, sts, results):
    """What the signed call costs, whether it is made or not."""
    process, port, start_ms = started(name, imds, sts=sts)
    try:
        address = f"http://127.0.0.1:{port}"
        until(lambda: samples(address).get("imds_signed_call_up") == (1.0 if name == "signing" else None), "the signed call")
        scrape(port, 20, 1)
        time.sleep(2.2)
        for what, value in {"start to first answer, ms": start_ms, "RSS idle, KiB": process.rss_kib(),
                            "on disk, KB": binary(name).stat().st_size / 1e3}.items():
            results.setdefault((what, name), []).append(value)
    finally:
        process.stop()


def poller(name, endpoint, polls):
    program = [PYTHON, ROOT / "tests/bench/peers/poll.py"] if name == "botocore" else [PROGRAMS / f"poll-{name}"]
    return [*map(str, program), f"http://{endpoint}", str(polls)]


def rotated(names, by):
    """The names, another one first in each round: each program influences the measurement of the next."""
    names = list(names)
    return names[by % len(names):] + names[:by % len(names)]


def polls(endpoint, results, mode, names):
    for name in names:
        with on_one_cpu():
            arguments = poller(name, endpoint, POLLS_OF_PYTHON if name == "botocore" else POLLS)
            output = subprocess.run(arguments, check=True, capture_output=True, text=True, env={}).stdout
        wall, cpu, _ = map(float, output.split())
        results.setdefault((f"connection {mode}, wall, µs", name), []).append(wall / 1000)
        results.setdefault((f"connection {mode}, CPU, µs", name), []).append(cpu / 1000)


def instructions(endpoint, results, mode, directory):
    """The instructions of a poll outside the kernel: the difference of two runs."""
    def run(name, count):
        wrapper, executed = counting.callgrind(directory)
        subprocess.run([*wrapper, *poller(name, endpoint, count)], check=True, capture_output=True)
        return executed()
    for name in POLLERS:
        if name != "botocore":
            more = run(name, 100 + POLLS_COUNTED) - run(name, 100)
            results[f"connection {mode}, instructions, thousands", name] = [more / POLLS_COUNTED / 1000]


def system_calls(name, imds, body, results, directory):
    """The system calls of one scrape on a persistent connection."""
    process, port, _ = started(name, imds, body)
    wrapper, made = counting.strace(directory)
    try:
        scrape(port, 20, 1)
        tracer = subprocess.Popen([*wrapper, "-p", str(process.process.pid)], stdout=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE, text=True)
        tracer.stderr.readline()
        scrape(port, SCRAPES_COUNTED, 1)
        tracer.send_signal(signal.SIGINT)
        tracer.communicate()
    finally:
        process.stop()
    results["system calls per scrape", name] = [made() / SCRAPES_COUNTED]


def sizes(results):
    site = next((TOOLS / "python/lib").glob("python*/site-packages"))
    packages = [site / package for package in PYTHON_PACKAGES]
    files = (file for package in packages for file in ([package] if package.is_file() else package.rglob("*")))
    bytes_on_disk = {name: binary(name).stat().st_size for name in ("exporter", "glibc", "blackbox", "node")}
    bytes_on_disk["python"] = sum(file.stat().st_size for file in files if file.is_file() and file.suffix != ".pyc")
    for name, size in bytes_on_disk.items():
        results["on disk, MB", name] = [size / 1e6]


def image_layer_mb():
    """The size of the image's layer as a registry stores it."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        tar.add(binary("exporter"), "imds-exporter")
    return len(gzip.compress(layer.getvalue())) / 1e6


def main():
    rounds, serving, polling, signing = int(sys.argv[1]), {}, {}, {}
    # tests/bench/run cannot build them from a clone without the history.
    former = all(binary(name).exists() for name in SIGNED_CALL)
    with on_one_cpu():
        imds = {mode: Process([BENCH / "imds", argument]) for mode, argument in (("kept", "keep"), ("closed", "close"))}
    endpoints = {mode: process.process.stdout.readline().strip() for mode, process in imds.items()}
    body = BENCH / "body.txt"
    try:
        process, port, _ = started("exporter", endpoints["kept"], body)
        time.sleep(0.5)
        address = f"http://127.0.0.1:{port}/metrics"
        text = urllib.request.urlopen(address).read()
        asking = urllib.request.Request(address, headers={"Accept-Encoding": "gzip"})
        compressed = len(urllib.request.urlopen(asking).read())
        body.write_bytes(text)
        process.stop()
        with simulator() as (simulated_imds, sts):
            for number in range(rounds):
                for name in rotated(NAMES, number):
                    serve(name, endpoints["kept"], body, serving)
                for name in rotated(SIGNED_CALL, number) if former else ():
                    could_sign(name, simulated_imds, sts, signing)
        # In rounds of their own: a minute after a load test the kernel frees thousands of closed connections, at the cost of
        # whatever runs then.
        for number in range(rounds):
            for mode, endpoint in endpoints.items():
                polls(endpoint, polling, mode, rotated(POLLERS, number))
        with tempfile.TemporaryDirectory() as directory:
            for name in NAMES:
                system_calls(name, endpoints["kept"], body, serving, pathlib.Path(directory))
            for mode, endpoint in endpoints.items():
                instructions(endpoint, polling, mode, pathlib.Path(directory))
        sizes(serving)
    finally:
        for process in imds.values():
            process.stop()
    report(serving, polling, signing, rounds, text.decode(), compressed)
    check_budget(serving, text.decode(), compressed)


def table(first, names, results):
    """Medians with their ratio to the first column's."""
    median = {key: statistics.median(values) for key, values in results.items()}
    base = next(iter(names))
    lines = [f"| {first} | " + " | ".join(names.values()) + " |", "| --- |" + " --- |" * len(names)]
    for what in dict.fromkeys(what for what, _ in results):
        own = median[what, base]

        def cell(name):
            value = median.get((what, name))
            if value is None:
                return "–"
            ratio = value / own if own else 0
            number = f"{value:,.1f}" if value < 1000 else f"{value:,.0f}"
            return number if name == base else f"{number} (×{ratio:,.2f})" if ratio < 10 else f"{number} (×{ratio:,.0f})"
        lines.append(f"| {what} | " + " | ".join(cell(name) for name in names) + " |")
    return lines


def kept_first(polling):
    return dict(sorted(polling.items(), key=lambda item: ("closed" in item[0][0], item[0])))


def megabytes_per_second(serving, name):
    """The traffic of a fleet's scrapes."""
    return statistics.median(serving[WIRE, name]) * EXPORTERS / SCRAPE_INTERVAL_SECONDS / 1e6


def report(serving, polling, signing, rounds, exposition, compressed):
    growth = statistics.median(serving.pop(("growth", "exporter")))
    lines = [f"Medians of {rounds} interleaved rounds; in brackets, how many times the first column's. "
             "`tests/bench/run` measures again.", "",
             *table("serving, with a poll a second", NAMES, serving), "",
             *table("one poll", POLLERS, kept_first(polling)), "",
             *([*table("the signed call", SIGNED_CALL, signing), ""] if signing else []),
             f"The image is the binary: one layer of {image_layer_mb():.2f} MB as a registry stores it. Series: "
             f"{counting.series(exposition)}. RSS grows by {growth:.0f} KiB from idle over {2 * SCRAPES:,} scrapes. imds-exporter and botocore ask "
             "for a session token at every poll: three requests, where the others make two.", "",
             f"{EXPORTERS:,} exporters that are scraped every {SCRAPE_INTERVAL_SECONDS} s send "
             f"{megabytes_per_second(serving, 'exporter'):.1f} MB/s; as many blackbox_exporters send "
             f"{megabytes_per_second(serving, 'blackbox'):.1f} MB/s, node_exporters {megabytes_per_second(serving, 'node'):.1f} "
             f"MB/s. A compressed exposition has {compressed / len(exposition.encode()):.0%} of the plain one's "
             f"{len(exposition.encode()):,} bytes."]
    text = "\n".join(lines) + "\n"
    (ROOT / "tests/bench/RESULT.md").write_text(text)
    print(text)


def check_budget(serving, exposition, compressed):
    """Exits with 1 and a message if the exporter exceeds its budget."""
    own = {"series": counting.series(exposition), "binary_bytes": binary("exporter").stat().st_size,
           "compressed_share": compressed / len(exposition.encode()),
           "system_calls_per_scrape": statistics.median(serving["system calls per scrape", "exporter"]),
           "resident_kib": statistics.median(serving[LOADED_RSS, "exporter"])}
    for what, most in counting.CEILINGS.items():
        if own[what] > most:
            sys.exit(f"over budget: {what}: {own[what]:,}, not {most:,}")
    for what, least in BUDGET.items():
        own, other = (statistics.median(serving[what, name]) for name in ("exporter", "blackbox"))
        if other / own < least:
            sys.exit(f"over budget: {what}: blackbox_exporter has {other / own:.2f} times as much, not {least}")


if __name__ == "__main__":
    main()
