"""How long a decision takes in this process, and how many records a learner folds per second.

    python -m tests.bench.bench_decide results.csv [--policies linucb factored] [--paretobandit]

Rows of every policy at 4 and 16 arms. A decision is what a gateway does per request: prompt features, then `decide`;
where the features hold a sentence vector it is given, as encoding a prompt is not a policy's time. With --paretobandit
that router is measured in the same run: `route` and `process_feedback`, with its 26 numbers given, or the 384 of an
encoder, which it projects itself (`pip install --no-deps paretobandit==0.1.1`, and scikit-learn).

Runs the policies' tests first and measures nothing on red. Prints a table and appends one CSV row per line of it. Aims:
p50 of a decision at most 0.15 ms without a vector, 10,000 records per second. Wall time is what counts where the
machine is idle; processor time is what the code costs where it is not.
"""

from __future__ import annotations

import argparse
import csv
import logging
import os
import platform
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from random import Random
from statistics import quantiles
from time import perf_counter, thread_time
from typing import TypeVar

from bandit.context import ArmContext, Context, Record
from bandit.features import extract
from bandit.policies import build
from bandit.policy import Policy
from bandit.simulation import CLASSES, MANY_CALLERS, MORE_ARMS, prompt

Item = TypeVar("Item")
ROOT = Path(__file__).resolve().parents[2]
TESTS = (
    *("test_learning_policies.py", "test_vowpal.py", "test_factored.py", "test_features.py", "test_linear_arms.py"),
    *("test_round_robin.py", "test_linucb.py", "test_thompson.py", "test_arm_means.py"),
)
POLICIES: dict[str, tuple[str, dict[str, object]]] = {
    "uniform": ("uniform", {}),
    "fixed": ("fixed", {"arm": "tier0@p"}),
    **{name: (name, {}) for name in ("round_robin", "epsilon_greedy", "moving_average", "linucb", "thompson")},
    "factored": ("factored", {}),
    "factored ridge": ("factored", {"quality_model": "ridge"}),
    "vowpal": ("vowpal", {}),
    **{f"vowpal {one}": ("vowpal", {"exploration": one}) for one in ("epsilon", "softmax", "bag")},
}
VECTOR = 384  # numbers of all-MiniLM-L6-v2
PROJECTED = 26  # numbers that ParetoBandit decides on
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


def vector(rng: Random, numbers: int = VECTOR) -> tuple[float, ...]:
    """Of unit length, as encoders give them."""
    raw = [rng.gauss(0.0, 1.0) for _ in range(numbers)]
    length = sum(one * one for one in raw) ** 0.5
    return tuple(one / length for one in raw)


def records(policy: Policy, count: int, arm_count: int, numbers: int) -> list[Record]:
    """Drawn by the policy itself, so that propensities are what they are in service."""
    rng = Random(7)
    made = []
    for number in range(count):
        features = extract(prompt(rng.choice(CLASSES), rng))
        if numbers:
            features = replace(features, vector=vector(rng, numbers))
        context = Context(features, arms(arm_count), rng.choice(MANY_CALLERS))
        decision = policy.decide(context, rng)
        made.append(Record(str(number), context, decision, decision.arm, rng.random(), 0.01, rng.random()))
    return made


def measure(names: Sequence[str], decisions: int, batches: int) -> Iterator[Row]:
    """Rows per policy, number of arms and kind of prompt; wall and processor time of the same calls."""
    for what, text in PROMPTS.items():
        yield from timed("features.extract", f"{what} prompt", partial(extract, text), decisions)
    for name in names:
        for arm_count in (4, 16):
            yield from measure_policy(name, arm_count, 0, decisions, batches)
            yield from measure_policy(name, arm_count, VECTOR, decisions // 5, max(batches // 5, 2))


def measure_policy(name: str, arm_count: int, numbers: int, decisions: int, batches: int) -> Iterator[Row]:
    """Decisions, learning, and the state that comes of it. With a vector only the short prompt."""
    kind, options = POLICIES[name]
    policy = build(kind, options)
    shape = f"{arm_count} arms, {numbers} dims" if numbers else f"{arm_count} arms"
    for record in records(policy, 400, arm_count, numbers):
        policy.learn(record)
    given = vector(Random(5), numbers)
    for what, text in PROMPTS.items():
        if what == "short" or not numbers:
            call = partial(decide, policy, text, given, arms(arm_count), Random(3))
            yield from timed(f"{name}: features + decide", f"{shape}, {what} prompt", call, decisions)
    batch = records(policy, 500, arm_count, numbers)
    yield from rates(f"{name}: learn", shape, lambda: batch, policy.learn, batches)
    learned = policy.state()
    yield from timed(f"{name}: state", f"{shape}, {len(learned)} bytes", policy.state, 20)
    yield from timed(f"{name}: restore", f"{shape}, {len(learned)} bytes", partial(policy.restore, learned), 20)


def decide(policy: Policy, text: str, given: tuple[float, ...], live: tuple[ArmContext, ...], rng: Random) -> None:
    """What a gateway does between a request and its tier."""
    features = extract(text)
    policy.decide(Context(replace(features, vector=given) if given else features, live), rng)


def measure_paretobandit(decisions: int, batches: int) -> Iterator[Row]:
    """`route` and `process_feedback` of ParetoBandit as tuned for a start from nothing, told no budget."""
    for arm_count in (4, 16):
        for numbers in (PROJECTED, VECTOR):
            shape = f"{arm_count} arms, {numbers} dims"
            route, feed_back = paretobandit(arm_count, numbers)
            for _ in range(400):
                feed_back(route())
            yield from timed("paretobandit: route", f"{shape}, short prompt", route, decisions)
            yield from rates("paretobandit: learn", shape, partial(several, route, 500), feed_back, batches)


def several(route: Callable[[], str], times: int) -> list[str]:
    """Requests that were routed and had no feedback yet."""
    return [route() for _ in range(times)]


def paretobandit(arm_count: int, numbers: int) -> tuple[Callable[[], str], Callable[[str], None]]:
    """Its router as two calls: a route that gives the request's id, and feedback on one. Without its own encoder."""
    import numpy as np
    from pareto_bandit import BanditRouter, FeatureService, config

    logging.getLogger("pareto_bandit").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", "Trying to unpickle estimator PCA")  # of an older scikit-learn, at the first use
    given = np.array(vector(Random(5), numbers))
    service = (
        FeatureService.for_precomputed(dimension=PROJECTED)
        if numbers == PROJECTED
        else FeatureService(custom_encoder=lambda _: given, embedding_dim=VECTOR, pca_path=config.DEFAULT_PCA_PATH)
    )
    tuned = config.BEST_K3_TABULA_RASA_HPARAMS
    router = BanditRouter.create(
        model_registry={
            f"arm{number}": {"input_cost_per_m": 1.0 + number, "output_cost_per_m": 1.0 + number}
            for number in range(arm_count)
        },
        feature_service=service,
        priors="none",
        prior_n_effective=tuned["prior_n_effective"],
        alpha=tuned["alpha"],
        forgetting_factor=tuned["forgetting_factor"],
        bandit_seed=0,
    )
    asked = given if numbers == PROJECTED else PROMPTS["short"]
    rng = Random(7)
    return (
        lambda: router.route(asked)[1].request_id,
        lambda request: router.process_feedback(request, reward=rng.random()),
    )


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


def rates(
    what: str, shape: str, make: Callable[[], list[Item]], learn: Callable[[Item], object], batches: int
) -> Iterator[Row]:
    """Records per second of each batch; the first is not counted, and making one is not timed."""
    wall_rates, processor_rates = [], []
    for number in range(batches + 1):
        batch = make()
        wall, processor = perf_counter(), thread_time()
        for item in batch:
            learn(item)
        if number:
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
    parser.add_argument("--policies", nargs="*", choices=POLICIES, default=list(POLICIES), help="all, unless named")
    parser.add_argument("--paretobandit", action="store_true", help="measure ParetoBandit 0.1.1 too")
    options = parser.parse_args()
    tests = [str(ROOT / "tests" / "bandit" / name) for name in TESTS]
    if subprocess.run([sys.executable, "-m", "pytest", "-q", *tests], cwd=ROOT, check=False).returncode:
        print("tests are red: nothing was measured", file=sys.stderr)
        return 1
    measured = ["numpy", "vowpal-wabbit-next", *(["paretobandit"] if options.paretobandit else [])]
    versions = ", ".join([f"python {platform.python_version()}", *(f"{name} {version(name)}" for name in measured)])
    stamp = [machine(), versions, commit(), datetime.now(UTC).date().isoformat()]
    print(f"{stamp[0]}; {stamp[1]}; {stamp[2]}; load {os.getloadavg()[0]:.1f}")
    print(f"{'what':<38}{'shape':<34}{'metric':<20}{'unit':<12}{'p20':>10}{'p50':>10}{'p80':>10}{'p99':>10}")
    new = not options.path.exists()
    with options.path.open("a", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(COLUMNS)
        rows = measure(options.policies, options.decisions, options.batches)
        if options.paretobandit:
            rows = chain(rows, measure_paretobandit(options.decisions, options.batches))
        for row in rows:
            numbers = [f"{value:.4g}" if value < 1000 else f"{value:.0f}" for value in row.percentiles()]
            writer.writerow([row.what, row.shape, row.metric, row.unit, *numbers, *stamp])
            print(
                f"{row.what:<38}{row.shape:<34}{row.metric:<20}{row.unit:<12}"
                + "".join(f"{number:>10}" for number in numbers)
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
