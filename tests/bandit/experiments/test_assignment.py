"""Which unit gets what: sticky, everywhere the same, and moved as little as can be."""

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from bandit.context import Weights
from bandit.experiments.assignment import (
    Running,
    acts,
    assign,
    column,
    find,
    seen_by,
    shadows,
    slot_number,
    switchback_slot,
    variant_of_slot,
)
from bandit.experiments.design import Plan, VariantPlan, plan_from_json
from bandit.experiments.shares import TICKS, reshared, ticks_of
from bandit.fake_traffic import fake_request

UNITS = [f"user-{number}" for number in range(4000)]


def plan(name: str = "exp", **changes: object) -> Plan:
    value = {
        "experiment_id": name,
        "hypothesis": "none",
        "control": "a",
        "variants": [{"name": "a", "policy": "uniform"}, {"name": "b", "policy": "uniform"}],
    }
    return plan_from_json(value | changes)


def running(planned: Plan, claim: tuple[tuple[int, int], ...] = ((0, TICKS),)) -> Running:
    return Running(planned, claim, reshared({}, ticks_of(planned.weights), ((0, TICKS),)))


def test_units_are_divided_by_weight() -> None:
    three = [
        {"name": name, "policy": "uniform", "weight": weight} for name, weight in (("a", 0.5), ("b", 0.3), ("c", 0.2))
    ]
    counts = Counter(assign(running(plan(variants=three)), unit) for unit in UNITS)
    assert counts["a"] == pytest.approx(2000, abs=150)
    assert counts["b"] == pytest.approx(1200, abs=150)
    assert counts["c"] == pytest.approx(800, abs=150)


def test_assignment_in_another_process_is_the_same(root: Path) -> None:
    experiment = running(plan(), ((0, TICKS // 2),))
    here = [assign(experiment, unit) for unit in UNITS[:200]]
    script = (
        "from bandit.experiments.assignment import Running, assign\n"
        "from bandit.experiments.design import plan_from_json\n"
        "from bandit.experiments.shares import TICKS, reshared, ticks_of\n"
        "v = [{'name': n, 'policy': 'uniform'} for n in 'ab']\n"
        "p = plan_from_json({'experiment_id': 'exp', 'hypothesis': 'none', 'control': 'a', 'variants': v})\n"
        "e = Running(p, ((0, TICKS // 2),), reshared({}, ticks_of(p.weights), ((0, TICKS),)))\n"
        "print([assign(e, f'user-{n}') for n in range(200)])\n"
    )
    there = subprocess.run(
        [sys.executable, "-c", script],
        cwd=root,
        env={"PYTHONHASHSEED": "7", "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.strip() == repr(here)
    assert {None, "a", "b"} == set(here)


def test_ramping_weights_moves_only_the_share_that_must_move() -> None:
    before = running(plan())
    weights = {"a": 0.7, "b": 0.3}
    after = replace(before, shares=reshared(before.shares, ticks_of(weights)))
    moves = Counter((assign(before, unit), assign(after, unit)) for unit in UNITS)
    assert moves["a", "b"] == 0
    assert moves["b", "a"] / len(UNITS) == pytest.approx(0.2, abs=0.02)


def test_growing_traffic_moves_nobody_who_was_in() -> None:
    small, large = running(plan(), ((0, TICKS // 10),)), running(plan(), ((0, TICKS // 2),))
    was = {unit: assign(small, unit) for unit in UNITS}
    now = {unit: assign(large, unit) for unit in UNITS}
    assert all(now[unit] == variant for unit, variant in was.items() if variant is not None)
    assert sum(variant is not None for variant in was.values()) == pytest.approx(400, abs=80)


def test_experiments_side_by_side_share_no_unit_and_divide_independently() -> None:
    first = running(plan("first"), ((0, TICKS // 2),))
    second = running(plan("second"), ((TICKS // 2, TICKS),))
    found = [find([first, second], unit, 0.0) for unit in UNITS]
    assert all(one is not None for one in found)
    assert not [unit for unit in UNITS if assign(first, unit) and assign(second, unit)]
    # A second experiment on the same units divides them anew.
    other = running(plan("other"), ((0, TICKS // 2),))
    both = Counter((assign(first, unit), assign(other, unit)) for unit in UNITS if assign(first, unit))
    assert all(count == pytest.approx(500, abs=90) for count in both.values())
    assert len(both) == 4


def test_another_salt_divides_the_same_units_anew() -> None:
    first, second = running(plan()), running(plan(salt="again"))
    same = sum(assign(first, unit) == assign(second, unit) for unit in UNITS)
    assert same / len(UNITS) == pytest.approx(0.5, abs=0.05)


def test_units_of_a_stopped_variant_leave_the_experiment() -> None:
    whole = running(plan())
    rest = replace(whole, stopped=frozenset({"b"}))
    for unit in UNITS[:200]:
        before = assign(whole, unit)
        assert assign(rest, unit) == (None if before == "b" else "a")


def test_exposure_says_what_the_decision_row_says() -> None:
    exposure = find([running(plan())], "user-1", 0.0)
    assert exposure is not None
    assert exposure.column == f"exp:{exposure.variant}" == column(exposure.experiment.plan, exposure.variant)
    assert not exposure.carry_over


def switchback(count: int = 2) -> Running:
    variants = [{"name": name, "policy": "uniform"} for name in "abcd"[:count]]
    return replace(
        running(plan(kind="switchback", slot_s=60, carry_over_s=15, variants=variants)), origin_s=1_000_000.0
    )


@pytest.mark.parametrize("count", [2, 3, 4])
def test_each_block_of_slots_has_every_variant_once(count: int) -> None:
    experiment = switchback(count)
    blocks = [
        [variant_of_slot(experiment.plan, slot) for slot in range(start, start + count)]
        for start in range(-10 * count, 200 * count, count)
    ]
    assert all(sorted(block) == sorted(experiment.plan.names) for block in blocks)
    first = Counter(block[0] for block in blocks)
    assert all(abs(first[name] - len(blocks) / count) < 40 for name in experiment.plan.names)


def test_all_units_have_the_variant_of_the_slot_and_its_start_is_carry_over() -> None:
    experiment = switchback()
    for now_s, carries in ((1_000_000.0, True), (1_000_014.9, True), (1_000_015.0, False), (1_000_059.9, False)):
        assert {assign(experiment, unit, now_s) for unit in UNITS[:50]} == {variant_of_slot(experiment.plan, 0)}
        assert switchback_slot(experiment, now_s) == (variant_of_slot(experiment.plan, 0), carries)
        exposure = find([experiment], "user-1", now_s)
        assert exposure is not None
        assert exposure.column.endswith(":carry") == exposure.carry_over == carries
    assert slot_number(experiment, 1_000_060.0) == 1
    assert slot_number(experiment, 999_999.0) == -1  # a clock that was set back still finds a slot


def test_switchback_needs_the_time() -> None:
    with pytest.raises(ValueError, match="depends on the time"):
        assign(switchback(), "user-1")


def test_shadows_decide_and_only_the_control_acts() -> None:
    experiment = running(plan(kind="shadow"))
    assert {assign(experiment, unit) for unit in UNITS[:100]} == {"a"}
    assert shadows(experiment) == ("b",)
    assert shadows(replace(experiment, stopped=frozenset({"b"}))) == ()
    assert (acts(experiment.plan, "a"), acts(experiment.plan, "b")) == (True, False)
    assert shadows(running(plan())) == ()


def test_variant_sees_its_own_pool_and_weights() -> None:
    context = fake_request(1).decision.context
    variants = [
        {"name": "a", "policy": "uniform", "pool": ["gan", "diffusion@8"]},
        {"name": "b", "policy": "uniform", "pool": ["flow"], "weights": {"quality": 3}},
    ]
    planned = plan(kind="pools", variants=variants, judged_by={"quality": 1})
    first, second = seen_by(context, planned, "a"), seen_by(context, planned, "b")
    assert [arm.available for arm in first.arms] == [True, True, False]
    assert [arm.available for arm in second.arms] == [False, False, True]
    assert first.weights == context.weights
    assert second.weights == Weights(3)
    assert seen_by(context, plan(), "a") == context


def test_plan_from_values_is_assigned_like_one_from_json() -> None:
    values = Plan(
        "exp", "none", (VariantPlan("a", "uniform", weight=0.5), VariantPlan("b", "uniform", weight=0.5)), "a"
    )
    assert [assign(running(values), unit) for unit in UNITS[:50]] == [
        assign(running(plan()), unit) for unit in UNITS[:50]
    ]


def test_requests_drawn_by_themselves_are_of_callers_that_no_other_experiment_has() -> None:
    """An experiment by request and one by user hashed different things, so that one caller could be in both."""
    first = running(plan(unit="request"), ((0, TICKS // 2),))
    second = running(plan("second"), ((TICKS // 2, TICKS),))
    drawn: Counter[str | None] = Counter()
    for unit in UNITS[:200]:
        variants = {assign(first, unit, member=f"{unit}-request-{number}") for number in range(10)}
        drawn.update(variants)
        assert (variants == {None}) == (assign(second, unit) is not None)
    assert drawn["a"] > 50
    assert drawn["b"] > 50
