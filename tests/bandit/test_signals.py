import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bandit.errors import Contradiction, OutOfRange, SignalRefused, UnknownDecision
from bandit.fake_traffic import fake_request
from bandit.joins import close_due
from bandit.journal import Journal
from bandit.rows import SignalRow, Verdict
from bandit.signals import SignalKind, check_signal

REQUEST = next(r for r in map(fake_request, range(100)) if r.outcome.status == "served" and r.quality)
ID = REQUEST.decision.decision_id
NOW_S = REQUEST.outcome.completed_at_s + 1


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal.open(f"sqlite:///{tmp_path}/journal.db")
    journal.append([REQUEST.decision, REQUEST.outcome])
    yield journal
    journal.close()


def rating(value: float, source: str = "user-1") -> SignalRow:
    return SignalRow(ID, "rating", source, value, NOW_S)


@pytest.mark.parametrize("kind", ["quality", "rating"])
@pytest.mark.parametrize("value", [0, 1, 0.0, 0.5, 1.0, 5e-324, -0.0])
def test_value_in_range_is_taken(kind: str, value: float) -> None:
    assert check_signal(kind, value, "scorer") == (SignalKind(kind), float(value), "scorer")


def test_minus_zero_becomes_zero() -> None:
    assert math.copysign(1.0, check_signal("rating", -0.0, "user")[1]) == 1.0


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, -math.inf, 1e308, -1e308, 1.0000001, -1e-9, 2, 10**400, True, False, None]
    + ["0.5", "NaN", "", [], {}, b"1", 1j],
)
def test_value_that_is_no_number_from_0_to_1_is_refused(value: object) -> None:
    with pytest.raises(OutOfRange, match="allowed: a number from 0 to 1"):
        check_signal("rating", value, "user")


@pytest.mark.parametrize("kind", ["", "Rating", "reward", None, 1, ["rating"]])
def test_unknown_kind_is_refused(kind: object) -> None:
    with pytest.raises(OutOfRange, match="allowed: quality, rating"):
        check_signal(kind, 0.5, "user")


@pytest.mark.parametrize("source", ["", "a b", "a\x00", "\ud800", "x" * 129, None, 3, "a\n"])
def test_source_of_other_letters_is_refused(source: object) -> None:
    with pytest.raises(OutOfRange, match="source"):
        check_signal("rating", 0.5, source)


def test_messages_stay_short_whatever_was_sent() -> None:
    with pytest.raises(OutOfRange) as caught:
        check_signal("rating", "9" * 1_000_000, "user")
    assert len(str(caught.value)) < 300


def test_same_value_twice_counts_once(journal: Journal) -> None:
    assert journal.append_signal(rating(1.0)) is Verdict.ACCEPTED
    assert journal.append_signal(replace(rating(1.0), received_at_s=NOW_S + 5)) is Verdict.DUPLICATE
    story = journal.read_decision(ID)
    assert story is not None
    assert story.signals == (rating(1.0),)


def test_other_value_is_a_contradiction_and_the_first_stays(journal: Journal) -> None:
    journal.append_signal(rating(1.0))
    with pytest.raises(Contradiction, match="first one stays"):
        journal.append_signal(rating(0.0))
    story = journal.read_decision(ID)
    assert story is not None
    assert story.signals == (rating(1.0),)


def test_contradiction_within_one_group_is_seen(journal: Journal) -> None:
    results = journal.append([rating(1.0), rating(0.0), rating(1.0)])
    assert results[0] is Verdict.ACCEPTED
    assert isinstance(results[1], Contradiction)
    assert results[2] is Verdict.DUPLICATE


def test_sources_do_not_contradict_each_other(journal: Journal) -> None:
    assert journal.append_signal(rating(1.0, "user-1")) is Verdict.ACCEPTED
    assert journal.append_signal(rating(0.0, "user-2")) is Verdict.ACCEPTED


def test_unknown_decision_is_refused_and_others_of_the_group_are_not(journal: Journal) -> None:
    results = journal.append([replace(rating(1.0), decision_id="nobody"), rating(1.0)])
    assert isinstance(results[0], UnknownDecision)
    assert isinstance(results[0], SignalRefused)
    assert results[1] is Verdict.ACCEPTED


def test_quality_after_the_join_closed_is_kept_as_late(journal: Journal) -> None:
    assert REQUEST.quality is not None
    journal.append_signal(REQUEST.quality)
    with journal.write() as connection:
        closed = close_due(connection, now_s=NOW_S, window_s=60, vote_window_s=60, default_quality=0.5, limit=10)
    assert closed == 1
    other = replace(REQUEST.quality, source="other-scorer", value=0.123)
    assert journal.append_signal(other) is Verdict.LATE
    assert journal.append_signal(other) is Verdict.DUPLICATE
    with journal.write() as connection:
        again = close_due(connection, now_s=NOW_S, window_s=60, vote_window_s=60, default_quality=0.5, limit=10)
    assert again == 0
    story = journal.read_decision(ID)
    assert story is not None
    assert other in story.signals
