"""Plans from and to strict JSON, and the check that their policies exist.

    plan = plan_from_json(json.loads(text))     # raises BadPlan, which says what is allowed
    check_policies(plan)

Everything but `experiment_id`, `hypothesis`, `control` and `variants` has a default. Without any weight a split is
even, and the control of a shadow acts alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, replace
from typing import Any

from bandit.context import Weights
from bandit.errors import BadPlan, UnknownPolicy
from bandit.policies import build

from .plan import LOGGED_ONLY, Guardrail, Plan, VariantPlan, shown

__all__ = ["Guardrail", "Plan", "VariantPlan", "check_policies", "plan_from_json", "plan_to_json"]


def check_policies(plan: Plan) -> None:
    """Raises BadPlan if a policy or an option is unknown. Not a part of the plan: old plans must stay readable."""
    for variant in plan.variants:
        try:
            build(variant.policy, variant.options)
        except UnknownPolicy as error:
            raise BadPlan(f"variant {variant.name}: {error}") from error
        if plan.kind == "apprentice" and variant.name != plan.control and variant.weights is not None:
            raise BadPlan(
                f"variant {variant.name} is an apprentice with weights of its own, which the live policy cannot have, "
                "so it could never take over; set the weights in the catalogue's presets"
            )


def plan_to_json(plan: Plan) -> dict[str, Any]:
    """The inverse of `plan_from_json`; what is not set is left out."""
    value = _fields_of(plan)
    value["variants"] = [_fields_of(variant) | {"options": dict(variant.options)} for variant in plan.variants]
    value["guardrails"] = [_fields_of(guardrail) for guardrail in plan.guardrails]
    return value


def plan_from_json(value: object) -> Plan:
    """A plan from JSON values: unknown, missing and doubtful ones are refused. Raises BadPlan."""
    given = _given("the plan", value, Plan)
    variants = _listed("variants", given.pop("variants"))
    weighted = any(isinstance(one, Mapping) and "weight" in one for one in variants)
    plans = [_variant(one, number) for number, one in enumerate(variants, start=1)]
    if plans and not weighted:
        kind, control = given.get("kind"), given["control"]
        plans = [replace(one, weight=_default_weight(one, len(plans), kind, control)) for one in plans]
    guardrails = [
        Guardrail(**_given(f"guardrail {number}", one, Guardrail))
        for number, one in enumerate(_listed("guardrails", given.pop("guardrails", [])), start=1)
    ]
    return Plan(
        variants=tuple(plans),
        guardrails=tuple(guardrails),
        judged_by=_weights("judged_by", given.pop("judged_by", None)),
        **given,
    )


def _variant(value: object, number: int) -> VariantPlan:
    where = f"variant {number}"
    given = _given(where, value, VariantPlan)
    options = given.pop("options", {})
    if not isinstance(options, Mapping) or not all(isinstance(name, str) for name in options):
        raise BadPlan(f"{where}: options are {shown(options)}; allowed: an object of the policy's options")
    pool = _listed(f"{where}: pool", given.pop("pool", []))
    if not all(isinstance(name, str) and name for name in pool):
        raise BadPlan(f"{where}: pool is {shown(pool)}; allowed: names of tiers or arms")
    weights = _weights(f"{where}: weights", given.pop("weights", None))
    return VariantPlan(options=dict(options), pool=tuple(pool), weights=weights, **given)


def _default_weight(variant: VariantPlan, count: int, kind: object, control: object) -> float:
    if kind in LOGGED_ONLY:
        return float(variant.name == control)
    return 1 / count


def _weights(where: str, value: object) -> Weights | None:
    if value is None:
        return None
    given = _given(where, value, Weights)
    for name, weight in given.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= 1e9:
            raise BadPlan(f"{where}: {name} is {shown(weight)}; allowed: a number from 0 to 1e9")
    return Weights(**given)


def _given(where: str, value: object, kind: Any) -> dict[str, Any]:
    """The object's members, of which every one is a field and every field without a default is there."""
    known: dict[str, Field[Any]] = {field.name: field for field in fields(kind)}
    allowed = ", ".join(known)
    if not isinstance(value, Mapping):
        raise BadPlan(f"{where} is {shown(value)}; allowed: an object with {allowed}")
    for name in value:
        if name not in known:
            raise BadPlan(f"{where} has {shown(name)}, which nobody reads; allowed: {allowed}")
    for name, field in known.items():
        if field.default is MISSING and field.default_factory is MISSING and value.get(name) is None:
            raise BadPlan(f"{where} has no {name}; it needs one. Allowed: {allowed}")
    return {name: one for name, one in value.items() if one is not None}


def _listed(where: str, value: object) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise BadPlan(f"{where} are {shown(value)}; allowed: a list")
    return list(value)


def _fields_of(value: Any) -> dict[str, Any]:
    """The fields that are set, as JSON values; nested plans are written by the caller."""
    members: dict[str, Any] = {}
    for field in fields(value):
        member = getattr(value, field.name)
        if isinstance(member, Weights):
            member = _fields_of(member)
        if member is not None and member != ():
            members[field.name] = list(member) if isinstance(member, tuple) else member
    return members
