"""What GET /healthz says of one gateway: its tiers, journal, policies, and what happens to what it measures."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from bandit.backlog import Backlog, read_backlog
from bandit.errors import JournalAway
from bandit.experiments.assignment import Running, column
from bandit.journal import Health as Answers
from bandit.journal import Journal

from .catalogue import Catalogue
from .deciding import age_s
from .experiments_deciding import Deciders, InUse
from .load import LoadBoard
from .prompt_vectors import PromptVectors
from .recording import Recorder
from .scoring import Scoring

_BEHIND_SNAPSHOTS = 6  # a learner that missed so many times to publish is taken for stopped ...
_BEHIND_LEAST_S = 30.0  # ... but not sooner than this


class Health:
    """Looks at the parts of a gateway; changes none."""

    def __init__(
        self,
        catalogue: Catalogue,
        journal: Journal,
        recorder: Recorder,
        deciders: Deciders,
        board: LoadBoard,
        scoring: Scoring,
        vectors: PromptVectors | None = None,
    ) -> None:
        self._catalogue = catalogue
        self._journal = journal
        self._recorder = recorder
        self._deciders = deciders
        self._board = board
        self._scoring = scoring
        self._vectors = vectors

    async def read(self) -> tuple[bool, dict[str, Any]]:
        """GET /healthz: whether requests can be served now, and what each part says.

        Degraded: a tier is away, what was measured is not learned, or images are not scored; requests are served.
        """
        journal, backlog = await asyncio.to_thread(self._read_journal)
        learning = self._catalogue.learning
        behind_s = max(_BEHIND_LEAST_S, _BEHIND_SNAPSHOTS * learning.snapshot_after_s)
        behind = backlog is not None and backlog.is_behind(behind_s)
        tiers = self._board.tiers()
        in_use = self._deciders.in_use
        loaded = in_use.live.loaded
        up = journal.reachable and any(self._board.is_available(tier) for tier in tiers)
        whole = up and not behind and not self._scoring.failing and all(map(self._board.is_available, tiers))
        return up, {
            "status": "ok" if whole else "degraded" if up else "down",
            "tiers": {
                name: {"replicas": load.replicas, "in_flight": load.in_flight, "circuit": load.circuit}
                for name, load in tiers.items()
            },
            "journal": {
                "reachable": journal.reachable,
                "backend": journal.backend,
                "waiting_rows": self._recorder.waiting_rows,
                "lost_rows": self._recorder.lost_rows,
            },
            "policy": {
                "name": loaded.policy.name,
                "snapshot_version": loaded.version,
                "snapshot_age_s": age_s(loaded),
                "fallbacks": self._deciders.fallbacks,
                "promoted_by": in_use.promoted_by,
                "quality_alarms": dict(getattr(loaded.policy, "alarms", {})),  # arms whose quality fell -> how often
            },
            "encoder": None if self._vectors is None else {"failed": self._vectors.failed},
            "experiments": [_running_body(experiment, in_use) for experiment in in_use.running],
            "learning": None
            if backlog is None
            else {
                "behind": behind,
                "unfolded_joins": backlog.unfolded_joins,
                "waited_s": backlog.waited_s,
                "snapshot_age_s": backlog.snapshot_age_s,
            },
            "scoring": {
                "failing": self._scoring.failing,
                "waiting": self._scoring.waiting,
                "dropped": self._scoring.dropped,
                "failed": self._scoring.failed,
            },
        }

    def _read_journal(self) -> tuple[Answers, Backlog | None]:
        health = self._journal.health()
        try:
            backlog = read_backlog(
                self._journal,
                self._deciders.in_use.live.snapshot_name,
                now_s=time.time(),
                join_window_s=self._catalogue.learning.join_window_s,
            )
        except JournalAway:
            backlog = None
        return health, backlog


def _running_body(experiment: Running, in_use: InUse) -> dict[str, Any]:
    plan, variants = experiment.plan, dict[str, Any]()
    for planned in plan.variants:
        decider = in_use.deciders.get(column(plan, planned.name))
        stopped = planned.name in experiment.stopped or decider is None
        version = None if decider is None else decider.loaded.version
        variants[planned.name] = {"policy": planned.policy, "snapshot_version": version, "stopped": stopped}
    return {"experiment_id": plan.experiment_id, "kind": plan.kind, "control": plan.control, "variants": variants}
