"""Sends the demo's prompts, one after the other, and collects what came of them: over HTTP only.

Images are asked for with the official openai client, as any caller would; decisions are read with httpx. One request
at a time, so that every arm is measured under the same load.
"""

from __future__ import annotations

import base64
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from .demo_prompts import Prompt
from .demo_rows import Row, utility_of
from .errors import ServeError

_TIMEOUT_S = 120.0
_BUSY_LIMIT_S = 60.0  # how long one prompt may be put off before it is given up
_FAILURES_LIMIT = 10  # failed prompts in a row, then the demo ends
_POLLED_AT_ONCE = 4
_POLL_S = 0.2
_NO_RETRY_AFTER_S = 1.0


class GatewayAway(ServeError):
    """Nothing answers there (any more)."""


class PromptsFail(ServeError):
    """The gateway answers, and draws nothing."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A picture and where its story can be read. `png` is kept for the independent check only."""

    prompt: Prompt
    model: str
    decision_id: str
    png: bytes
    elapsed_s: float


class Traffic:
    """One caller of one gateway. `rows` grows as qualities arrive; use as a context manager."""

    def __init__(
        self,
        url: str,
        quality: str,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        try:
            import openai
        except ImportError as error:
            raise ServeError("the demo asks with the official client: pip install openai") from error
        self.url = url.rstrip("/")
        self.rows: list[Row] = []
        self.images: dict[str, bytes] = {}  # decision id -> PNG
        self.failed: dict[str, int] = {}  # what was not drawn, by its reason
        self.put_off = 0  # answers that said: later
        self.weights: Mapping[str, float] | None = None  # of this quality, as the gateway names them
        self._quality = quality
        self._sleep, self._clock = sleep, clock
        self._errors = openai
        self._openai = openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=_TIMEOUT_S)
        self._http = httpx.Client(base_url=self.url, timeout=_TIMEOUT_S)
        self._waiting: deque[Answer] = deque()  # for their quality
        self._failed_in_a_row = 0

    def __enter__(self) -> Traffic:
        return self

    def __exit__(self, *_: object) -> None:
        self._openai.close()
        self._http.close()

    def health(self) -> dict[str, Any]:
        """GET /healthz, also where it says that nothing works. Raises GatewayAway."""
        return self._get("/healthz", (200, 503))

    def arms(self) -> tuple[str, ...]:
        """Every arm that can be asked for by name, in the catalogue's order. Raises GatewayAway."""
        return tuple(model["id"] for model in self._get("/v1/models")["data"] if "@" in model["id"])

    def send(self, prompt: Prompt, model: str) -> bool:
        """Ask for one image and read what has arrived meanwhile; whether it was drawn.

        Raises GatewayAway, and PromptsFail when nothing is drawn any more.
        """
        answer = self._asked(prompt, model)
        if answer is not None:
            self._waiting.append(answer)
            self.images[answer.decision_id] = answer.png
        self._failed_in_a_row = 0 if answer is not None else self._failed_in_a_row + 1
        if self._failed_in_a_row >= _FAILURES_LIMIT:
            reasons = ", ".join(f"{reason} ({times}x)" for reason, times in self.failed.items())
            raise PromptsFail(f"{_FAILURES_LIMIT} prompts in a row were not drawn: {reasons}")
        self.collect()
        return answer is not None

    def collect(self) -> None:
        """Read the oldest few decisions that wait for their quality. Raises GatewayAway."""
        for _ in range(min(_POLLED_AT_ONCE, len(self._waiting))):
            answer = self._waiting.popleft()
            story = self._get(f"/v1/decisions/{answer.decision_id}")
            if story["measured"]["quality"] is None and story["join"]["state"] == "open":
                self._waiting.append(answer)
            else:
                self._keep(answer, story)

    def settle(self, limit_s: float) -> None:
        """Wait for the qualities that are still to come; after `limit_s` rows stay without. Raises GatewayAway."""
        end_s = self._clock() + limit_s
        while self._waiting and self._clock() < end_s:
            self.collect()
            if self._waiting:
                self._sleep(_POLL_S)
        while self._waiting:
            answer = self._waiting.popleft()
            self._keep(answer, self._get(f"/v1/decisions/{answer.decision_id}"))

    def _asked(self, prompt: Prompt, model: str) -> Answer | None:
        """The answer, or None with the reason counted. Waits as long as a busy gateway asks to."""
        end_s = self._clock() + _BUSY_LIMIT_S
        while True:
            started_s = self._clock()
            try:
                found = self._openai.images.generate(
                    prompt=prompt.scene.caption,
                    model=model,
                    extra_body={"seed": prompt.seed, "quality": self._quality},  # qualities are the catalogue's words
                )
            except self._errors.APITimeoutError:
                self._count(f"no answer in {_TIMEOUT_S:.0f} s")
                return None
            except self._errors.APIConnectionError as error:
                raise self._away(error.__cause__ or error) from error
            except self._errors.APIStatusError as error:
                if error.status_code in (400, 404):
                    raise PromptsFail(f"{self.url} refuses what the demo asks for: {error.message}") from error
                wait_s = retry_after_s(error.response.headers.get("retry-after"))
                if error.status_code not in (429, 503) or self._clock() + wait_s > end_s:
                    self._count(f"{error.status_code} {error.code or ''}".strip())
                    return None
                self.put_off += 1
                self._sleep(wait_s)
            else:
                elapsed_s = self._clock() - started_s
                told = (found.model_extra or {})["switchboard"]
                png = base64.b64decode((found.data or [])[0].b64_json or "")
                return Answer(prompt, model, told["decision_id"], png, elapsed_s)

    def _count(self, reason: str) -> None:
        self.failed[reason] = self.failed.get(reason, 0) + 1

    def _keep(self, answer: Answer, story: Mapping[str, Any]) -> None:
        outcome, quality = story["outcome"], story["measured"]["quality"]
        self.weights = story["weights"]
        self.rows.append(
            Row(
                number=answer.prompt.number,
                kind=answer.prompt.scene.kind,
                caption=answer.prompt.scene.caption,
                seed=answer.prompt.seed,
                model=answer.model,
                arm=outcome["arm"],
                decision_id=answer.decision_id,
                policy=story["policy"],
                snapshot_version=story["snapshot_version"],
                propensity=story["propensity"],
                probabilities={arm["arm"]: arm["probability"] for arm in story["arms"]},
                latency_s=outcome["latency_s"],
                cost_usd=outcome["cost_usd"],
                elapsed_s=answer.elapsed_s,
                quality=quality,
                utility=utility_of(story["weights"], quality, outcome["latency_s"], outcome["cost_usd"]),
            )
        )

    def _get(self, path: str, expected: tuple[int, ...] = (200,)) -> dict[str, Any]:
        end_s = self._clock() + _BUSY_LIMIT_S
        while True:
            try:
                answer = self._http.get(path)
            except httpx.TransportError as error:
                raise self._away(error) from error
            if answer.status_code in expected:
                try:
                    return answer.json()
                except ValueError as error:
                    raise GatewayAway(f"{self.url}{path} answers, but not in JSON; is this a Switchboard?") from error
            wait_s = retry_after_s(answer.headers.get("retry-after"))
            if answer.status_code not in (429, 503) or self._clock() + wait_s > end_s:
                raise GatewayAway(f"{self.url}{path} answered {answer.status_code}; is this a Switchboard?")
            self.put_off += 1
            self._sleep(wait_s)

    def _away(self, error: BaseException) -> GatewayAway:
        return GatewayAway(f"{self.url} does not answer ({error}). Start it in another terminal: make up")


def retry_after_s(header: str | None) -> float:
    """Seconds to wait by a Retry-After header in seconds; a second where there is none that can be used."""
    try:
        asked_s = float(header or "")
    except ValueError:
        return _NO_RETRY_AFTER_S
    return asked_s if math.isfinite(asked_s) and asked_s >= 0 else _NO_RETRY_AFTER_S
