"""What an experiment has shown so far, as frozen values and as JSON. How it is found: `analysis.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from bandit.confidence import Interval

from .guardrails import Verdict
from .sample_ratio import SampleRatio
from .shadow import ShadowValue


@dataclass(frozen=True, slots=True)
class VariantReport:
    """One variant. All intervals hold at every look at once; differences are to the control."""

    name: str
    policy: str
    weight: float
    stopped: str | None = None  # why, None while it runs
    exposures: int = 0
    units: int = 0
    served: int = 0
    failed: int = 0
    cancelled: int = 0
    pending: int = 0
    scored: int = 0
    fallbacks: int = 0
    values: Mapping[str, float | None] = field(default_factory=dict)
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    differences: Mapping[str, Interval] = field(default_factory=dict)  # empty for the control
    shadow: ShadowValue | None = None  # of a variant that acts on nothing


@dataclass(frozen=True, slots=True)
class Report:
    """`winner` is what may be promoted without force; `verdict` says in a sentence why it is that, or nobody."""

    experiment_id: str
    status: str
    kind: str
    control: str
    metric: str
    alpha: float
    seq: int  # of the newest event that was known
    now_s: float
    since_s: float | None
    since: str
    variants: tuple[VariantReport, ...]
    sample_ratio: SampleRatio | None
    guardrails: tuple[Verdict, ...]
    winner: str | None
    losers: tuple[str, ...]
    verdict: str
    notes: tuple[str, ...]  # all that a reader has to know beside the numbers

    def variant(self, name: str) -> VariantReport:
        """Raises KeyError."""
        return {one.name: one for one in self.variants}[name]


def report_to_json(report: Report) -> dict[str, Any]:
    """For an API; ends of an interval that are not known are null."""
    ratio = report.sample_ratio
    return {
        "experiment_id": report.experiment_id,
        "status": report.status,
        "kind": report.kind,
        "control": report.control,
        "metric": report.metric,
        "alpha": report.alpha,
        "seq": report.seq,
        "now_s": report.now_s,
        "since_s": report.since_s,
        "since": report.since,
        "winner": report.winner,
        "losers": list(report.losers),
        "verdict": report.verdict,
        "notes": list(report.notes),
        "variants": [_variant(one) for one in report.variants],
        "sample_ratio": None
        if ratio is None
        else {
            "expected": dict(ratio.expected),
            "units": dict(ratio.units),
            "chi_square_p": ratio.chi_square_p,
            "sequential_p": ratio.sequential_p,
            "alarm": ratio.alarm,
            "crossed_units": ratio.crossed,
        },
        "guardrails": [
            {
                "variant": one.variant,
                "metric": one.guardrail.metric,
                "limit": one.guardrail.limit,
                "value": one.guardrail.value,
                "breached": one.breached,
                "sentence": one.sentence,
            }
            for one in report.guardrails
        ],
    }


def _variant(one: VariantReport) -> dict[str, Any]:
    counts = ("exposures", "units", "served", "failed", "cancelled", "pending", "scored", "fallbacks")
    return {
        "name": one.name,
        "policy": one.policy,
        "weight": one.weight,
        "stopped": one.stopped,
        **{name: getattr(one, name) for name in counts},
        "metrics": {
            name: {
                "value": value,
                "interval": _ends(one.intervals.get(name)),
                "difference": _ends(one.differences.get(name)),
            }
            for name, value in one.values.items()
        },
        "shadow": None
        if one.shadow is None
        else {
            "rounds": one.shadow.rounds,
            "agreement": one.shadow.agreement,
            "value": one.shadow.value,
            "difference": _ends(one.shadow.difference),
            "acting_value": one.shadow.acting_value,
        },
    }


def _ends(interval: Interval | None) -> list[float | None] | None:
    if interval is None:
        return None
    return [end if isfinite(end) else None for end in (interval.low, interval.high)]
