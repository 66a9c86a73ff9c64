"""Experiments and their reports as text: plain sentences first, then one table. The numbers come from the API."""

from __future__ import annotations

import sys
import time
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

Json = dict[str, Any]

_LEAST_WIDTH = 100  # of a table, also where the output is no terminal
_COUNTS = ("units", "exposures", "served", "failed", "cancelled", "pending", "fallbacks")


def print_list(told: Json) -> None:
    """GET /v1/experiments."""
    print(_live(told["live_policy"]))
    for name, why in told["unreadable"].items():
        print(f"{name} cannot be read: {why}")
    if not told["data"]:
        print("no experiments yet; create one: python -m serve experiment create serve/experiment_example.yaml")
        return
    table = _table("experiment", "status", "kind", "traffic", "weights", "hypothesis")
    for one in told["data"]:
        plan = one["plan"]
        cells = one["experiment_id"], _status(one), plan["kind"], f"{one['traffic']:g}", _weights(one["weights"])
        _row(table, *cells, plan["hypothesis"])
    _print(table)


def print_experiment(told: Json) -> None:
    """GET /v1/experiments/{id}, with its events, or the answer to a command, without."""
    plan = told["plan"]
    print(
        f"{told['experiment_id']}: {_status(told)}, {plan['kind']} by {plan['unit']}, {told['traffic']:g} of all units"
    )
    print(f"  {plan['hypothesis']}")
    for variant in plan["variants"]:
        control = ", the control" if variant["name"] == plan["control"] else ""
        stopped = told["stopped_variants"].get(variant["name"])
        why = "" if stopped is None else f"; stopped by {stopped['actor']}: {stopped['reason']}"
        print(
            f"  {variant['name']}: {variant['policy']}{_options(variant)}, {told['weights'][variant['name']]:g}"
            f"{control}{_own(variant)}{why}"
        )
    if "slot_s" in plan:
        print(f"  slots of {plan['slot_s']:g} s, of which the first {plan['carry_over_s']:g} s are not counted")
    if "judged_by" in plan:
        print(f"  utility is measured with {_weights(plan['judged_by'])}")
    for guardrail in plan["guardrails"]:
        print(f"  guardrail: {guardrail['metric']}, {guardrail['limit']} {guardrail['value']:g}")
    if told["ended"] is not None:
        print(f"  ended: {told['ended']['reason']}")
    for note in told["notes"]:
        print(f"  {note}")
    if "live_policy" in told:
        print(_live(told["live_policy"]) + ("" if told["live_policy_changed"] else "; this changed nothing live"))
    for event in told.get("events", ()):
        print(f"  {_time(event['at_s'])} {event['kind'].replace('_', ' ')} by {event['actor']}{_detail(event)}")


def print_report(told: Json) -> None:
    """GET /v1/experiments/{id}/report."""
    print(f"{told['experiment_id']} ({told['status']}, {told['kind']}): {told['verdict']}")
    for note in told["notes"]:
        print(note)
    for guardrail in told["guardrails"]:
        print(guardrail["sentence"])
    ratio = told["sample_ratio"]
    if ratio is not None and not ratio["alarm"]:
        print(f"The variants got their planned shares of units (p = {ratio['sequential_p']:.2g}, at every look).")
    _print(_report_table(told))
    for variant in told["variants"]:
        if variant["shadow"] is not None:
            _print_shadow(variant, told["control"])


def _report_table(told: Json) -> Table:
    """A row a metric, a column a variant and, of those that are compared, one for the difference to the control."""
    control, variants = told["control"], told["variants"]
    names: list[str] = []
    for variant in variants:
        names.append(f"{variant['name']} ({variant['policy']})")
        if variant["name"] != control:
            names.append(f"{variant['name']} - {control}")
    table = _table("", *names)
    for name in _COUNTS:
        cells: list[str] = []
        for variant in variants:
            cells += [str(variant[name])] if variant["name"] == control else [str(variant[name]), ""]
        _row(table, name, *cells)
    metrics = next((list(variant["metrics"]) for variant in variants if variant["metrics"]), [])
    for name in metrics:
        cells = []
        for variant in variants:
            metric = variant["metrics"].get(name, {"value": None, "difference": None})
            cells.append(_number(metric["value"]))
            if variant["name"] != control:
                cells.append(_interval(metric["difference"]))
        _row(table, name + (" *" if name == told["metric"] else ""), *cells)
    table.caption = f"* decides. Differences hold at every look together with probability {1 - told['alpha']:g}."
    table.caption_justify = "left"
    return table


def _print_shadow(variant: Json, control: str) -> None:
    shadow = variant["shadow"]
    if shadow["value"] is None:
        print(f"{variant['name']} acts on nothing, and has decided nothing yet whose utility is known.")
        return
    print(
        f"{variant['name']} acts on nothing; over {shadow['rounds']} decisions it would have earned "
        f"{_number(shadow['value'])} where {control} earned {_number(shadow['acting_value'])} (difference within "
        f"{_interval(shadow['difference'])}), and would have drawn the same arm with probability "
        f"{shadow['agreement']:.2f}."
    )


def _live(live: Json) -> str:
    origin = "the catalogue's" if live["promoted_by"] is None else f"promoted by {live['promoted_by']}"
    return f"live policy: {live['name']}, {origin}"


def _options(variant: Json) -> str:
    said = ", ".join(f"{name} {value}" for name, value in variant["options"].items())
    return f" ({said})" if said else ""


def _own(variant: Json) -> str:
    """What only some variants have."""
    said = ""
    if "weights" in variant:
        said += f", weights {_weights(variant['weights'])}"
    if "pool" in variant:
        said += f", pool {', '.join(variant['pool'])}"
    return said + (", learns from its own requests only" if variant["learns_from"] == "own" else "")


def _status(told: Json) -> str:
    status = str(told["status"]).replace("_", " ")
    return status if told["promoted"] is None else f"{status} ({told['promoted']})"


def _detail(event: Json) -> str:
    known = ("variant", "reason", "forced", "evidence", "traffic", "weights")
    said = [f"{name}: {_weights(event[name]) if name == 'weights' else event[name]}" for name in known if name in event]
    return f" ({'; '.join(said)})" if said else ""


def _weights(weights: dict[str, float]) -> str:
    return ", ".join(f"{name} {weight:g}" for name, weight in weights.items())


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"


def _interval(ends: list[float | None] | None) -> str:
    if ends is None or ends == [None, None]:
        return "not known yet"
    low, high = ("..." if end is None else f"{end:+.3g}" for end in ends)
    return f"{low} to {high}"


def _time(at_s: float) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at_s))
    except (OverflowError, ValueError, OSError):  # a clock that jumped
        return f"{at_s:.0f} s"


def _table(*columns: str) -> Table:
    table = Table(box=SIMPLE, pad_edge=False)
    for column in columns:
        table.add_column(Text(column))
    return table


def _row(table: Table, *cells: str) -> None:
    table.add_row(*(Text(cell) for cell in cells))  # as Text, so that no [word] of theirs is taken for a colour


def _print(table: Table) -> None:
    console = Console(file=sys.stdout)
    console.width = max(console.width, _LEAST_WIDTH)
    console.print(table)
