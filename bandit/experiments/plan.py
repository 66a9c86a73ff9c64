"""What an experiment is going to be: a frozen plan. Whatever cannot be is refused in a sentence. JSON: `design.py`.

split       every unit has one variant for good, by its hash
switchback  all units have the same variant for `slot_s`, then another: queues are never shared at the same time
pools       as split, and each variant has tiers of its own: queues are never shared at all
shadow      the control acts; the others decide, are logged, and act on nothing
apprentice  as shadow, and the one other variant takes over by itself once it is worth `takeover` of the control
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from sys import float_info
from typing import Any

from bandit.context import Weights
from bandit.errors import BadPlan

from .metrics import METRICS

KINDS = ("split", "switchback", "pools", "shadow", "apprentice")
UNITS = ("user", "request")
LEARNS_FROM = ("all", "own")
LIMITS = ("relative", "difference", "bound")
LOGGED_ONLY = ("shadow", "apprentice")  # kinds whose treatments act on nothing
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,47}")
_NAMES_ALLOWED = "allowed: 1 to 48 of a-z, 0-9, _ and -, the first a letter or digit"
_TOLERANCE = 1e-9
_MOST_UNITS = 1_000_000_000
_BUDGETS = ("budget_usd", "budget_usd_per_hour")  # options of policies that hold one


@dataclass(frozen=True, slots=True)
class Guardrail:
    """A variant is stopped by itself once it is known to be beyond this; "worse" is what the metric says is worse.

    relative: worse than the control by more than this share of the control's value, which must be positive by nature;
    difference: by more than this much; bound: worse than `value` itself, whatever the control does.
    """

    metric: str  # one of METRICS
    limit: str  # one of LIMITS
    value: float

    def __post_init__(self) -> None:
        _one_of("guardrails.metric", self.metric, METRICS)
        _one_of("guardrails.limit", self.limit, LIMITS)
        if not is_number(self.value) or (self.limit != "bound" and self.value < 0):
            raise BadPlan(f"guardrails.value is {shown(self.value)}; allowed: a finite number, 0 or more for a margin")
        if self.limit == "relative" and METRICS[self.metric].signed:
            raise BadPlan(
                f"a guardrail on {self.metric} is relative, and {self.metric} may be 0 or less, where a share of it "
                "says nothing; use limit difference, in units of the metric"
            )


@dataclass(frozen=True, slots=True)
class VariantPlan:
    """One policy of an experiment. `weight` is its share of the experiment's units.

    `learns_from`: records of everybody, or of its own decisions only. `weights`: what the variant's policy is told
    that the caller pays for, in place of the caller's own; such plans say in `judged_by` what utility is measured
    with. `pool`: names of tiers, or of arms, that the variant may use; others are unavailable to it (kind pools).
    """

    name: str
    policy: str
    options: Mapping[str, Any] = field(default_factory=dict)
    weight: float = 0.0
    learns_from: str = "all"
    weights: Weights | None = None
    pool: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not is_name(self.name):
            raise BadPlan(f"variants.name is {shown(self.name)}; {_NAMES_ALLOWED}")
        if not is_text(self.policy, 100):
            raise BadPlan(f"variant {self.name}: policy is {shown(self.policy)}; allowed: a policy's name")
        bad = bad_text([self.options, self.pool])
        if bad is not None:
            raise BadPlan(
                f"variant {self.name}: options or pool have {shown(bad)}; allowed: text without NUL and without halves "
                "of surrogate pairs"
            )
        _one_of(f"variant {self.name}: learns_from", self.learns_from, LEARNS_FROM)
        if not is_number(self.weight) or not 0 <= self.weight <= 1:
            raise BadPlan(f"variant {self.name}: weight is {shown(self.weight)}; allowed: a number from 0 to 1")


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is fixed before an experiment starts. Raises BadPlan; policies are checked by `check_policies`."""

    experiment_id: str
    hypothesis: str
    variants: tuple[VariantPlan, ...]
    control: str
    unit: str = "user"  # a request without a user is a unit of its own
    traffic: float = 1.0  # share of all units, above 0 and at most 1
    kind: str = "split"
    metric: str = "utility"  # the one that decides
    alpha: float = 0.05
    # Per variant, before anything is called a winner; slots in a switchback, where fewer do. With 30 units on the small
    # side of a 10/90 split, lognormal values gave 9.7 % false alarms at alpha 0.05; with 200, 2.8 % (600 A/A runs).
    least_units: int = 200
    guardrails: tuple[Guardrail, ...] = ()
    slot_s: float | None = None  # switchback
    carry_over_s: float | None = None  # switchback: so much at the start of each slot is dropped
    takeover: float | None = None  # apprentice: share of the control's value, 0.95 gives away a twentieth
    salt: str = ""  # another salt divides the same units anew
    judged_by: Weights | None = None  # None: each request by its caller's own weights

    def __post_init__(self) -> None:
        if not is_name(self.experiment_id):
            raise BadPlan(f"experiment_id is {shown(self.experiment_id)}; {_NAMES_ALLOWED}")
        if not is_text(self.hypothesis, 2000):
            given = f"is {shown(self.hypothesis)}" if str(self.hypothesis).strip() else "is missing"
            raise BadPlan(f"hypothesis {given}; say in 1 to 2000 whole characters what is expected and why")
        if self.salt != "" and not is_text(self.salt, 200):
            raise BadPlan(f"salt is {shown(self.salt)}; allowed: a text of at most 200 characters")
        for name, value, allowed in (
            ("unit", self.unit, UNITS),
            ("kind", self.kind, KINDS),
            ("metric", self.metric, METRICS),
        ):
            _one_of(name, value, allowed)
        check_traffic(self.traffic)
        if not is_number(self.alpha) or not 0 < self.alpha <= 0.5:
            raise BadPlan(f"alpha is {shown(self.alpha)}; allowed: a number above 0 and at most 0.5")
        least = self.least_units
        if not is_number(least) or least != int(least) or not 1 <= least <= _MOST_UNITS:
            raise BadPlan(f"least_units is {shown(least)}; allowed: a whole number, 1 to {_MOST_UNITS}")
        self._check_variants()
        self._check_kind()

    def variant(self, name: str) -> VariantPlan:
        """Raises BadPlan on a name that is not in the plan."""
        for variant in self.variants:
            if variant.name == name:
                return variant
        raise BadPlan(f"experiment {self.experiment_id} has no variant {shown(name)}; it has: {', '.join(self.names)}")

    @property
    def names(self) -> tuple[str, ...]:
        """Of the variants, in the plan's order."""
        return tuple(variant.name for variant in self.variants)

    @property
    def treatments(self) -> tuple[str, ...]:
        """The variants that are compared with the control."""
        return tuple(name for name in self.names if name != self.control)

    @property
    def weights(self) -> dict[str, float]:
        """Share of units per variant."""
        return {variant.name: variant.weight for variant in self.variants}

    def _check_variants(self) -> None:
        if not 2 <= len(self.variants) <= 20:
            raise BadPlan(f"variants are {len(self.variants)}; allowed: 2 to 20, one of which is the control")
        if len(set(self.names)) != len(self.names):
            raise BadPlan(f"a variant's name is there twice: {', '.join(self.names)}")
        if self.control not in self.names:
            raise BadPlan(f"control is {shown(self.control)}; allowed: one of the variants, {', '.join(self.names)}")
        check_weights(self, self.weights)
        if any(variant.weights is not None for variant in self.variants) and self.judged_by is None:
            raise BadPlan("a variant has weights of its own; say in judged_by with which weights utility is measured")

    def _check_kind(self) -> None:
        for name, value, kind in (
            ("slot_s", self.slot_s, "switchback"),
            ("carry_over_s", self.carry_over_s, "switchback"),
            ("takeover", self.takeover, "apprentice"),
        ):
            if value is not None and self.kind != kind:
                raise BadPlan(f"{name} is given, and the kind is {self.kind}; {name} belongs to kind {kind}")
        if self.kind == "switchback":
            if not is_number(self.slot_s) or not 1 <= (self.slot_s or 0) <= 7 * 86400:
                raise BadPlan(f"slot_s is {shown(self.slot_s)}; allowed for a switchback: 1 to 604800 seconds")
            carry_s = self.carry_over_s
            if not is_number(carry_s) or carry_s is None or self.slot_s is None or not 0 <= carry_s < self.slot_s:
                raise BadPlan(f"carry_over_s is {shown(carry_s)}; allowed: 0 or more, and less than slot_s")
        if self.kind in LOGGED_ONLY and self.guardrails:
            raise BadPlan(f"guardrails watch what acts on requests, and in kind {self.kind} only the control does")
        for variant in self.variants:
            if self.kind in LOGGED_ONLY and variant.name != self.control and variant.learns_from == "own":
                raise BadPlan(
                    f"variant {variant.name} of kind {self.kind} acts on nothing, so it has no records of its own to "
                    "learn from; allowed: learns_from all"
                )
        self._check_budgets()
        if self.kind == "apprentice":
            if not is_number(self.takeover) or self.takeover is None or not 0 < self.takeover <= 2:
                raise BadPlan(f"takeover is {shown(self.takeover)}; allowed for an apprentice: above 0 and at most 2")
            if len(self.variants) != 2:
                raise BadPlan(f"an apprentice has one master: {len(self.variants)} variants; allowed: 2")
        self._check_pools()

    def _check_budgets(self) -> None:
        """A pacer is charged with what its policy learns from, so that must be what the variant itself has spent."""
        for variant in self.variants:
            held = [name for name in _BUDGETS if variant.options.get(name) is not None]
            if not held:
                continue
            if self.kind in LOGGED_ONLY and variant.name != self.control:
                raise BadPlan(
                    f"variant {variant.name} of kind {self.kind} has option {held[0]}, but it acts on nothing and "
                    "spends nothing that a budget could hold; leave the option out, or use kind split"
                )
            if variant.learns_from != "own":
                raise BadPlan(
                    f"variant {variant.name} has option {held[0]} and learns from {variant.learns_from}; its budget "
                    "would be charged with what other variants spend: set learns_from own"
                )

    def _check_pools(self) -> None:
        owners: dict[str, str] = {}
        for variant in self.variants:
            if bool(variant.pool) != (self.kind == "pools"):
                raise BadPlan(
                    f"variant {variant.name} has {'a' if variant.pool else 'no'} pool, and the kind is {self.kind}; "
                    "each variant of kind pools names its tiers, and no other does"
                )
            for tier in {name.partition("@")[0] for name in variant.pool}:
                if tier in owners:
                    raise BadPlan(
                        f"tier {tier} is in the pools of {owners[tier]} and {variant.name}; their requests would "
                        "wait in one queue: give each variant tiers of its own"
                    )
                owners[tier] = variant.name


def check_weights(plan: Plan, weights: Mapping[str, float]) -> None:
    """Raises BadPlan unless these weights can divide the units of this plan."""
    if set(weights) != set(plan.names):
        raise BadPlan(
            f"weights are given for {', '.join(weights) or 'nobody'}; allowed: all of {', '.join(plan.names)}"
        )
    for name, weight in weights.items():
        if not is_number(weight) or not 0 <= weight <= 1:
            raise BadPlan(f"the weight of {name} is {shown(weight)}; allowed: a number from 0 to 1")
    total = sum(weights.values())
    if abs(total - 1) > _TOLERANCE:
        raise BadPlan(f"the weights {_listed(weights)} add up to {total:.9g}; they must add up to 1")
    if plan.kind in LOGGED_ONLY:
        if weights[plan.control] != 1:
            raise BadPlan(
                f"in kind {plan.kind} only the control acts; allowed: weight 1 for {plan.control}, 0 for the others"
            )
    elif plan.kind == "switchback":
        if max(weights.values()) - min(weights.values()) > _TOLERANCE:
            raise BadPlan(f"the weights are {_listed(weights)}; the slots of a switchback are divided evenly")
    elif weights[plan.control] == 0:
        raise BadPlan(f"the control {plan.control} has weight 0; then there is nothing to compare with")


def check_traffic(traffic: float) -> None:
    """Raises BadPlan unless this can be a share of all units."""
    if not is_number(traffic) or not 1e-6 <= traffic <= 1:
        raise BadPlan(f"traffic is {shown(traffic)}; allowed: a share of all units, from 0.000001 to 1")


def is_number(value: object) -> bool:
    """Whether it is a finite number, also as a float, and no truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= float_info.max


def is_name(value: object) -> bool:
    """Whether it may name an experiment or a variant."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def is_text(value: object, most: int) -> bool:
    """Whether it is a text that says something, in at most so many characters, and that can be stored and told."""
    return isinstance(value, str) and bool(value.strip()) and len(value) <= most and _is_whole(value)


def bad_text(value: object) -> str | None:
    """The first text within JSON values that no database or answer takes: with NUL, or half of a surrogate pair."""
    left = [value]  # no recursion: what callers send can be deep
    while left:
        one = left.pop()
        if isinstance(one, str) and not _is_whole(one):
            return one
        if isinstance(one, Mapping):
            left += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple):
            left += one
    return None


def _is_whole(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)


def shown(value: object) -> str:
    """As a message may show it: what a caller sent can be long."""
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _one_of(name: str, value: object, allowed: Iterable[str]) -> None:
    if not isinstance(value, str) or value not in tuple(allowed):
        raise BadPlan(f"{name} is {shown(value)}; allowed: {', '.join(allowed)}")


def _listed(weights: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {weight:g}" for name, weight in weights.items())
