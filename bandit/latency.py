"""How long an arm takes: a running mean of its service time, and what the live load makes of it."""

from __future__ import annotations

import json
from math import ceil, isfinite

from .context import ArmContext
from .errors import BadState

# One observation may move the mean only this many times its own size: a cold start of a minute would otherwise drive
# a 20 ms arm out of every later decision, and with it the observations that put the mean right again.
MOST_TIMES_MEAN = 4.0


class LatencyModel:
    """Exponential moving mean of service seconds per arm name; the catalogue's estimate until there is one."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._mean_s: dict[str, float] = {}
        self._seen: dict[str, int] = {}

    def predict_s(self, arm: ArmContext) -> float:
        """Expected seconds from dispatch to image: service_s * ceil((1 + in_flight) / (replicas * batch))."""
        return self._mean_s.get(arm.name, arm.service_s) * crowding(arm)

    def learn(self, arm: ArmContext, latency_s: float) -> None:
        """Fold one measured latency, freed of the load that the arm carried when it was chosen."""
        served_s = latency_s / crowding(arm)
        mean_s = self._mean_s.get(arm.name, arm.service_s)
        if mean_s > 0:
            served_s = min(served_s, MOST_TIMES_MEAN * mean_s)
        seen = self._seen.get(arm.name, 0) + 1
        # A plain mean at first, so that the catalogue's estimate is forgotten within a few images.
        share = max(self._share, 1 / (seen + 1))
        self._mean_s[arm.name] = mean_s + share * (served_s - mean_s)
        self._seen[arm.name] = seen

    def learn_at_least(self, arm: ArmContext, elapsed_s: float) -> None:
        """An attempt was given up after `elapsed_s`: learned if it was expected sooner, else it says nothing."""
        if elapsed_s > self.predict_s(arm):
            self.learn(arm, elapsed_s)

    def forget(self, arm: str) -> None:
        """What a removed arm took; should it come back, the catalogue's estimate stands again."""
        self._mean_s.pop(arm, None)
        self._seen.pop(arm, None)

    def state(self) -> bytes:
        """JSON; floats are written so that they read back as the same bits."""
        return json.dumps(
            {name: [self._mean_s[name], self._seen[name]] for name in sorted(self._mean_s)}, allow_nan=False
        ).encode()

    @classmethod
    def read(cls, state: bytes, share: float) -> LatencyModel:
        """The model that wrote `state`. Raises BadState."""
        model = cls(share)
        try:
            for name, (mean_s, seen) in json.loads(state).items():
                if not (isinstance(mean_s, float) and isfinite(mean_s) and mean_s >= 0):
                    raise BadState(f"mean latency of arm {name!r} is {mean_s!r}")
                if type(seen) is not int or seen < 1:
                    raise BadState(f"arm {name!r} was seen {seen!r} times")
                model._mean_s[name], model._seen[name] = mean_s, seen
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise BadState(f"latencies cannot be read: {error}") from error
        return model


def crowding(arm: ArmContext) -> int:
    """How many batches one after the other it takes until this image is drawn."""
    at_once = max(arm.replicas, 1) * max(arm.batch, 1)
    return ceil((1 + arm.in_flight) / at_once)
