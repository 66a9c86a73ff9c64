"""What a request may say, and what it means: bodies of the HTTP API checked into frozen values.

`ImageRequest` and `FeedbackRequest` also describe the bodies in /openapi.json. What depends on the catalogue
(models, sizes, quality presets) is checked against an `Offer`. Every refusal is an OpenAI-shaped 400.
"""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .openai_errors import Refusal, bad_value, shown

PROMPT_LIMIT_CHARS = 4000
IMAGES_LIMIT = 10
CALLER_LIMIT_CHARS = 256
SEED_LIMIT = 2**63
TIMEOUT_LEAST_S = 0.2
_Body = TypeVar("_Body", bound=BaseModel)

# Fields of OpenAI's API that mean nothing here: null and these values are accepted, others refused.
_NOT_SERVED: Mapping[str, tuple[object, ...]] = {
    "stream": (False,),
    "partial_images": (0,),
    "background": ("auto", "opaque"),
    "moderation": ("auto", "low"),
    "style": (),
    "complexity": (),
    "frame_count": (1,),
    "svg": (),
}


class ImageRequest(BaseModel):
    """Body of POST /v1/images/generations."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    prompt: Annotated[str, Field(min_length=1, max_length=PROMPT_LIMIT_CHARS, description="what to draw")]
    model: Annotated[str, Field(description="auto, a tier, or an arm (tier@preset)")] = "auto"
    n: Annotated[int, Field(ge=1, le=IMAGES_LIMIT, description="how many images")] = 1
    size: Annotated[str, Field(description="auto (as the tier draws it) or a size of the catalogue")] = "auto"
    quality: Annotated[str, Field(description="what to pay for: a preset of weights of the catalogue")] = "auto"
    response_format: Literal["b64_json"] = "b64_json"
    output_format: Literal["png", "webp", "jpeg"] = "png"
    output_compression: Annotated[int | None, Field(ge=0, le=100, description="percent, for webp and jpeg")] = None
    user: Annotated[str | None, Field(max_length=CALLER_LIMIT_CHARS, description="stored as a hash")] = None
    safety_identifier: Annotated[str | None, Field(max_length=CALLER_LIMIT_CHARS, description="as user")] = None
    seed: Annotated[int | None, Field(ge=0, lt=SEED_LIMIT, description="image i is drawn with seed + i")] = None
    max_cost_usd: Annotated[
        float | None, Field(gt=0, allow_inf_nan=False, description="ceiling on the price of one image")
    ] = None
    max_latency_s: Annotated[
        float | None,
        Field(gt=0, allow_inf_nan=False, description="ceiling on the seconds that one image is expected to take"),
    ] = None

    @property
    def caller(self) -> str | None:
        """Who asks, in the client's own words."""
        return self.user or self.safety_identifier


class FeedbackRequest(BaseModel):
    """Body of POST /v1/feedback."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    decision_id: Annotated[str, Field(min_length=1, max_length=128, description="from an answer's `switchboard`")]
    rating: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, description="0 bad, 1 good")]
    user: Annotated[str | None, Field(max_length=CALLER_LIMIT_CHARS, description="stored as a hash")] = None


@dataclass(frozen=True, slots=True)
class Offer:
    """What the catalogue lets a caller choose.

    `models`: name -> its arms; `sizes_px`: size -> (height, width); `sizes`: model -> the sizes that it offers.
    """

    models: Mapping[str, tuple[str, ...]]
    sizes_px: Mapping[str, tuple[int, int]]
    sizes: Mapping[str, frozenset[str]]
    qualities: tuple[str, ...]
    max_prompt_characters: int = PROMPT_LIMIT_CHARS
    max_images: int = IMAGES_LIMIT


def image_request(body: Mapping[str, Any], offer: Offer) -> ImageRequest:
    """Check a body. Raises Refusal, which says what was given, what is allowed and what to do."""
    given = {name: value for name, value in body.items() if value is not None}
    for name in _NOT_SERVED.keys() & given.keys():
        value = given.pop(name)
        allowed = _NOT_SERVED[name]
        if not any(value == option and type(value) is type(option) for option in allowed):
            options = "".join(f" or {shown(option)}" for option in allowed)
            raise bad_value(name, f"{name} is not served here: leave it out{options}, not {shown(value)}.")
    check_names(given, tuple(ImageRequest.model_fields), tuple(_NOT_SERVED))
    _check_text(given, "prompt", required=True)
    for name in ("user", "safety_identifier"):
        _check_text(given, name)
    _check_offered(given, offer)
    _check_ceilings(given)
    request = _validated(ImageRequest, given)
    if len(request.prompt) > offer.max_prompt_characters:
        raise _too_long(request.prompt, offer.max_prompt_characters)
    if request.n > offer.max_images:
        raise bad_value("n", f"n must be an integer from 1 to {offer.max_images}, not {request.n}.")
    if request.size != "auto" and request.size not in offer.sizes[request.model]:
        fits = ", ".join(size for size in offer.sizes_px if size in offer.sizes[request.model])
        raise bad_value("size", f"{request.model} draws auto, {fits}; not {request.size}.")
    if request.output_compression not in (None, 100) and request.output_format == "png":
        raise bad_value("output_compression", "output_compression is for webp and jpeg; PNG is lossless.")
    return request


def feedback_request(body: Mapping[str, Any]) -> FeedbackRequest:
    """Check a body. Raises Refusal."""
    check_names(body, tuple(FeedbackRequest.model_fields))
    rating = body.get("rating")
    if isinstance(rating, bool) or not isinstance(rating, int | float):
        raise bad_value("rating", f"rating must be a number from 0 (bad) to 1 (good), not {shown(rating)}.")
    if not 0 <= rating <= 1:  # NaN too
        raise bad_value("rating", f"rating must lie in [0, 1], not {shown(rating)}.")
    _check_text(body, "decision_id", required=True)
    _check_text(body, "user")
    return _validated(FeedbackRequest, {**body, "rating": float(rating)})


def checked_body(kind: type[_Body], body: Mapping[str, Any]) -> _Body:
    """Check a body that has nothing of its own to say beside its fields. Raises Refusal."""
    check_names(body, tuple(kind.model_fields))
    for name, field in kind.model_fields.items():
        if field.annotation is str or isinstance(body.get(name), str):
            _check_text(body, name, required=field.is_required())
    return _validated(kind, {name: value for name, value in body.items() if value is not None})


def timeout_s(header: str | None, limit_s: float) -> float:
    """The deadline: the catalogue's, or the client's x-request-timeout-seconds where that is shorter.

    Ray Serve's proxy cuts a request off at the header's time by itself, in plain text, so ours ends a little before;
    what leaves no time for that is refused. Raises Refusal.
    """
    if header is None:
        return limit_s
    try:
        asked_s = float(header)
    except ValueError:
        asked_s = math.nan
    if not (math.isfinite(asked_s) and asked_s >= TIMEOUT_LEAST_S):
        raise bad_value(
            "x-request-timeout-seconds",
            f"x-request-timeout-seconds must be seconds, at least {TIMEOUT_LEAST_S}, not {shown(header)}.",
        )
    return min(limit_s, asked_s - min(0.5, 0.1 + asked_s / 10))


def check_names(given: Mapping[str, Any], known: tuple[str, ...], tolerated: tuple[str, ...] = ()) -> None:
    """Refuse what nobody reads, with the name that was perhaps meant. Raises Refusal."""
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name[:64], known + tolerated, n=1)
            hint = f" Did you mean {close[0]}?" if close else ""
            raise bad_value(
                name[:64].encode("ascii", "backslashreplace").decode(),
                f"Unknown field {shown(name)}.{hint} Allowed: {', '.join(known)}.",
                code="unknown_parameter",
            )


def _check_text(given: Mapping[str, Any], name: str, *, required: bool = False) -> None:
    """What pydantic would refuse less clearly: missing or blank, NUL, and halves of a surrogate pair."""
    value = given.get(name)
    if value is None and not required:
        return
    if value is None:
        raise bad_value(name, f"{name} is missing.", code="missing_required_parameter")
    if not isinstance(value, str):
        raise bad_value(name, f"{name} must be a string, not {shown(value)}.")
    if required and not value.strip():
        raise bad_value(name, f"{name} is empty or blank.")
    if "\0" in value:
        raise bad_value(name, f"{name} holds a NUL character at position {value.index(chr(0))}; remove it.")
    if not value.isascii() and (position := _surrogate_position(value)) is not None:
        raise bad_value(name, f"{name} holds half of a surrogate pair at position {position}; send whole characters.")


def _surrogate_position(text: str) -> int | None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return error.start
    return None


def _check_offered(given: Mapping[str, Any], offer: Offer) -> None:
    choices: Mapping[str, tuple[str, ...]] = {
        "model": tuple(offer.models),
        "size": ("auto", *offer.sizes_px),
        "quality": offer.qualities,
    }
    for name, allowed in choices.items():
        value = given.get(name, allowed[0])
        if not (isinstance(value, str) and value in allowed):
            raise bad_value(
                name,
                f"{name} must be one of {', '.join(allowed)}; not {shown(value)}.",
                code="model_not_found" if name == "model" else "invalid_value",
            )
    if given.get("response_format") == "url":
        raise bad_value("response_format", "response_format url is not served: no image is kept. Use b64_json.")


def _check_ceilings(given: Mapping[str, Any]) -> None:
    """What pydantic would refuse less clearly: a whole number that is no float any more."""
    for name in ("max_cost_usd", "max_latency_s"):
        value = given.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) > sys.float_info.max:
            raise bad_value(name, f"{name} must be a finite number above 0, not {shown(value)}.")


def _validated(kind: type[_Body], given: Mapping[str, Any]) -> _Body:
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise _refusal(error) from error


def _too_long(prompt: str, limit: int) -> Refusal:
    return bad_value(
        "prompt", f"prompt has {len(prompt)} characters; at most {limit} are allowed.", code="string_above_max_length"
    )


def _refusal(error: ValidationError) -> Refusal:
    first = error.errors(include_url=False, include_context=True)[0]
    name = str(first["loc"][0]) if first["loc"] else None
    allowed = {
        "n": f"an integer from 1 to {IMAGES_LIMIT}",
        "seed": f"an integer from 0 to {SEED_LIMIT - 1}",
        "output_compression": "an integer from 0 to 100",
        "output_format": "png, webp or jpeg",
        "response_format": "b64_json",
        "max_cost_usd": "a finite number of USD per image, above 0",
        "max_latency_s": "a finite number of seconds per image, above 0",
    }.get(name or "")
    given = first.get("input")
    if name == "prompt" and isinstance(given, str):
        return _too_long(given, PROMPT_LIMIT_CHARS)
    if allowed is None:
        return bad_value(name, f"{name}: {first['msg']}.")
    return bad_value(name, f"{name} must be {allowed}, not {shown(given)}.")
