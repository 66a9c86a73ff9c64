"""python -m serve evaluate: what would this policy have earned last week, by the journal of this installation?

The policy's name is one of `bandit`'s, an arm's (always that one), or "live": what was promoted last, else the
catalogue's. Where it is the live policy's and no options are given, the live policy's are meant. It only reads.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from bandit.errors import CannotEvaluate
from bandit.evaluation.command import evaluate, open_to_read, options_from, save_json
from bandit.evaluation.report import Report
from bandit.evaluation.target import LIVE
from bandit.experiments.ledger import Ledger

from .catalogue import Catalogue

_DAY_S = 86400.0
MOST_DAYS = 3650.0


def evaluate_days(
    catalogue: Catalogue,
    journal_url: str,
    policy: str,
    *,
    days: float = 7.0,
    options: str | None = None,
    reward: str = "utility",
    explored_only: bool = False,
    json_path: Path | None = None,
    said_on: TextIO | None = None,
    clock: Callable[[], float] = time.time,
) -> Report:
    """Judge a policy on the requests of the last `days`, having learned from all before; `options` is JSON.

    Raises UnknownPolicy, CannotEvaluate or JournalAway.
    """
    if not 0 < days <= MOST_DAYS:
        raise CannotEvaluate(f"--days is {days!r}; allowed: above 0, to {MOST_DAYS:g}")
    given = None if options is None else options_from(options)
    journal = open_to_read(journal_url)
    try:
        promoted = Ledger(journal).live_policy()
        live = catalogue.policy.name if promoted is None else promoted.name
        name = live if policy == LIVE else policy
        if given is None and name == live:
            given = dict(catalogue.policy.policy_options() if promoted is None else promoted.options)
        report = evaluate(
            journal,
            name,
            given,
            since_s=clock() - days * _DAY_S,
            explored_only=explored_only,
            reward=reward,
            said_on=said_on,
        )
    finally:
        journal.close()
    if json_path is not None:
        save_json(report, json_path)
    return report
