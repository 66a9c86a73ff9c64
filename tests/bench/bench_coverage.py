"""How often off-policy intervals miss the truth at any of several looks, and how wide they are at the last.

    python -m tests.bench.bench_coverage [--runs 1000] [--rounds 2000]

Requests of five classes, three arms whose true rewards per class are a table, rewards as noisy as right or wrong
images. Four logs: even draws, a good policy with a floor, a bad one with a floor, and one that learns while it logs.
Two targets: the best arm of each class with a floor, and one that learns from the log as it goes. Predictions for the
doubly robust estimate are running means by class and arm, made before each round. A run misses if any look misses; the
rate must be at most alpha. Beside ours: `vw-estimators` where it can be imported (its interval of IPS).
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import numpy as np

from bandit.confidence import Interval
from bandit.evaluation.estimators import PerArm, Valuation, value_of_probabilities

ALPHA = 0.05
LOOKS = (50, 100, 200, 400, 800, 1400, 2000)
LOGS = ("even", "good", "bad", "learning")
TARGETS = ("best", "learning")
_RIGHT = np.array([(0.8, 0.85, 0.9), (0.75, 0.75, 0.8), (0.05, 0.5, 0.6), (0.0, 0.3, 0.55), (0.0, 0.3, 0.55)])
_PRICE = np.array([0.01, 0.07, 0.20])
TRUE = (0.05 + 0.9 * _RIGHT - _PRICE + 0.2) / 1.2  # expected reward, [class, arm], in [0, 1]
_EVEN = np.full(3, 1 / 3)
_LOGGED, _JUDGED = (floor / 3 + (1 - floor) * np.eye(3) for floor in (0.1, 0.05))  # by the arm that is preferred


@dataclass(frozen=True, slots=True)
class Run:
    """One simulated log with the truth of each round."""

    reward: np.ndarray
    arms: PerArm
    truth: np.ndarray  # [rounds], expected reward of the target
    logged_truth: np.ndarray  # of the policy that acted
    population: float | None  # mean over the stream; None where the target learns

    @property
    def at(self) -> tuple[np.ndarray, np.ndarray]:
        """Index of the drawn arms in the tables."""
        return np.arange(len(self.reward)), self.arms.drawn


def simulate(log: str, target: str, rounds: int, rng: np.random.Generator) -> Run:
    """A log of LOGS with a target of TARGETS."""
    kinds = rng.integers(len(TRUE), size=rounds)
    right, points = rng.random(rounds), rng.random(rounds)
    logged, judged, predicted = (np.empty((rounds, TRUE.shape[1])) for _ in range(3))
    drawn, reward = np.empty(rounds, dtype=np.int64), np.empty(rounds)
    sums, counts = np.full(TRUE.shape, 0.5), np.ones(TRUE.shape)
    best = TRUE.argmax(axis=1)
    for place, kind in enumerate(kinds):
        means = sums[kind] / counts[kind]
        guess = int(means.argmax())
        preferred = {"good": best[kind], "bad": 0}.get(log, guess)
        logged[place] = _EVEN if log == "even" else _LOGGED[preferred]
        judged[place] = _JUDGED[best[kind] if target == "best" else guess]
        predicted[place] = means
        arm = min(int(np.searchsorted(np.cumsum(logged[place]), points[place])), TRUE.shape[1] - 1)
        drawn[place] = arm
        reward[place] = (0.05 + 0.9 * (right[place] < _RIGHT[kind, arm]) - _PRICE[arm] + 0.2) / 1.2
        sums[kind, arm] += reward[place]
        counts[kind, arm] += 1
    return Run(
        reward=reward,
        arms=PerArm(drawn, logged, judged, predicted),
        truth=(judged * TRUE[kinds]).sum(axis=1),
        logged_truth=(logged * TRUE[kinds]).sum(axis=1),
        population=float((_JUDGED[best] * TRUE).sum(axis=1).mean()) if target == "best" else None,
    )


def valuation(run: Run, rounds: int) -> Valuation:
    """At a look after so many rounds."""
    arms = run.arms
    assert arms.predicted is not None
    seen = PerArm(arms.drawn[:rounds], arms.logged[:rounds], arms.target[:rounds], arms.predicted[:rounds])
    at = np.arange(rounds), seen.drawn
    return value_of_probabilities(seen.logged[at], seen.target[at], run.reward[:rounds], alpha=ALPHA, arms=seen)


@dataclass
class Tally:
    """What one interval did over all runs."""

    missed: int = 0  # runs in which a look missed the mean over the rounds
    missed_stream: int = 0  # or that of the stream
    width: float = 0.0  # summed, at the last look
    error: float = 0.0  # estimate minus truth at the last look, summed


def tally(log: str, target: str, runs: int, rounds: int, seed: int = 0) -> dict[str, Tally]:
    """Of every estimator's value and of the doubly robust difference."""
    rng = np.random.default_rng([seed, LOGS.index(log), TARGETS.index(target)])
    found = {name: Tally() for name in ("IPS", "SNIPS", "DR", "DR difference")}
    for _ in range(runs):
        run = simulate(log, target, rounds, rng)
        missed, missed_stream = set(), set()
        for look in (*(look for look in LOOKS if look < rounds), rounds):
            answer = valuation(run, look)
            assert answer.doubly_robust is not None
            truth, logged = float(run.truth[:look].mean()), float(run.logged_truth[:look].mean())
            seen = {
                "IPS": (answer.ips.value, answer.ips.interval, truth),
                "SNIPS": (answer.self_normalised.value, answer.self_normalised.interval, truth),
                "DR": (answer.doubly_robust.value, answer.doubly_robust.interval, truth),
                "DR difference": (
                    answer.doubly_robust.difference,
                    answer.doubly_robust.difference_interval,
                    truth - logged,
                ),
            }
            for name, (value, interval, expected) in seen.items():
                if expected not in interval:
                    missed.add(name)
                if name != "DR difference" and run.population is not None and run.population not in interval:
                    missed_stream.add(name)
                if look == rounds:
                    found[name].width += interval.width / runs
                    found[name].error += (value - expected) / runs
        for name in found:
            found[name].missed += name in missed
            found[name].missed_stream += name in missed_stream
    return found


def of_vw_estimators(run: Run) -> Interval | None:
    """Its interval of IPS at the last look, None where the package is not installed."""
    try:
        from estimators.bandits import cs
    except ImportError:
        return None
    interval = cs.Interval(0, 1)
    for propensity, target, reward in zip(run.arms.logged[run.at], run.arms.target[run.at], run.reward, strict=True):
        interval.add_example(float(propensity), float(reward), float(target))
    low, high = interval.get(ALPHA)
    return Interval(low, high)


def vw_width_ratio(log: str, target: str, runs: int, rounds: int) -> float | None:
    """Mean width of our interval of IPS over that of theirs, on the same runs."""
    rng = np.random.default_rng(1)
    ours, theirs = 0.0, 0.0
    for _ in range(runs):
        run = simulate(log, target, rounds, rng)
        other = of_vw_estimators(run)
        if other is None:
            return None
        ours += valuation(run, rounds).ips.interval.width
        theirs += other.width
    return ours / theirs if theirs else None


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=LOOKS[-1])
    parser.add_argument("--theirs", type=int, default=20, help="runs in which vw-estimators is asked too")
    options = parser.parse_args()
    print(f"{options.runs} runs of {options.rounds} rounds, {len(LOOKS)} looks, alpha {ALPHA}")
    print(f"{'log':<10}{'target':<10}{'':<15}{'missed':>8}{'of stream':>11}{'width':>8}{'bias':>9}{'to vw':>8}")
    for log in LOGS:
        for target in TARGETS:
            start_s = time.perf_counter()
            ratio = vw_width_ratio(log, target, options.theirs, options.rounds)
            for name, one in tally(log, target, options.runs, options.rounds).items():
                stream = f"{one.missed_stream / options.runs:.3f}" if target == "best" and name[-1] != "e" else ""
                other = f"{ratio:.3f}" if ratio is not None and name == "IPS" else ""
                print(
                    f"{log:<10}{target:<10}{name:<15}{one.missed / options.runs:>8.3f}{stream:>11}"
                    f"{one.width:>8.3f}{one.error:>+9.4f}{other:>8}",
                    flush=True,
                )
            print(f"{'':20}{time.perf_counter() - start_s:.0f} s", flush=True)


if __name__ == "__main__":
    main()
