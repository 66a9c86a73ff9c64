"""Which policies the learner has to fold for the experiments and the live policy, and under which names.

A variant that is the live policy shares its snapshots; every other one has a course of its own, which starts from the
first join of the journal. The name is fixed when the experiment starts: another promotion in mid-run must not make a
control forget what it has learned.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bandit.course import CoursePlan

from .assignment import Running, column
from .plan import Plan
from .state import LedgerState, LivePolicy


def first_snapshot_name(plan: Plan, variant: str, live: LivePolicy) -> str:
    """The name that a variant's snapshots get at the start of its experiment."""
    planned = plan.variant(variant)
    if planned.learns_from == "all" and _same(planned.policy, planned.options, live):
        return live.snapshot_name
    return column(plan, variant)


def snapshot_name(experiment: Running, variant: str, live: LivePolicy) -> str:
    """Where a variant of a running experiment finds its snapshots now.

    As fixed at the start, unless the live policy has got other options under that name, by a change of the catalogue.
    """
    planned = experiment.plan.variant(variant)
    name = experiment.snapshots.get(variant) or first_snapshot_name(experiment.plan, variant, live)
    if name == live.snapshot_name and not _same(planned.policy, planned.options, live):
        return column(experiment.plan, variant)
    return name


def courses(state: LedgerState, catalogue: LivePolicy) -> Mapping[str, CoursePlan]:
    """Snapshot name to course: the live policy, those that a roll-back would bring back, and every running variant.

    `catalogue` is the policy that is live while nothing is promoted; its course is always there.
    """
    found = {catalogue.snapshot_name: CoursePlan(catalogue.name, catalogue.options)}
    for promotion in state.promotions:
        live = promotion.live
        found.setdefault(live.snapshot_name, CoursePlan(live.name, dict(live.options), promotion.own))
    live = state.live or catalogue
    for experiment in state.running():
        for variant in _learning(experiment):
            planned = experiment.plan.variant(variant)
            own = None if planned.learns_from == "all" else column(experiment.plan, variant)
            plan = CoursePlan(planned.policy, dict(planned.options), own)
            found.setdefault(snapshot_name(experiment, variant, live), plan)
    return found


def _learning(experiment: Running) -> Iterable[str]:
    return (name for name in experiment.plan.names if name not in experiment.stopped)


def _same(policy: str, options: Mapping[str, object], live: LivePolicy) -> bool:
    return policy == live.name and dict(options) == dict(live.options)
