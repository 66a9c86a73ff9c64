"""One simulated tier: a queue in front of replicas, first come first served, in batches.

A replica that is free takes as many waiting requests as its batch holds. Serve gives every replica a short queue of its
own instead and picks the shorter of two; one queue for all is what that comes close to while the queues are short.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable
from random import Random

from .tiers import TierModel

BATCH_DONE, REPLICA_READY, BATCH_WAITED = 1, 2, 3
Schedule = Callable[[float, int, object], None]  # when, which of the three, what belongs to it


class Station:
    """Counts of replicas by what they do; replicas have no names, since all of a tier are alike."""

    def __init__(
        self, model: TierModel, rng: Random, schedule: Schedule, *, deadline_s: float | None, measure_from_s: float
    ) -> None:
        """`measure_from_s`: requests that arrived before are served and not counted."""
        self.model, self._rng, self._schedule = model, rng, schedule
        self._deadline_s, self._measure_from_s = deadline_s, measure_from_s
        self.target = self.idle = model.initial_replicas
        self.in_work = 0  # requests
        self.busy = self.draining = 0  # draining ones are busy with their last batch
        self._starting: dict[int, None] = {}  # in the order in which they were ordered
        self._started = 0
        self.queue: deque[float] = deque()  # arrival times
        self.waits_s, self.latencies_s = array("d"), array("d")
        self.late = self.refused = self.expired = 0
        self.first_images_s: list[float] = []  # from a request that found no replica to the first image
        self._cold_since_s: float | None = None
        self._batch_timer_s: float | None = None
        self.mass = 0.0  # sum of the probabilities that the router gave this tier since the last tick
        self.replica_seconds = self._integrated_s = 0.0

    @property
    def running(self) -> int:
        """Replicas that serve, and will go on to."""
        return self.idle + self.busy - self.draining

    @property
    def in_flight(self) -> int:
        """Requests in work and waiting."""
        return len(self.queue) + self.in_work

    @property
    def has_room(self) -> bool:
        """May one more wait?"""
        limit = self.model.queue_limit
        return limit is None or self.idle > 0 or len(self.queue) < limit

    def arrive(self, now_s: float) -> None:
        """One request; the caller has seen that there is room."""
        if self._cold_since_s is None and self.running == 0:
            self._cold_since_s = now_s
        self.queue.append(now_s)
        if self.idle:
            self.start(now_s)

    def start(self, now_s: float) -> None:
        """Give waiting requests to idle replicas."""
        queue, batch, wait_s = self.queue, self.model.batch, self.model.batch_wait_s
        while self.idle and queue:
            if self._deadline_s is not None and now_s - queue[0] > self._deadline_s:
                if queue.popleft() >= self._measure_from_s:
                    self.expired += 1
                continue
            size = min(batch, len(queue))
            if size < batch and wait_s > 0 and now_s < queue[0] + wait_s:
                due_s = queue[0] + wait_s
                if self._batch_timer_s != due_s:
                    self._batch_timer_s = due_s
                    self._schedule(due_s, BATCH_WAITED, None)
                return
            taken = [queue.popleft() for _ in range(size)]
            for arrived_s in taken:
                if arrived_s >= self._measure_from_s:
                    self.waits_s.append(now_s - arrived_s)
            self.idle -= 1
            self.busy += 1
            self.in_work += size
            self._schedule(now_s + self.model.service.draw_s(size, self._rng), BATCH_DONE, taken)

    def done(self, now_s: float, taken: list[float]) -> None:
        """A batch is drawn; its replica takes the next, or stops if it is to go."""
        self.in_work -= len(taken)
        for arrived_s in taken:
            if arrived_s >= self._measure_from_s:
                latency_s = now_s - arrived_s
                self.latencies_s.append(latency_s)
                self.late += latency_s > self.model.target_latency_s
        if self._cold_since_s is not None and taken[-1] >= self._cold_since_s:
            self.first_images_s.append(now_s - self._cold_since_s)
            self._cold_since_s = None
        if self.draining:
            self._count(now_s)
            self.draining -= 1
            self.busy -= 1
        else:
            self.busy -= 1
            self.idle += 1
        if self.queue:
            self.start(now_s)

    def ready(self, now_s: float, number: int) -> None:
        """A replica has started, unless it was called off."""
        if number in self._starting:
            del self._starting[number]
            self.idle += 1
            self.start(now_s)

    def scale_to(self, target: int, now_s: float) -> None:
        """Order replicas, or let go: those that start last, then idle ones, then those that finish first."""
        self._count(now_s)
        self.target = target
        missing = target - self.running - len(self._starting)
        for _ in range(missing):
            self._started += 1
            self._starting[self._started] = None
            self._schedule(now_s + self.model.draw_startup_s(self._rng), REPLICA_READY, self._started)
        surplus = max(0, -missing)
        while surplus and self._starting:
            self._starting.popitem()
            surplus -= 1
        stopped = min(surplus, self.idle)
        self.idle -= stopped
        self.draining += surplus - stopped

    def close(self, now_s: float) -> None:
        """The end: what still waits was never served."""
        self._count(now_s)
        self.expired += sum(arrived_s >= self._measure_from_s for arrived_s in self.queue)
        self.queue.clear()

    def _count(self, now_s: float) -> None:
        """Before the number of replicas changes. One that starts or drains holds its device like any other."""
        self.replica_seconds += (self.idle + self.busy + len(self._starting)) * (now_s - self._integrated_s)
        self._integrated_s = now_s
