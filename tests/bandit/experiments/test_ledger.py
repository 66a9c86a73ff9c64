"""Commands on experiments: what each does, what each refuses, and what two at once do.

Over 400 lines, since the commands share one life of an experiment, and its fixtures.
"""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from bandit.course import CoursePlan
from bandit.errors import (
    BadPlan,
    ExperimentConflict,
    ExperimentError,
    ExperimentRefused,
    NoEvidence,
    UnknownExperiment,
)
from bandit.experiments import ledger as ledger_module
from bandit.experiments.assignment import assign
from bandit.experiments.courses import courses, snapshot_name
from bandit.experiments.design import Plan, plan_from_json
from bandit.experiments.events import Event, append_event
from bandit.experiments.ledger import Ledger
from bandit.experiments.shares import TICKS, size
from bandit.experiments.state import LivePolicy
from bandit.fake_traffic import fake_request
from bandit.journal import Journal
from bandit.tables import experiment_events

CATALOGUE = LivePolicy("factored", {"floor": 0.1}, "factored")
UNITS = [f"user-{number}" for number in range(1500)]


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal.open(f"sqlite:///{tmp_path}/journal.db")
    yield journal
    journal.close()


@pytest.fixture
def ledger(journal: Journal) -> Ledger:
    return Ledger(journal)


def plan(name: str = "exp", **changes: Any) -> Plan:
    value = {
        "experiment_id": name,
        "hypothesis": "none",
        "control": "old",
        "variants": [
            {"name": "old", "policy": "factored", "options": {"floor": 0.1}},
            {"name": "new", "policy": "uniform", "learns_from": "own"},
        ],
    }
    return plan_from_json(value | changes)


def started(ledger: Ledger, name: str = "exp", **changes: Any) -> None:
    ledger.create(plan(name, **changes), "ann", 10.0)
    ledger.start(name, "ann", 11.0, catalogue=CATALOGUE)


def test_created_experiment_runs_only_when_it_is_started(ledger: Ledger) -> None:
    assert ledger.create(plan(), "ann", 10.0).status == "created"
    assert ledger.running() == ()
    experiment = ledger.start("exp", "bob", 11.0, catalogue=CATALOGUE)
    assert experiment.status == "running"
    (running,) = ledger.running()
    assert Counter(assign(running, unit) for unit in UNITS)["old"] == pytest.approx(750, abs=120)
    assert [(event.kind, event.actor, event.at_s) for event in ledger.events("exp")] == [
        ("created", "ann", 10.0),
        ("started", "bob", 11.0),
    ]


def test_another_process_sees_the_same(ledger: Ledger, journal: Journal) -> None:
    started(ledger, traffic=0.3)
    ledger.ramp("exp", "ann", 12.0, weights={"old": 0.8, "new": 0.2}, traffic=0.6)
    other = Ledger(Journal.open(journal._database.shown_url))
    assert other.state() == ledger.state()
    assert [assign(other.running()[0], unit) for unit in UNITS] == [assign(ledger.running()[0], unit) for unit in UNITS]


def test_ramp_keeps_units_and_tells_from_when_it_counts(ledger: Ledger) -> None:
    started(ledger, traffic=0.3)
    (before,) = ledger.running()
    grown = ledger.ramp("exp", "ann", 12.0, traffic=0.6)
    assert (grown.since_s, grown.since) == (11.0, "it was started")  # more units of the same division
    (after,) = ledger.running()
    for unit in UNITS:
        if assign(before, unit) is not None:
            assert assign(after, unit) == assign(before, unit)
    weighed = ledger.ramp("exp", "ann", 13.0, weights={"old": 0.9, "new": 0.1})
    assert (weighed.since_s, weighed.since) == (13.0, "its weights were changed")
    shrunk = ledger.ramp("exp", "ann", 14.0, traffic=0.1)
    assert (shrunk.since_s, shrunk.since) == (14.0, "its traffic was reduced")
    assert [(one.what, one.weights["new"], one.traffic) for one in shrunk.history] == [
        ("started", 0.5, 0.3),
        ("traffic grown", 0.5, 0.6),
        ("weights", 0.1, 0.6),
        ("traffic shrunk", 0.1, 0.1),
    ]


def test_two_experiments_cannot_claim_the_same_units(ledger: Ledger) -> None:
    started(ledger, "first", traffic=0.6)
    ledger.create(plan("second", traffic=0.5), "ann", 12.0)
    with pytest.raises(ExperimentRefused, match=r"wants 0.5 of all units, and 0.4 are free \(taken: first 0.6\)"):
        ledger.start("second", "ann", 13.0, catalogue=CATALOGUE)
    ledger.create(plan("third", traffic=0.4), "ann", 14.0)
    ledger.start("third", "ann", 15.0, catalogue=CATALOGUE)
    with pytest.raises(ExperimentRefused, match=r"wants 0\.7"):
        ledger.ramp("first", "ann", 16.0, traffic=0.7)
    assert all(sum(assign(one, unit) is not None for one in ledger.running()) == 1 for unit in UNITS)
    ledger.stop("third", "ann", 17.0, reason="over")
    ledger.ramp("first", "ann", 18.0, traffic=0.7)
    assert size(ledger.experiment("first").claim) == round(0.7 * TICKS)


def test_restarted_experiment_gets_its_old_units_back_where_they_are_free(ledger: Ledger) -> None:
    started(ledger, "first", traffic=0.5)
    (before,) = ledger.running()
    ledger.stop("first", "ann", 12.0, reason="lunch")
    started(ledger, "second", traffic=0.2)
    ledger.start("first", "ann", 14.0, catalogue=CATALOGUE)
    now = {one.experiment_id: one for one in ledger.running()}
    taken = {unit for unit in UNITS if assign(now["second"], unit)}
    for unit in UNITS:
        if assign(before, unit) is not None and unit not in taken:
            assert assign(now["first"], unit) == assign(before, unit)
    restarted = ledger.experiment("first")
    assert (restarted.since_s, restarted.since, restarted.started_s) == (14.0, "it was restarted", 11.0)


REFUSED: list[tuple[str, Any, type[ExperimentError], str]] = [
    ("an id that is taken", lambda one: one.create(plan(), "ann", 20.0), ExperimentRefused, "already; choose another"),
    (
        "a start of what runs",
        lambda one: one.start("exp", "ann", 20.0, catalogue=CATALOGUE),
        ExperimentRefused,
        "runs already, since event 2",
    ),
    (
        "an unknown id",
        lambda one: one.start("other", "ann", 20.0, catalogue=CATALOGUE),
        UnknownExperiment,
        "no experiment 'other'; known: exp",
    ),
    ("a ramp of an unknown id", lambda one: one.ramp("x", "ann", 20.0, traffic=0.1), UnknownExperiment, "known: exp"),
    ("a stop of an unknown id", lambda one: one.stop("x", "ann", 20.0, reason="r"), UnknownExperiment, "known: exp"),
    ("events of an unknown id", lambda one: one.events("x"), UnknownExperiment, "known: exp"),
    ("a promotion of an unknown id", lambda one: one.promote("x", "new", "ann", 20.0), UnknownExperiment, "known: exp"),
    (
        "a promotion of an unknown variant",
        lambda one: one.promote("exp", "x", "ann", 20.0),
        UnknownExperiment,
        "no variant 'x'; it has: old, new",
    ),
    (
        "a stop of an unknown variant",
        lambda one: one.stop_variant("exp", "x", "ann", 20.0, reason="r"),
        UnknownExperiment,
        "no variant 'x'; it has: old, new",
    ),
    (
        "weights that do not add up",
        lambda one: one.ramp("exp", "ann", 20.0, weights={"old": 0.5, "new": 0.6}),
        BadPlan,
        "add up to 1.1",
    ),
    (
        "weights of others",
        lambda one: one.ramp("exp", "ann", 20.0, weights={"old": 0.5, "x": 0.5}),
        BadPlan,
        "weights are given for old, x; allowed: all of old, new",
    ),
    ("no traffic", lambda one: one.ramp("exp", "ann", 20.0, traffic=0.0), BadPlan, "traffic is 0.0; allowed"),
    ("what it has", lambda one: one.ramp("exp", "ann", 20.0, traffic=1.0), ExperimentRefused, "already"),
    ("nothing", lambda one: one.ramp("exp", "ann", 20.0), ExperimentRefused, "already"),
    ("a stop without a reason", lambda one: one.stop("exp", "ann", 20.0, reason=" "), ExperimentRefused, "a reason is"),
    ("a change by nobody", lambda one: one.stop("exp", "", 20.0, reason="r"), ExperimentRefused, "the actor is ''"),
    ("a roll-back", lambda one: one.roll_back("exp", "ann", 20.0, reason="r"), ExperimentRefused, "exp is running"),
    ("no evidence", lambda one: one.promote("exp", "new", "ann", 20.0), NoEvidence, "nobody has won.*or force it"),
]


@pytest.mark.parametrize(("what", "command", "error", "said"), REFUSED, ids=[one[0] for one in REFUSED])
def test_what_cannot_be_is_refused_and_leaves_no_event(
    ledger: Ledger, what: str, command: Any, error: type[ExperimentError], said: str
) -> None:
    started(ledger)
    before = ledger.events()
    with pytest.raises(error, match=said):
        command(ledger)
    assert ledger.events() == before


def test_stopped_experiment_cannot_be_ramped_stopped_again_or_lose_a_variant(ledger: Ledger) -> None:
    started(ledger)
    ledger.stop("exp", "ann", 12.0, reason="enough seen")
    with pytest.raises(ExperimentRefused, match=r"is stopped \(enough seen\); only a running one can be ramped"):
        ledger.ramp("exp", "ann", 13.0, traffic=0.5)
    with pytest.raises(ExperimentRefused, match="nothing to stop"):
        ledger.stop("exp", "ann", 13.0, reason="again")
    with pytest.raises(ExperimentRefused, match="nothing to stop"):
        ledger.stop_variant("exp", "new", "ann", 13.0, reason="again", once=False)
    assert ledger.running() == ()


def test_created_experiment_cannot_be_ramped_or_promoted(ledger: Ledger) -> None:
    ledger.create(plan(), "ann", 10.0)
    with pytest.raises(ExperimentRefused, match="is created; only a running one"):
        ledger.ramp("exp", "ann", 13.0, traffic=0.5)
    with pytest.raises(ExperimentRefused, match="is created; start it first"):
        ledger.promote("exp", "new", "ann", 13.0, force=True)


def test_unknown_policy_is_refused_at_creation_and_at_a_start_by_a_version_without_it(
    ledger: Ledger, journal: Journal
) -> None:
    with pytest.raises(BadPlan, match="variant new: there is no policy 'clever'"):
        ledger.create(
            plan(variants=[{"name": "old", "policy": "uniform"}, {"name": "new", "policy": "clever"}]), "a", 1
        )
    ledger.create(plan(), "ann", 10.0)
    with journal.write() as connection:
        (body,) = connection.scalars(select(experiment_events.c.body))
        body["plan"]["variants"][1]["policy"] = "of-an-older-version"
        connection.execute(text("UPDATE experiment_events SET body = :body"), {"body": json.dumps(body)})
    fresh = Ledger(journal)
    assert fresh.experiment("exp").status == "created"  # what is stored stays readable
    with pytest.raises(BadPlan, match="there is no policy 'of-an-older-version'"):
        fresh.start("exp", "ann", 11.0, catalogue=CATALOGUE)


def test_stopped_variant_leaves_and_is_stopped_once_however_often_it_is_reported(ledger: Ledger) -> None:
    three = [{"name": name, "policy": "uniform"} for name in ("old", "new", "newer")]
    started(ledger, variants=three)
    for gateway in range(5):
        experiment = ledger.stop_variant("exp", "new", f"gateway {gateway}", 12.0 + gateway, reason="it raised")
    assert experiment.status == "running"
    assert experiment.stopped_variants["new"].actor == "gateway 0"
    assert [event.kind for event in ledger.events()] == ["created", "started", "variant_stopped"]
    (running,) = ledger.running()
    assert {assign(running, unit) for unit in UNITS} == {"old", "newer", None}
    with pytest.raises(ExperimentRefused, match=r"without new already \(it raised"):
        ledger.stop_variant("exp", "new", "ann", 20.0, reason="again", once=False)
    with pytest.raises(ExperimentRefused, match=r"was stopped \(it raised\); it is not promoted, not even by force"):
        ledger.promote("exp", "new", "ann", 20.0, force=True)


@pytest.mark.parametrize(
    ("variant", "why"), [("old", "its control old was stopped: r"), ("new", "the last variant beside the control")]
)
def test_experiment_with_nothing_left_to_compare_stops_and_stays_so(ledger: Ledger, variant: str, why: str) -> None:
    started(ledger)
    experiment = ledger.stop_variant("exp", variant, "supervisor", 12.0, reason="r")
    assert experiment.status == "stopped"
    assert experiment.ended is not None
    assert experiment.ended.reason.startswith(why)
    with pytest.raises(ExperimentRefused, match="nothing left to compare"):
        ledger.start("exp", "ann", 13.0, catalogue=CATALOGUE)


def test_forced_promotion_is_logged_survives_and_can_be_rolled_back(ledger: Ledger, journal: Journal) -> None:
    started(ledger)
    assert ledger.live_policy() is None
    ledger.promote("exp", "new", "ann", 12.0, force=True, reason="the old tier is going")
    assert ledger.events("exp")[-1].body["reason"] == "the old tier is going"
    event = ledger.events("exp")[-1]
    assert (event.body["forced"], event.actor) == (True, "ann")
    assert "nobody has won" in event.body["evidence"]
    again = Ledger(journal)
    assert again.live_policy() == ("uniform", {}, "exp:new")
    assert again.live_column() == "exp:new:live"
    assert again.running() == ()
    with pytest.raises(ExperimentRefused, match=r"is promoted \(new was promoted, forced\); create a new one"):
        again.promote("exp", "new", "bob", 13.0, force=True)
    with pytest.raises(ExperimentRefused, match="that is its end: create a new one"):
        again.start("exp", "bob", 13.0, catalogue=CATALOGUE)
    assert again.roll_back("exp", "bob", 14.0, reason="slow").status == "rolled_back"
    assert (again.live_policy(), again.live_column()) == (None, None)
    with pytest.raises(ExperimentRefused, match="only a promotion can be rolled back"):
        again.roll_back("exp", "bob", 15.0, reason="slow")


def test_rolling_back_brings_back_what_was_live_before(ledger: Ledger) -> None:
    for name, policy in (("first", "uniform"), ("second", "vowpal")):
        variants = [{"name": "old", "policy": "factored"}, {"name": "new", "policy": policy}]
        started(ledger, name, variants=variants)
        ledger.promote(name, "new", "ann", 12.0, force=True)
    live = ledger.live_policy()
    assert live is not None
    assert live.name == "vowpal"
    ledger.roll_back("second", "ann", 13.0, reason="worse")
    assert ledger.live_policy() == ("uniform", {}, "first:new")
    ledger.roll_back("first", "ann", 13.0, reason="worse")
    assert ledger.live_policy() is None


def test_rolling_back_an_older_promotion_leaves_the_newest_live(ledger: Ledger) -> None:
    for name in ("first", "second"):
        started(ledger, name)
        ledger.promote(name, "new", "ann", 12.0, force=True)
    ledger.roll_back("first", "ann", 13.0, reason="worse")
    live = ledger.live_policy()
    assert live is not None
    assert live.snapshot_name == "second:new"


def test_clock_that_jumps_reorders_nothing(ledger: Ledger) -> None:
    ledger.create(plan(), "ann", 1000.0)
    ledger.start("exp", "ann", 5.0, catalogue=CATALOGUE)
    experiment = ledger.ramp("exp", "ann", -3.0, weights={"old": 0.9, "new": 0.1})
    assert experiment.weights["new"] == 0.1
    assert [event.seq for event in ledger.events("exp")] == [1, 2, 3]
    assert [(one.at_s, one.told_s) for one in experiment.history] == [(1000.0, 5.0), (1000.0, -3.0)]
    assert ledger.stop("exp", "ann", 1001.0, reason="over").ended.at_s == 1001.0  # type: ignore[union-attr]


def test_event_knows_the_newest_decision_before_it(ledger: Ledger, journal: Journal) -> None:
    started(ledger)
    request = fake_request(1, now_s=5_000.0)  # by a gateway whose clock runs ahead
    journal.append([replace(request.decision, variant="exp:new")])
    experiment = ledger.ramp("exp", "ann", 20.0, weights={"old": 0.9, "new": 0.1})
    assert (experiment.since_s, experiment.counted_after_s) == (20.0, 5_000.0)


def test_policies_to_fold_are_the_live_one_what_may_come_back_and_the_running(ledger: Ledger) -> None:
    assert courses(ledger.state(), CATALOGUE) == {"factored": CoursePlan("factored", {"floor": 0.1})}
    started(ledger, "first", traffic=0.5)
    shared = {"factored": CoursePlan("factored", {"floor": 0.1})}
    own = CoursePlan("uniform", {}, "first:new")
    assert courses(ledger.state(), CATALOGUE) == shared | {"first:new": own}
    ledger.promote("first", "new", "ann", 12.0, force=True)
    assert courses(ledger.state(), CATALOGUE) == shared | {"first:new": own}
    assert own.learns("first:new:live")
    ledger.roll_back("first", "ann", 13.0, reason="worse")
    assert courses(ledger.state(), CATALOGUE) == shared


def test_control_keeps_what_it_learned_when_another_experiment_is_promoted_meanwhile(ledger: Ledger) -> None:
    started(ledger, "first", traffic=0.5)
    started(ledger, "second", traffic=0.5)
    ledger.promote("second", "new", "ann", 12.0, force=True)
    (first,) = ledger.running()
    live = ledger.live_policy()
    assert live is not None
    assert snapshot_name(first, "old", live) == "factored"
    assert courses(ledger.state(), CATALOGUE)["factored"].policy == "factored"
    # A catalogue with other options under that name: the control goes its own way.
    changed = LivePolicy("factored", {"floor": 0.5}, "factored")
    assert snapshot_name(first, "old", changed) == "first:old"


def test_variant_with_other_options_or_own_records_has_a_course_of_its_own(ledger: Ledger) -> None:
    variants = [
        {"name": "old", "policy": "factored", "options": {"floor": 0.1}, "learns_from": "own"},
        {"name": "new", "policy": "factored", "options": {"floor": 0.2}},
    ]
    started(ledger, variants=variants)
    assert dict(ledger.running()[0].snapshots) == {"old": "exp:old", "new": "exp:new"}


def test_writer_that_comes_second_loses_and_stores_nothing(
    ledger: Ledger, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL lets two transactions read the same state; SQLite's lock is taken away to get there."""
    started(ledger)
    real, raced = ledger_module._state, []

    def stale(connection: Any, seen: Any) -> Any:
        state = real(connection, seen)
        if not raced:
            raced.append(True)
            body = {"variant": "new", "reason": "first"}
            append_event(connection, Event(state.position + 1, "exp", 3, 12.0, "variant_stopped", "first", body))
        return state

    monkeypatch.setattr(ledger_module, "_state", stale)
    with pytest.raises(ExperimentConflict, match="another change of an experiment came first"):
        ledger.stop("exp", "second", 12.0, reason="second")
    assert [event.kind for event in Ledger(journal).events()] == ["created", "started"]  # all of it was rolled back


def test_many_gateways_report_one_fault_at_once(journal: Journal) -> None:
    three = [{"name": name, "policy": "uniform"} for name in ("old", "new", "newer")]
    started(Ledger(journal), variants=three)
    errors: list[BaseException] = []

    def gateway(number: int) -> None:
        try:
            Ledger(journal).stop_variant("exp", "new", f"gateway {number}", 12.0, reason="it raised")
        except BaseException as error:  # noqa: BLE001 - handed to the test
            errors.append(error)

    threads = [threading.Thread(target=gateway, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert [event.kind for event in Ledger(journal).events()] == ["created", "started", "variant_stopped"]


def test_journal_of_an_older_version_gets_the_tables_and_the_index(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/journal.db"
    journal = Journal.open(url)
    request = fake_request(1)
    journal.append([request.decision])
    with journal.write() as connection:
        for statement in (
            "DROP TABLE experiment_events",
            "DROP TABLE shadow_decisions",
            "DROP INDEX decisions_variant",
        ):
            connection.execute(text(statement))
    journal.close()
    journal = Journal.open(url)
    started(Ledger(journal))
    with journal.read() as connection:
        names = set(connection.scalars(text("SELECT name FROM sqlite_master")))
        assert {"experiment_events", "shadow_decisions", "decisions_variant"} <= names
    assert journal.read_decision(request.decision.decision_id) is not None
    journal.close()


def test_experiment_of_another_version_hides_no_other(ledger: Ledger, journal: Journal) -> None:
    started(ledger, "first", traffic=0.5)
    started(ledger, "second", traffic=0.5)
    with journal.write() as connection:
        query = select(experiment_events.c.body).where(experiment_events.c.position == 1)
        body = connection.scalar(query) | {"plan": {"experiment_id": "first", "colour": "red"}}
        statement = text("UPDATE experiment_events SET body = :body WHERE position = 1")
        connection.execute(statement, {"body": json.dumps(body)})
    fresh = Ledger(journal)
    assert [one.experiment_id for one in fresh.running()] == ["second"]
    with pytest.raises(UnknownExperiment, match="of a version that this one does not read: the plan has 'colour'"):
        fresh.stop("first", "ann", 20.0, reason="r")
    with pytest.raises(ExperimentRefused, match="already; choose another"):
        fresh.create(plan("first"), "ann", 20.0)


def test_promotion_of_what_was_changed_since_its_report_is_a_conflict(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the evidence of other weights, or of a variant that was stopped meanwhile, would stand in the event."""
    started(ledger)
    real = ledger_module.report

    def report(journal: Journal, experiment_id: str, now_s: float) -> Any:
        found = real(journal, experiment_id, now_s)
        Ledger(journal).ramp("exp", "bob", 12.0, weights={"old": 0.9, "new": 0.1})
        return found

    monkeypatch.setattr(ledger_module, "report", report)
    with pytest.raises(ExperimentConflict, match="was changed meanwhile"):
        ledger.promote("exp", "new", "ann", 13.0, force=True)
    assert ledger.live_policy() is None
