"""One tier's circuit: after several failures in a row nothing is sent there for a while, then one request tries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

State = Literal["closed", "open", "half_open"]


class Circuit:
    """Opens after `failures` in a row; after `cooldown_s` one request at a time may try, and closes it by succeeding.

    Being full is no failure: a tier that answers "busy" is alive. Used from one thread.
    """

    def __init__(self, failures: int, cooldown_s: float, clock: Callable[[], float]) -> None:
        self._limit = failures
        self._cooldown_s = cooldown_s
        self._clock = clock
        self._failed_in_a_row = 0
        self._opened_s: float | None = None

    @property
    def state(self) -> State:
        """open: nothing may be sent. half_open: the next request is the trial."""
        if self._opened_s is None:
            return "closed"
        return "open" if self.opens_in_s > 0 else "half_open"

    @property
    def opens_in_s(self) -> float:
        """Seconds until a trial is allowed; 0 where one is."""
        if self._opened_s is None:
            return 0.0
        return max(0.0, self._opened_s + self._cooldown_s - self._clock())

    def started(self) -> None:
        """A request leaves. A trial shuts the door behind it, so that one request tries and not a crowd."""
        if self.state == "half_open":
            self._opened_s = self._clock()

    def succeeded(self) -> None:
        """An image came back."""
        self._failed_in_a_row = 0
        self._opened_s = None

    def failed(self) -> None:
        """A replica died, could not draw, or was late though it had time enough."""
        self._failed_in_a_row += 1
        if self._failed_in_a_row >= self._limit:
            self._opened_s = self._clock()
