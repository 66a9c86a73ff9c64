"""What the gateway adds to a request: its latency beside a bare Serve passthrough of the same no-op tier, in one run.

    python -m tests.bench.bench_gateway results.csv

Both are FastAPI ingresses behind the same proxy and call the same tier replica, one request at a time, by turns. The
gateway also checks, decides, and makes two journal rows durable; the passthrough only forwards. Runs the gateway's
tests first and measures nothing on red. Prints a table and appends CSV rows. Aim: at most 1.3 times the p50.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from http.client import HTTPConnection
from importlib.metadata import version
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from ray import serve

from serve.catalogue import parse_catalogue
from serve.local import running
from serve.settings import Settings
from tests.bench.passthrough import Passthrough
from tests.e2e.cluster import free_port

ROOT = Path(__file__).resolve().parents[2]
TESTS = ("tests/serve/test_http_app.py", "tests/serve/test_api.py")
COLUMNS = ("what", "shape", "metric", "unit", "p20", "p50", "p80", "p99", "machine", "versions", "commit", "date")
CATALOGUE = """
version: 1
policy: {name: factored}
weights:
  auto: {quality: 1.0, latency_per_s: 0.1, cost_per_usd: 1.0}
  low: {quality: 1.0, latency_per_s: 0.1, cost_per_usd: 1.0}
  medium: {quality: 1.0, latency_per_s: 0.1, cost_per_usd: 1.0}
  high: {quality: 1.0, latency_per_s: 0.1, cost_per_usd: 1.0}
scorer: {class: "replicas.fake:FakeScorer", threads: null, resources: {num_cpus: 0.1}}
tiers:
  - name: noop
    class: replicas.fake:FakeTier
    family: fake
    threads: null
    presets: {only: {price_usd: 0.001, service_s: 0.001}}
    max_ongoing_requests: 16
    resources: {num_cpus: 0.1}
"""


def measure(requests: int, warm_up: int) -> dict[str, list[float]]:
    """Seconds per request of both ways, measured by turns."""
    with tempfile.TemporaryDirectory(prefix="sb-") as directory:
        settings = Settings(port=free_port(), journal_url=f"sqlite:///{directory}/journal.db")
        with running(parse_catalogue(CATALOGUE, "bench"), settings, Path(directory) / "ray"):
            serve.run(Passthrough.bind(), name="bare", route_prefix="/bare")
            connection = HTTPConnection("127.0.0.1", settings.port, timeout=60)
            ways = {"gateway": "/v1/images/generations", "passthrough": "/bare/images"}
            taken_s: dict[str, list[float]] = {name: [] for name in ways}
            for turn in range(warm_up + requests):
                for name in sorted(ways, reverse=turn % 2 == 1):
                    seconds = timed(connection, ways[name])
                    if turn >= warm_up:
                        taken_s[name].append(seconds)
            connection.close()
    return taken_s


def timed(connection: HTTPConnection, path: str) -> float:
    """Seconds from the first byte sent to the last received."""
    body = json.dumps({"prompt": "a red apple to the left of two cats"})
    began_s = time.perf_counter()
    connection.request("POST", path, body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    answer = response.read()
    seconds = time.perf_counter() - began_s
    assert response.status == 200, answer[:500]
    return seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("csv", nargs="?", type=Path, help="rows are appended here")
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--warm-up", type=int, default=100)
    given = parser.parse_args()
    if subprocess.run([sys.executable, "-m", "pytest", "-q", *TESTS], cwd=ROOT, check=False).returncode:
        print("the tests are red: nothing is measured", file=sys.stderr)
        return 1
    taken_s = measure(given.requests, given.warm_up)
    rows = []
    for name, seconds in taken_s.items():
        cuts = quantiles(seconds, n=100, method="inclusive")
        rows.append(
            (name, f"1 tier, {len(seconds)} requests", "latency", "ms", *(1000 * cuts[i] for i in (19, 49, 79, 98)))
        )
    print(f"{'':12} {'p20':>8} {'p50':>8} {'p80':>8} {'p99':>8}  ms")
    for row in rows:
        print(f"{row[0]:12} " + " ".join(f"{value:8.2f}" for value in row[4:]))
    ratio = median(taken_s["gateway"]) / median(taken_s["passthrough"])
    print(f"gateway / passthrough at p50: {ratio:.2f} (aim: at most 1.30); load average {os.getloadavg()[0]:.1f}")
    if given.csv is not None:
        append(given.csv, rows)
    return 0


def append(path: Path, rows: list[tuple[Any, ...]]) -> None:
    """Add rows, with a heading where the file is new."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    about = (
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs",
        f"python {platform.python_version()}, ray {version('ray')}",
        commit.stdout.strip(),
        datetime.now(UTC).date().isoformat(),
    )
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(COLUMNS)
        for row in rows:
            writer.writerow((*row[:4], *(f"{value:.3f}" for value in row[4:]), *about))


if __name__ == "__main__":
    sys.exit(main())
