"""What the gateway looks at now and then, in threads beside its event loop: running replicas, new snapshots.

No request waits for either: a snapshot is swapped in whole, and the load board keeps the last numbers it heard.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Protocol

from bandit.experiments.state import LivePolicy
from bandit.policies import build
from bandit.snapshots import Snapshots

from .deciding import Decider, Loaded
from .load import LoadBoard

logger = logging.getLogger("ray.serve")

REPLICAS_EVERY_S = 0.25


class Watch:
    """Calls `look` every `every_s` until `stop`. What `look` raises is logged, once in a row."""

    def __init__(self, name: str, look: Callable[[], None], every_s: float) -> None:
        self._name = name
        self._look = look
        self._every_s = every_s
        self._stop = threading.Event()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()

    def _run(self) -> None:
        failing = False
        while not self._stop.is_set():
            try:
                self._look()
                failing = False
            except Exception as error:  # noqa: BLE001 - the next look may work; what was seen last stays in use
                if not failing:
                    logger.warning("%s: %s: %s", self._name, type(error).__name__, error)
                failing = True
            self._stop.wait(self._every_s)


class SnapshotLook:
    """Swaps the newest good snapshot of a policy into its decider."""

    def __init__(self, snapshots: Snapshots, policy: LivePolicy, decider: Decider) -> None:
        self._snapshots = snapshots
        self._policy = policy
        self._decider = decider
        self._refused: set[int] = set()

    def __call__(self) -> None:
        for snapshot in self._snapshots.good(
            self._policy.snapshot_name,
            features_schema=self._decider.features_schema,
            after_version=self._decider.loaded.version,
        ):
            if snapshot.version in self._refused:
                continue
            policy = build(self._policy.name, self._policy.options)
            try:
                policy.restore(snapshot.payload)
            except Exception as error:  # noqa: BLE001 - whatever a policy makes of bytes, an older snapshot is looked for
                self._refused.add(snapshot.version)
                logger.error("snapshot %d is not used: %s: %s", snapshot.version, type(error).__name__, error)
                continue
            self._decider.swap(Loaded(policy, snapshot.version, snapshot.created_at_s))
            return


class CountsReplicas(Protocol):
    """Whoever knows how many replicas of a tier run."""

    def running_replicas(self) -> int | None: ...


class ReplicasLook:
    """Tells the load board how many replicas of each tier run. A tier of which nobody knows is left out."""

    def __init__(self, board: LoadBoard, tiers: Mapping[str, CountsReplicas]) -> None:
        self._board = board
        self._tiers = dict(tiers)

    def __call__(self) -> None:
        counts = {name: tier.running_replicas() for name, tier in self._tiers.items()}
        self._board.set_replicas({name: count for name, count in counts.items() if count is not None})
