"""From a decision to images: calls tier replicas, and goes on elsewhere when one dies, is full, late or cannot draw.

Which arm comes next is `routing.py`; Ray Serve itself retries nothing that was already on a replica.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from ray.exceptions import RayActorError, RayError, TaskCancelledError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RayServeException

from bandit.context import ArmContext, Decision

from .load import LoadBoard
from .routing import Attempt, Failure, attempt_timeout_s, next_arm
from .tier_app import Drawn, Work

logger = logging.getLogger("ray.serve")

_PATIENT_FACTOR = 3.0  # times its expected service time: an arm that is late after less than that may be sound
_PAUSE_S = 0.2  # before asking a tier again whose replica has just died


class TierCall(Protocol):
    """One image from one tier; a cancelled call cancels the work where it can."""

    async def __call__(self, work: Work) -> Drawn: ...


@dataclass(frozen=True, slots=True)
class Served:
    """Images of one arm, and what was tried before."""

    arm: ArmContext
    images: tuple[Drawn, ...]
    attempts: tuple[Attempt, ...]

    @property
    def service_s(self) -> float:
        """Time of work that the caller waited for: images of one request are drawn side by side."""
        return max(image.service_s for image in self.images)


class NotServed(Exception):
    """No arm could serve in time. `attempts` says what was tried; the last one's error why it ended."""

    def __init__(self, attempts: Sequence[Attempt]) -> None:
        super().__init__(", ".join(f"{attempt.arm}: {attempt.error}" for attempt in attempts))
        self.attempts = tuple(attempts)

    @property
    def reason(self) -> Failure:
        """Why: "full" only if every tier was full, else the last attempt's error."""
        errors: list[Failure] = [attempt.error for attempt in self.attempts if attempt.error is not None]
        return next((error for error in reversed(errors) if error != "full"), "full")


class Dispatcher:
    """Sends work to tiers through `calls` (tier -> call) and keeps the load board's books."""

    def __init__(self, calls: Mapping[str, TierCall], board: LoadBoard) -> None:
        self._calls = calls
        self._board = board

    async def draw(
        self,
        works: Sequence[Work],
        decision: Decision,
        arms: Sequence[ArmContext],
        *,
        pinned: bool,
        deadline_s: float,
        attempts: list[Attempt],
        hurried: bool = False,
    ) -> Served:
        """All `works` on one arm, by `deadline_s` on the monotonic clock. Raises NotServed.

        `hurried`: the caller shortened the deadline. Then a late arm is held against its tier, for all callers, only
        if it had time enough.
        `attempts` is filled as they end, so that a cancelled caller can still record them.
        """
        by_name = {arm.name: arm for arm in arms}
        name: str | None = decision.arm
        images: dict[int, Drawn] = {}
        while name is not None:
            arm = by_name[name]
            if attempts and attempts[-1].arm != name:
                images.clear()  # one answer never mixes arms
            started_s = time.monotonic()
            rest_s = deadline_s - started_s
            if rest_s <= 0:
                break
            tried = {arm.tier, *(attempt.tier for attempt in attempts)}
            others_left = not pinned and any(other.tier not in tried and other.available for other in arms)
            try:
                timeout_s = attempt_timeout_s(rest_s, others_left=others_left)
                error = await self._attempt(works, arm, images, timeout_s, hurried=hurried)
            except asyncio.CancelledError:
                attempts.append(Attempt(name, arm.tier, "cancelled", time.monotonic() - started_s))
                raise
            attempts.append(Attempt(name, arm.tier, error, time.monotonic() - started_s))
            if error is None:
                return Served(arm, tuple(images[i] for i in range(len(works))), tuple(attempts))
            logger.warning("arm %s: %s after %.2f s", name, error, attempts[-1].elapsed_s)
            open_tiers = {other.tier for other in arms if self._board.is_available(other.tier)}
            name = next_arm(decision.probabilities, arms, attempts, pinned=pinned, open_tiers=open_tiers)
            if name == arm.name and error == "died":
                await asyncio.sleep(min(_PAUSE_S, max(0.0, deadline_s - time.monotonic())))
        raise NotServed(attempts)

    async def _attempt(
        self, works: Sequence[Work], arm: ArmContext, images: dict[int, Drawn], timeout_s: float, *, hurried: bool
    ) -> Failure | None:
        """Draw what is still missing. None: all there. Otherwise what went wrong first; the rest is cancelled."""
        call = self._calls[arm.tier]
        missing = [i for i in range(len(works)) if i not in images]
        failure: Failure | None = None
        with self._board.sending(arm.tier, len(missing)):
            if len(missing) == 1:  # the common case, without a task of its own
                work = replace(works[missing[0]], preset=arm.preset)
                try:
                    async with asyncio.timeout(timeout_s):
                        images[missing[0]] = await call(work)
                except Exception as error:  # noqa: BLE001 - sorted by _failure_of, which re-raises what is not a tier's
                    failure = _failure_of(error)
            else:
                failure = await self._attempt_side_by_side(works, arm, images, missing, timeout_s)
        if failure is None:
            self._board.served(arm.name, max(image.service_s for image in images.values()))
        elif failure != "full" and not (
            failure == "late" and hurried and timeout_s < _PATIENT_FACTOR * _expected_s(arm, len(missing))
        ):
            self._board.failed(arm.tier)
        return failure

    async def _attempt_side_by_side(
        self, works: Sequence[Work], arm: ArmContext, images: dict[int, Drawn], missing: list[int], timeout_s: float
    ) -> Failure | None:
        call = self._calls[arm.tier]
        tasks = {asyncio.ensure_future(call(replace(works[i], preset=arm.preset))): i for i in missing}
        try:
            done, pending = await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for task in tasks:
                task.cancel()  # nothing happens to those that are done
        failures: list[Failure] = ["late"] if pending else []
        for task in done:
            if task.cancelled():
                failures.insert(0, "died")
            elif (error := task.exception()) is not None:
                failures.insert(0, _failure_of(error))
            else:
                images[tasks[task]] = task.result()
        return failures[0] if failures else None


def _expected_s(arm: ArmContext, images: int) -> float:
    """Seconds that `images` of this arm should take on idle replicas."""
    return arm.service_s * max(1.0, images / arm.replicas)


def _failure_of(error: BaseException) -> Failure:
    """What an exception of a tier call means. Raises it again where it is no failure of a tier."""
    if isinstance(error, BackPressureError):
        return "full"
    if isinstance(error, TimeoutError):
        return "late"
    if isinstance(error, RayActorError | DeploymentUnavailableError | TaskCancelledError):
        return "died"
    if isinstance(error, RayError | RayServeException | RuntimeError):
        logger.warning("a tier could not draw: %s", type(error).__name__)  # its text may quote the prompt
        return "drawing_failed"
    raise error
