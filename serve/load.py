"""What this gateway knows of each tier right now: requests in flight, replicas, measured service times, circuits.

Nothing here asks anybody: the numbers come from the requests that pass through and from `TierWatch` in `watch.py`.
Used from the gateway's event loop only; `set_replicas` may be called from another thread.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from bandit.context import ArmContext

from .circuit import Circuit

_NEWEST_SHARE = 0.2  # of the newest measurement in the moving average: about ten requests of memory


@dataclass(frozen=True, slots=True)
class TierLoad:
    """One tier's state, as /healthz shows it."""

    in_flight: int
    replicas: int
    circuit: str


class LoadBoard:
    """Live load per tier, and the arms of the catalogue as a policy sees them now.

    `sleepers` are tiers that scale to zero: having no replica, they are still woken by a request.
    `failures` and `cooldown_s` are the circuit's: so many in a row open it, for so long.
    """

    def __init__(
        self,
        arms: Sequence[ArmContext],
        *,
        sleepers: Collection[str] = (),
        failures: int,
        cooldown_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._sleepers = frozenset(sleepers)
        self._arms = {arm.name: arm for arm in arms}
        tiers = dict.fromkeys(arm.tier for arm in arms)
        self._in_flight = dict.fromkeys(tiers, 0)
        self._service_s = {arm.name: arm.service_s for arm in arms}
        self._circuits = {tier: Circuit(failures, cooldown_s, clock) for tier in tiers}
        self._replicas: Mapping[str, int] = {}  # tier -> running replicas; absent: not known yet

    def arms(self, names: Collection[str], *, patient: bool = False) -> tuple[ArmContext, ...]:
        """The named arms, in the catalogue's order, with the load of this moment.

        `patient`: a tier without a replica counts as available, since the caller wants no other and waits for it.
        """
        return tuple(
            replace(
                arm,
                service_s=self._service_s[name],
                in_flight=self._in_flight[arm.tier],
                replicas=max(1, self._replicas.get(arm.tier, arm.replicas)),
                available=self.is_available(arm.tier, patient=patient),
            )
            for name, arm in self._arms.items()
            if name in names
        )

    def is_available(self, tier: str, *, patient: bool = False) -> bool:
        """May a request be sent there? Not while its circuit is open, nor while no replica runs."""
        reachable = patient or tier in self._sleepers or self.replicas(tier) > 0
        return reachable and self._circuits[tier].state != "open"

    def replicas(self, tier: str) -> int:
        """Running replicas, 1 where that is not known yet."""
        return self._replicas.get(tier, 1)

    def retry_after_s(self, names: Collection[str]) -> float:
        """Seconds until the first of these arms may be tried again."""
        return min((self._circuits[self._arms[name].tier].opens_in_s for name in names), default=1.0) or 1.0

    @contextmanager
    def sending(self, tier: str, images: int) -> Iterator[None]:
        """Count `images` requests as in flight while the block runs."""
        self._circuits[tier].started()
        self._in_flight[tier] += images
        try:
            yield
        finally:
            self._in_flight[tier] -= images

    def served(self, arm: str, service_s: float) -> None:
        """An arm answered after `service_s` of work."""
        self._circuits[self._arms[arm].tier].succeeded()
        self._service_s[arm] += _NEWEST_SHARE * (service_s - self._service_s[arm])

    def failed(self, tier: str) -> None:
        """A tier's replica died, could not draw, or was late though it had time enough."""
        self._circuits[tier].failed()

    def set_replicas(self, replicas: Mapping[str, int]) -> None:
        """Running replicas per tier; a tier that is left out counts as having one."""
        self._replicas = dict(replicas)

    def tiers(self) -> dict[str, TierLoad]:
        """State per tier."""
        return {
            tier: TierLoad(self._in_flight[tier], self.replicas(tier), circuit.state)
            for tier, circuit in self._circuits.items()
        }
