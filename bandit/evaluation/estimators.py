"""The value of a target policy from rounds that another policy logged: IPS, self-normalised IPS, doubly robust.

Arrays in, numbers out; no journal and no policy. Each estimate comes with an interval that holds at every look at once
(`sequence.py`), exact at every count, for the mean expected reward of the target over these rounds, and for that of the
stream they are drawn from. Rounds must be in the order of their decisions, and neither a propensity, a target's
probability nor a prediction may have seen its own round's draw or reward.

    IPS   mean of w r                              w = target / logged probability of the arm that was drawn
    SNIPS sum of w r / sum of w                    (Swaminathan & Joachims 2015)
    DR    mean of sum_a target_a q_a + w (r - q)   (Dudik, Langford & Li 2011, Eq. 3)

The intervals are those of w r and, where the probabilities of all arms are known, of w (r - b) + sum_a target_a b_a
with b_a = min(q_a, c / w_a), which is as unbiased and never below -c (Waudby-Smith et al. 2024, Section 3.1). For SNIPS
q is the self-normalised estimate before the round, which is the same to first order. The upper ends come from the same
bound of 1 - r. Where the log gave an arm no chance that the target would draw, rewards there count as 0 in the lower
end and as 1 in the upper one: the interval stays true and the estimates do not, so `support.py` has to be asked.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bandit.confidence import Interval, check_alpha

from .sequence import lower_mean

# Where weighted predictions are cut (c above): low for short logs, whose intervals a low floor keeps narrow, high for
# long ones, which then gain from predictions of rare arms too. Each takes half of the risk, and the narrower end is
# given. For five kinds of log of 1,000 to 100,000 rounds that was at most a fifth wider than the best of four single
# cuts for each, mostly a tenth.
CUTS = (2.0, 16.0)

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
    plain = _ends(weights, unit, alpha)
    normalised = self_normalised(weights, unit)
    shifted, robust = plain, None
    if arms is not None:
        at = np.arange(len(unit)), arms.drawn
        weights = arms.target[at] / arms.logged[at]  # to the last bit what the tables say
        before = _self_normalised_before(weights, unit)
        shifted = _ends(weights, unit, alpha, arms, np.repeat(before[:, None], arms.logged.shape[1], axis=1))
        if arms.predicted is not None:
            predicted = np.clip((arms.predicted - low) / (high - low), 0.0, 1.0)
            worth, more = _scores(weights, unit, arms, predicted)
            ends = _ends(weights, unit, alpha, arms, predicted)
            robust = _estimate(float(worth.mean()), float(more.mean()), ends, low, high)
    return Valuation(
        rounds=len(unit),
        ips=_estimate(float((weights * unit).mean()), float(((weights - 1.0) * unit).mean()), plain, low, high),
        self_normalised=_estimate(normalised, normalised - float(unit.mean()), shifted, low, high),
        doubly_robust=robust,
    )


def self_normalised(weights: np.ndarray, reward: np.ndarray) -> float:
    """sum of w r / sum of w; 0.0 where no weight is above 0."""
    total = float(weights.sum())
    return float((weights * reward).sum()) / total if total > 0 else 0.0


def logged_value(reward: np.ndarray, *, alpha: float = 0.05, low: float = 0.0, high: float = 1.0) -> Estimate:
    """What the policy that acted earned: the plain mean, with the same kind of interval."""
    ones = np.ones(len(reward))
    return value_of_probabilities(ones, ones, reward, alpha=alpha, low=low, high=high).ips


_Ends = tuple[Interval, Interval]  # of the value and of the difference, for rewards in [0, 1]


def _ends(
    weights: np.ndarray,
    unit: np.ndarray,
    alpha: float,
    arms: PerArm | None = None,
    predicted: np.ndarray | None = None,
) -> _Ends:
    """Both intervals; without predictions those of plain importance weighting."""
    value, more = [0.0, 1.0], [-1.0, 1.0]
    cuts = (0.0,) if arms is None else CUTS
    risk = alpha / 2.0 / len(cuts)  # of one end at one cut
    for cut in cuts:
        if arms is None or predicted is None:
            gained = weights * unit, (weights - 1.0) * unit
            missed = weights * (1.0 - unit), (weights - 1.0) * (1.0 - unit)
        else:
            with np.errstate(divide="ignore", invalid="ignore"):
                highest = cut * arms.logged / arms.target  # c / w: where the log gave no chance, nothing is predicted
            highest[arms.target <= 0] = np.inf
            gained = _scores(weights, unit, arms, np.minimum(predicted, highest))
            missed = _scores(weights, 1.0 - unit, arms, np.minimum(1.0 - predicted, highest))
        floor = -1.0 - max(cut, 1.0) if cut else -1.0
        value[0] = max(value[0], lower_mean(gained[0], risk, floor=-cut))
        value[1] = min(value[1], 1.0 - lower_mean(missed[0], risk, floor=-cut))
        more[0] = max(more[0], lower_mean(gained[1], risk, floor=floor))
        more[1] = min(more[1], -lower_mean(missed[1], risk, floor=floor))
    return Interval(value[0], value[1]), Interval(more[0], more[1])


def _scores(weights: np.ndarray, unit: np.ndarray, arms: PerArm, baseline: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per round an unbiased reward of the target, and of the target minus the log."""
    residual = unit - baseline[np.arange(len(unit)), arms.drawn]
    worth = (arms.target * baseline).sum(axis=1) + weights * residual
    more = ((arms.target - arms.logged) * baseline).sum(axis=1) + (weights - 1.0) * residual
    return worth, more


def _self_normalised_before(weights: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """The self-normalised estimate of the rounds before each, one half at the first."""
    gained = np.concatenate(([0.5], 0.5 + np.cumsum(weights * unit)[:-1]))
    weight = np.concatenate(([1.0], 1.0 + np.cumsum(weights)[:-1]))
    return gained / weight


def _estimate(value: float, difference: float, ends: _Ends, low: float, high: float) -> Estimate:
    """In the rewards' unit again."""
    scale, (own, more) = high - low, ends
    return Estimate(
        value=low + scale * value,
        interval=Interval(low + scale * own.low, low + scale * own.high),
        difference=scale * difference,
        difference_interval=Interval(scale * more.low, scale * more.high),
    )


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
