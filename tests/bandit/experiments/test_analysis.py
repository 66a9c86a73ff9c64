"""Reports from a journal: the right rows, the right numbers, and nobody called a winner too soon."""

import json
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest
from sqlalchemy import event

from bandit.context import Weights
from bandit.errors import NoEvidence, UnknownExperiment
from bandit.experiments.analysis import SETTLE_S, report
from bandit.experiments.report import report_to_json
from bandit.experiments.state import LivePolicy
from bandit.rows import DecisionRow, OutcomeRow, SignalRow
from bandit.utility import utility


def flat(told: Any, **changes: Any) -> Any:
    return lambda variant, rng: told(**{"quality": rng.random(), **changes})


def better(told: Any, gain: float, **changes: Any) -> Any:
    return lambda variant, rng: told(quality=rng.gauss(0.5 + gain * (variant == "new"), 0.1), **changes)


def test_numbers_are_those_of_the_rows(world: Any, told: Any, weights: Weights) -> None:
    world.start(unit="request")

    def outcome(variant: str, rng: Random) -> Any:
        status = rng.choice(["served"] * 6 + ["failed", "refused", "cancelled", None])
        quality = None if rng.random() < 0.2 else rng.random()
        rating = rng.random() if rng.random() < 0.3 else None
        return told(quality, rng.expovariate(1.0), status, rng.choice([0.001, 0.004]), rating)

    rows = world.ask(600, outcome)
    found = report(world.journal, "exp", world.now_s)
    for name in ("old", "new"):
        one = found.variant(name)
        mine = {row.decision_id for row in rows if isinstance(row, DecisionRow) and row.variant == f"exp:{name}"}
        done = [row for row in rows if isinstance(row, OutcomeRow) and row.decision_id in mine]
        signals = {(row.decision_id, row.kind): row.value for row in rows if isinstance(row, SignalRow)}
        served = [row for row in done if row.status == "served"]
        scored = [row for row in served if (row.decision_id, "quality") in signals]
        failed = [row for row in done if row.status in ("failed", "refused")]
        lost = [row for row in done if row.status != "served"]
        assert (one.exposures, one.units, one.served, one.failed) == (len(mine), len(mine), len(served), len(failed))
        assert (one.pending, one.scored) == (len(mine) - len(done), len(scored))
        worth = [
            utility(weights, signals[row.decision_id, "quality"], row.latency_s, row.cost_usd) for row in scored
        ] + [utility(weights, 0.0, row.latency_s, 0.0) for row in lost]
        ratings = [signals[row.decision_id, "rating"] for row in served if (row.decision_id, "rating") in signals]
        waits = sorted(row.latency_s for row in served)
        assert one.values == pytest.approx(
            {
                "utility": np.mean(worth),
                "quality": np.mean([signals[row.decision_id, "quality"] for row in scored]),
                "latency_s": np.mean(waits),
                "latency_p50_s": waits[len(waits) // 2],
                "latency_p95_s": waits[int(len(waits) * 0.95)],
                "cost_usd": np.mean([row.cost_usd for row in served]),
                "error_rate": len(lost) / len(done),
                "rating": np.mean(ratings),
            }
        )
        assert all(one.values[metric] in one.intervals[metric] for metric in one.values)
    assert set(found.variant("new").differences) == set(found.variant("new").values)
    assert found.variant("old").differences == {}
    json.dumps(report_to_json(found), allow_nan=False)


def test_report_of_what_never_ran_says_so(world: Any, told: Any) -> None:
    world.start()
    world.ask(3, flat(told))
    with pytest.raises(UnknownExperiment, match="no experiment 'other'; known: exp"):
        report(world.journal, "other", 0.0)
    world.ledger.create(replace(world.ledger.experiment("exp").plan, experiment_id="fresh"), "ann", 1.0)
    found = report(world.journal, "fresh", 0.0)
    assert (found.winner, found.verdict) == (None, "it was never started, so there is nothing to judge.")
    json.dumps(report_to_json(found), allow_nan=False)


def test_better_variant_wins_and_is_promoted_without_force(world: Any, told: Any) -> None:
    world.start(unit="request")
    world.ask(80, better(told, 0.2))
    early = report(world.journal, "exp", world.now_s)
    assert early.winner is None
    assert "units of 50" in early.verdict
    with pytest.raises(NoEvidence, match="units of 50"):
        world.ledger.promote("exp", "new", "ann", world.now_s)
    world.ask(400, better(told, 0.2))
    found = report(world.journal, "exp", world.now_s)
    assert (found.winner, found.losers) == ("new", ())
    assert 0.2 in found.variant("new").differences["quality"]
    with pytest.raises(NoEvidence, match="new has won"):
        world.ledger.promote("exp", "old", "ann", world.now_s)
    world.ledger.promote("exp", "new", "ann", world.now_s)
    promoted = world.ledger.events("exp")[-1]
    assert (promoted.body["forced"], promoted.body["evidence"]) == (False, found.verdict)
    assert world.ledger.live_policy() == LivePolicy("uniform", {}, "uniform")  # it is the same policy, after all


def test_variant_that_drives_its_callers_away_is_no_winner(world: Any, told: Any) -> None:
    """Whoever left was counted nowhere, so that a slow variant was judged by those who had the patience."""
    world.start(unit="request")

    def outcome(variant: str, rng: Random) -> Any:
        if variant == "new" and rng.random() < 0.6:
            return told(status="cancelled", wait_s=30.0)
        return told(quality=rng.gauss(0.5 + 0.1 * (variant == "new"), 0.1))

    world.ask(500, outcome)
    found = report(world.journal, "exp", world.now_s)
    assert (found.winner, found.losers) == (None, ("new",))
    assert found.variant("new").values["error_rate"] == pytest.approx(0.6, abs=0.1)


def test_units_without_a_measured_value_are_no_evidence(world: Any, told: Any) -> None:
    world.start(unit="request", metric="quality")
    world.ask(300, lambda variant, rng: told(quality=0.5 + rng.random() / 3 if rng.random() < 0.1 else None))
    assert "of 50 whose quality is measured" in report(world.journal, "exp", world.now_s).verdict


def test_a_stop_does_not_take_the_guardrails_away_from_a_promotion(world: Any, told: Any) -> None:
    world.start(unit="request", guardrails=[{"metric": "latency_s", "limit": "relative", "value": 0.2}])
    wait_s = {"old": 1.0, "new": 2.0}
    world.ask(500, lambda name, rng: told(rng.gauss(0.6 if name == "new" else 0.4, 0.1), wait_s[name] + rng.random()))
    assert report(world.journal, "exp", world.now_s).winner is None
    world.ledger.stop("exp", "ann", world.now_s, reason="enough")
    assert report(world.journal, "exp", world.now_s).winner is None
    with pytest.raises(NoEvidence):
        world.ledger.promote("exp", "new", "ann", world.now_s)


def test_worse_variant_loses(world: Any, told: Any) -> None:
    world.start(unit="request")
    world.ask(500, better(told, -0.2))
    found = report(world.journal, "exp", world.now_s)
    assert (found.winner, found.losers) == (None, ("new",))
    assert "it lost" in found.verdict


def test_metric_of_which_less_is_better_is_won_by_less(world: Any, told: Any) -> None:
    world.start(unit="request", metric="latency_s")
    world.ask(400, lambda variant, rng: told(wait_s=rng.random() + (variant == "old")))
    assert report(world.journal, "exp", world.now_s).winner == "new"


def test_skewed_metric_at_a_small_ramp_has_no_winner_before_there_are_enough_units(world: Any, told: Any) -> None:
    variants = [
        {"name": "old", "policy": "uniform", "weight": 0.9},
        {"name": "new", "policy": "uniform", "weight": 0.1},
    ]
    world.start(unit="request", metric="latency_s", least_units=30, variants=variants)

    def outcome(variant: str, rng: Random) -> Any:
        return told(rng.random(), wait_s=rng.lognormvariate(0.0, 1.0) * (0.05 if variant == "new" else 1.0))

    world.ask(400, outcome)
    early = report(world.journal, "exp", world.now_s)
    assert early.variant("new").units >= 30
    assert early.variant("new").differences["latency_s"].high < 0
    assert early.winner is None
    assert "latency_s is too skewed for" in early.verdict
    (note,) = [note for note in early.notes if "do not hold at every look yet" in note]
    assert f"latency_s ({early.variant('new').units} units on the smaller side, needed about" in note
    world.ask(4000, outcome)
    late = report(world.journal, "exp", world.now_s)
    assert late.winner == "new"
    assert not [note for note in late.notes if "latency_s (" in note]


def test_of_several_treatments_each_has_a_part_of_alpha(world: Any, told: Any) -> None:
    variants = [{"name": name, "policy": "uniform"} for name in ("old", "new", "newer", "newest")]
    world.start(unit="request", variants=variants)
    world.ask(600, better(told, 0.2))
    found = report(world.journal, "exp", world.now_s)
    assert found.winner == "new"
    assert "(at every look, 0.9833)" in found.verdict


def test_mismatch_of_the_sample_ratio_forbids_a_winner(world: Any, told: Any) -> None:
    world.start(unit="request")
    world.ask(900, better(told, 0.2))
    assert report(world.journal, "exp", world.now_s).winner == "new"
    world.ask(500, better(told, 0.2), variant="exp:new")  # a gateway that puts everybody into one variant
    found = report(world.journal, "exp", world.now_s)
    assert found.sample_ratio is not None
    assert found.sample_ratio.alarm
    assert found.winner is None
    assert "did not get their planned shares of units" in found.verdict
    assert found.guardrails == ()


def test_guardrail_forbids_a_winner(world: Any, told: Any) -> None:
    world.start(
        unit="request", metric="quality", guardrails=[{"metric": "latency_s", "limit": "relative", "value": 0.1}]
    )
    world.ask(
        500,
        lambda variant, rng: told(
            quality=rng.gauss(0.5 + 0.2 * (variant == "new"), 0.1),
            wait_s=(1 + rng.random()) * (1 + 2 * (variant == "new")),
        ),
    )
    found = report(world.journal, "exp", world.now_s)
    assert found.winner is None
    assert "latency_s of new is worse than the control by more than 0.1 of it" in found.verdict


def test_change_of_weights_is_kept_and_only_later_data_are_counted(world: Any, told: Any) -> None:
    world.start(unit="request")
    world.ask(300, better(told, 0.3))
    world.ledger.ramp("exp", "ann", world.now_s, weights={"old": 0.2, "new": 0.8})
    found = report(world.journal, "exp", world.now_s)
    assert found.variant("new").exposures == 0
    assert "since its weights were changed (event 3)" in found.notes[0]
    world.ask(300 + int(SETTLE_S), better(told, 0.0))
    found = report(world.journal, "exp", world.now_s)
    assert found.variant("new").exposures + found.variant("old").exposures == 300
    assert found.variant("new").exposures == pytest.approx(240, abs=30)
    assert found.winner is None
    assert found.sample_ratio is not None
    assert not found.sample_ratio.alarm  # judged by the new weights


def test_more_traffic_keeps_what_was_counted_and_a_restart_does_not(world: Any, told: Any) -> None:
    world.start(unit="request", traffic=0.5)
    world.ask(200, flat(told))
    before = report(world.journal, "exp", world.now_s).variant("old").exposures
    world.ledger.ramp("exp", "ann", world.now_s, traffic=1.0)
    assert report(world.journal, "exp", world.now_s).variant("old").exposures == before > 0
    world.ledger.stop("exp", "ann", world.now_s, reason="lunch")
    assert report(world.journal, "exp", world.now_s).variant("old").exposures == before
    world.ledger.start("exp", "ann", world.now_s, catalogue=LivePolicy("uniform", {}, "uniform"))
    assert report(world.journal, "exp", world.now_s).variant("old").exposures == 0


def test_decisions_dated_ahead_by_a_wrong_clock_are_not_counted_after_a_change(world: Any, told: Any) -> None:
    """A gateway an hour ahead dates what came before the change after it; its clock is then set back."""
    world.start(unit="request")
    world.ask(100, better(told, 0.4), skew_s=3600.0)
    world.ledger.ramp("exp", "ann", world.now_s, weights={"old": 0.3, "new": 0.7})
    world.ask(100, flat(told))
    assert report(world.journal, "exp", world.now_s).variant("new").exposures == 0
    world.now_s += 3700.0
    world.ask(100, flat(told))
    found = report(world.journal, "exp", world.now_s)
    assert found.variant("new").exposures + found.variant("old").exposures == 100


def test_users_are_units_and_a_request_without_one_is_its_own(world: Any, told: Any) -> None:
    world.start()
    world.ask(300, flat(told), users=20)
    world.ask(30, flat(told))
    found = report(world.journal, "exp", world.now_s)
    assert found.variant("old").units + found.variant("new").units == 20 + 30
    assert found.variant("old").exposures + found.variant("new").exposures == 330
    assert found.sample_ratio is not None
    assert found.sample_ratio.crossed == 0


def test_user_in_two_variants_is_told(world: Any, told: Any) -> None:
    world.start()
    world.ask(200, flat(told), users=20)
    world.ask(20, flat(told), users=3, variant="exp:new")
    world.ask(20, flat(told), users=3, variant="exp:old")
    assert any("3 units were seen in more than one variant" in note for note in report(world.journal, "exp", 0.0).notes)


def test_rating_counts_if_it_is_the_callers_or_the_caller_has_no_name(world: Any, told: Any) -> None:
    world.start()
    world.ask(40, lambda variant, rng: told(rating=1.0), users=10)
    world.ask(40, lambda variant, rng: told(rating=0.0, rated_by="user:somebody-else"), users=10)
    found = report(world.journal, "exp", world.now_s)
    assert {found.variant(name).values["rating"] for name in ("old", "new")} == {1.0}
    world.ask(40, lambda variant, rng: told(rating=0.0, rated_by="user:somebody-else"))
    assert report(world.journal, "exp", world.now_s).variant("new").values["rating"] < 1.0  # type: ignore[operator]


def test_weights_that_judge_are_the_plans_where_it_has_some(world: Any, told: Any) -> None:
    variants = [
        {"name": "old", "policy": "uniform"},
        {"name": "new", "policy": "uniform", "weights": {"quality": 5, "latency_per_s": 0.0}},
    ]
    world.start(unit="request", variants=variants, judged_by={"quality": 1, "latency_per_s": 0.5})
    world.ask(100, lambda variant, rng: told(quality=0.8, wait_s=1.0))
    found = report(world.journal, "exp", world.now_s)
    assert [found.variant(name).values["utility"] for name in ("old", "new")] == pytest.approx([0.3, 0.3])


def test_fallback_decisions_of_a_faulty_policy_are_told(world: Any, told: Any) -> None:
    world.start()
    world.ask(50, flat(told))
    world.ask(50, flat(told), policy="fallback:uniform")
    found = report(world.journal, "exp", world.now_s)
    assert found.variant("old").fallbacks + found.variant("new").fallbacks == 50
    assert any("made by a fallback" in note for note in found.notes)


def test_stopped_variant_wins_nothing_and_shifts_no_ratio(world: Any, told: Any) -> None:
    variants = [{"name": name, "policy": "uniform"} for name in ("old", "new", "newer")]
    world.start(unit="request", variants=variants)
    world.ask(600, better(told, 0.3))
    world.ledger.stop_variant("exp", "new", "supervisor", world.now_s, reason="it was too slow")
    world.ask(600, better(told, 0.0))
    found = report(world.journal, "exp", world.now_s)
    assert found.winner is None
    assert found.variant("new").stopped == "it was too slow"
    assert "new was stopped: it was too slow" in found.verdict
    assert found.sample_ratio is not None
    assert set(found.sample_ratio.units) == {"old", "newer"}
    assert not found.sample_ratio.alarm


def slots(world: Any, told: Any, gain: float, **more: Any) -> None:
    """A switchback of slots of 20 s, a request a second, under a load that drifts."""

    def outcome(variant: str, rng: Random) -> Any:
        drift = 0.2 * np.sin(world.now_s / 900.0)
        return told(quality=rng.gauss(0.5 + drift + gain * (variant == "new"), 0.05))

    world.start(kind="switchback", slot_s=20, carry_over_s=5, metric="quality", least_units=30)
    world.ask(2800, outcome, **more)


def test_switchback_compares_slots_and_drops_what_carries_over(world: Any, told: Any) -> None:
    slots(world, told, gain=0.05)
    found = report(world.journal, "exp", world.now_s)
    assert found.winner == "new"
    assert 0.05 in found.variant("new").differences["quality"]
    assert found.variant("new").units == pytest.approx(70, abs=1)
    assert found.variant("old").exposures + found.variant("new").exposures == pytest.approx(2100, abs=20)
    assert found.sample_ratio is None


def test_switchback_of_equal_variants_has_no_winner_and_odd_decisions_are_left_out(world: Any, told: Any) -> None:
    slots(world, told, gain=0.0)
    world.ask(200, flat(told, quality=1.0), variant="exp:new")  # a gateway that does not switch
    found = report(world.journal, "exp", world.now_s)
    assert found.winner is None
    assert any("were in no slot of their variant" in note for note in found.notes)


def test_report_scans_no_history(world: Any, told: Any) -> None:
    """The query plan, not a stopwatch: decisions outside of the experiment must not be read."""
    world.start()
    world.ask(20, flat(told))
    world.ledger.ramp("exp", "ann", world.now_s, weights={"old": 0.9, "new": 0.1})
    plans: list[str] = []

    def explain(connection, cursor, statement: str, parameters: tuple, *_: object) -> None:  # type: ignore[no-untyped-def]
        if statement.startswith("SELECT") and "experiment_events" not in statement:
            cursor.execute("EXPLAIN QUERY PLAN " + statement, parameters)
            plans.extend(row[3] for row in cursor.fetchall())

    event.listen(world.journal._database.engine, "before_cursor_execute", explain)
    report(world.journal, "exp", world.now_s)
    world.ledger.ramp("exp", "ann", world.now_s, weights={"old": 0.5, "new": 0.5})
    event.remove(world.journal._database.engine, "before_cursor_execute", explain)
    assert any("decisions_variant (variant=? AND created_at_s>?)" in plan for plan in plans)
    assert [plan for plan in plans if plan.startswith("SCAN")] == []
