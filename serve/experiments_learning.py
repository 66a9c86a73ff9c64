"""A learner that folds what the experiments need: the live policy, what a roll-back would bring back, every variant."""

from __future__ import annotations

import logging

from bandit.errors import JournalAway
from bandit.experiments.courses import courses
from bandit.experiments.ledger import Ledger
from bandit.experiments.state import LedgerState, LivePolicy
from bandit.journal import Journal
from bandit.learner import Learner, LearnerSettings, StepReport

from .deciding import features_schema

logger = logging.getLogger("ray.serve")


class ExperimentLearner(Learner):
    """Asks the ledger before each step. `leads` says whether it held the lease at the last one."""

    def __init__(self, journal: Journal, catalogue: LivePolicy, holder: str, settings: LearnerSettings) -> None:
        """`catalogue` is the policy that is live while nothing is promoted; it is always folded."""
        self._ledger = Ledger(journal)
        self._catalogue = catalogue
        self._failed: str | None = None
        self.leads = False
        super().__init__(
            journal,
            courses(LedgerState(), catalogue),
            holder,
            features_schema=features_schema(catalogue.options),
            settings=settings,
        )

    def step(self, now_s: float) -> StepReport:
        """As of any learner, with the policies that are wanted now. Raises JournalAway: call again later."""
        try:
            self.set_policies(courses(self._ledger.state(), self._catalogue))
            self._failed = None
        except JournalAway:
            raise
        except Exception as error:  # an experiment that cannot be read stops nobody's learning
            if self._failed != repr(error):
                logger.exception("experiments cannot be read; what was learned so far goes on being learned")
            self._failed = repr(error)
        report = super().step(now_s)
        self.leads = report.leader
        return report
