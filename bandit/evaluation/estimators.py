"""The value of a target policy from rounds that another policy logged: IPS, self-normalised IPS, doubly robust.

Arrays in, numbers out; no journal and no policy. Each estimate comes with an interval that holds at every look at once
(`sequence.py`), exact at every count, for the mean expected reward of the target over these rounds, and for that of the
stream they are drawn from. Rounds must be in the order of their decisions, and neither a propensity, a target's
probability nor a prediction may have seen its own round's draw or reward.

    IPS   mean of w r                              w = target / logged probability of the arm that was drawn
    SNIPS sum of w r / sum of w                    (Swaminathan & Joachims 2015)
    DR    mean of sum_a target_a q_a + w (r - q)   (Dudik, Langford & Li 2011, Eq. 3)

The intervals are those of w r and, where the probabilities of all arms are known, of w (r - b) + sum_a target_a b_a
with b_a = min(q_a, MOST_PREDICTED / w_a), which is as unbiased and never below -MOST_PREDICTED (Waudby-Smith et al.
2024, Section 3.1). For SNIPS q is the self-normalised estimate before the round, which is the same to first order. The
upper ends come from the same bound of 1 - r. Where the log gave an arm no chance that the target would draw, rewards
there count as 0 in the lower end and as 1 in the upper one: the interval stays true and the estimates do not, so
`support.py` has to be asked.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bandit.confidence import Interval, check_alpha

from .sequence import lower_mean

# Weighted predictions are cut here. Smaller: no gain from predictions; larger: wide intervals for short logs. Of 0.5 to
# 60, 4 was within a twentieth of the narrowest interval for 1,000 rounds of four kinds of log (see bench_coverage).
MOST_PREDICTED = 4.0

_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class PerArm:
    """What is known of all arms: arrays of [rounds, arms], 0.0 where an arm was not there."""

    drawn: np.ndarray  # [rounds], index of the arm that was drawn
    logged: np.ndarray  # probabilities of the policy that acted
    target: np.ndarray  # probabilities of the policy that is judged
    predicted: np.ndarray | None = None  # rewards expected before the round, in the rewards' own unit; None: no model


@dataclass(frozen=True, slots=True)
class Estimate:
    """One estimator's answer, in the rewards' unit; `difference` is the target's value minus the log's own."""

    value: float
    interval: Interval
    difference: float
    difference_interval: Interval


@dataclass(frozen=True, slots=True)
class Valuation:
    """What a target is worth. SNIPS' interval is that of IPS, and there is no DR, without probabilities of all arms."""

    rounds: int
    ips: Estimate
    self_normalised: Estimate
    doubly_robust: Estimate | None

    @property
    def best(self) -> Estimate:
        """The estimate to report where only one is wanted."""
        return self.doubly_robust or self.self_normalised


def value_of_probabilities(
    propensity: np.ndarray,
    target_probability: np.ndarray,
    reward: np.ndarray,
    *,
    alpha: float = 0.05,
    low: float = 0.0,
    high: float = 1.0,
    arms: PerArm | None = None,
) -> Valuation:
    """The value of a policy that would have drawn the logged arm with `target_probability`.

    One entry a round; rewards in [low, high], a range that was fixed before they were seen. With a model's rewards for
    all arms in `arms` there is a doubly robust estimate too. Raises ValueError on arrays that cannot be.
    """
    check_alpha(alpha)
    propensity, target_probability, reward = (
        np.asarray(one, dtype=np.float64) for one in (propensity, target_probability, reward)
    )
    _check(propensity, target_probability, reward, low, high, arms)
    weights = target_probability / propensity
    unit = (reward - low) / (high - low)
    nothing = np.zeros(1)
    plain = _interval(weights, unit, alpha, low, high, nothing, nothing)
    ips = _estimate(float((weights * unit).mean()), float(((weights - 1.0) * unit).mean()), plain, low, high)
    normalised = self_normalised(weights, unit)
    shifted, robust = plain, None
    if arms is not None:
        before = _self_normalised_before(weights, unit)
        constant = np.repeat(before[:, None], arms.logged.shape[1], axis=1)
        shifted = _controlled(weights, unit, alpha, low, high, arms, constant)
        if arms.predicted is not None:
            predicted = np.clip((arms.predicted - low) / (high - low), 0.0, 1.0)
            at = np.arange(len(unit)), arms.drawn
            residual = unit - predicted[at]
            value = float(((arms.target * predicted).sum(axis=1) + weights * residual).mean())
            gain = float((((arms.target - arms.logged) * predicted).sum(axis=1) + (weights - 1.0) * residual).mean())
            controlled = _controlled(weights, unit, alpha, low, high, arms, predicted)
            robust = _estimate(value, gain, controlled, low, high)
    snips = _estimate(normalised, normalised - float(unit.mean()), shifted, low, high)
    return Valuation(len(unit), ips, snips, robust)


def self_normalised(weights: np.ndarray, reward: np.ndarray) -> float:
    """sum of w r / sum of w; 0.0 where no weight is above 0."""
    total = float(weights.sum())
    return float((weights * reward).sum()) / total if total > 0 else 0.0


def logged_value(reward: np.ndarray, *, alpha: float = 0.05, low: float = 0.0, high: float = 1.0) -> Estimate:
    """What the policy that acted earned: the plain mean, with the same kind of interval."""
    ones = np.ones(len(reward))
    return value_of_probabilities(ones, ones, reward, alpha=alpha, low=low, high=high).ips


_Ends = tuple[Interval, Interval]  # of the value and of the difference


def _controlled(
    weights: np.ndarray,
    unit: np.ndarray,
    alpha: float,
    low: float,
    high: float,
    arms: PerArm,
    predicted: np.ndarray,
) -> _Ends:
    return _interval(weights, unit, alpha, low, high, predicted, 1.0 - predicted, arms)


def _interval(
    weights: np.ndarray,
    unit: np.ndarray,
    alpha: float,
    low: float,
    high: float,
    predicted: np.ndarray,
    predicted_missing: np.ndarray,
    arms: PerArm | None = None,
) -> _Ends:
    """Both intervals, each end at alpha / 2."""
    most = 0.0 if arms is None else MOST_PREDICTED
    gained, gained_more = _scores(weights, unit, predicted, arms, most)
    missed, missed_more = _scores(weights, 1.0 - unit, predicted_missing, arms, most)
    half, floor = alpha / 2.0, -1.0 - max(most, 1.0) if most else -1.0
    value = (lower_mean(gained, half, floor=-most), 1.0 - lower_mean(missed, half, floor=-most))
    more = (lower_mean(gained_more, half, floor=floor), -lower_mean(missed_more, half, floor=floor))
    scale = high - low
    return (
        Interval(low + scale * max(value[0], 0.0), low + scale * min(value[1], 1.0)),
        Interval(scale * max(more[0], -1.0), scale * min(more[1], 1.0)),
    )


def _scores(
    weights: np.ndarray, unit: np.ndarray, predicted: np.ndarray, arms: PerArm | None, most: float
) -> tuple[np.ndarray, np.ndarray]:
    """Per round an unbiased reward of the target, and of the target minus the log."""
    if arms is None:
        return weights * unit, (weights - 1.0) * unit
    with np.errstate(divide="ignore", invalid="ignore"):
        cut = most * arms.logged / arms.target  # most / w; where the log gave no chance nothing is predicted
    cut[arms.target <= 0] = np.inf
    baseline = np.minimum(predicted, cut)
    residual = unit - baseline[np.arange(len(unit)), arms.drawn]
    value = (arms.target * baseline).sum(axis=1) + weights * residual
    more = ((arms.target - arms.logged) * baseline).sum(axis=1) + (weights - 1.0) * residual
    return value, more


def _self_normalised_before(weights: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """The self-normalised estimate of the rounds before each, one half at the first."""
    gained = np.concatenate(([0.5], 0.5 + np.cumsum(weights * unit)[:-1]))
    weight = np.concatenate(([1.0], 1.0 + np.cumsum(weights)[:-1]))
    return gained / weight


def _estimate(value: float, difference: float, ends: _Ends, low: float, high: float) -> Estimate:
    scale = high - low
    return Estimate(low + scale * value, ends[0], scale * difference, ends[1])


def _check(
    propensity: np.ndarray, target: np.ndarray, reward: np.ndarray, low: float, high: float, arms: PerArm | None
) -> None:
    """Raises ValueError with the first thing that is wrong."""
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise ValueError(f"the range of rewards is {low!r} to {high!r}; both must be finite, and low below high")
    if propensity.ndim != 1 or not len(propensity) == target.size == reward.size or not len(propensity):
        shapes = f"{propensity.shape}, {target.shape} and {reward.shape}"
        raise ValueError(f"propensity, target and reward are of shapes {shapes}; give one entry a round, at least one")
    for name, values, good in (
        ("propensity", propensity, (propensity > 0) & (propensity <= 1 + _TOLERANCE)),
        ("target probability", target, (target >= 0) & (target <= 1 + _TOLERANCE)),
        ("reward", reward, (reward >= low) & (reward <= high)),
    ):
        if not good.all():
            allowed = {"propensity": "above 0, to 1", "target probability": "0 to 1"}.get(name, f"{low!r} to {high!r}")
            raise ValueError(f"a {name} is {float(values[~good][0])!r}; allowed: {allowed}")
    if arms is None:
        return
    tables = [arms.logged, arms.target] + ([] if arms.predicted is None else [arms.predicted])
    if any(table.ndim != 2 or table.shape != arms.logged.shape for table in tables) or len(arms.logged) != len(reward):
        shapes = ", ".join(str(table.shape) for table in tables)
        raise ValueError(f"tables of arms are of shapes {shapes}; give each as [rounds, arms] for {len(reward)} rounds")
    for name, table, chosen in (("logged", arms.logged, propensity), ("target", arms.target, target)):
        if not ((table >= 0).all() and (np.abs(table.sum(axis=1) - 1.0) <= 1e-3).all()):
            raise ValueError(f"{name} probabilities of a round do not add up to 1, or one is below 0")
        if not np.allclose(table[np.arange(len(reward)), arms.drawn], chosen, atol=_TOLERANCE):
            raise ValueError(f"{name} probabilities of the drawn arms differ between `arms` and the list beside them")
    if arms.predicted is not None and not np.isfinite(arms.predicted).all():
        raise ValueError("a predicted reward is not finite; leave `predicted` out, or mend the model")
