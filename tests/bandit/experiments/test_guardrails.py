"""Guardrails: a variant that is worse is stopped, one that is only unlucky is not."""

import numpy as np
import pytest

from bandit.experiments.design import Guardrail, Plan, VariantPlan
from bandit.experiments.guardrails import judge
from bandit.experiments.measures import Measures, measure
from bandit.experiments.observations import FAILED, SERVED, Observations

WEIGHTS = {"old": 0.5, "new": 0.5}


def plan(*guardrails: Guardrail) -> Plan:
    variants = tuple(VariantPlan(name, "uniform", weight=0.5) for name in ("old", "new"))
    return Plan("exp", "none", variants, "old", guardrails=guardrails)


def seen(
    rng: np.random.Generator,
    count: int,
    *,
    slower: float = 1.0,
    failing: float = 0.01,
    worth: float = 0.5,
    each: int = 1,
    waits: np.ndarray | None = None,
) -> Measures:
    failed = rng.random(count) < failing
    return measure(
        Observations(
            unit=np.arange(count) // each,
            at_s=np.arange(count, dtype=float),
            status=np.where(failed, FAILED, SERVED).astype(np.int8),
            wait_s=slower * (0.2 + rng.exponential(size=count)) if waits is None else waits,
            cost_usd=np.where(failed, np.nan, 0.01),
            quality=np.where(failed, np.nan, 0.7),
            rating=np.full(count, np.nan),
            utility=rng.normal(worth, 0.3, size=count),
            fallback=np.zeros(count, dtype=bool),
        )
    )


@pytest.mark.parametrize(
    ("guardrail", "worse"),
    [
        (Guardrail("latency_p95_s", "relative", 0.1), {"slower": 1.6}),
        (Guardrail("latency_p95_s", "difference", 0.5), {"slower": 1.8}),
        (Guardrail("latency_s", "bound", 1.5), {"slower": 2.0}),
        (Guardrail("latency_p50_s", "bound", 1.5), {"slower": 3.0}),
        (Guardrail("utility", "difference", 0.1), {"worth": 0.3}),
        (Guardrail("utility", "bound", 0.4), {"worth": 0.3}),
        (Guardrail("error_rate", "relative", 0.5), {"failing": 0.05}),
        (Guardrail("error_rate", "difference", 0.02), {"failing": 0.08}),
        (Guardrail("error_rate", "bound", 0.02), {"failing": 0.05}),
    ],
)
def test_variant_beyond_a_guardrail_is_told_and_one_within_is_not(
    guardrail: Guardrail, worse: dict[str, float]
) -> None:
    rng = np.random.default_rng(12)
    old, like, new = seen(rng, 4000), seen(rng, 4000), seen(rng, 4000, **worse)  # type: ignore[arg-type]
    (good,) = judge(plan(guardrail), {"old": old, "new": like}, WEIGHTS)
    (bad,) = judge(plan(guardrail), {"old": old, "new": new}, WEIGHTS)
    (better,) = judge(plan(guardrail), {"old": new, "new": old}, WEIGHTS)
    assert (good.breached, bad.breached, better.breached) == (False, True, False)
    assert f"{guardrail.metric} of new is worse" in bad.sentence
    assert "is not known to be worse" in good.sentence


def test_negative_utility_is_worse_where_it_is_lower() -> None:
    rng = np.random.default_rng(13)
    rail = Guardrail("utility", "difference", 0.2)
    old = seen(rng, 4000, worth=-1.0)
    (like,) = judge(plan(rail), {"old": old, "new": seen(rng, 4000, worth=-1.1)}, WEIGHTS)
    (worse,) = judge(plan(rail), {"old": old, "new": seen(rng, 4000, worth=-1.5)}, WEIGHTS)
    assert (like.breached, worse.breached) == (False, True)


def test_broken_variant_is_stopped_after_a_few_errors() -> None:
    rng = np.random.default_rng(14)
    (verdict,) = judge(
        plan(Guardrail("error_rate", "relative", 0.5)),
        {"old": seen(rng, 20, failing=0.0), "new": seen(rng, 20, failing=1.0)},
        WEIGHTS,
    )
    assert verdict.breached
    assert "20 units of it and 0 of old" in verdict.sentence


def test_guardrails_looked_at_daily_stop_nobody_by_chance() -> None:
    """A/A over 30 looks with two guardrails that allow no margin at all: the hardest case."""
    rng = np.random.default_rng(15)
    rails = plan(Guardrail("error_rate", "relative", 0.0), Guardrail("latency_s", "relative", 0.0))
    runs, stopped = 80, 0
    for _ in range(runs):
        stopped += _any_breach(rng, rails)
    assert stopped / runs <= 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5


def _any_breach(rng: np.random.Generator, rails: Plan) -> bool:
    units, failed = 40 * 30, rng.random((2, 40 * 30)) < 0.03
    waits = 0.2 + rng.exponential(size=(2, units))
    for end in range(40, units + 1, 40):
        sides = {}
        for place, name in enumerate(("old", "new")):
            sides[name] = measure(
                Observations(
                    unit=np.arange(end),
                    at_s=np.arange(end, dtype=float),
                    status=np.where(failed[place, :end], FAILED, SERVED).astype(np.int8),
                    wait_s=waits[place, :end],
                    cost_usd=np.full(end, 0.01),
                    quality=np.full(end, 0.7),
                    rating=np.full(end, np.nan),
                    utility=np.full(end, 0.5),
                    fallback=np.zeros(end, dtype=bool),
                )
            )
        if any(verdict.breached for verdict in judge(rails, sides, WEIGHTS)):
            return True
    return False


def test_plan_without_guardrails_and_control_without_data_are_judged_by_nothing() -> None:
    rng = np.random.default_rng(16)
    both = {"old": seen(rng, 100), "new": seen(rng, 100)}
    assert judge(plan(), both, WEIGHTS) == ()
    assert judge(plan(Guardrail("utility", "bound", 0.0)), {"new": both["new"]}, WEIGHTS) == ()


def test_users_who_ask_often_break_no_bound_on_errors_by_asking() -> None:
    """Of users with 100 requests each nearly all have a failure some time, at one in a hundred."""
    rng = np.random.default_rng(17)
    rail = Guardrail("error_rate", "bound", 0.05)
    old, like = seen(rng, 20_000, each=100), seen(rng, 20_000, each=100)
    assert like.failed_units > 0.5 * like.units
    assert not judge(plan(rail), {"old": old, "new": like}, WEIGHTS)[0].breached
    worse = seen(rng, 20_000, each=100, failing=0.3)
    assert judge(plan(rail), {"old": old, "new": worse}, WEIGHTS)[0].breached


def test_users_who_ask_often_show_a_worse_rate_though_all_of_them_had_a_failure() -> None:
    rng = np.random.default_rng(18)
    rail = Guardrail("error_rate", "relative", 0.2)
    old, worse = seen(rng, 20_000, each=200, failing=0.1), seen(rng, 20_000, each=200, failing=0.2)
    assert worse.failed_units == old.failed_units == old.units
    assert judge(plan(rail), {"old": old, "new": worse}, WEIGHTS)[0].breached
    assert not judge(plan(rail), {"old": worse, "new": old}, WEIGHTS)[0].breached


@pytest.mark.parametrize(
    "rail",
    [
        Guardrail("latency_s", "relative", 0.0),
        Guardrail("latency_s", "difference", 0.0),
        Guardrail("latency_s", "bound", 1.6),
    ],
)
def test_means_of_skewed_values_wait_until_they_are_of_enough_units(rail: Guardrail) -> None:
    rng = np.random.default_rng(19)

    def slow(count: int, times: float) -> Measures:
        return seen(rng, count, waits=times * rng.lognormal(size=count))

    old, few, many = slow(6000, 1.0), slow(90, 4.0), slow(900, 4.0)
    (early,) = judge(plan(rail), {"old": old, "new": few}, WEIGHTS)
    (late,) = judge(plan(rail), {"old": old, "new": many}, WEIGHTS)
    assert early.interval is not None
    assert early.interval.low > max(rail.value, 0.0)  # were it to be believed
    assert (early.breached, late.breached) == (False, True)
    assert "waits for more units, as values are skewed" in early.sentence
    assert "at every look" in late.sentence
