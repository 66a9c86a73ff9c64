"""How many rows per second become durable, and how many joins per second the learner closes and folds.

    python -m tests.bench.bench_journal results.csv [--url postgresql+psycopg://...] [--history 100000]

A request is two rows, its decision and its outcome, each waited for until it is on the disk. Runs the journal's tests
first and measures nothing on red. Prints a table and appends one CSV row per line of it. SQLite is measured in a
temporary directory; a database named by --url gets tables that stay there, so name an empty one.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from time import perf_counter, process_time

from bandit.fake_traffic import FakeRequest, fake_request
from bandit.journal import Journal
from bandit.journal_writer import JournalWriter
from bandit.learner import Learner, LearnerSettings
from bandit.policies import build
from bandit.rows import Row as JournalRow
from tests.bench.bench_decide import COLUMNS, ROOT, Row, commit, machine

TESTS = ("test_journal.py", "test_journal_writer.py", "test_learner.py")
START_S = 1_700_000_000.0
GROUP = 500


def measure(journal: Journal, backend: str, requests: int, history: int) -> Iterator[Row]:
    """All rows for one database: appending first, then the learner with little and with much history behind it."""
    fresh = iter(map(partial(fake_request, now_s=START_S), range(10**9)))
    yield from one_by_one(journal, backend, [next(fresh) for _ in range(min(requests, 300))])
    for waiting in (1, 16, 256):
        batch = [next(fresh) for _ in range(min(requests, 100 * waiting))]
        yield from in_groups(journal, backend, batch, waiting)
    for name in ("uniform", "vowpal"):
        yield from learned(journal, f"{backend}, learner of {name}, short history", fresh, name, requests)
    for _ in range(history // GROUP):
        fill(journal, [next(fresh) for _ in range(GROUP)])
    for name in ("uniform", "vowpal"):
        shape = f"{backend}, learner of {name}, {history} more requests in the history"
        yield from learned(journal, shape, fresh, name, requests)


def one_by_one(journal: Journal, backend: str, batch: list[FakeRequest]) -> Iterator[Row]:
    """A commit per request: what group commit is measured against."""
    waited_ms = []
    for request in batch:
        start = perf_counter()
        journal.append([request.decision, request.outcome])
        waited_ms.append(1000 * (perf_counter() - start))
    yield Row("journal: append", f"{backend}, a commit per request", "until durable", "ms", waited_ms)
    rates = [2000 / value for value in waited_ms]
    yield Row("journal: append", f"{backend}, a commit per request", "by wall time", "rows/s", rates)


def reported(what: str, shape: str, unit: str, walls: list[float], processors: list[float]) -> Iterator[Row]:
    """Rates by both clocks: a busy machine stretches the first, the second is what the code costs (all threads)."""
    yield Row(what, shape, "by wall time", unit, walls)
    yield Row(what, shape, "by processor time", unit, processors)


def in_groups(journal: Journal, backend: str, batch: list[FakeRequest], waiting: int) -> Iterator[Row]:
    """`waiting` requests are under way at any time, as in a gateway; rates per round of them."""
    waited_ms, rates, processor_rates = [], [], []
    with JournalWriter(journal) as writer:
        for start in range(0, len(batch) - waiting + 1, waiting):
            begun, processor = perf_counter(), process_time()
            futures = []
            for request in batch[start : start + waiting]:
                futures += [writer.submit([request.decision]), writer.submit([request.outcome])]
            for future in futures:
                future.result()
                waited_ms.append(1000 * (perf_counter() - begun))
            rates.append(len(futures) / (perf_counter() - begun))
            processor_rates.append(len(futures) / (process_time() - processor))
    shape = f"{backend}, group commit, {waiting} requests at once"
    yield Row("journal: append", shape, "until durable", "ms", waited_ms)
    yield from reported("journal: append", shape, "rows/s", rates, processor_rates)


def learned(journal: Journal, shape: str, fresh: Iterator[FakeRequest], policy: str, requests: int) -> Iterator[Row]:
    """Joins per second of steps that close, fold and publish `GROUP` joins each, everything durable."""
    settings = LearnerSettings(snapshot_every=GROUP, batch=GROUP, step_joins=GROUP)
    learner = Learner(journal, {policy: partial(build, policy)}, shape, features_schema="words-1", settings=settings)
    report = learner.step(START_S + 100)  # catches up with what is there
    while report.more:
        report = learner.step(START_S + 100)
    rates, processor_rates = [], []
    for _ in range(max(3, requests // GROUP)):
        fill(journal, [next(fresh) for _ in range(GROUP)])
        begun, processor, done = perf_counter(), process_time(), 0
        while done < GROUP:
            done += learner.step(START_S + 100).closed
        rates.append(GROUP / (perf_counter() - begun))
        processor_rates.append(GROUP / (process_time() - processor))
    learner.stop(START_S + 100)
    idle_ms = []
    learner.step(START_S + 101)
    for _ in range(50):
        begun = perf_counter()
        learner.step(START_S + 101)
        idle_ms.append(1000 * (perf_counter() - begun))
    learner.stop(START_S + 101)
    yield from reported("learner: step", shape, "joins/s", rates, processor_rates)
    yield Row("learner: step with nothing to do", shape, "wall time", "ms", idle_ms)


def fill(journal: Journal, batch: list[FakeRequest]) -> None:
    """Requests with all their signals, in one transaction."""
    rows: list[JournalRow] = []
    for request in batch:
        rows += [request.decision, request.outcome]
        rows += [signal for signal in (request.quality, request.rating) if signal is not None]
    journal.append(rows)


def main() -> int:
    """Test, measure, print, append."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, help="CSV file to append to")
    parser.add_argument("--url", action="append", default=[], help="a further database to measure")
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--history", type=int, default=100_000, help="requests, for the learner's second measurement")
    options = parser.parse_args()
    tests = [str(ROOT / "tests" / "bandit" / name) for name in TESTS]
    if subprocess.run([sys.executable, "-m", "pytest", "-q", *tests], cwd=ROOT, check=False).returncode:
        print("tests are red: nothing was measured", file=sys.stderr)
        return 1
    versions = f"python {platform.python_version()}, SQLAlchemy {version('SQLAlchemy')}"
    stamp = [machine(), versions, commit(), datetime.now(UTC).date().isoformat()]
    print(f"{stamp[0]}; {stamp[1]}; {stamp[2]}; load {os.getloadavg()[0]:.1f}")
    print(f"{'what':<34}{'shape':<66}{'metric':<20}{'unit':<9}{'p20':>9}{'p50':>9}{'p80':>9}{'p99':>9}")
    new = not options.path.exists()
    with options.path.open("a", newline="") as file, tempfile.TemporaryDirectory() as directory:
        writer = csv.writer(file)
        if new:
            writer.writerow(COLUMNS)
        for url in (f"sqlite:///{directory}/journal.db", *options.url):
            journal = Journal.open(url)
            for row in measure(journal, journal.health().backend, options.requests, options.history):
                numbers = [f"{value:.4g}" if value < 1000 else f"{value:.0f}" for value in row.percentiles()]
                writer.writerow([row.what, row.shape, row.metric, row.unit, *numbers, *stamp])
                shown = "".join(f"{number:>9}" for number in numbers)
                print(f"{row.what:<34}{row.shape:<66}{row.metric:<20}{row.unit:<9}{shown}", flush=True)
            journal.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
