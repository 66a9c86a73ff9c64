"""What a running experiment adds to a request: choosing who decides, and deciding, in the gateway's own process.

    python -m tests.bench.bench_experiments results.csv

Beside `live` (no experiment) stand one and three running splits, a switchback, and shadows, whose decisions come while
the tier already works. The policy is `fixed` everywhere, whose own time is small and the same, so that what is added
shows; prompt features are not in it, as no experiment changes them. Runs the tests of what it measures first and
measures nothing on red. Prints a table and appends one CSV row per line of it.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from bandit.context import ArmContext, Context
from bandit.experiments.assignment import Running
from bandit.experiments.design import plan_from_json
from bandit.experiments.shares import TICKS, reshared, ticks_of
from bandit.experiments.state import LivePolicy
from bandit.features import extract
from serve.experiments_deciding import Deciders, InUse
from serve.experiments_watch import new_decider
from tests.bench.bench_decide import COLUMNS, ROOT, Row, commit, machine, timed

TESTS = ("tests/serve/test_experiments_deciding.py", "tests/serve/test_deciding.py")
LIVE = LivePolicy("fixed", {"arm": "tier0@p"}, "fixed")
ARMS = tuple(ArmContext(f"tier{i}@p", f"tier{i}", "p", "fake", 0.1, 0.1) for i in range(4))


def running(name: str, first: int, last: int, **plan: Any) -> Running:
    """An experiment that owns the ticks from first to last."""
    variants = [{"name": one, "policy": LIVE.name, "options": LIVE.options} for one in ("a", "b")]
    made = plan_from_json({"experiment_id": name, "hypothesis": "so", "control": "a", "variants": variants, **plan})
    return Running(made, ((first, last),), reshared({}, ticks_of(made.weights), ((0, TICKS),)))


def cases() -> Iterator[tuple[str, tuple[Running, ...]]]:
    third = TICKS // 3
    yield "live", ()
    yield "1 split", (running("e1", 0, TICKS),)
    yield "3 splits", tuple(running(f"e{i}", i * third, (i + 1) * third) for i in range(3))
    yield "1 switchback", (running("e1", 0, TICKS, kind="switchback", slot_s=60, carry_over_s=10),)
    yield "1 shadow", (running("e1", 0, TICKS, kind="shadow"),)


def measure(times: int) -> Iterator[Row]:
    context = Context(extract("two cats left of a red ball"), ARMS)
    for name, experiments in cases():
        deciders = Deciders(new_decider(LIVE, "uniform"), lambda row: None, Random(1))
        each = {
            f"{one.experiment_id}:{variant}": new_decider(LIVE, "uniform") for one in experiments for variant in "ab"
        }
        deciders.use(replace(InUse(deciders.in_use.live), running=experiments, deciders=each))
        numbers = count()

        def call(deciders: Deciders = deciders, numbers: Iterator[int] = numbers) -> None:
            number = next(numbers)
            choice = deciders.choose(f"caller {number % 1000}", f"dec_{number}", 1e9 + number)
            deciders.decide(choice, context)

        yield from timed("choose + decide", name, call, times)
        if name == "1 shadow":
            choice = deciders.choose("caller", "dec", 1e9)

            def beside(deciders: Deciders = deciders, choice: Any = choice) -> None:
                deciders.decide_beside(choice, context, extract, "dec", 1e9)

            yield from timed("decide beside", name, beside, times)


def main() -> int:
    """Test, measure, print, append."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, help="CSV file to append to")
    parser.add_argument("--times", type=int, default=5000)
    options = parser.parse_args()
    if subprocess.run([sys.executable, "-m", "pytest", "-q", *TESTS], cwd=ROOT, check=False).returncode:
        print("tests are red: nothing was measured", file=sys.stderr)
        return 1
    stamp = [machine(), f"python {sys.version.split()[0]}", commit(), datetime.now(UTC).date().isoformat()]
    print("; ".join(stamp))
    print(f"{'what':<20}{'shape':<16}{'metric':<18}{'unit':<6}{'p20':>10}{'p50':>10}{'p80':>10}{'p99':>10}")
    new = not options.path.exists()
    with options.path.open("a", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(COLUMNS)
        for row in measure(options.times):
            numbers = [f"{value:.4g}" for value in row.percentiles()]
            writer.writerow([row.what, row.shape, row.metric, row.unit, *numbers, *stamp])
            print(f"{row.what:<20}{row.shape:<16}{row.metric:<18}{row.unit:<6}" + "".join(f"{n:>10}" for n in numbers))
    return 0


if __name__ == "__main__":
    sys.exit(main())
