"""The loop end to end: real Ray, real journal, the official client, fake tiers. Later tests use earlier answers."""

from __future__ import annotations

import base64
import io
import json
import sqlite3
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest
from PIL import Image

from bandit.verify import verify
from tests.e2e.cluster import Served, kill_replicas, replica_pids, wait_for

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

answered: list[str] = []  # decision ids of everything that was answered with images


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as made:
        yield made


def images(client: openai.OpenAI, **asked: Any) -> Any:
    answer = client.images.generate(**{"prompt": "two cats", **asked})
    answered.append(answer.switchboard["decision_id"])
    return answer


def decision(served: Served, decision_id: str) -> dict[str, Any]:
    return httpx.get(f"{served.url}/v1/decisions/{decision_id}").json()


def post(served: Served, content: bytes | str, content_type: str = "application/json") -> httpx.Response:
    url = f"{served.url}/v1/images/generations"
    return httpx.post(url, content=content, headers={"content-type": content_type}, timeout=60)


def test_the_official_client_gets_a_picture_and_the_decision_behind_it(client: openai.OpenAI, served: Served) -> None:
    answer = images(client, model="auto", size="64x64", n=2, quality="hd", user="alice", extra_body={"seed": 5})
    pictures = [Image.open(io.BytesIO(base64.b64decode(item.b64_json))) for item in answer.data]
    assert [(picture.format, picture.size) for picture in pictures] == [("PNG", (64, 64))] * 2
    why = answer.switchboard
    assert (why["policy"], why["seed"]) == ("factored", 5)
    told = decision(served, why["decision_id"])
    assert told["outcome"]["arm"] == why["arm"]
    assert sum(arm["probability"] for arm in told["arms"]) == pytest.approx(1)


def test_headers_tell_decision_tier_policy_cost_and_request(client: openai.OpenAI) -> None:
    raw = client.images.with_raw_response.generate(prompt="a dog", model="small")
    why = raw.parse().switchboard
    answered.append(why["decision_id"])
    assert raw.headers["x-switchboard-decision-id"] == why["decision_id"]
    assert raw.headers["x-switchboard-tier"] == "small"
    assert float(raw.headers["x-switchboard-cost-usd"]) == pytest.approx(0.001)
    assert raw.headers["x-request-id"]


def test_the_same_seed_draws_the_same_picture(client: openai.OpenAI) -> None:
    drawn = [images(client, model="small", extra_body={"seed": 11}).data[0].b64_json for _ in range(2)]
    assert drawn[0] == drawn[1]


def test_models_are_listed(client: openai.OpenAI) -> None:
    assert {"auto", "small", "slow", "small@fast"} <= {model.id for model in client.models.list()}
    assert client.models.retrieve("small").id == "small"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("dall-e-3")


def test_health_counts_the_replicas_that_run(client: openai.OpenAI, served: Served) -> None:
    """The number is read from inside Ray's handles; a Ray that hides it would leave a killed tier at 1."""

    def replicas() -> int:
        return httpx.get(f"{served.url}/healthz").json()["tiers"]["small"]["replicas"]

    assert replicas() == 1
    kill_replicas("tier-small")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(images, client, model="small")
        wait_for(lambda: replicas() == 0)
        assert result(waiting)["tier"] == "small"
    wait_for(lambda: replicas() == 1)


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": " \n"}, "prompt"),
        ({"prompt": "x" * 4001}, "prompt"),
        ({"prompt": "a\0b"}, "prompt"),
        ({"n": 0}, "n"),
        ({"n": -1}, "n"),
        ({"n": 11}, "n"),
        ({"n": 1.5}, "n"),
        ({"n": "2"}, "n"),
        ({"size": "0x0"}, "size"),
        ({"size": "1024X1024"}, "size"),
        ({"size": "99999x99999"}, "size"),
        ({"model": "dall-e-3"}, "model"),
        ({"response_format": "url"}, "response_format"),
        ({"extra_body": {"steps": 5}}, "steps"),
        ({"extra_body": {"seed": -1}}, "seed"),
    ],
)
def test_bad_input_is_a_bad_request_that_names_the_field(
    client: openai.OpenAI, asked: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.generate(**{"prompt": "two cats", **asked})
    assert caught.value.param == param
    assert caught.value.code
    assert caught.value.message


def test_lone_surrogates_are_refused(served: Served) -> None:
    assert post(served, '{"prompt": "a\\ud800b"}').json()["error"]["param"] == "prompt"


@pytest.mark.parametrize("prompt", ["|A 0:-100:0.01", "0:-100:0.01 |A x\nshared |B y", "\u202eabc", "🐈"])
def test_odd_prompts_are_drawn(client: openai.OpenAI, prompt: str) -> None:
    assert images(client, prompt=prompt, model="small").data


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (b'{"prompt": "\xff\xfe"}', "application/json", 400),
        (b'{"a":' * 150_000, "application/json", 400),
        (b"[" * 200_000 + b"]" * 200_000, "application/json", 400),
        (b'{"prompt": "x", "seed": Infinity}', "application/json", 400),
        (b"prompt=x", "application/x-www-form-urlencoded", 415),
        (b'{"prompt": "' + b"x" * 20_000_000 + b'"}', "application/json", 413),
    ],
)
def test_bodies_that_are_no_request_are_refused(served: Served, content: bytes, content_type: str, status: int) -> None:
    response = post(served, content, content_type)
    assert response.status_code == status
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}


def test_the_official_client_understands_a_body_that_is_too_large(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        client.images.generate(prompt="x" * 20_000_000)
    assert (caught.value.status_code, caught.value.code) == (413, "request_too_large")


def test_unknown_routes_are_refused_in_openais_shape(served: Served) -> None:
    assert httpx.get(f"{served.url}/v2/nothing").json()["error"]["code"] == "not_found"
    assert httpx.get(f"{served.url}/v1/images/generations").json()["error"]["code"] == "method_not_allowed"


def test_a_scored_and_rated_decision_is_joined_and_learned(client: openai.OpenAI, served: Served) -> None:
    decision_id = images(client, model="auto").switchboard["decision_id"]
    rating = {"decision_id": decision_id, "rating": 0.75}
    first = httpx.post(f"{served.url}/v1/feedback", json=rating)
    assert (first.status_code, first.json()["status"], first.json()["learned"]) == (200, "accepted", True)
    assert httpx.post(f"{served.url}/v1/feedback", json=rating).json()["status"] == "duplicate"
    assert httpx.post(f"{served.url}/v1/feedback", json={**rating, "rating": 0.5}).status_code == 409
    assert httpx.post(f"{served.url}/v1/feedback", json={**rating, "decision_id": "dec_0"}).status_code == 404
    told = wait_for(lambda: (found := decision(served, decision_id))["join"]["state"] == "closed" and found)
    assert told["join"]["reason"] == "complete"
    assert 0 <= told["measured"]["quality"] < 1
    assert told["measured"]["rating"] == 0.75
    (vote,) = wait_for(lambda: (v := decision(served, decision_id)["votes"])[0]["state"] == "folded" and v)
    assert vote["reason"] in ("complete", "vote")  # the scorer may be faster than the user, or not
    wait_for(lambda: httpx.get(f"{served.url}/healthz").json()["policy"]["snapshot_version"])


@pytest.mark.parametrize("rating", ["NaN", "Infinity", "1e308", "1e999", "null", "true", '"0.5"'])
def test_feedback_that_is_no_rating_is_refused(served: Served, rating: str) -> None:
    content = f'{{"decision_id": "{answered[0]}", "rating": {rating}}}'
    headers = {"content-type": "application/json"}
    assert httpx.post(f"{served.url}/v1/feedback", content=content, headers=headers).status_code == 400


def test_a_full_tier_answers_429_in_openais_shape(client: openai.OpenAI) -> None:
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(images, client, model="narrow") for _ in range(8)]
    refused = [future.exception() for future in waiting if future.exception() is not None]
    assert 0 < len(refused) < 8
    for error in refused:
        assert isinstance(error, openai.RateLimitError)
        assert error.code == "overloaded"
        assert int(error.response.headers["retry-after"]) >= 1


def test_a_client_that_leaves_is_recorded_as_cancelled(served: Served) -> None:
    body = {"prompt": "a client that leaves", "model": "slow"}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{served.url}/v1/images/generations", json=body, timeout=1)
    query = "SELECT attempts FROM outcomes WHERE status = 'cancelled'"
    ((attempts,),) = wait_for(lambda: rows(served, query))
    assert json.loads(attempts)[0]["error"] == "cancelled"


def test_a_replica_killed_while_it_draws_is_replaced_by_another_tier(client: openai.OpenAI, served: Served) -> None:
    for _ in range(10):
        with ThreadPoolExecutor(8) as pool:
            waiting = [pool.submit(images, client, model="auto", size="64x64") for _ in range(8)]
            if seen_in_flight(served, "slow", waiting):
                kill_replicas("tier-slow")
        moved = [why for future in waiting if (why := result(future))["attempts"][0]["error"] == "died"]
        if moved:
            break
        wait_for(lambda: replica_pids("tier-slow"))
    assert moved, "no request was in flight on the killed replica"
    for why in moved:
        assert why["attempts"][0]["arm"] == "slow@long"
        told = decision(served, why["decision_id"])
        assert (told["arm"], told["outcome"]["arm"], told["outcome"]["status"]) == ("slow@long", why["arm"], "served")
        assert why["tier"] != "slow"


def test_a_named_tier_that_is_killed_answers_once_it_is_back(client: openai.OpenAI, served: Served) -> None:
    wait_for(lambda: replica_pids("tier-slow") and images(client, model="slow"))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(images, client, model="slow")
        wait_for(lambda: in_flight(served, "slow"))
        kill_replicas("tier-slow")
        why = result(waiting)
    assert why["tier"] == "slow"
    assert [attempt["error"] for attempt in why["attempts"]] == ["died", None]


def test_requests_go_on_without_the_learner_which_comes_back(client: openai.OpenAI, served: Served) -> None:
    killed = kill_replicas("learner")
    before = httpx.get(f"{served.url}/healthz").json()["policy"]["snapshot_version"]
    for _ in range(8):
        assert images(client, model="small").data
    wait_for(lambda: set(replica_pids("learner")) - set(killed))
    wait_for(lambda: httpx.get(f"{served.url}/healthz").json()["policy"]["snapshot_version"] > before)


def test_everything_answered_is_in_the_journal_exactly_once(served: Served) -> None:
    query = "SELECT decision_id FROM decisions JOIN outcomes USING (decision_id) WHERE status = 'served'"
    stored = [row[0] for row in rows(served, query)]
    assert len(stored) == len(set(stored))
    assert set(answered) <= set(stored)
    ((decisions,),) = rows(served, "SELECT count(*) FROM decisions")
    wait_for(lambda: rows(served, "SELECT count(*) FROM joins WHERE source = ''") == [(decisions,)])
    assert not verify(served.journal).findings


def result(future: Future[Any]) -> dict[str, Any]:
    """The `switchboard` object of an answer."""
    return future.result().switchboard


def seen_in_flight(served: Served, tier: str, waiting: list[Future[Any]]) -> bool:
    """Whether one of the waiting requests was seen on a tier before all were answered."""
    wait_for(lambda: in_flight(served, tier) or all(future.done() for future in waiting))
    return in_flight(served, tier) > 0


def in_flight(served: Served, tier: str) -> int:
    return httpx.get(f"{served.url}/healthz").json()["tiers"][tier]["in_flight"]


def rows(served: Served, query: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(served.journal_path) as connection:
        return connection.execute(query).fetchall()
