"""What each policy earns on simulated traffic, beside the oracle, the best fixed arm and the uniform choice.

    python -m tests.bench.bench_regret [--seeds 20] [--rounds 800]

Means over seeds with 95 % intervals (normal, over seeds); "share" is the part of the way from the best fixed arm, known
in hindsight, to the oracle. The traffic is `bandit/simulation.py`: made up, with outcomes as noisy as right or wrong
images.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from math import sqrt
from statistics import mean, stdev

from bandit.policies import build
from bandit.simulation import ARMS, MANY_CALLERS, MORE_ARMS, ONE_CALLER, Round, best_fixed, run

POLICIES = (
    "uniform", "round_robin", "epsilon_greedy", "moving_average", "linucb", "thompson", "vowpal", "factored",
)  # fmt: skip


def interval(values: Sequence[float]) -> str:
    """Mean and the half width of its 95 % interval."""
    return f"{mean(values):.4f} ± {1.96 * stdev(values) / sqrt(len(values)):.4f}"


def halves(rounds: Sequence[Round]) -> tuple[Sequence[Round], Sequence[Round]]:
    """While learning, and after."""
    return rounds[: len(rounds) // 2], rounds[len(rounds) // 2 :]


def main() -> None:
    """Print one table per kind of traffic."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=800)
    options = parser.parse_args()
    for title, arms, callers in (
        ("3 arms, every caller with the same weights", ARMS, ONE_CALLER),
        ("4 arms, three kinds of callers", MORE_ARMS, MANY_CALLERS),
    ):
        print(f"\n{title}; {options.seeds} seeds of {options.rounds} requests; utility per request")
        print(f"{'':<22}{'first half':>20}{'second half':>20}{'share':>8}{'regret, all':>18}")
        for name in POLICIES:
            runs = [run(build(name), options.rounds, seed, arms, callers) for seed in range(options.seeds)]
            first = [mean(one.expected for one in halves(rounds)[0]) for rounds in runs]
            second = [mean(one.expected for one in halves(rounds)[1]) for rounds in runs]
            fixed = [best_fixed(halves(rounds)[1]) for rounds in runs]
            oracle = [mean(one.oracle for one in halves(rounds)[1]) for rounds in runs]
            regret = [sum(one.oracle - one.expected for one in rounds) for rounds in runs]
            share = (mean(second) - mean(fixed)) / (mean(oracle) - mean(fixed))
            print(f"{name:<22}{interval(first):>20}{interval(second):>20}{share:>8.0%}{interval(regret):>18}")
        print(f"{'best fixed (hindsight)':<22}{'':>20}{interval(fixed):>20}{0:>8.0%}")
        print(f"{'oracle':<22}{'':>20}{interval(oracle):>20}{1:>8.0%}")


if __name__ == "__main__":
    main()
