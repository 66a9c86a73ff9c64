"""What the log says of a target: its value beside what was earned, the best fixed arm and the uniform choice.

A row without numbers is one that the log cannot answer; its sentence says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from bandit.confidence import Interval

from .estimators import Estimate, logged_value
from .missing import Drawn, missing_doubt
from .rewards import Dominant
from .rounds import Rounds, told
from .row import Row, estimate_json, row_json, row_of
from .support import LEAST_EFFECTIVE


@dataclass(frozen=True, slots=True)
class Report:
    """The whole answer. Values are in the rewards' unit, per request."""

    estimand: str
    reward: str
    low: float
    high: float
    clipped: float
    outlying: int
    dominant: Dominant | None
    alpha: float
    first_s: float
    last_s: float
    decided: int
    used: int
    excluded: Mapping[str, int]
    by_arm: dict[str, Drawn]
    earned: Estimate
    target: Row
    best_fixed: Row | None  # of the arms that the log can answer for, the one with the highest value
    fixed: tuple[Row, ...]
    uniform: Row

    @property
    def verdict(self) -> str:
        """The answer in one sentence."""
        row = self.target
        if row.valuation is None:
            return f"the log cannot answer: {'; '.join(row.refusals)}"
        best = row.valuation.best
        ends = best.difference_interval
        more = "more" if ends.low > 0 else "less" if ends.high < 0 else "neither clearly more nor less"
        return (
            f"{row.name} would have earned {best.value:.4f} a request, {best.difference:+.4f} "
            f"({ends.low:+.4f} to {ends.high:+.4f}) against what the log's own policies expected: {more}"
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to know before the numbers are used."""
        found = list(self.target.doubts)
        lost = missing_doubt(self.by_arm)
        if lost is not None:
            found.append(lost)
        if self.used < self.decided / 2:
            found.append(f"only {self.used} of {self.decided} rounds are of use, and the others may differ from them")
        if self.clipped > 0.01:
            found.append(
                f"{self.clipped:.1%} of the rewards lie beyond {self.low:.4g} to {self.high:.4g} and are clipped"
            )
        if self.outlying:
            found.append(
                f"{self.outlying} of {self.used} requests weigh time, cost or quality so that they reach beyond "
                f"{self.low:.4g} to {self.high:.4g}; they count within it, and are worth more to their callers"
            )
        if self.dominant is not None:
            one = self.dominant
            found.append(
                f"{one.requests:.1%} of the requests, those with {one.weights}, hold {one.stakes:.0%} of all that can "
                "be earned or lost: the answer is about them; take the quality as the reward to hear of the others"
            )
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        """For a file; `null` where the log cannot answer."""
        return {
            "verdict": self.verdict,
            "warnings": list(self.warnings),
            "estimand": self.estimand,
            "reward": {
                "kind": self.reward,
                "low": self.low,
                "high": self.high,
                "clipped": self.clipped,
                "outlying": self.outlying,
                "dominant": None if self.dominant is None else asdict(self.dominant),
            },
            "alpha": self.alpha,
            "first_s": self.first_s,
            "last_s": self.last_s,
            "rounds": {"decided": self.decided, "used": self.used, "excluded": dict(self.excluded)},
            "by_arm": {name: asdict(one) for name, one in self.by_arm.items()},
            "log": estimate_json(self.earned),
            "target": row_json(self.target),
            "best_fixed": None if self.best_fixed is None else row_json(self.best_fixed),
            "fixed": [row_json(row) for row in self.fixed],
            "uniform": row_json(self.uniform),
        }

    def to_text(self) -> str:
        """A table and sentences."""
        head = f"{'':<26}{'IPS':>26}{'self-normalised':>26}{'doubly robust':>26}{'minus the log':>28}{'rounds':>9}"
        rows = [_earned_line(self.earned, self.used), _line(self.target)]
        rows.append(
            "best fixed arm: the log can answer for none" if self.best_fixed is None else _line(self.best_fixed)
        )
        rows.append(_line(self.uniform))
        excluded = f"; left out: {told(self.excluded)}" if any(self.excluded.values()) else ""
        failed = sum(one.not_served for one in self.by_arm.values())
        unserved = f"; not served, so of quality 0: {failed}" if failed else ""
        return "\n".join(
            [
                f"{_time(self.first_s)} to {_time(self.last_s)}: {self.used} of {self.decided} rounds are of use"
                f"{excluded}{unserved}",
                f"reward: {self.reward} a request, in {self.low:.4g} to {self.high:.4g}; intervals hold at every look, "
                f"each with probability {1 - self.alpha:g}",
                f"estimated: {self.estimand}",
                "",
                head,
                *rows,
                "('minus the log' is doubly robust where that is given; 'rounds' is the effective sample size; the "
                "best fixed arm is known only in hindsight, and its intervals hold for all arms together)",
                "",
                *(f"warning: {warning}" for warning in self.warnings),
                self.verdict,
            ]
        )


def report(
    rounds: Rounds,
    target: str,
    estimand: str,
    *,
    reward: str,
    first_s: float,
    last_s: float,
    alpha: float = 0.05,
    least_effective: float = LEAST_EFFECTIVE,
) -> Report:
    """The answer for the target whose probabilities are in `rounds`."""
    fixed = tuple(
        row_of(f"always {arm}", rounds, rounds.always(arm), alpha / len(rounds.names), least_effective)
        for arm in rounds.names
    )
    answered = [(row.valuation.best.value, row) for row in fixed if row.valuation is not None]
    return Report(
        estimand=estimand,
        reward=reward,
        low=rounds.low,
        high=rounds.high,
        clipped=rounds.clipped,
        outlying=rounds.outlying,
        dominant=rounds.dominant,
        alpha=alpha,
        first_s=first_s,
        last_s=last_s,
        decided=rounds.decided,
        used=len(rounds.reward),
        excluded=rounds.excluded,
        by_arm=rounds.by_arm,
        earned=logged_value(rounds.reward, alpha=alpha, low=rounds.low, high=rounds.high),
        target=row_of(target, rounds, rounds.target, alpha, least_effective),
        best_fixed=max(answered, key=lambda one: one[0])[1] if answered else None,
        fixed=fixed,
        uniform=row_of("uniform", rounds, rounds.evenly(), alpha, least_effective),
    )


def _time(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _cell(value: float, ends: Interval) -> str:
    return f"{value:.4f} [{ends.low:.3f}, {ends.high:.3f}]"


def _line(row: Row) -> str:
    if row.valuation is None:
        return f"{row.name:<26}the log cannot answer: {'; '.join(row.refusals)}"
    each = (row.valuation.ips, row.valuation.self_normalised, row.valuation.doubly_robust)
    cells = "".join(f"{'' if one is None else _cell(one.value, one.interval):>26}" for one in each)
    best = row.valuation.best
    difference = f"{best.difference:+.4f} [{best.difference_interval.low:+.3f}, {best.difference_interval.high:+.3f}]"
    return f"{row.name:<26}{cells}{difference:>28}{row.support.effective_rounds:>9.0f}"


def _earned_line(earned: Estimate, used: int) -> str:
    return f"{'earned in the log':<26}{_cell(earned.value, earned.interval):>26}{'':>80}{used:>9}"
