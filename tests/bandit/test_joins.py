"""What a join's record says of time and money: what the served arm took, per image."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select, update

from bandit.codec import arm_to_json, record_from_json, record_to_json
from bandit.context import Context, Record
from bandit.fake_traffic import ARMS, fake_request
from bandit.joins import close_due, joins_after
from bandit.journal import Journal
from bandit.rows import Attempt
from bandit.tables import decisions, outcomes

GAN, DIFFUSION, FLOW = (arm.name for arm in ARMS)
REQUEST = next(r for r in map(fake_request, range(99)) if r.outcome.served_arm == r.decision.decision.arm and r.quality)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal.open(f"sqlite:///{tmp_path}/journal.db")
    yield journal
    journal.close()


def closed(journal: Journal) -> Record | None:
    with journal.write() as connection:
        close_due(connection, now_s=0, window_s=60, vote_window_s=60, default_quality=0.5, limit=9)
    story = journal.read_decision(REQUEST.decision.decision_id)
    assert story is not None
    assert story.join is not None
    return story.join.record


def record_of(journal: Journal, attempts: tuple[Attempt, ...], images: int = 1) -> Record:
    outcome = replace(REQUEST.outcome, served_arm=GAN, latency_s=9.0, cost_usd=0.4, attempts=attempts)
    assert REQUEST.quality is not None
    journal.append([replace(REQUEST.decision, images=images), outcome, REQUEST.quality])
    record = closed(journal)
    assert record is not None
    return record


def test_an_arm_that_rescued_a_request_is_not_charged_with_the_time_of_others(journal: Journal) -> None:
    attempts = (Attempt(FLOW, "late", 6.0), Attempt(DIFFUSION, "died", 2.0), Attempt(GAN, None, 0.5))
    record = record_of(journal, attempts)
    assert (record.latency_s, record.late) == (0.5, ((FLOW, 6.0),))
    story = journal.read_decision(REQUEST.decision.decision_id)
    assert story is not None
    assert story.outcome is not None
    assert story.outcome.latency_s == 9.0, "what the caller waited stays in the outcome"


def test_the_outcomes_latency_stands_where_no_attempt_was_kept(journal: Journal) -> None:
    record = record_of(journal, ())
    assert (record.latency_s, record.late) == (9.0, ())


def test_the_record_of_four_images_has_the_price_of_one(journal: Journal) -> None:
    record = record_of(journal, (), images=4)
    assert (record.images, record.cost_usd) == (4, pytest.approx(0.1))


def test_an_outcome_with_damaged_attempts_is_closed_as_unreadable(journal: Journal) -> None:
    assert REQUEST.quality is not None
    journal.append([REQUEST.decision, REQUEST.outcome, REQUEST.quality])
    with journal.write() as connection:
        connection.execute(update(outcomes).values(attempts=[{"arm": GAN}]))
        close_due(connection, now_s=0, window_s=60, vote_window_s=60, default_quality=0.5, limit=9)
        (row,) = joins_after(connection, 0, 9)
    assert (row["reason"], row["record"]) == ("unreadable", None)


def test_a_record_says_all_of_this_by_itself(journal: Journal) -> None:
    record = record_of(journal, (Attempt(FLOW, "late", 0.1 + 0.2), Attempt(GAN, None, 1 / 3)), images=3)
    with journal.read() as connection:
        (row,) = joins_after(connection, 0, 9)
    assert record_from_json(json.loads(json.dumps(row["record"]))) == record
    batched = replace(record, context=Context(record.context.features, (replace(ARMS[0], batch=8),)))
    assert record_from_json(record_to_json(batched)) == batched


def test_rows_of_older_versions_read_as_one_image_and_batches_of_one(journal: Journal) -> None:
    record = record_of(journal, ())
    old = record_to_json(record)
    for name in ("images", "late"):
        del old[name]
    for arm in old["arms"]:
        del arm["batch"]
    assert record_from_json(old) == record
    with journal.write() as connection:
        arms = [{name: value for name, value in arm_to_json(arm).items() if name != "batch"} for arm in ARMS]
        connection.execute(update(decisions).values(arms=arms))
        assert "batch" not in connection.scalars(select(decisions.c.arms)).one()[0]
    story = journal.read_decision(REQUEST.decision.decision_id)
    assert story is not None
    assert [arm.batch for arm in story.decision.context.arms] == [1, 1, 1]
