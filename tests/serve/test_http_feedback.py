"""What POST /v1/feedback keeps, refuses and says."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from bandit.joins import close_due
from bandit.verify import verify
from tests.serve.in_process_gateway import CATALOGUE, Setting, died, error_of


def test_feedback_is_kept_once_and_contradictions_are_refused(setting: Setting) -> None:
    decision_id = setting.generate().json()["switchboard"]["decision_id"]

    def rate(rating: object, **more: Any) -> httpx.Response:
        return setting.request("POST", "/v1/feedback", json={"decision_id": decision_id, "rating": rating, **more})

    first = rate(0.75)
    assert (first.status_code, first.json()["status"], first.json()["learned"]) == (200, "accepted", True)
    assert rate(0.75).json()["status"] == "duplicate"
    contradiction = rate(0.25)
    assert error_of(contradiction, 409)["code"] == "rated_before"
    assert contradiction.headers["x-should-retry"] == "false"
    assert rate(0.25, user="bob").status_code == 200
    assert setting.request("GET", f"/v1/decisions/{decision_id}").json()["measured"]["rating"] == 0.5


def scored_and_closed(setting: Setting) -> str:
    decision_id = setting.generate().json()["switchboard"]["decision_id"]
    setting.loop.run_until_complete(setting.gateway.scoring.drain())
    deadline_s = time.monotonic() + 10
    while close_due_joins(setting) == 0:
        assert time.monotonic() < deadline_s, "its quality is written by a thread"
        time.sleep(0.01)
    return decision_id


def close_due_joins(setting: Setting) -> int:
    vote_window_s = setting.catalogue.learning.vote_window_s
    with setting.journal.write() as connection:
        return close_due(
            connection,
            now_s=time.time(),
            window_s=60,
            vote_window_s=vote_window_s,
            default_quality=0.5,
            limit=9,
        )


def test_feedback_after_the_join_closed_is_learned_and_shown(setting: Setting) -> None:
    decision_id = scored_and_closed(setting)
    body = {"decision_id": decision_id, "rating": 1}
    told = setting.request("POST", "/v1/feedback", json=body).json()
    assert (told["status"], told["learned"]) == ("accepted", True)
    (vote,) = setting.request("GET", f"/v1/decisions/{decision_id}").json()["votes"]
    assert (vote["rating"], vote["state"], vote["reason"]) == (1, "waiting", None)
    assert close_due_joins(setting) == 1
    (vote,) = setting.request("GET", f"/v1/decisions/{decision_id}").json()["votes"]
    assert (vote["rating"], vote["state"], vote["reason"]) == (1, "folded", "vote")
    told = setting.request("POST", "/v1/feedback", json=body).json()
    assert (told["status"], told["learned"]) == ("duplicate", True)
    assert not verify(setting.journal).findings


def test_feedback_after_the_vote_window_says_that_it_is_not_learned(tmp_path: Path) -> None:
    setting = Setting(tmp_path, CATALOGUE + "learning: {vote_window_s: 0.000001}\n")
    decision_id = scored_and_closed(setting)
    body = {"decision_id": decision_id, "rating": 1}
    for status, state, reason in (("late", "waiting", None), ("duplicate", "not_learned", "late")):
        told = setting.request("POST", "/v1/feedback", json=body).json()
        assert (told["status"], told["learned"]) == (status, False)
        (vote,) = setting.request("GET", f"/v1/decisions/{decision_id}").json()["votes"]
        assert (vote["state"], vote["reason"]) == (state, reason)
        assert close_due_joins(setting) == (1 if status == "late" else 0)
    setting.close()


def test_feedback_on_what_was_not_served_says_that_it_is_not_learned(setting: Setting) -> None:
    for tier in setting.tiers.values():
        tier.fault = died()
    response = setting.generate()
    assert response.status_code == 503
    body = {"decision_id": response.headers["x-switchboard-decision-id"], "rating": 0}
    told = setting.request("POST", "/v1/feedback", json=body).json()
    assert (told["status"], told["learned"]) == ("late", False)
    (vote,) = setting.request("GET", f"/v1/decisions/{body['decision_id']}").json()["votes"]
    assert vote["state"] == "not_learned"


@pytest.mark.parametrize(
    "rating", ["NaN", "Infinity", "-Infinity", "1e308", "1e999", "null", "true", '"0.5"', "2", "-1"]
)
def test_feedback_refuses_what_is_no_rating_and_stores_nothing(setting: Setting, rating: str) -> None:
    decision_id = setting.generate().json()["switchboard"]["decision_id"]
    content = f'{{"decision_id": "{decision_id}", "rating": {rating}}}'
    headers = {"content-type": "application/json"}
    error_of(setting.request("POST", "/v1/feedback", content=content, headers=headers), 400)
    assert setting.rows("SELECT count(*) FROM signals WHERE kind = 'rating'") == [(0,)]


@pytest.mark.parametrize(
    "decision_id", ["dec_unknown", "x" * 128, "a b", "../etc", "Ünïcode", "a'; DROP TABLE signals"]
)
def test_feedback_and_decision_of_an_unknown_id_are_404(setting: Setting, decision_id: str) -> None:
    body = {"decision_id": decision_id, "rating": 1}
    assert error_of(setting.request("POST", "/v1/feedback", json=body), 404)["code"] == "decision_not_found"
    if "/" not in decision_id:
        error_of(setting.request("GET", f"/v1/decisions/{decision_id}"), 404)
