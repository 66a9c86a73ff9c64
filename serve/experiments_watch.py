"""Follows the ledger of experiments: what runs, which policy is live, and each one's snapshots.

Every look also tells the ledger which variants misbehaved here, so that they are stopped everywhere. A request is never
in here: what was found is put into use as a whole (`experiments_deciding.py`).
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from random import Random

from bandit.errors import ExperimentError, UnknownPolicy
from bandit.experiments.assignment import Running, column
from bandit.experiments.courses import snapshot_name
from bandit.experiments.ledger import Ledger
from bandit.experiments.state import LedgerState, LivePolicy
from bandit.policies import build
from bandit.snapshots import Snapshots

from .deciding import Decider, features_schema
from .experiments_deciding import Deciders, InUse
from .watch import SnapshotLook

logger = logging.getLogger("ray.serve")

EVERY_S = 1.0
_Key = tuple[str, str, str]  # snapshot's name, policy, options as JSON


class ExperimentsLook:
    """Keeps a gateway's deciders as the ledger says. From any thread; `actor` names this gateway in the ledger."""

    def __init__(
        self,
        ledger: Ledger,
        snapshots: Snapshots,
        catalogue: LivePolicy,
        fallback: str,
        deciders: Deciders,
        *,
        actor: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`catalogue` is live while nothing is promoted, `fallback` the policy that stands in for any other."""
        self._ledger = ledger
        self._snapshots = snapshots
        self._catalogue = catalogue
        self._fallback = fallback
        self._deciders = deciders
        self._actor = actor
        self._clock = clock
        self._position: int | None = None  # of the ledger, when it was put into use
        self._known: dict[_Key, Decider] = {_key(catalogue): deciders.in_use.live}
        self._follow: dict[_Key, SnapshotLook] = {}
        self._lock = threading.Lock()  # of looks, none of which is a request

    def __call__(self) -> None:
        """Look once. Raises JournalAway; what was seen last stays in use."""
        with self._lock:
            told = self._tell_faults()
            state = self._ledger.state()
            if state.position != self._position:
                self._adopt(state)
            for follow in self._follow.values():
                follow()
            for key in told:
                self._deciders.faults.pop(key, None)

    def _tell_faults(self) -> list[tuple[str, str]]:
        told = []
        for (experiment_id, variant), fault in self._deciders.faults.copy().items():
            try:
                self._ledger.stop_variant(experiment_id, variant, self._actor, self._clock(), reason=fault)
            except ExperimentError as error:
                logger.error("variant %s of experiment %s: %s", variant, experiment_id, error)
            told.append((experiment_id, variant))
        return told

    def _adopt(self, state: LedgerState) -> None:
        wanted: dict[_Key, Decider] = {}
        follow: dict[_Key, SnapshotLook] = {}

        def decider(policy: LivePolicy) -> Decider:
            key = _key(policy)
            if key not in wanted:
                wanted[key] = self._known.get(key) or new_decider(policy, self._fallback)
                follow[key] = self._follow.get(key) or SnapshotLook(self._snapshots, policy, wanted[key])
                follow[key]()  # so that nothing comes into use with less than what it has learned
            return wanted[key]

        live, live_decider, promoted_by = self._live(state, decider)
        running = state.running()
        deciders: dict[str, Decider] = {}
        for experiment in running:
            for name, policy in _policies(experiment, live).items():
                try:
                    deciders[column(experiment.plan, name)] = decider(policy)
                except UnknownPolicy as error:  # created by another version of this program
                    self._deciders.faults[experiment.experiment_id, name] = f"a gateway cannot build it: {error}"
        # Only while the newest promotion is what is used: the column is that promotion's.
        newest = state.promotions[-1].experiment_id if state.promotions else None
        own = state.live_column if promoted_by is not None and promoted_by == newest else None
        self._deciders.use(InUse(live_decider, promoted_by, own, running, deciders))
        self._known, self._follow, self._position = wanted, follow, state.position

    def _live(
        self, state: LedgerState, decider: Callable[[LivePolicy], Decider]
    ) -> tuple[LivePolicy, Decider, str | None]:
        for promotion in reversed(state.promotions):
            try:
                return promotion.live, decider(promotion.live), promotion.experiment_id
            except UnknownPolicy as error:
                logger.error("the policy promoted by %s is not used: %s", promotion.experiment_id, error)
        return self._catalogue, decider(self._catalogue), None


def new_decider(policy: LivePolicy, fallback: str) -> Decider:
    """With nothing learned. Raises UnknownPolicy."""
    return Decider(
        build(policy.name, policy.options),
        build(fallback),
        Random(),
        features_schema=features_schema(policy.options),
        snapshot_name=policy.snapshot_name,
    )


def _policies(experiment: Running, live: LivePolicy) -> Mapping[str, LivePolicy]:
    return {
        planned.name: LivePolicy(planned.policy, planned.options, snapshot_name(experiment, planned.name, live))
        for planned in experiment.plan.variants
        if planned.name not in experiment.stopped
    }


def _key(policy: LivePolicy) -> _Key:
    return policy.snapshot_name, policy.name, json.dumps(policy.options, sort_keys=True, default=repr)
