"""What POST /v1/images/generations answers and records, on a real journal with fake tiers."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.serve.in_process_gateway import CATALOGUE, Setting, died, error_of


def test_images_answer_in_openais_shape_and_are_in_the_journal(setting: Setting) -> None:
    response = setting.generate(n=3, seed=7, size="64x64", user="alice")
    assert response.status_code == 200
    body = response.json()
    assert len(body["data"]) == 3
    pictures = [Image.open(io.BytesIO(base64.b64decode(item["b64_json"]))) for item in body["data"]]
    assert {(picture.format, picture.size) for picture in pictures} == {("PNG", (64, 64))}
    why = body["switchboard"]
    price = {"small@fast": 0.001, "large@draft": 0.01, "large@full": 0.02}[why["arm"]]
    assert why["arm"] == f"{why['tier']}@{why['preset']}"
    assert (why["policy"], why["seed"], why["native_size"]) == ("uniform", 7, "64x64")
    assert why["propensity"] == pytest.approx(1 / 3)
    assert why["cost_usd"] == pytest.approx(3 * price)
    assert (body["size"], body["quality"], body["output_format"]) == ("64x64", "auto", "png")
    assert response.headers["x-switchboard-decision-id"] == why["decision_id"]
    assert response.headers["x-switchboard-tier"] == why["tier"]
    assert response.headers["x-switchboard-policy"] == "uniform"
    assert float(response.headers["x-switchboard-cost-usd"]) == pytest.approx(3 * price)
    assert [work.seed for work in setting.tiers[why["tier"]].works] == [7, 8, 9]
    ((arm, images, seed, prompt),) = setting.rows("SELECT arm, images, seed, prompt FROM decisions")
    assert (arm, images, seed, prompt) == (why["arm"], 3, 7, None)
    ((served, status),) = setting.rows("SELECT served_arm, status FROM outcomes")
    assert (served, status) == (why["arm"], "served")


def test_images_say_what_a_tier_had_to_change(setting: Setting) -> None:
    assert setting.generate(model="small").json()["switchboard"]["notices"] == []
    setting.tiers["small"].notice = "only the beginning was read"
    assert setting.generate(model="small", n=2).json()["switchboard"]["notices"] == ["only the beginning was read"]


def test_images_keep_prompt_and_caller_out_of_the_journal(setting: Setting) -> None:
    setting.generate(prompt="a zebra named Xylophone", user="alice@example.org")
    setting.writer.close()
    setting.journal.close()
    stored = b"".join(path.read_bytes() for path in setting.path.parent.glob("journal.db*"))
    assert b"alice" not in stored
    assert b"zebra" not in stored
    assert b"xylophone" not in stored.lower()


def test_images_with_a_seed_are_the_same_again_and_without_one_are_not(setting: Setting) -> None:
    def data(**body: Any) -> str:
        return setting.generate(model="small", **body).json()["data"][0]["b64_json"]

    assert data(seed=5) == data(seed=5)
    assert data() != data()
    drawn = setting.generate(model="small").json()
    assert drawn["data"][0]["b64_json"] == data(seed=drawn["switchboard"]["seed"])


def test_images_of_the_largest_seed_wrap_around(setting: Setting) -> None:
    assert setting.generate(model="small", seed=2**63 - 1, n=2).status_code == 200
    assert [work.seed for work in setting.tiers["small"].works] == [2**63 - 1, 0]


def test_images_of_a_size_that_one_tier_lacks_come_from_the_other(setting: Setting) -> None:
    for _ in range(8):
        body = setting.generate(size="128x32").json()
        assert (body["switchboard"]["tier"], body["size"]) == ("small", "128x32")
    picture = Image.open(io.BytesIO(base64.b64decode(body["data"][0]["b64_json"])))
    assert picture.size == (128, 32)


@pytest.mark.parametrize("file_format", ["webp", "jpeg"])
def test_images_come_in_the_asked_format(setting: Setting, file_format: str) -> None:
    body = setting.generate(output_format=file_format, output_compression=40).json()
    picture = Image.open(io.BytesIO(base64.b64decode(body["data"][0]["b64_json"])))
    assert (body["output_format"], picture.format) == (file_format, file_format.upper())


@pytest.mark.parametrize(("quality", "stored"), [("hd", 0.0), ("standard", 100.0), ("low", 900.0)])
def test_images_are_decided_with_the_weights_of_their_quality(setting: Setting, quality: str, stored: float) -> None:
    setting.generate(quality=quality)
    ((weights,),) = setting.rows("SELECT weights FROM decisions")
    assert json.loads(weights)["cost_per_usd"] == stored


def test_images_stay_within_the_callers_ceilings(setting: Setting) -> None:
    for _ in range(8):
        why = setting.generate(max_cost_usd=0.01, max_latency_s=0.015).json()["switchboard"]
        assert (why["arm"], why["limits_met"]) == ("small@fast", True)
    ((weights,), *_) = setting.rows("SELECT weights FROM decisions")
    assert json.loads(weights)["limits"] == {"cost_usd": 0.01, "latency_s": 0.015}
    told = setting.request("GET", f"/v1/decisions/{why['decision_id']}").json()
    assert told["limits"] == {"max_cost_usd": 0.01, "max_latency_s": 0.015}
    assert setting.generate().json()["switchboard"]["limits_met"] is None


def test_images_of_a_quality_with_ceilings_stay_within_them_unless_the_caller_sets_others(tmp_path: Path) -> None:
    setting = Setting(tmp_path, CATALOGUE.replace("low: {", "low: {max_cost_usd: 0.01, max_latency_s: 0.03, "))
    asked: list[tuple[dict[str, Any], set[str]]] = [
        ({}, {"small@fast", "large@draft"}),
        ({"max_cost_usd": 0.001}, {"small@fast"}),
        ({"max_cost_usd": 1.0, "max_latency_s": 1.0}, {"small@fast", "large@draft", "large@full"}),
        ({"max_latency_s": 1.0}, {"small@fast", "large@draft"}),
        ({"max_cost_usd": 1.0}, {"small@fast", "large@draft"}),
    ]
    for body, within in asked:
        told = setting.generate(quality="low", **body).json()["switchboard"]["decision_id"]
        arms = setting.request("GET", f"/v1/decisions/{told}").json()["arms"]
        assert {arm["arm"] for arm in arms if arm["probability"] > 0} == within
    setting.close()


def test_images_say_when_no_arm_meets_the_ceilings(setting: Setting) -> None:
    why = setting.generate(max_cost_usd=0.0001).json()["switchboard"]
    assert (why["arm"], why["limits_met"]) == ("small@fast", False)
    why = setting.generate(model="large", max_cost_usd=0.005).json()["switchboard"]
    assert (why["arm"], why["limits_met"]) == ("large@draft", False)


def test_images_fall_back_to_the_cheapest_beyond_a_ceiling_and_say_so(setting: Setting) -> None:
    setting.tiers["small"].fault = died()
    why = setting.generate(max_cost_usd=0.005).json()["switchboard"]
    assert (why["decided_arm"], why["arm"], why["limits_met"]) == ("small@fast", "large@draft", False)


@pytest.mark.parametrize(
    "prompt", ["|A 0:-100:0.01", "0:-100:0.01 |A x", "line\nline\r\n|shared", "\u202eabc", "🐈" * 100]
)
def test_images_of_odd_prompts_are_drawn_and_scored(setting: Setting, prompt: str) -> None:
    assert setting.generate(prompt=prompt).status_code == 200
    setting.loop.run_until_complete(setting.gateway.scoring.drain())
    setting.writer.close()
    assert setting.rows("SELECT kind, source FROM signals") == [("quality", "scorer:FakeScorer")]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": "   "}, "prompt"),
        ({"prompt": "x" * 4001}, "prompt"),
        ({"prompt": "a\0b"}, "prompt"),
        ({"prompt": "a\ud800b"}, "prompt"),
        ({"n": 0}, "n"),
        ({"n": "2"}, "n"),
        ({"size": "0x0"}, "size"),
        ({"size": "99999x99999"}, "size"),
        ({"model": "dall-e-3"}, "model"),
        ({"response_format": "url"}, "response_format"),
        ({"rewrite": True}, "rewrite"),
    ],
)
def test_images_refuse_bad_input_and_record_nothing(refusing: Setting, body: dict[str, Any], param: str) -> None:
    content = json.dumps({"prompt": "x", **body})
    headers = {"content-type": "application/json"}
    response = refusing.request("POST", "/v1/images/generations", content=content, headers=headers)
    assert error_of(response, 400)["param"] == param
    assert response.headers["x-should-retry"] == "false"
    assert refusing.rows("SELECT count(*) FROM decisions") == [(0,)]


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (b"prompt=x", "application/x-www-form-urlencoded", 415),
        (b'{"prompt": "x"}', "text/plain", 415),
        (b'{"prompt": "x"}', None, 415),
        (b"", "application/json", 400),
        (b'{"prompt": "\xff"}', "application/json", 400),
        (b'{"prompt": "x", "n": NaN}', "application/json", 400),
        (b'{"a":' * 19_000, "application/json", 400),
        (b"[" * 90_000, "application/json", 400),
        (b'{"prompt": "' + b"x" * 200_000 + b'"}', "application/json", 413),
    ],
)
def test_images_refuse_bodies_that_are_no_request(
    refusing: Setting, content: bytes, content_type: str | None, status: int
) -> None:
    headers = {"content-type": content_type} if content_type else {}
    error_of(refusing.request("POST", "/v1/images/generations", content=content, headers=headers), status)
