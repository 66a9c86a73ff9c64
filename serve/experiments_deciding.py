"""Who decides for a request: the live policy, or a variant of a running experiment. Pure look-ups, no I/O, no lock.

choose   by the hash of the unit (the caller, or the request itself), so the same on every gateway and after a restart
decide   the chosen policy on the context as the variant may see it; one that misbehaves is replaced for the request,
         noted for the journal, and its units get the live policy from the next request on
shadows  policies that only are logged decide while the tier already works

What is in use is replaced as a whole by `experiments_watch.py`, from its thread; all else belongs to the event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from random import Random

from bandit.context import Context, Limits
from bandit.experiments.assignment import Exposure, Running, column, find, seen_by, shadows
from bandit.experiments.shadow import ShadowRow

from .deciding import Decided, Decider, meets_limits, within_limits


@dataclass(frozen=True, slots=True)
class InUse:
    """The deciders of one moment. `deciders` is by variant, "experiment:variant"."""

    live: Decider
    promoted_by: str | None = None  # the experiment that made the live policy; None: it is the catalogue's
    live_column: str | None = None  # of a live policy that learns from its own records only: marks them as its own
    running: tuple[Running, ...] = ()
    deciders: Mapping[str, Decider] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Choice:
    """Who decides one request. `promoted_by` is of the live policy only."""

    decider: Decider
    exposure: Exposure | None = None
    promoted_by: str | None = None
    live_column: str | None = None
    shadows: tuple[tuple[str, Decider], ...] = ()  # variants that decide beside, to be logged

    @property
    def variant(self) -> str | None:
        """What the decision row says."""
        return self.live_column if self.exposure is None else self.exposure.column


class Deciders:
    """All policies in use. `faults` are the variants that misbehaved, and how, until the ledger has stopped them."""

    def __init__(self, live: Decider, log_shadow: Callable[[ShadowRow], None], rng: Random) -> None:
        """`rng` is for shadows alone, so that they change nothing of what is drawn."""
        self._in_use = InUse(live)
        self._log_shadow = log_shadow
        self._rng = rng
        self.faults: dict[tuple[str, str], str] = {}  # (experiment, variant) -> in words
        self.fallbacks = 0

    @property
    def in_use(self) -> InUse:
        """As it is now; the object never changes."""
        return self._in_use

    def use(self, in_use: InUse) -> None:
        """Use these from the next request on."""
        self._in_use = in_use

    def live(self) -> Choice:
        """For a request that takes part in no experiment."""
        in_use = self._in_use
        return Choice(in_use.live, promoted_by=in_use.promoted_by, live_column=in_use.live_column)

    def choose(self, caller: str | None, decision_id: str, now_s: float) -> Choice:
        """Whose turn it is. `caller` is hashed, None if the request names nobody; `now_s` is Unix time."""
        in_use = self._in_use
        for experiment in in_use.running:
            member = decision_id if experiment.plan.unit == "request" else None
            exposure = find((experiment,), caller or decision_id, now_s, member)
            if exposure is None:
                continue
            decider = in_use.deciders.get(column(experiment.plan, exposure.variant))
            if decider is None or self._is_out(experiment, exposure.variant):
                break
            return Choice(decider, exposure, shadows=tuple(self._shadows(in_use, experiment)))
        return self.live()

    def decide(self, choice: Choice, context: Context) -> tuple[Decided, Context]:
        """The decision, and the context to be written down. Raises NoArmAvailable, and nothing else.

        Its arms are as the policy saw them, as its probabilities belong to them. Weights and ceilings are the caller's
        own, also where the variant decided with others: what the caller pays for is a fact that outlives experiments.
        """
        exposure = choice.exposure
        if exposure is None:
            decided = choice.decider.decide(context)
            self.fallbacks += decided.fault is not None
            return decided, context
        seen = seen_by(context, exposure.experiment.plan, exposure.variant)
        if not any(arm.available for arm in seen.arms):
            # Its pool is away, or draws no image of this size: served by another one, and counted as such.
            return choice.decider.stand_in(context), context
        decided = choice.decider.decide(seen)
        if decided.fault is not None:
            self.fallbacks += 1
            self._note(exposure.experiment, exposure.variant, decided.fault)
        elif _pool_exceeds(context, seen, decided):
            # A caller's ceiling is a promise to the caller, a pool only a part of a comparison.
            return choice.decider.stand_in(context), context
        return decided, replace(seen, weights=context.weights, limits=context.limits)

    def decide_beside(self, choice: Choice, context: Context, decision_id: str, at_s: float) -> None:
        """Let the shadows decide, and log it: on the arms that the control saw, and the caller's weights."""
        assert choice.exposure is not None
        experiment = choice.exposure.experiment
        for variant, decider in choice.shadows:
            seen = seen_by(context, experiment.plan, variant)
            answer = decider.try_out(seen, self._rng)
            if isinstance(answer, str):
                self._note(experiment, variant, answer)
                continue
            name = column(experiment.plan, variant)
            self._log_shadow(ShadowRow(decision_id, name, at_s, answer.policy, answer.version, answer.decision))

    def _shadows(self, in_use: InUse, experiment: Running) -> Iterator[tuple[str, Decider]]:
        for variant in shadows(experiment):
            decider = in_use.deciders.get(column(experiment.plan, variant))
            if decider is not None and (experiment.experiment_id, variant) not in self.faults:
                yield variant, decider

    def _is_out(self, experiment: Running, variant: str) -> bool:
        """Whether the ledger is about to hear that the variant, or with its control the experiment, is stopped."""
        if not self.faults:
            return False
        return any((experiment.experiment_id, name) in self.faults for name in (variant, experiment.plan.control))

    def _note(self, experiment: Running, variant: str, fault: str) -> None:
        self.faults.setdefault((experiment.experiment_id, variant), fault)


def _pool_exceeds(context: Context, seen: Context, decided: Decided) -> bool:
    """Whether a caller's ceilings were exceeded though an arm that is not in the variant's pool is within them."""
    if seen.arms == context.arms or context.limits == Limits():
        return False
    drawn = next(arm for arm in seen.arms if arm.name == decided.decision.arm)
    if meets_limits(seen, decided.decision, drawn):
        return False
    pool = {arm.name for arm in seen.arms if arm.available}
    return any(arm.available and arm.name not in pool and within_limits(context.limits, arm) for arm in context.arms)
