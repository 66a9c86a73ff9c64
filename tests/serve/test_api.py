from __future__ import annotations

import json
from typing import Any

import pytest

from serve.api import ImageRequest, Offer, feedback_request, image_request, timeout_s
from serve.body import parse_json_object
from serve.openai_errors import Refusal

OFFER = Offer(
    models={"auto": ("gan@fast", "flow@standard"), "gan": ("gan@fast",), "gan@fast": ("gan@fast",)},
    sizes_px={"64x64": (64, 64), "256x256": (256, 256)},
    sizes={
        name: frozenset({"64x64", "256x256"} if name == "auto" else {"64x64"}) for name in ("auto", "gan", "gan@fast")
    },
    qualities=("auto", "low", "medium", "high", "standard", "hd"),
)


def refused(body: dict[str, Any]) -> Refusal:
    with pytest.raises(Refusal) as caught:
        image_request(body, OFFER)
    assert caught.value.status == 400
    json.dumps(caught.value.body())
    return caught.value


def test_image_request_with_only_a_prompt_takes_the_defaults() -> None:
    request = image_request({"prompt": "two cats"}, OFFER)
    assert (request.model, request.n, request.size, request.quality) == ("auto", 1, "auto", "auto")
    assert (request.response_format, request.output_format, request.seed) == ("b64_json", "png", None)


def test_image_request_accepts_null_for_every_optional_field() -> None:
    optional = set(ImageRequest.model_fields) - {"prompt"}
    body: dict[str, Any] = dict.fromkeys([*optional, "stream", "background", "style", "moderation", "partial_images"])
    assert image_request({"prompt": "a dog", **body}, OFFER) == image_request({"prompt": "a dog"}, OFFER)


def test_image_request_accepts_the_harmless_values_of_fields_that_are_not_served() -> None:
    image_request({"prompt": "x", "stream": False, "background": "auto", "moderation": "low"}, OFFER)


@pytest.mark.parametrize(
    "prompt", ["|A 0:-100:0.01", "0:-100:0.01 |A x", "a\nb\r\n", "\u202eright to left", "🐈‍⬛", "x" * 4000]
)
def test_image_request_accepts_odd_prompts_unchanged(prompt: str) -> None:
    assert image_request({"prompt": prompt}, OFFER).prompt == prompt


@pytest.mark.parametrize(
    "prompt", ["", "   \n\t", "x" * 4001, "a\0b", "a\ud800b", "\udfff", None, 7, True, ["a"], {"a": 1}]
)
def test_image_request_refuses_bad_prompt(prompt: object) -> None:
    refusal = refused({"prompt": prompt})
    assert refusal.param == "prompt"
    assert "x" * 100 not in refusal.message


def test_image_request_refuses_missing_prompt() -> None:
    assert refused({}).code == "missing_required_parameter"


@pytest.mark.parametrize("n", [0, -1, 11, 1.5, "2", True, 1.0, [1], 10**30])
def test_image_request_refuses_bad_n(n: object) -> None:
    refusal = refused({"prompt": "x", "n": n})
    assert refusal.param == "n"
    assert "1 to 10" in refusal.message


@pytest.mark.parametrize("name", ["max_cost_usd", "max_latency_s"])
@pytest.mark.parametrize("ceiling", [0, -1, 0.0, float("inf"), float("nan"), "1", True, [1], 10**400, -(10**400)])
def test_image_request_refuses_what_is_no_ceiling(name: str, ceiling: object) -> None:
    refusal = refused({"prompt": "x", name: ceiling})
    assert refusal.param == name
    assert "above 0" in refusal.message


def test_image_request_takes_ceilings() -> None:
    request = image_request({"prompt": "x", "max_cost_usd": 1e-9, "max_latency_s": 3}, OFFER)
    assert (request.max_cost_usd, request.max_latency_s) == (1e-9, 3.0)


@pytest.mark.parametrize("size", ["0x0", "1x1", "1024X1024", "99999x99999", "-1x5", "64", "", 64, [64, 64], "64×64"])
def test_image_request_refuses_bad_size_with_the_allowed_list(size: object) -> None:
    refusal = refused({"prompt": "x", "size": size})
    assert refusal.param == "size"
    assert "auto, 64x64, 256x256" in refusal.message


def test_image_request_refuses_a_size_that_the_asked_tier_lacks() -> None:
    assert image_request({"prompt": "x", "size": "256x256"}, OFFER).size == "256x256"
    refusal = refused({"prompt": "x", "size": "256x256", "model": "gan"})
    assert (refusal.param, refusal.message) == ("size", "gan draws auto, 64x64; not 256x256.")


@pytest.mark.parametrize("model", ["", "dall-e-3", "gan@slow", "GAN", 3, ["auto"], "a" * 10_000, "\ud800"])
def test_image_request_refuses_unknown_model_with_the_known_ones(model: object) -> None:
    refusal = refused({"prompt": "x", "model": model})
    assert (refusal.param, refusal.code) == ("model", "model_not_found")
    assert "auto, gan, gan@fast" in refusal.message
    assert len(refusal.message) < 300


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("quality", "best"),
        ("response_format", "url"),
        ("response_format", "file"),
        ("output_format", "gif"),
        ("output_format", "PNG"),
        ("output_compression", 101),
        ("output_compression", "50"),
        ("seed", -1),
        ("seed", 2**63),
        ("seed", 1.0),
        ("seed", "1"),
        ("seed", True),
        ("user", 5),
        ("user", "a\0b"),
        ("user", "\udc00"),
        ("user", "x" * 257),
        ("stream", True),
        ("stream", 0),
        ("background", "transparent"),
        ("style", "vivid"),
        ("partial_images", 2),
        ("partial_images", False),
        ("moderation", "off"),
    ],
)
def test_image_request_refuses_bad_value_naming_the_field(field: str, value: object) -> None:
    assert refused({"prompt": "x", field: value}).param == field


def test_image_request_refuses_unknown_field_and_suggests_the_near_one() -> None:
    refusal = refused({"prompt": "x", "promt": "y"})
    assert (refusal.param, refusal.code) == ("promt", "unknown_parameter")
    assert "Did you mean prompt?" in refusal.message
    assert "output_format" in refusal.message


def test_image_request_refuses_unknown_field_of_odd_name() -> None:
    refusal = refused({"prompt": "x", "\ud800" * 1000: 1})
    assert len(json.dumps(refusal.body())) < 2000


def test_image_request_takes_compression_for_webp_but_not_for_png() -> None:
    assert image_request({"prompt": "x", "output_format": "webp", "output_compression": 30}, OFFER)
    assert refused({"prompt": "x", "output_compression": 30}).param == "output_compression"


@pytest.mark.parametrize("rating", [0, 1, 0.5, 0.0, 1.0])
def test_feedback_request_accepts_rating_in_range(rating: float) -> None:
    assert feedback_request({"decision_id": "d", "rating": rating}).rating == rating


@pytest.mark.parametrize(
    "rating", [float("nan"), float("inf"), -float("inf"), 1e308, 10**400, -0.1, 1.01, None, True, "0.5", [0.5], {}]
)
def test_feedback_request_refuses_other_rating(rating: object) -> None:
    with pytest.raises(Refusal) as caught:
        feedback_request({"decision_id": "d", "rating": rating})
    assert (caught.value.status, caught.value.param) == (400, "rating")


@pytest.mark.parametrize("body", [{"rating": 1}, {"decision_id": "", "rating": 1}, {"decision_id": 5, "rating": 1}])
def test_feedback_request_refuses_bad_decision_id(body: dict[str, Any]) -> None:
    with pytest.raises(Refusal) as caught:
        feedback_request(body)
    assert caught.value.param == "decision_id"


def test_feedback_request_refuses_unknown_field() -> None:
    with pytest.raises(Refusal, match="reward"):
        feedback_request({"decision_id": "d", "rating": 1, "reward": 1})


@pytest.mark.parametrize("header", ["0", "0.001", "0.19", "-1", "nan", "inf", "soon", ""])
def test_timeout_s_refuses_what_is_no_time(header: str) -> None:
    with pytest.raises(Refusal):
        timeout_s(header, 60)


def test_timeout_s_is_the_shorter_of_both_and_ends_before_the_proxy_does() -> None:
    assert timeout_s(None, 60) == 60
    assert timeout_s("600", 60) == 60
    assert timeout_s("10", 60) == 9.5
    assert timeout_s("1", 60) == 0.8
    assert timeout_s("0.5", 60) == pytest.approx(0.35)
    assert timeout_s("0.2", 60) == pytest.approx(0.08)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"prompt": "\xff\xfe"}',
        b'{"prompt": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        b'{"a":' * 200_000,
        b'{"seed": NaN}',
        b'{"seed": -Infinity}',
        b'{"seed": ' + b"9" * 5000 + b"}",
        b"[]",
        b"null",
        b'"text"',
        b"{",
        b"\xef\xbb\xbf{}",
    ],
)
def test_parse_json_object_refuses(raw: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        parse_json_object(raw)
    assert (caught.value.status, caught.value.code) == (400, "invalid_json")


@pytest.mark.parametrize("raw", [b'{"n": 1, "n": 2}', b'{"m": [{"n": 1, "o": 2, "n": 1}]}'])
def test_parse_json_object_refuses_a_key_that_is_given_twice(raw: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        parse_json_object(raw)
    assert "has 'n' twice" in caught.value.message


@pytest.mark.parametrize(
    ("value", "words"),
    [(None, "null"), (True, "true"), ([False, None], "[false, null]"), ("None", "'None'"), (float("nan"), "NaN")],
)
def test_refusals_show_values_as_json_has_them(value: object, words: str) -> None:
    with pytest.raises(Refusal) as caught:
        feedback_request({"decision_id": "d", "rating": value})
    assert caught.value.message.endswith(f"not {words}.")
