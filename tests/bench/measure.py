"""Measures the exporter and its alternatives in interleaved rounds, and prints the ratios of the medians.

Absolute values differ between machines and minutes; each round measures every program, so that the ratios hold. The cost of a
scrape or a poll is measured with client and server on one CPU: otherwise most of it is the time that an idle CPU takes to
wake up, above all on a virtual machine. Scrapes ask for gzip, as Prometheus does.
"""

import contextlib
import gzip
import os
import pathlib
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tools"))
from helpers.http_client import get, lines  # noqa: E402
from helpers.paths import ROOT, TOOLS, production_exporter, tool  # noqa: E402
from helpers.processes import free_port  # noqa: E402
from test_cost import resident_kib  # noqa: E402

PROGRAMS = ROOT / "target/bench/release"
PYTHON = TOOLS / "python/bin/python"

SCRAPES, LOAD_CONNECTIONS, POLLS = 10_000, 4, 2_000
# The slow alternatives are measured over fewer, which does not change the medians.
SCRAPES_OF_PYTHON, POLLS_OF_PYTHON = 1_000, 200
SERVERS = {
    "exporter": "imds-exporter",
    "blackbox": "blackbox_exporter",
    "node": "node_exporter",
    "python": "boto3 + prometheus_client",
}
POLLERS = {
    "exporter": "imds-exporter",
    "sdk-new": "official Rust SDK, a new client each",
    "sdk": "official Rust SDK, session token kept",
    "botocore": "botocore's fetcher",
}
START, CPU, DISK = "start to first answer, ms", "CPU per scrape, µs", "on disk, MB"
LOADED_RSS = f"RSS after {SCRAPES:,} scrapes and load, KiB"
# The packages that the Python script needs, beside the interpreter and the standard library.
PYTHON_PACKAGES = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "urllib3", "six.py", "prometheus_client")
# What the exporter may cost: multiples of what another program costs.
SERVING_BUDGET = {START: 1, CPU: 1 / 8, LOADED_RSS: 1 / 4}
POLL_BUDGET = 1.5
ALL_CPUS = os.sched_getaffinity(0)


@contextlib.contextmanager
def on_one_cpu(pid=None):
    """Runs this program, its children and a process on the same CPU."""
    def pin(cpus):
        os.sched_setaffinity(0, cpus)
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir() if pid else ():
            os.sched_setaffinity(int(task.name), cpus)
    pin({min(ALL_CPUS)})
    try:
        yield
    finally:
        pin(ALL_CPUS)


@contextlib.contextmanager
def running(arguments, environment=None):
    process = subprocess.Popen([str(part) for part in arguments], env=environment or {}, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def cpu_us(process, name):
    """The time that it has had a CPU."""
    proc = pathlib.Path(f"/proc/{process.pid}")
    if name == "python":
        # Its threads come and go: in hundredths of a second, with those that have ended.
        fields = (proc / "stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) * 1e6 / os.sysconf("SC_CLK_TCK")
    return sum(int((task / "schedstat").read_text().split()[0]) for task in (proc / "task").iterdir()) / 1000


def command(name, port, imds):
    address = f"127.0.0.1:{port}"
    asks = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://{imds}"}
    return {
        "exporter": ([production_exporter()],
                     {**asks, "IMDS_EXPORTER_LISTEN_ADDRESS": address, "IMDS_EXPORTER_POLL_INTERVAL": "1s"}),
        "blackbox": ([tool("prometheus-blackbox-exporter"), f"--web.listen-address={address}",
                      f"--config.file={TOOLS / 'debian/etc/prometheus/blackbox.yml'}"], {}),
        "node": ([tool("prometheus-node-exporter"), f"--web.listen-address={address}",
                  "--collector.disable-defaults", "--collector.textfile"], {}),
        "python": ([PYTHON, ROOT / "tests/bench/peers/exporter.py", port], asks),
    }[name]


def scrape(port, scrapes, connections=1):
    """p50 and p99 in microseconds, and the bytes of an answer."""
    arguments = [PROGRAMS / "scrape", f"127.0.0.1:{port}", "/metrics", scrapes, connections]
    output = subprocess.run([str(part) for part in arguments], check=True, capture_output=True, text=True).stdout
    return [float(value) for value in output.split()]


def serve(name, imds):
    """What one program costs as a server: {what: value}."""
    port, began = free_port(), time.perf_counter()
    with running(*command(name, port, imds)) as process:
        while get(f"http://127.0.0.1:{port}/metrics")[0] != 200:
            assert process.poll() is None and time.perf_counter() - began < 60, name
            time.sleep(0.0002)
        start_ms = (time.perf_counter() - began) * 1000
        # Two polls happen before, so that the memory is that of a program that has run for long.
        time.sleep(2.2)
        idle_rss, cpu = resident_kib(process.pid), cpu_us(process, name)
        time.sleep(5)
        idle_cpu = (cpu_us(process, name) - cpu) / 5
        scrapes = SCRAPES_OF_PYTHON if name == "python" else SCRAPES
        with on_one_cpu(process.pid):
            scrape(port, 200)
            cpu, began = cpu_us(process, name), time.perf_counter()
            p50, p99, answer_bytes = scrape(port, scrapes)
            per_scrape = (cpu_us(process, name) - cpu - idle_cpu * (time.perf_counter() - began)) / scrapes
        scrape(port, scrapes, LOAD_CONNECTIONS)
        return {START: start_ms, "RSS idle, KiB": idle_rss, "CPU idle, µs/s": idle_cpu, CPU: per_scrape,
                "scrape p50, µs": p50, "scrape p99, µs": p99, LOADED_RSS: resident_kib(process.pid),
                "bytes per scrape, head included": answer_bytes}


def poll(name, mode, endpoint):
    """What one poll costs: {what: value}."""
    program, *more = {"botocore": [PYTHON, ROOT / "tests/bench/peers/poll.py"],
                      "sdk-new": [PROGRAMS / "poll-sdk", "new"]}.get(name, [PROGRAMS / f"poll-{name}"])
    number = POLLS_OF_PYTHON if name == "botocore" else POLLS
    url = f"http://{endpoint}"
    arguments = [program, more[0], url, number] if name == "botocore" else [program, url, number, *more]
    with on_one_cpu():
        output = subprocess.run([str(part) for part in arguments], check=True, capture_output=True, text=True, env={}).stdout
    wall, cpu = (float(value) / 1000 for value in output.split())
    return {f"connection {mode}, CPU, µs": cpu, f"connection {mode}, wall, µs": wall}


def disk_mb(name):
    if name != "python":
        return command(name, 0, "")[0][0].stat().st_size / 1e6
    site = next((TOOLS / "python/lib").glob("python*/site-packages"))
    packages = [site / package for package in PYTHON_PACKAGES]
    files = (file for package in packages for file in ([package] if package.is_file() else package.rglob("*")))
    return sum(file.stat().st_size for file in files if file.is_file() and file.suffix != ".pyc") / 1e6


def rotated(names, by):
    """The names, another one first in each round: each program influences the measurement of the next."""
    names = list(names)
    return names[by % len(names):] + names[:by % len(names)]


def medians(rounds):
    """{what: {name: median}} of many (name, {what: value})."""
    values = {}
    for name, figures in rounds:
        for what, value in figures.items():
            values.setdefault(what, {}).setdefault(name, []).append(value)
    return {what: {name: statistics.median(seen) for name, seen in of.items()} for what, of in values.items()}


def table(first, names, results):
    """Markdown; after each figure its multiple of the first column's."""
    def cell(value, own):
        number = f"{value:,.1f}" if value < 1000 else f"{value:,.0f}"
        return number if value is own else f"{number} (×{value / own:,.2f})" if own else number
    own = next(iter(names))
    rows = [f"| {what} | " + " | ".join(cell(of[name], of[own]) for name in names) + " |" for what, of in results.items()]
    return "\n".join([f"| {first} | " + " | ".join(names.values()) + " |", "| --- |" + " --- |" * len(names), *rows])


def scrape_bytes(imds):
    """The series, and the share of its bytes that a compressed scrape has."""
    port = free_port()
    with running(*command("exporter", port, imds)):
        while "\nimds_up" not in (text := get(f"http://127.0.0.1:{port}/metrics")[1]):
            time.sleep(0.1)
        return len(lines(text)), len(gzip.compress(text.encode())) / len(text)


def lone_scrape_us(imds):
    """The CPU of a scrape that has to render and to compress: more than a second after the one before."""
    port, scrapes = free_port(), 10
    arguments, environment = command("exporter", port, imds)
    with running(arguments, {**environment, "IMDS_EXPORTER_POLL_INTERVAL": "1h"}) as process:
        while "\nimds_up" not in get(f"http://127.0.0.1:{port}/metrics")[1]:
            time.sleep(0.1)
        with on_one_cpu(process.pid):
            cpu = cpu_us(process, "exporter")
            for _ in range(scrapes):
                time.sleep(1.1)
                scrape(port, 1)
            return (cpu_us(process, "exporter") - cpu) / scrapes


def main():
    rounds = int(sys.argv[1])
    with contextlib.ExitStack() as stack:
        with on_one_cpu():
            imds = {mode: stack.enter_context(running([PROGRAMS / "imds", argument]))
                    for mode, argument in (("kept", "keep"), ("closed", "close"))}
        endpoints = {mode: process.stdout.readline().strip() for mode, process in imds.items()}
        serving = medians((name, serve(name, endpoints["kept"])) for number in range(rounds) for name in rotated(SERVERS, number))
        # In rounds of their own: a minute after a load test the kernel frees thousands of closed connections, at the cost of
        # whatever runs then.
        polling = medians((name, poll(name, mode, endpoint)) for mode, endpoint in endpoints.items()
                          for number in range(rounds) for name in rotated(POLLERS, number))
        series, share = scrape_bytes(endpoints["kept"])
        lone = lone_scrape_us(endpoints["kept"])
    serving[DISK] = {name: disk_mb(name) for name in SERVERS}
    text = f"""Medians of {rounds} interleaved rounds; in brackets: multiple of imds-exporter. `tests/bench/run` measures again.

{table("serving, with a poll a second", SERVERS, serving)}

{table("one poll", POLLERS, polling)}

Scrapes within a second share one rendering; a lone one costs {lone:,.0f} µs. Series: {series}. A compressed scrape has {share:.0%} of
the plain one's bytes. imds-exporter and botocore ask for a session
token at every poll: three requests, as a new client of the official SDK makes; one that keeps its token makes two.
"""
    (ROOT / "tests/bench/RESULT.md").write_text(text)
    print(text)
    over = [f"{what}: {of['exporter']:,.1f}, blackbox_exporter {of['blackbox']:,.1f}"
            for what, most in SERVING_BUDGET.items() if (of := serving[what])["exporter"] > most * of["blackbox"]]
    over += [f"{what}: {of['exporter']:,.1f}, the official SDK {of['sdk-new']:,.1f}"
             for what, of in polling.items() if "CPU" in what and of["exporter"] > POLL_BUDGET * of["sdk-new"]]
    if over:
        sys.exit("over budget: " + "; ".join(over))


if __name__ == "__main__":
    main()
