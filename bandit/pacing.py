"""Holds a mean cost: a price on money that rises while more is spent than allowed, and falls while less is.

    arm drawn for  utility(arm) - multiplier * cost(arm)          the dual price of the budget, per USD
    multiplier     such that the last WINDOW decisions, drawn by it, would have cost what may be spent now
    may be spent   budget + (allowed so far - spent so far) / HORIZON

That is the primal-dual pacing of bandits with knapsacks (Badanidiyuru, Kleinberg & Slivkins 2013; Agrawal & Devanur
2014) and of budgets in auctions (Balseiro & Gur 2019), with the dual solved on a window of recent decisions instead
of approached by steps: a step size fits one scale of costs only, and prices of tiers differ a thousandfold. The debt
term then holds the mean itself. All of it is a fold over records, so every gateway paces by the same multiplier, and
a price that changes is taken up at the next decision.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from .errors import BadState

Floats = NDArray[np.float64]
Shares = Callable[[Floats, Floats, tuple[str, ...]], Floats]  # utilities and costs [N, K], -inf where absent -> [N, K]

WINDOW = 256  # decisions
HORIZON = 30.0  # decisions within which a debt is to be paid back
EVERY = 8  # records between two solutions
_HALVINGS = 28  # of a range of twelve decades: one part in a hundred thousand
_MOST_GAP_S = 60.0  # an idle night does not save up money for the morning


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be spent: a mean per image, or dollars per hour. None of both: whatever it takes."""

    usd: float | None = None
    usd_per_hour: float | None = None

    def __bool__(self) -> bool:
        return self.usd is not None or self.usd_per_hour is not None


@dataclass(frozen=True, slots=True)
class _Seen:
    """One decision as it looked: utility without the multiplier, and cost as a multiple of the arm's price."""

    utilities: Mapping[str, float]
    price_times: Mapping[str, float]


class Pacer:
    """The multiplier of one budget."""

    part_names = frozenset({"pacing"})

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._window: deque[_Seen] = deque(maxlen=WINDOW)
        self._prices: dict[str, float] = {}
        self._since = 0
        self._last_s: float | None = None
        self._mean_allowance_usd = 0.0  # per image, where the budget is per hour
        self.credit_usd = 0.0  # allowed and not spent; negative: owed
        self.multiplier = 0.0  # per USD

    @property
    def is_settled(self) -> bool:
        """Whether enough decisions were seen to solve for the multiplier; else `solve_for` asks for this one alone."""
        return len(self._window) >= 2 * EVERY

    def solve_for(self, utilities: Mapping[str, float], costs_usd: Mapping[str, float], shares: Shares) -> float:
        """The multiplier that holds the budget on one decision alone: before there is a window."""
        names = tuple(utilities)
        return self._solve(
            np.array([[utilities[name] for name in names]]), np.array([[costs_usd[name] for name in names]]), shares,
            names,
        )  # fmt: skip

    def learn(
        self,
        *,
        utilities: Mapping[str, float],
        costs_usd: Mapping[str, float],
        prices_usd: Mapping[str, float],
        spent_usd: float,
        images: int,
        at_s: float,
        shares: Shares,
    ) -> None:
        """Count one decision: what its arms were expected to be worth and to cost, and what it cost per image."""
        self._count(spent_usd, images, at_s)
        self._prices |= prices_usd
        if utilities:
            times = {name: costs_usd[name] / price for name, price in prices_usd.items() if price > 0}
            self._window.append(_Seen(dict(utilities), {name: times.get(name, 1.0) for name in utilities}))
        self._since += 1
        if self._since >= EVERY and self.is_settled:
            self._since = 0
            seen = {name for one in self._window for name in one.utilities}
            self._prices = {name: price for name, price in self._prices.items() if name in seen}
            self.multiplier = self._solve(*self._rows(), shares, tuple(self._prices))

    def state(self) -> bytes:
        """JSON; floats read back as the same bits."""
        window = [[dict(seen.utilities), dict(seen.price_times)] for seen in self._window]
        budget = [self._budget.usd, self._budget.usd_per_hour]
        return json.dumps(
            [budget, self.credit_usd, self.multiplier, self._since, self._last_s, self._mean_allowance_usd,
             self._prices, window], allow_nan=False,
        ).encode()  # fmt: skip

    def read(self, state: bytes) -> Pacer:
        """What wrote `state`; with another budget it starts without credit or debt. Raises BadState."""
        pacer = Pacer(self._budget)
        try:
            budget, credit, multiplier, since, last_s, allowance, prices, window = json.loads(state)
            numbers = [credit, multiplier, allowance, *prices.values()]
            numbers += [value for pair in window for part in pair for value in part.values()]
            if not all(isinstance(value, float | int) and isfinite(value) for value in numbers):
                raise BadState("the pacer's state holds a number that is not finite")
            if type(since) is not int or not (last_s is None or isfinite(last_s)) or len(window) > WINDOW:
                raise BadState("the pacer's state holds counts that cannot be")
            pacer._window.extend(_Seen(utilities, times) for utilities, times in window)
            pacer._prices, pacer._since = prices, since
            if budget == [self._budget.usd, self._budget.usd_per_hour]:
                pacer.credit_usd, pacer.multiplier = float(credit), float(multiplier)
                pacer._last_s, pacer._mean_allowance_usd = last_s, float(allowance)
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise BadState(f"the pacer's state cannot be read: {error}") from error
        return pacer

    def _count(self, spent_usd: float, images: int, at_s: float) -> None:
        if self._budget.usd is not None:
            allowance = self._budget.usd
        else:
            assert self._budget.usd_per_hour is not None
            gap_s = 0.0 if self._last_s is None else min(max(at_s - self._last_s, 0.0), _MOST_GAP_S)
            allowance = self._budget.usd_per_hour / 3600 * gap_s / images
            if self._last_s is not None:
                share = 1.0 / WINDOW if self._mean_allowance_usd else 1.0
                self._mean_allowance_usd += share * (allowance - self._mean_allowance_usd)
            self._last_s = at_s  # also where a clock jumped: one gap too long or none, and then gaps are right again
        most = WINDOW * max(self._allowance_usd(), 1e-12)  # neither savings nor debts beyond a window's money
        self.credit_usd = min(max(self.credit_usd + images * (allowance - spent_usd), -most), most)

    def _allowance_usd(self) -> float:
        return self._budget.usd if self._budget.usd is not None else self._mean_allowance_usd

    def _rows(self) -> tuple[Floats, Floats]:
        """Utilities and costs [N, K] of the window, by today's arms at today's prices."""
        names = tuple(self._prices)
        absent = float("-inf")
        utilities = np.array([[seen.utilities.get(name, absent) for name in names] for seen in self._window])
        times = np.array([[seen.price_times.get(name, 1.0) for name in names] for seen in self._window])
        there = np.isfinite(utilities).any(axis=1)
        return utilities[there], (times * np.array([self._prices[name] for name in names]))[there]

    def _solve(self, utilities: Floats, costs_usd: Floats, shares: Shares, names: tuple[str, ...]) -> float:
        budget = self._allowance_usd()
        if not len(utilities) or budget <= 0.0:
            return self.multiplier
        target = budget + min(max(self.credit_usd / HORIZON, -0.9 * budget), budget)
        costs_there = np.where(np.isfinite(utilities), costs_usd, 0.0)

        def spends(multiplier: float) -> float:
            priced = utilities - multiplier * costs_usd
            return float((shares(priced, costs_there, names) * costs_there).sum(axis=1).mean())

        if spends(0.0) <= target:
            return 0.0
        low, high = 1e-6 / budget, 1e6 / budget
        for _ in range(_HALVINGS):
            middle = (low * high) ** 0.5
            if spends(middle) > target:
                low = middle
            else:
                high = middle
        return high
