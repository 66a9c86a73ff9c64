"""`python -m serve demo`: a newcomer's look at the router at work, over HTTP only, with an honest reckoning.

learning     the prompts go out one by one with model=auto; the router learns from what comes of them
references   the last of these prompts again, once to every arm by name. The learner folds these answers too (it learns
             what an arm did, whoever asked for it), but they come after: no choice that is measured can know of them
reckoning    router, each arm, uniform and oracle on the same prompts; picture, JSON and a table for the README

What was measured before the server goes away, or before Ctrl-C, is kept and written, and is called partial.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

from rich.console import Console

from .demo_check import checked
from .demo_origin import Origin, origin
from .demo_picture import draw_picture
from .demo_prompts import Prompt, draw_prompts
from .demo_references import CONFIDENCE, RESAMPLES, Comparison, compare, measured
from .demo_rows import AUTO, Row
from .demo_summary import summarise
from .demo_table import View, markdown, percent, signed, view_for
from .demo_traffic import GatewayAway, PromptsFail, Traffic
from .errors import BadSettings

_SETTLE_S = 30.0
REFERENCES = 120


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send."""

    count: int
    references: int
    seed: int
    quality: str

    @classmethod
    def checked(cls, count: int, references: int | None, seed: int, quality: str) -> Plan:
        """`references` None: REFERENCES, at most a third of `count`. Raises BadSettings."""
        if count < 1:
            raise BadSettings(f"--count is {count}; it must be at least 1")
        if references is None:
            references = min(REFERENCES, count // 3)
        if not 0 <= references <= count:
            raise BadSettings(f"--references is {references}; allowed: 0 to --count, {count}")
        return cls(count, references, seed, quality)


@dataclass(frozen=True, slots=True)
class Run:
    """What was sent and what came of it."""

    arms: tuple[str, ...]
    prompts: tuple[Prompt, ...]
    rows: tuple[Row, ...]
    images: dict[str, bytes]
    snapshot_before: int | None  # what the policy had learned from when the demo began; None: nothing
    policy: str
    weights: dict[str, float]
    failed: dict[str, int]
    put_off: int
    ended: str | None  # why before its end; None: it went through
    interrupted: bool


def demo(url: str, plan: Plan, out: Path, console: Console | None = None) -> int:
    """Send, measure, write and print. The exit status: 0 all done, 1 partial, 130 stopped by Ctrl-C.

    Raises BadSettings, and ServeError where nothing answers to begin with.
    """
    if out.suffix != ".png":
        raise BadSettings(f"--out is {str(out)!r}; it must end in .png (the numbers go beside it, as .json)")
    console = console or Console()
    out.parent.mkdir(parents=True, exist_ok=True)
    run = send_all(url, plan, lambda arms: view_for(console, arms))
    if run.ended is not None:
        print(f"partial: {run.ended}")
    if not run.rows:
        print("no request was measured; nothing is written")
        return 130 if run.interrupted else 1
    rows, unchecked = checked(run.rows, run.prompts, run.images)
    found = measured(rows, run.arms)
    comparison = compare(found, plan.seed) if found.numbers and run.arms else None
    made = origin()
    draw_picture(out, rows, run.arms, comparison, found.numbers, made, _note(run, plan, comparison))
    results = out.with_suffix(".json")
    results.write_text(results_json(run, plan, rows, comparison, found.numbers, made), encoding="utf-8")
    print()
    print(markdown(rows, run.arms, comparison, found.numbers))
    print()
    for line in remarks(run, comparison, unchecked):
        print(line)
    print(f"{made.machine}, {made.date}, commit {made.commit}")
    print(f"wrote {out} and {results}")
    return 130 if run.interrupted else 1 if run.ended is not None else 0


def send_all(url: str, plan: Plan, view_of: Callable[[Sequence[str]], View]) -> Run:
    """Both phases. Raises ServeError if the gateway is not there at the start; later that ends the run early."""
    prompts = draw_prompts(plan.count, plan.references, plan.seed)
    with Traffic(url, plan.quality) as traffic:
        health = traffic.health()
        arms = traffic.arms()
        ended, interrupted = None, False
        try:
            with view_of(arms) as view:
                _learn(traffic, prompts, view)
                _refer(traffic, prompts[plan.count - plan.references :], arms, plan.seed, view)
        except KeyboardInterrupt:
            ended, interrupted = "stopped by Ctrl-C", True
        except (GatewayAway, PromptsFail) as error:
            ended = str(error)
        return Run(
            arms=arms,
            prompts=prompts,
            rows=tuple(sorted(traffic.rows, key=lambda row: (not row.by_router, row.number, row.model))),
            images=traffic.images,
            snapshot_before=health["policy"]["snapshot_version"],
            policy=health["policy"]["name"],
            weights=dict(traffic.weights or {}),
            failed=traffic.failed,
            put_off=traffic.put_off,
            ended=ended,
            interrupted=interrupted,
        )


def _learn(traffic: Traffic, prompts: Sequence[Prompt], view: View) -> None:
    view.begin("learning", len(prompts))
    for done, prompt in enumerate(prompts, start=1):
        traffic.send(prompt, AUTO)
        view.update(done, traffic.rows)
    traffic.settle(_SETTLE_S)
    view.update(len(prompts), traffic.rows)


def _refer(traffic: Traffic, prompts: Sequence[Prompt], arms: Sequence[str], seed: int, view: View) -> None:
    """The arms in another order for every prompt, so that none always runs after the slow one."""
    rng = Random(seed)
    total = len(prompts) * len(arms)
    view.begin("references", total)
    done = 0
    for prompt in prompts:
        for arm in rng.sample(arms, len(arms)):
            traffic.send(prompt, arm)
            done += 1
            view.update(done, [row for row in traffic.rows if not row.by_router])
    traffic.settle(_SETTLE_S)


def remarks(run: Run, comparison: Comparison | None, unchecked: str | None) -> list[str]:
    """What a reader must know to judge the numbers."""
    lines = []
    if comparison is not None:
        drift = comparison.router_minus["replayed"]
        lines += [
            f"Intervals: {percent(CONFIDENCE)}, paired bootstrap over {comparison.prompts} prompts, "
            f"{RESAMPLES} resamples.",
            "The oracle takes the best of one measurement per arm, so luck is picked too: it is biased upwards.",
            "The router minus its own choices as the reference requests measured them, 0 where the machine was equally "
            f"fast in both phases: {signed(drift)}" + (" (it was NOT)." if drift.sign else "."),
        ]
        if comparison.left_out:
            lines.append(f"{comparison.left_out} prompts lack an answer or a quality of some arm and are left out.")
    if run.snapshot_before is not None:
        lines.append(
            f"The policy had learned before this run (snapshot {run.snapshot_before}), perhaps from these prompts: "
            "for a fresh start take another journal, or another --seed."
        )
    if unchecked is not None:
        lines.append(f"The independent check did not run: {unchecked}.")
    missing = sum(row.quality is None for row in run.rows)
    if missing:
        lines.append(f"{missing} of {len(run.rows)} answers got no quality in time.")
    if run.failed:
        lines.append("Not drawn: " + ", ".join(f"{reason} ({times}x)" for reason, times in run.failed.items()) + ".")
    if run.put_off:
        lines.append(f"{run.put_off} requests were put off by a busy gateway and sent again.")
    return lines


def results_json(
    run: Run,
    plan: Plan,
    rows: Sequence[Row],
    comparison: Comparison | None,
    numbers: Sequence[int],
    made: Origin,
) -> str:
    """All numbers, and one line a request."""
    chosen = set(numbers)
    head: dict[str, Any] = {
        "made": asdict(made),
        "plan": asdict(plan),
        "policy": run.policy,
        "snapshot_before": run.snapshot_before,
        "weights": run.weights,
        "ended": run.ended,
        "failed": run.failed,
        "put_off": run.put_off,
        "arms": run.arms,
        "comparison": None if comparison is None else asdict(comparison),
        "summaries": {
            name: asdict(summarise([row for row in rows if row.model == name and (not chosen or row.number in chosen)]))
            for name in (AUTO, *run.arms)
        },
    }
    lines = ",\n".join(json.dumps(row.as_json()) for row in rows)
    return f'{json.dumps(head, indent=1)[:-2]},\n "rows": [\n{lines}\n]}}\n'


def _note(run: Run, plan: Plan, comparison: Comparison | None) -> str:
    drift = None if comparison is None else comparison.router_minus["replayed"]
    weights = ", ".join(f"{name} {value:g}" for name, value in run.weights.items())
    before = "" if run.snapshot_before is None else f", had learned before (snapshot {run.snapshot_before})"
    partial = "" if run.ended is None else " · PARTIAL"
    uneven = "" if drift is None or not drift.sign else f" · machine not equally fast in both phases: {signed(drift)}"
    return f"policy {run.policy}{before} · quality={plan.quality}: {weights} · seed {plan.seed}{uneven}{partial}"
