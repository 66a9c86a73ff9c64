"""The whole answer against known truths, and no number where the log cannot answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bandit.context import Record, Weights
from bandit.errors import CannotEvaluate
from bandit.evaluation.command import evaluate
from bandit.evaluation.report import report
from bandit.evaluation.rewards import Reward
from bandit.evaluation.rounds import Collector, Rounds
from bandit.evaluation.simulated_log import simulate, write
from bandit.journal import Journal
from bandit.policies import build

ARMS = ("gan@one", "diffusion@20", "flow@full")


def test_values_hold_the_truth_of_the_table(even_log) -> None:
    truth = even_log.truth
    answer = evaluate(even_log.journal, "flow@full")
    assert truth.acted() in answer.earned.interval
    for row, value in ((answer.target, truth.value("flow@full")), (answer.uniform, truth.uniform())):
        assert row.valuation is not None
        for one in (row.valuation.ips, row.valuation.self_normalised, row.valuation.doubly_robust):
            assert value in one.interval
            assert value - truth.acted() in one.difference_interval
    assert [row.name for row in answer.fixed] == [f"always {arm}" for arm in ARMS]
    for row, arm in zip(answer.fixed, ARMS, strict=True):
        assert truth.value(arm) in row.valuation.best.interval
    assert answer.best_fixed in answer.fixed
    best = max(row.valuation.best.value for row in answer.fixed)
    assert answer.best_fixed.valuation.best.value == best
    # Chosen in hindsight among three, so each of them takes a third of the risk.
    own = next(row for row in answer.fixed if row.name == "always flow@full")
    assert own.valuation.best.interval.width > answer.target.valuation.best.interval.width


def test_a_target_that_learns_is_found_better_than_the_even_draws_that_it_learns_from(even_log) -> None:
    answer = evaluate(even_log.journal, "factored")
    best = answer.target.valuation.best
    assert best.difference_interval.low > 0
    assert answer.verdict.startswith("factored would have earned 0.")
    assert answer.verdict.endswith("more")
    assert "has learned every outcome of the log that was complete by then" in answer.estimand
    # A fresh run of the policy itself is on its own traffic; this one learns from even draws, which teach more.
    itself = simulate(build("factored"), 1500, seed=1).acted()
    assert best.interval.low < itself + 0.05


def test_the_policy_that_logged_is_worth_what_was_earned(learned_log) -> None:
    answer = evaluate(learned_log.journal, "live", {"floor": 0.2})
    best = answer.target.valuation.best
    assert answer.target.name == "live (factored)"
    assert best.difference == 0.0
    assert best.difference_interval.low < 0 < best.difference_interval.high
    assert learned_log.truth.acted() in best.interval
    assert answer.verdict.endswith("neither clearly more nor less")
    assert answer.target.support.effective_rounds == pytest.approx(1500)


def test_a_log_without_exploration_gets_a_sentence_and_no_number(stubborn_log, tmp_path: Path) -> None:
    answer = evaluate(stubborn_log.journal, "uniform")
    assert answer.target.valuation is None
    assert answer.verdict.startswith("the log cannot answer: uniform puts 67% of its draws on arms that the log never")
    assert "gan@one, diffusion@20" in answer.verdict
    shown = answer.to_json()
    assert shown["target"]["ips"] is shown["target"]["self_normalised"] is shown["target"]["doubly_robust"] is None
    assert shown["target"]["answered"] is False
    assert "uniform                   the log cannot answer" in answer.to_text()
    assert answer.best_fixed.name == "always flow@full", "the one that it can judge: what it did itself"
    own = evaluate(stubborn_log.journal, "flow@full")
    assert own.target.valuation.best.value == pytest.approx(own.earned.value)


def test_rounds_of_a_variant_without_exploration_can_be_left_out(even_log, tmp_path: Path) -> None:
    """Half of the requests, by chance, went to a variant that is fixed on an arm."""
    records = list(even_log.truth.records[:900])
    for number in range(0, 900, 2):
        one = records[number]
        certain = {arm.name: float(arm.name == one.decision.arm) for arm in one.context.arms}
        records[number] = replace(one, decision=replace(one.decision, propensity=1.0, probabilities=certain))
    journal = Journal.open(f"sqlite:///{tmp_path}/journal.db")
    write(journal, records, "mixed")
    refused = evaluate(journal, "uniform")
    assert refused.target.valuation is None
    assert "leave them out (explored only)" in refused.verdict
    answer = evaluate(journal, "uniform", explored_only=True)
    assert answer.target.valuation is not None
    assert answer.used == 450
    assert dict(answer.excluded) == {"the log could have drawn nothing else": 450}
    journal.close()


def test_too_few_effective_rounds_get_a_sentence_and_no_number(even_log) -> None:
    answer = evaluate(even_log.journal, "flow@full", least_effective=1000)
    assert answer.target.valuation is None
    assert "rounds speak for flow@full (effective sample size; at least 1000 are needed)" in answer.verdict
    assert answer.best_fixed is None
    assert "best fixed arm: the log can answer for none" in answer.to_text()


def test_json_holds_what_the_text_says_and_nothing_that_is_not_json(even_log) -> None:
    answer = evaluate(even_log.journal, "vowpal")
    shown = json.loads(json.dumps(answer.to_json(), allow_nan=False))
    text = answer.to_text()
    best = shown["target"]["doubly_robust"]
    assert f"{best['value']:.4f} [{best['interval'][0]:.3f}, {best['interval'][1]:.3f}]" in text
    assert f"{shown['log']['value']:.4f}" in text
    assert f"in {shown['reward']['low']:.4g} to {shown['reward']['high']:.4g}" in text
    assert shown["rounds"] == {"decided": 1500, "used": 1500, "excluded": {}}
    assert shown["verdict"] in text
    assert "2023-11-14 22:13:20 UTC to" in text
    assert "'rounds' is the effective sample size" in text


def test_warnings_tell_of_a_small_share_and_of_clipped_rewards(even_log, tmp_path: Path) -> None:
    records = [replace(one, quality_is_default=number < 250) for number, one in enumerate(even_log.truth.records[:400])]
    for number in range(300, 320):
        records[number] = replace(records[number], latency_s=100.0)
    journal = Journal.open(f"sqlite:///{tmp_path}/journal.db")
    write(journal, records, "uniform")
    answer = evaluate(journal, "uniform")
    share, clipped = answer.warnings
    assert share.startswith("only 150 of 400 rounds are of use")
    assert clipped.startswith("13.3% of the rewards lie beyond -0.45 to 1 and are clipped")
    for warning in answer.warnings:
        assert f"warning: {warning}" in answer.to_text()
    assert "250 × the quality was never measured" in answer.to_text()
    journal.close()


def half_of(records: Sequence[Record], arm: str) -> list[Record]:
    return [one for one in records if one.decision.arm == arm][::2]


def test_an_arm_that_fails_half_the_time_is_worth_what_its_callers_got(even_log, tmp_path: Path) -> None:
    """Judged by the requests that it survived, it would be the best."""
    records, arm = even_log.truth.records, "flow@full"
    lost = {one.decision_id: "failed" for one in half_of(records, arm)}
    journal = Journal.open(f"sqlite:///{tmp_path}/journal.db")
    write(journal, records, "uniform", unserved=lost)
    answer = evaluate(journal, arm)
    drawn = [one for one in records if one.decision.arm == arm]
    got = [
        -one.context.weights.latency_per_s * one.latency_s if one.decision_id in lost else Reward().of(one)
        for one in drawn
    ]
    assert answer.target.valuation.self_normalised.value == pytest.approx(sum(got) / len(got))
    assert answer.target.valuation.best.difference_interval.high < 0
    assert answer.verdict.endswith("less")
    assert answer.used == answer.decided == 1500
    assert f"not served, so of quality 0: {len(lost)}" in answer.to_text()
    assert answer.to_json()["by_arm"][arm] == {"rounds": len(drawn), "not_served": len(lost), "missing": 0}
    journal.close()


def test_an_arm_that_loses_many_of_its_rewards_gets_no_number(even_log, tmp_path: Path) -> None:
    records, arm = even_log.truth.records, "flow@full"
    half = half_of(records, arm)
    for share, numbers, refused in ((1, "50%", True), (5, "10.1%", False)):
        journal = Journal.open(f"sqlite:///{tmp_path}/{share}.db")
        write(journal, records, "uniform", unserved={one.decision_id: "cancelled" for one in half[::share]})
        answer = evaluate(journal, "factored")
        rows = (answer.target, answer.uniform, *answer.fixed)
        assert [row.valuation is None for row in rows] == [refused] * len(rows)
        said = answer.verdict if refused else answer.warnings[0]
        assert numbers in said
        assert f"that drew {arm}" in said
        assert "have no reward" in said
        journal.close()


def test_one_request_of_extreme_weights_leaves_the_intervals_of_all_as_they_are(even_log, tmp_path: Path) -> None:
    plain = evaluate(even_log.journal, "flow@full").target.valuation.best.interval
    records = list(even_log.truth.records)
    wild = replace(records[700].context, weights=Weights(1.0, 1e6, 6.0))
    records[700] = replace(records[700], context=wild)
    journal = Journal.open(f"sqlite:///{tmp_path}/journal.db")
    write(journal, records, "uniform")
    answer = evaluate(journal, "flow@full")
    assert answer.target.valuation.best.interval.width < 1.5 * plain.width
    assert answer.warnings[0].startswith(
        "1 of 1500 requests weigh time, cost or quality so that they reach beyond -0.9"
    )
    assert answer.to_json()["reward"]["outlying"] == 1
    journal.close()


def test_few_requests_that_hold_most_of_what_can_be_lost_are_told_of(even_log, tmp_path: Path) -> None:
    records = list(even_log.truth.records[:600])
    for number in range(0, 600, 20):
        heavy = replace(records[number].context, weights=Weights(1.0, 100.0, 6.0))
        records[number] = replace(records[number], context=heavy)
    journal = Journal.open(f"sqlite:///{tmp_path}/journal.db")
    write(journal, records, "uniform")
    answer = evaluate(journal, "uniform")
    assert any(one.startswith("5.0% of the requests, those with Weights(quality=1.0, lat") for one in answer.warnings)
    assert answer.to_json()["reward"]["dominant"]["weights"]["latency_per_s"] == 100.0
    journal.close()


def test_reward_may_be_the_quality(even_log) -> None:
    answer = evaluate(even_log.journal, "flow@full", reward="quality")
    assert (answer.low, answer.high, answer.reward) == (0.0, 1.0, "quality")
    drawn = [one.quality for one in even_log.truth.records if one.served_arm == "flow@full"]
    assert answer.target.valuation.self_normalised.value == pytest.approx(sum(drawn) / len(drawn))


def test_rounds_may_also_be_made_by_hand(even_log) -> None:
    """What an experiment needs for a shadow policy: its logged probabilities instead of a policy's."""
    collector = Collector("utility")
    for record in even_log.truth.records[:300]:
        collector.add(record, record.decision, dict.fromkeys(ARMS, 0.5), 0.5)
    rounds: Rounds = collector.rounds(300)
    answer = report(rounds, "shadow", "by hand", reward="utility", first_s=0.0, last_s=1.0)
    assert answer.target.valuation.best.value == pytest.approx(0.5)
    with pytest.raises(CannotEvaluate, match="none of 7 rounds"):
        Collector("utility").rounds(7)
