"""Plans as JSON, and what is refused."""

import json
from typing import Any

import pytest

from bandit.context import Weights
from bandit.errors import BadPlan
from bandit.experiments.design import Plan, VariantPlan, check_policies, plan_from_json, plan_to_json


def plan(**changes: Any) -> dict[str, Any]:
    value = {
        "experiment_id": "faster-drafts",
        "hypothesis": "squarecb earns more than uniform",
        "control": "old",
        "variants": [{"name": "old", "policy": "uniform"}, {"name": "new", "policy": "vowpal"}],
    }
    return {name: one for name, one in (value | changes).items() if one is not None}


def variants(*changes: dict[str, Any]) -> list[dict[str, Any]]:
    names = ("old", "new", "newer")
    return [{"name": names[place], "policy": "uniform"} | change for place, change in enumerate(changes)]


def test_plan_is_the_same_after_a_round_trip() -> None:
    first = plan_from_json(
        plan(
            variants=variants({"weight": 0.8}, {"weight": 0.2, "options": {}, "weights": {"quality": 2}}),
            guardrails=[{"metric": "latency_p95_s", "limit": "relative", "value": 0.2}],
            judged_by={"quality": 1, "latency_per_s": 0.1, "cost_per_usd": 20},
            traffic=0.1,
            least_units=50,
            salt="2026",
        )
    )
    assert plan_from_json(json.loads(json.dumps(plan_to_json(first)))) == first
    assert first.weights == {"old": 0.8, "new": 0.2}
    assert first.judged_by == Weights(1, 0.1, 20)
    assert first.treatments == ("new",)


@pytest.mark.parametrize(
    "more",
    [
        {"kind": "switchback", "slot_s": 60, "carry_over_s": 10},
        {"kind": "pools", "variants": variants({"pool": ["gan-a", "flow-a"]}, {"pool": ["gan-b"]})},
        {"kind": "shadow"},
        {"kind": "apprentice", "takeover": 0.95},
    ],
)
def test_every_kind_is_the_same_after_a_round_trip(more: dict[str, Any]) -> None:
    first = plan_from_json(plan(**more))
    assert plan_from_json(json.loads(json.dumps(plan_to_json(first)))) == first


def test_without_weights_a_split_is_even_and_the_control_of_a_shadow_acts_alone() -> None:
    assert plan_from_json(plan(variants=variants({}, {}, {}))).weights == dict.fromkeys(("old", "new", "newer"), 1 / 3)
    assert plan_from_json(plan(kind="shadow")).weights == {"old": 1.0, "new": 0.0}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"variants": variants({"weight": 0.5}, {"weight": 0.4})}, "add up to 0.9; they must add up to 1"),
        ({"variants": variants({"weight": 0.5}, {"weight": 0.5 + 1e-6})}, "must add up to 1"),
        ({"variants": variants({"weight": 0.5}, {"weight": float("nan")})}, "weight is nan; allowed"),
        ({"variants": variants({"weight": True}, {"weight": 0})}, "weight is True; allowed"),
        ({"variants": variants({"weight": 1.5}, {"weight": -0.5})}, "weight is 1.5; allowed"),
        ({"variants": variants({"weight": 0}, {"weight": 1})}, "the control old has weight 0"),
        ({"variants": variants({})}, "variants are 1; allowed: 2 to 20"),
        ({"variants": variants({}, {"name": "old"})}, "is there twice: old, old"),
        ({"variants": variants({}, {"name": "a:b"})}, "name is 'a:b'; allowed: 1 to 48 of a-z"),
        ({"variants": variants({}, {"name": ""})}, "name is ''; allowed"),
        ({"variants": variants({}, {"name": "x" * 5000})}, r"name is 'xxx.*\.\.\.; allowed"),
        ({"variants": variants({}, {"policy": 7})}, "policy is 7; allowed"),
        ({"variants": variants({}, {"policy": None})}, "variant 2 has no policy; it needs one"),
        ({"variants": variants({}, {"options": [1]})}, r"options are \[1\]; allowed"),
        ({"variants": variants({}, {"learns_from": "me"})}, "learns_from is 'me'; allowed: all, own"),
        ({"variants": variants({}, {"speed": 1})}, "variant 2 has 'speed', which nobody reads; allowed: name, policy"),
        ({"variants": variants({}, {"weights": {"quality": 1}})}, "say in judged_by"),
        ({"variants": variants({}, {"weights": {"quality": -1}}), "judged_by": {"quality": 1}}, "quality is -1"),
        ({"variants": "old,new"}, "variants are 'old,new'; allowed: a list"),
        ({"variants": [1, 2]}, "variant 1 is 1; allowed: an object"),
        ({"control": "other"}, "control is 'other'; allowed: one of the variants, old, new"),
        ({"control": None}, "the plan has no control; it needs one"),
        ({"experiment_id": "Faster drafts"}, "experiment_id is 'Faster drafts'; allowed"),
        ({"experiment_id": "exp\n"}, "experiment_id is"),
        ({"experiment_id": 3}, "experiment_id is 3; allowed"),
        ({"hypothesis": "  "}, "hypothesis is missing"),
        ({"traffic": 0}, "traffic is 0; allowed"),
        ({"traffic": 1.1}, "traffic is 1.1; allowed"),
        ({"traffic": "all"}, "traffic is 'all'; allowed"),
        ({"alpha": 0}, "alpha is 0; allowed"),
        ({"least_units": 0}, "least_units is 0; allowed"),
        ({"least_units": 2.5}, "least_units is 2.5; allowed"),
        ({"unit": "session"}, "unit is 'session'; allowed: user, request"),
        ({"kind": "ab"}, "kind is 'ab'; allowed: split, switchback, pools, shadow, apprentice"),
        ({"kind": ["split"]}, r"kind is \['split'\]; allowed"),
        ({"metric": "reward"}, "metric is 'reward'; allowed: utility, quality"),
        ({"slot_s": 60}, "slot_s belongs to kind switchback"),
        ({"takeover": 1}, "takeover belongs to kind apprentice"),
        ({"kind": "switchback"}, "slot_s is None; allowed for a switchback"),
        ({"kind": "switchback", "slot_s": 60}, "carry_over_s is None; allowed"),
        ({"kind": "switchback", "slot_s": 60, "carry_over_s": 60}, "carry_over_s is 60; allowed"),
        (
            {
                "kind": "switchback",
                "slot_s": 60,
                "carry_over_s": 1,
                "variants": variants({"weight": 0.9}, {"weight": 0.1}),
            },
            "divided evenly",
        ),
        ({"kind": "apprentice"}, "takeover is None; allowed"),
        ({"kind": "apprentice", "takeover": 1, "variants": variants({}, {}, {})}, "an apprentice has one master"),
        ({"kind": "shadow", "variants": variants({"weight": 0.5}, {"weight": 0.5})}, "only the control acts"),
        (
            {"kind": "shadow", "guardrails": [{"metric": "rating", "limit": "bound", "value": 1}]},
            "guardrails watch what acts",
        ),
        ({"kind": "shadow", "variants": variants({}, {"learns_from": "own"})}, "acts on nothing, so it has no"),
        ({"kind": "pools"}, "variant old has no pool, and the kind is pools"),
        ({"variants": variants({"pool": ["gan"]}, {})}, "variant old has a pool, and the kind is split"),
        ({"kind": "pools", "variants": variants({"pool": ["gan@a"]}, {"pool": ["gan@b"]})}, "tier gan is in the pools"),
        ({"kind": "pools", "variants": variants({"pool": [1]}, {"pool": ["b"]})}, r"pool is \[1\]; allowed: names"),
        ({"guardrails": [{"metric": "x", "limit": "bound", "value": 1}]}, "guardrails.metric is 'x'; allowed"),
        ({"guardrails": [{"metric": "rating", "limit": "max", "value": 1}]}, "guardrails.limit is 'max'; allowed"),
        ({"guardrails": [{"metric": "rating", "limit": "relative", "value": -1}]}, "guardrails.value is -1; allowed"),
        (
            {"guardrails": [{"metric": "utility", "limit": "relative", "value": 0.1}]},
            "a guardrail on utility is relative, and utility may be 0 or less.* use limit difference",
        ),
        ({"guardrails": [{"metric": "rating"}]}, "guardrail 1 has no limit; it needs one"),
        ({"start": 3}, "the plan has 'start', which nobody reads; allowed: experiment_id"),
    ],
)
def test_plan_that_cannot_be_is_refused_with_what_is_allowed(changes: dict[str, Any], said: str) -> None:
    value = plan() | changes
    with pytest.raises(BadPlan, match=said):
        plan_from_json(value)


@pytest.mark.parametrize("value", [None, [], "plan", 3])
def test_plan_that_is_no_object_is_refused(value: object) -> None:
    with pytest.raises(BadPlan, match="the plan is"):
        plan_from_json(value)


@pytest.mark.parametrize(
    ("variant", "said"),
    [
        ({"policy": "clever"}, "variant new: there is no policy 'clever'; known: "),
        ({"options": {"speed": 1}}, "variant new: policy 'uniform' has no option 'speed'"),
    ],
)
def test_unknown_policy_or_option_is_refused_with_those_that_are_known(variant: dict[str, Any], said: str) -> None:
    with pytest.raises(BadPlan, match=said):
        check_policies(plan_from_json(plan(variants=variants({}, variant))))


def test_variant_of_another_name_is_refused() -> None:
    known = Plan("e", "h", (VariantPlan("a", "uniform", weight=0.5), VariantPlan("b", "uniform", weight=0.5)), "a")
    with pytest.raises(BadPlan, match="has no variant 'c'; it has: a, b"):
        known.variant("c")


@pytest.mark.parametrize("budget", [{"budget_usd": 0.01}, {"budget_usd_per_hour": 3.0}])
@pytest.mark.parametrize("place", [0, 1])
def test_budget_is_held_only_by_a_variant_that_learns_from_its_own_records(budget: dict[str, Any], place: int) -> None:
    def told(**more: Any) -> list[dict[str, Any]]:
        changes: list[dict[str, Any]] = [{}, {}]
        changes[place] = {"policy": "factored", "options": budget} | more
        return variants(*changes)

    with pytest.raises(BadPlan, match=f"has option {next(iter(budget))} and learns from all.*set learns_from own"):
        plan_from_json(plan(variants=told()))
    check_policies(plan_from_json(plan(variants=told(learns_from="own"))))
    assert plan_from_json(plan(variants=told(options={next(iter(budget)): None})))


def test_budget_of_a_variant_that_acts_on_nothing_is_refused() -> None:
    held = variants({}, {"policy": "factored", "options": {"budget_usd": 0.01}})
    with pytest.raises(BadPlan, match="spends nothing that a budget could hold; leave the option out"):
        plan_from_json(plan(kind="shadow", variants=held))
