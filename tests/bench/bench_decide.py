"""How long a decision takes in this process, and how many records a learner folds per second.

    python -m tests.bench.bench_decide results.csv

A decision is what a gateway does per request: prompt features, then `decide`. Runs the policies' tests first and
measures nothing on red. Prints a table and appends one CSV row per line of it. Aims: p50 under 0.2 ms and p99 under
1 ms at 4 arms, 10,000 records per second. Wall time is what counts where the machine is idle; processor time is what
the code costs where it is not.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from random import Random
from statistics import quantiles
from time import perf_counter, thread_time

from bandit.context import ArmContext, Context, Record
from bandit.features import extract
from bandit.policies import build
from bandit.policy import Policy
from bandit.simulation import CLASSES, MANY_CALLERS, MORE_ARMS, prompt

ROOT = Path(__file__).resolve().parents[2]
TESTS = ("test_learning_policies.py", "test_vowpal.py", "test_factored.py", "test_features.py")
COLUMNS = ("what", "shape", "metric", "unit", "p20", "p50", "p80", "p99", "machine", "versions", "commit", "date")
PROMPTS = {
    "short": "a cat to the left of a dog",
    "long": "A highly detailed oil painting of an astronaut riding a horse on mars, in the style of a baroque master, "
    "cinematic lighting, with three moons and a red sky behind the mountains, and a sign that reads 'open' nearby",
}


@dataclass(frozen=True, slots=True)
class Row:
    """Percentiles of one measured quantity."""

    what: str
    shape: str
    metric: str
    unit: str
    values: list[float]

    def percentiles(self) -> list[float]:
        cuts = quantiles(self.values, n=100, method="inclusive")
        return [cuts[19], cuts[49], cuts[79], cuts[98]]


def arms(count: int) -> tuple[ArmContext, ...]:
    """The simulated arms, repeated under new names."""
    return tuple(
        replace(MORE_ARMS[i % len(MORE_ARMS)], name=f"tier{i}@p", tier=f"tier{i}", in_flight=i % 3)
        for i in range(count)
    )


def records(policy: Policy, count: int, arm_count: int) -> list[Record]:
    """Drawn by the policy itself, so that propensities are what they are in service."""
    rng = Random(7)
    made = []
    for number in range(count):
        context = Context(extract(prompt(rng.choice(CLASSES), rng)), arms(arm_count), rng.choice(MANY_CALLERS))
        decision = policy.decide(context, rng)
        made.append(Record(str(number), context, decision, decision.arm, rng.random(), 0.01, rng.random()))
    return made


def measure(decisions: int, batches: int) -> Iterator[Row]:
    """Rows per policy, number of arms and kind of prompt; wall and processor time of the same calls."""
    for what, text in PROMPTS.items():
        yield from timed("features.extract", f"{what} prompt", partial(extract, text), decisions)
    for name in ("uniform", "factored", "vowpal"):
        for arm_count in (4, 16):
            policy = build(name)
            for record in records(policy, 400, arm_count):
                policy.learn(record)
            for what, text in PROMPTS.items():
                call = partial(decide, policy, text, arms(arm_count), Random(3))
                yield from timed(f"{name}: features + decide", f"{arm_count} arms, {what} prompt", call, decisions)
            yield from folded(f"{name}: learn", f"{arm_count} arms", policy, records(policy, 500, arm_count), batches)
        learned = policy.state()
        yield from timed(f"{name}: state", f"{len(learned)} bytes", policy.state, 20)
        yield from timed(f"{name}: restore", f"{len(learned)} bytes", partial(build(name).restore, learned), 20)


def decide(policy: Policy, text: str, live: tuple[ArmContext, ...], rng: Random) -> None:
    """What a gateway does between a request and its tier."""
    policy.decide(Context(extract(text), live), rng)


def timed(what: str, shape: str, call: Callable[[], object], times: int) -> Iterator[Row]:
    """Milliseconds of each call, after a tenth as many to warm up."""
    for _ in range(times // 10):
        call()
    wall_ms, processor_ms = [], []
    for _ in range(times):
        wall, processor = perf_counter(), thread_time()
        call()
        processor_ms.append(1000 * (thread_time() - processor))
        wall_ms.append(1000 * (perf_counter() - wall))
    yield Row(what, shape, "wall time", "ms", wall_ms)
    yield Row(what, shape, "processor time", "ms", processor_ms)


def folded(what: str, shape: str, policy: Policy, batch: list[Record], batches: int) -> Iterator[Row]:
    """Records per second of each batch."""
    wall_rates, processor_rates = [], []
    for _ in range(batches):
        wall, processor = perf_counter(), thread_time()
        for record in batch:
            policy.learn(record)
        processor_rates.append(len(batch) / (thread_time() - processor))
        wall_rates.append(len(batch) / (perf_counter() - wall))
    yield Row(what, shape, "by wall time", "records/s", wall_rates)
    yield Row(what, shape, "by processor time", "records/s", processor_rates)


def machine() -> str:
    """Processor and cores, as the operating system names them."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    return f"{model}, {os.cpu_count()} cores"


def commit() -> str:
    """Short hash, with a mark if the tree differs from it."""
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude=*"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return said.stdout.strip() or "unknown"


def main() -> int:
    """Test, measure, print, append."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, help="CSV file to append to")
    parser.add_argument("--decisions", type=int, default=5000)
    parser.add_argument("--batches", type=int, default=20)
    options = parser.parse_args()
    tests = [str(ROOT / "tests" / "bandit" / name) for name in TESTS]
    if subprocess.run([sys.executable, "-m", "pytest", "-q", *tests], cwd=ROOT, check=False).returncode:
        print("tests are red: nothing was measured", file=sys.stderr)
        return 1
    versions = f"python {platform.python_version()}, vowpal-wabbit-next {version('vowpal-wabbit-next')}"
    stamp = [machine(), versions, commit(), datetime.now(UTC).date().isoformat()]
    print(f"{stamp[0]}; {stamp[1]}; {stamp[2]}; load {os.getloadavg()[0]:.1f}")
    print(f"{'what':<30}{'shape':<24}{'metric':<20}{'unit':<12}{'p20':>10}{'p50':>10}{'p80':>10}{'p99':>10}")
    new = not options.path.exists()
    with options.path.open("a", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(COLUMNS)
        for row in measure(options.decisions, options.batches):
            numbers = [f"{value:.4g}" if value < 1000 else f"{value:.0f}" for value in row.percentiles()]
            writer.writerow([row.what, row.shape, row.metric, row.unit, *numbers, *stamp])
            print(
                f"{row.what:<30}{row.shape:<24}{row.metric:<20}{row.unit:<12}"
                + "".join(f"{number:>10}" for number in numbers)
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
