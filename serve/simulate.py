"""The command `simulate`: what scaling and routing would do, event by event, without a cluster.

python -m serve simulate scaling --out docs        our scaling beside Serve's on one bursty trace: table, picture, JSON
python -m serve simulate cluster --replicas 1000   a large cluster under the router
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from bandit.interference.origin import origin

from .errors import BadSettings
from .simulate_picture import draw_comparison
from .simulate_study import CASES, OURS, SHIPPED, compare, large_cluster, with_target

app = typer.Typer(
    help="Simulate scaling and routing, without a cluster.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_FIRST_SEED = 11  # defaults of scaling and forecast were chosen on the seeds 1 to 3


@app.command()
def scaling(
    case: Annotated[str, typer.Option(help="single: one image at a time; batches: eight at once.")] = "single",
    seeds: Annotated[int, typer.Option(help="How many draws of the traffic.", min=2, max=1000)] = 10,
    out: Annotated[Path | None, typer.Option(help="Folder for scaling-CASE.json and scaling-CASE.png.")] = None,
) -> None:
    """Our scaling beside Serve's own on the same bursty traffic."""
    if case not in CASES:
        raise BadSettings(f"there is no case {case!r}; known: {', '.join(CASES)}")
    chosen, drawn = CASES[case], range(_FIRST_SEED, _FIRST_SEED + seeds)
    rows, first = compare(chosen, drawn, lambda name: print(f"simulating: {name}", file=sys.stderr, flush=True))
    print(comparison_text(rows))
    if out is None:
        return
    made, tier = origin(), chosen.tier
    batch_s = tier.service.mean_s(tier.batch)
    note = (
        f"simulated · {made['date']} · commit {made['commit']} · one tier: {batch_s:g} s a batch of {tier.batch}, "
        f"{tier.startup_s:g} s to start, late beyond {tier.target_latency_s:g} s"
    )
    shown = {name: first[name] for name in (SHIPPED, with_target(chosen.shown), OURS)}
    try:
        out.mkdir(parents=True, exist_ok=True)
        study = {"made": made, "case": case, "seeds": list(drawn), "rows": rows}
        path = out / f"scaling-{case}.json"
        path.write_text(json.dumps(study, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        draw_comparison(path.with_suffix(".png"), shown, chosen.traffic, tier.queue_limit or 0, note)
    except OSError as error:
        raise BadSettings(f"--out {str(out)!r} cannot be written: {error.strerror}; name a folder that can") from error


@app.command()
def cluster(
    replicas: Annotated[int, typer.Option(help="About so many will be needed.", min=1, max=10_000)] = 1000,
    requests: Annotated[int, typer.Option(help="How many arrive.", min=100, max=100_000_000)] = 1_000_000,
    policy: Annotated[str, typer.Option(help="Which policy routes.")] = "factored",
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.")] = 0,
    json_path: Annotated[Path | None, typer.Option("--json", help="Write the numbers there too.")] = None,
) -> None:
    """Three tiers under a trained policy and our scaling."""
    figures = large_cluster(replicas, requests, policy, seed)
    print(cluster_text(figures))
    if json_path is not None:
        told = json.dumps({"made": origin(), **figures}, indent=1, allow_nan=False) + "\n"
        try:
            json_path.write_text(told, encoding="utf-8")
        except OSError as error:
            raise BadSettings(f"--json {str(json_path)!r} cannot be written: {error.strerror}") from error


def comparison_text(rows: list[dict[str, Any]]) -> str:
    """A line per scaler."""
    lines = [
        f"{'means over seeds':30} {'late/refused':>14} {'replica-hours':>14} {'p50':>6} {'p95':>6} {'p99':>6} "
        f"{'burst to':>9} {'zero to':>9}",
        f"{'':30} {'% ± sd':>14} {'± sd':>14} {'s':>6} {'s':>6} {'s':>6} {'capacity':>9} {'image s':>9}",
    ]
    for row in rows:
        late = f"{100 * row['violation_share']:.1f} ± {100 * row['violation_share_deviation']:.1f}"
        hours = f"{row['replica_seconds'] / 3600:.1f} ± {row['replica_seconds_deviation'] / 3600:.1f}"
        lines.append(
            f"{row['scaler']:30} {late:>14} {hours:>14} {row['p50_s']:6.1f} {row['p95_s']:6.1f} {row['p99_s']:6.1f} "
            f"{row['burst_to_capacity_s']:9.0f} {row['zero_to_first_image_s']:9.0f}"
        )
    return "\n".join(lines)


def cluster_text(figures: dict[str, Any]) -> str:
    """A line per tier, and what it took."""
    lines = [
        f"{'tier':12} {'share':>7} {'late/refused':>13} {'p50 s':>7} {'p95 s':>7} {'p99 s':>7} {'most replicas':>14}"
    ]
    for name, tier in figures["tiers"].items():
        lines.append(
            f"{name:12} {100 * tier['share']:6.1f}% {100 * tier['violation_share']:12.2f}% "
            + " ".join(f"{'-' if tier[key] is None else f'{tier[key]:.2f}':>7}" for key in ("p50_s", "p95_s", "p99_s"))
            + f" {tier['most_replicas']:14d}"
        )
    lines.append(
        f"{figures['requests']:,} requests at {figures['rate_per_s']:.0f}/s over {figures['duration_s']:.0f} s, "
        f"{figures['mean_replicas']:.0f} replicas on average, in {figures['processor_s']:.0f} s of one processor "
        f"({figures['wall_s']:.0f} s of wall time)"
    )
    return "\n".join(lines)
