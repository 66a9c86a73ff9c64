"""How well each arm is known: what exploration is worth, and when what was known has stopped being true.

    spread(arm) = s / sqrt(1 + samples)     s^2: running mean of the squared residuals of all arms
    age(arm)    = decisions in which the arm could have been drawn; it sets how far exploration has gone

A fall of an arm's quality is found by a one-sided CUSUM (Page 1954, "Continuous inspection schemes") on its residuals
in units of the arm's own s, taken before the record is learned:  S <- max(0, S - z - SLACK), alarm above THRESHOLD.
That s is shrunk to what all arms have while the arm has few samples. Of one image no
more than MOST_DEVIATION counts, or a few bad ones in a row would be an alarm where most are good and some are hopeless.
After it the arm's samples are discounted and its age starts anew: it is measured again instead of being believed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, fields
from math import isfinite, sqrt

from .errors import BadState

SLACK = 0.5  # a fall of one s is found within about THRESHOLD / 0.5 images of the arm
THRESHOLD = 12.0  # of steady Gaussian residuals an alarm in a million images (Siegmund 1985, (2.56))
MOST_DEVIATION = 3.0
LEAST_SAMPLES = 50  # before that an arm's own expectation is not worth alarming by
KEPT_AFTER_ALARM = 0.1  # of an arm's samples
_VARIANCE_AT_FIRST = 0.1
_SHRUNK_BY = 20.0  # samples that all arms' variance counts for beside the arm's own
_VARIANCE_SAMPLES = 500  # that the running mean of squared residuals remembers


@dataclass(slots=True)
class _Arm:
    samples: float = 0.0  # discounted
    age: float = 0.0  # at most the memory
    fall: float = 0.0  # the CUSUM
    variance: float = 0.0  # running mean of the arm's own squared residuals
    alarms: int = 0


class Knowledge:
    """Counts per arm. `memory`: samples and decisions that count; older ones fade."""

    part_names = frozenset({"knowledge"})

    def __init__(self, memory: float) -> None:
        self._memory = memory
        self._arms: dict[str, _Arm] = {}
        self._variance = _VARIANCE_AT_FIRST
        self._measured = 0

    def spread(self, arm: str) -> float:
        """How far off an arm's mean quality may be, one standard error."""
        known = self._arms.get(arm)
        return sqrt(self._variance / (1.0 + (known.samples if known else 0.0)))

    def age(self, arm: str) -> float:
        """Decisions since the arm came, or since its last alarm."""
        known = self._arms.get(arm)
        return known.age if known else 0.0

    @property
    def alarms(self) -> dict[str, int]:
        """Falls of quality that were found so far, of the arms that had any."""
        return {name: arm.alarms for name, arm in self._arms.items() if arm.alarms}

    def learn(self, present: Iterable[str], served: str, residual: float) -> bool:
        """Count one decision among `present` and what the served arm's quality was above what was expected of it.

        True where that is an alarm: the arm's quality has fallen.
        """
        for name in present:
            arm = self._arms.setdefault(name, _Arm())
            arm.age = min(arm.age + 1.0, self._memory)
        arm = self._arms.setdefault(served, _Arm())
        known = min(arm.samples, _VARIANCE_SAMPLES)
        own = (_SHRUNK_BY * self._variance + known * arm.variance) / (_SHRUNK_BY + known)
        deviation = residual / sqrt(max(own, 1e-6))
        deviation = min(max(deviation, -MOST_DEVIATION), MOST_DEVIATION)
        self._measured += 1
        share = 1.0 / min(self._measured + 1, _VARIANCE_SAMPLES)
        self._variance += share * (residual * residual - self._variance)
        arm.variance += (residual * residual - arm.variance) / min(arm.samples + 1.0, _VARIANCE_SAMPLES)
        arm.samples = arm.samples * (1.0 - 1.0 / self._memory) + 1.0
        if arm.samples < LEAST_SAMPLES:
            return False
        arm.fall = max(0.0, arm.fall - deviation - SLACK)
        if arm.fall <= THRESHOLD:
            return False
        arm.alarms, arm.fall, arm.age = arm.alarms + 1, 0.0, 0.0
        arm.samples *= KEPT_AFTER_ALARM
        return True

    def forget(self, arm: str) -> None:
        """The arm is gone."""
        self._arms.pop(arm, None)

    def state(self) -> bytes:
        """JSON; floats read back as the same bits."""
        arms = {name: [arm.samples, arm.age, arm.fall, arm.variance, arm.alarms] for name, arm in self._arms.items()}
        return json.dumps([self._variance, self._measured, arms], sort_keys=True, allow_nan=False).encode()

    def read(self, state: bytes) -> Knowledge:
        """What wrote `state` with the same memory. Raises BadState."""
        knowledge = Knowledge(self._memory)
        try:
            variance, measured, arms = json.loads(state)
            numbers = [variance, *(value for row in arms.values() for value in row)]
            if not all(isinstance(value, float | int) and isfinite(value) and value >= 0 for value in numbers):
                raise BadState(f"what is known of the arms holds a number that cannot be: {numbers}")
            if type(measured) is not int or measured < 0:
                raise BadState(f"{measured!r} records were measured")
            knowledge._variance, knowledge._measured = float(variance), measured
            for name, row in arms.items():
                if len(row) != len(fields(_Arm)) or type(row[4]) is not int:
                    raise BadState(f"what is known of arm {name!r} is {row!r}")
                knowledge._arms[name] = _Arm(*row)
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise BadState(f"what is known of the arms cannot be read: {error}") from error
        return knowledge
