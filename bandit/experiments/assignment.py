"""Which variant a unit belongs to: pure, by hash alone, so the same on every gateway and after every restart.

Two hashes: one, the same for all experiments, says which slice of the traffic a unit is in, so no unit is in two
experiments; the other, of the experiment's own, says which variant it has there. When traffic or weights change, only
units whose point changes hands move (`shares.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import floor

from bandit.context import Context

from .plan import LOGGED_ONLY, Plan
from .shares import Pieces, holds, point

_LAYER = "switchboard layer 1"


@dataclass(frozen=True, slots=True)
class Running:
    """A running experiment, as gateways need it."""

    plan: Plan
    claim: Pieces  # its slice of all units
    shares: Mapping[str, Pieces]  # each variant's part of the experiment's units
    stopped: frozenset[str] = frozenset()  # variants whose units left the experiment
    snapshots: Mapping[str, str] = field(default_factory=dict)  # variant to the snapshot's name, fixed at the start
    origin_s: float = 0.0  # Unix time at which slot 0 of a switchback began
    seq: int = 0  # of the newest event: grows whenever anything changed

    @property
    def experiment_id(self) -> str:
        return self.plan.experiment_id


@dataclass(frozen=True, slots=True)
class Exposure:
    """One request's place in an experiment; `column` is what the decision row says in `variant`."""

    experiment: Running
    variant: str
    column: str
    carry_over: bool = False


def assign(experiment: Running, unit: str, now_s: float | None = None, *, member: str | None = None) -> str | None:
    """The unit's variant, None outside of the experiment. `now_s` (Unix time) is needed for a switchback only.

    `member` is drawn into a variant instead of the unit, where each request is drawn by itself: whether they are in
    the experiment at all still goes by the unit, the caller, or two experiments could claim one caller.
    A unit of a stopped variant is outside: it gets the live policy like everybody else.
    """
    if not holds(experiment.claim, point(_LAYER, unit)):
        return None
    plan = experiment.plan
    if plan.kind == "switchback":
        if now_s is None:
            raise ValueError(f"experiment {plan.experiment_id} is a switchback: who decides depends on the time")
        variant, _ = switchback_slot(experiment, now_s)
    else:
        tick = point(plan.salt, plan.experiment_id, unit if member is None else member)
        variant = next((name for name, pieces in experiment.shares.items() if holds(pieces, tick)), plan.control)
    return None if variant in experiment.stopped else variant


def find(running: Iterable[Running], unit: str, now_s: float, member: str | None = None) -> Exposure | None:
    """The one experiment that the unit is in, with its variant; None for the live policy. `member`: see `assign`."""
    for experiment in running:
        variant = assign(experiment, unit, now_s, member=member)
        if variant is not None:
            carry_over = experiment.plan.kind == "switchback" and switchback_slot(experiment, now_s)[1]
            return Exposure(experiment, variant, column(experiment.plan, variant, carry_over=carry_over), carry_over)
    return None


def column(plan: Plan, variant: str, *, carry_over: bool = False) -> str:
    """What a decision of this variant has in its column `variant`."""
    return f"{plan.experiment_id}:{variant}" + (":carry" if carry_over else "")


def slot_number(experiment: Running, now_s: float) -> int:
    """Which slot of a switchback this moment is in; before its start they are negative."""
    assert experiment.plan.slot_s is not None
    return floor((now_s - experiment.origin_s) / experiment.plan.slot_s)


def switchback_slot(experiment: Running, now_s: float) -> tuple[str, bool]:
    """The variant that has this moment, and whether what the slot before left behind may still be felt.

    Slots come in blocks with one for each variant, in an order drawn per block, so that neither a drift nor a daily
    rhythm favours one of them for longer than a block.
    """
    plan, number = experiment.plan, slot_number(experiment, now_s)
    assert plan.slot_s is not None
    assert plan.carry_over_s is not None
    into_s = now_s - experiment.origin_s - number * plan.slot_s
    return variant_of_slot(plan, number), into_s < plan.carry_over_s


def variant_of_slot(plan: Plan, number: int) -> str:
    """The variant of a switchback's slot."""
    block, place = divmod(number, len(plan.names))
    order = sorted(plan.names, key=lambda name: point(plan.salt, plan.experiment_id, f"block {block}", name))
    return order[place]


def acts(plan: Plan, variant: str) -> bool:
    """Whether the variant's decisions are carried out, or only logged."""
    return plan.kind not in LOGGED_ONLY or variant == plan.control


def shadows(experiment: Running) -> tuple[str, ...]:
    """The variants that decide beside the one that acts, to be logged with `shadow.append_shadows`."""
    plan = experiment.plan
    return tuple(name for name in plan.names if not acts(plan, name) and name not in experiment.stopped)


def seen_by(context: Context, plan: Plan, variant: str) -> Context:
    """The context as the variant's policy sees it: its own weights, where it has some, and its own pool of tiers.

    A request that asks for one tier or arm by name is not for kind pools: some variant may have no arm left for it.
    """
    planned = plan.variant(variant)
    if planned.weights is not None:
        context = replace(context, weights=planned.weights)
    if planned.pool:
        allowed = set(planned.pool)
        arms = tuple(
            arm if arm.name in allowed or arm.tier in allowed else replace(arm, available=False) for arm in context.arms
        )
        context = replace(context, arms=arms)
    return context
