"""`python -m bandit replay PATH`: a table replayed under several policies, weights, ceilings and seeds."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

from bandit.context import Weights
from bandit.errors import BadTable
from bandit.features import DEFAULT_SCHEMA, SCHEMAS

from .entrants import entrants, options_from
from .harness import WARM_UP, Harness, features_of
from .peers import PEERS, peer
from .picture import draw
from .report import json_of, text_of
from .scenario import Scenario
from .source import read_table
from .table import Table
from .trial import Trial, default_trials


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The subcommand and its options."""
    parser = commands.add_parser("replay", help="replay a table of prompts and models as a bandit")
    parser.set_defaults(command=_replay)

    def add(*names: str, **rest: object) -> None:
        parser.add_argument(*names, **rest)  # type: ignore[arg-type]

    add("table", metavar="PATH", help="CSV or CSV.gz, a folder with ParetoBandit's examples, or the word paretobandit")
    add(
        "--policy",
        action="append",
        default=[],
        metavar="NAME[=JSON]",
        help="with options of its own; may be given several times (default: every policy that needs no option)",
    )
    add("--options", default="{}", metavar="JSON", help="options of every --policy")
    add("--features", default=DEFAULT_SCHEMA, choices=SCHEMAS, help="features schema")
    add("--vectors", metavar="FILE", help="sentence vectors of the prompts, .npz or .npy")
    add("--peer-vectors", metavar="FILE", help="others for the peers (default: the same)")
    add("--seeds", type=_positive, default=10, metavar="COUNT", help="runs, each in its own order (default: 10)")
    add(
        "--weights",
        type=_amount,
        nargs="+",
        default=[],
        metavar="PER_USD",
        help="utility = quality - weight x USD; one run for each",
    )
    add(
        "--latency-weights",
        type=_amount,
        nargs="+",
        default=[],
        metavar="PER_S",
        help="utility = quality - weight x seconds; one run for each",
    )
    add(
        "--ceiling",
        type=_ceiling,
        nargs="+",
        action="extend",
        default=[],
        metavar="USD",
        help="mean cost to hold, by policies with the option budget_usd; one run for each",
    )
    add(
        "--count-from",
        type=_positive,
        metavar="ROUND",
        help=f"first round that counts (default: {WARM_UP}, at most half of all)",
    )
    add(
        "--split",
        choices=("auto", "on", "off"),
        default="auto",
        help="learn from the table's own first part and count the rest (auto: where that is a tenth or more)",
    )
    add(
        "--peers",
        nargs="*",
        choices=PEERS,
        metavar="NAME",
        help=f"libraries of others beside us (default: all of {', '.join(PEERS)})",
    )
    add("--newcomer", metavar="MODEL", help="this model is not there before --at")
    add("--removed", metavar="MODEL", help="this model is gone from --at on")
    add("--repriced", metavar="MODEL", help="this model costs --times as much from --at on")
    add("--at", type=_positive, metavar="ROUND", help="of the change (default: first that counts)")
    add("--times", type=_amount, default=0.1, help="what a repriced model's costs are multiplied by")
    add("--out", type=Path, default=Path("runs/replay"), metavar="FOLDER", help="for JSON and picture")


def _replay(given: argparse.Namespace) -> int:
    table = _split(read_table(given.table), given.split)
    _told(f"{table.name}: {len(table.prompts)} prompts, {len(table.models)} models")
    for note in table.notes:
        _told(note)
    taking_part = entrants(given.policy, options_from(given.options, "--options"), given.features)
    if given.peers is not None:
        taking_part += [peer(name) for name in given.peers or PEERS]
    trials = _trials(given, table)
    scenario = _scenario(given, table)
    features = features_of(table, given.features, given.vectors)
    peer_features = features_of(table, DEFAULT_SCHEMA, given.peer_vectors) if given.peer_vectors else None
    harness = Harness(table, features, given.seeds, given.count_from, scenario, peer_features)
    if scenario is not None:
        print(scenario.title, end="\n\n")
    outcomes = []
    for trial in trials:
        outcomes.append(harness.run(trial, taking_part, _told))
        print(text_of(outcomes[-1]), end="\n\n", flush=True)
    run: dict[str, object] = {
        "policies": [one.label for one in taking_part], "options": given.options, "features": given.features,
        "vectors": given.vectors, "peer_vectors": given.peer_vectors, "seeds": given.seeds,
        "split": table.first_part is not None,
        "count_from": harness.count_from, "scenario": None if scenario is None else scenario.title,
    }  # fmt: skip
    given.out.mkdir(parents=True, exist_ok=True)
    stem = table.name if scenario is None else f"{table.name}-{scenario.kind}"
    written = json.dumps(json_of(table, outcomes, run), indent=1, allow_nan=False)
    (given.out / f"{stem}.json").write_text(written + "\n", encoding="utf-8")
    title = f"{table.name}: {len(table.prompts)} prompts, {given.seeds} seeds"
    if scenario is not None:
        title += f"; rounds after {scenario.title}"
    draw([one.comparison for one in outcomes], title, given.out / f"{stem}.png")
    _told(f"written: {given.out / stem}.json and .png")
    return 0


def _split(table: Table, wanted: str) -> Table:
    if table.first_part is None:
        if wanted == "on":
            raise BadTable(f"{table.name} has no part of its own that is to be counted; leave out --split on")
        return table
    counted = int((~table.first_part).sum())
    if wanted == "off" or (wanted == "auto" and counted < len(table.prompts) / 10):
        note = f"its own split ({counted} prompts to count) is not used"
        return replace(table, first_part=None, notes=(*table.notes, note))
    return table


def _trials(given: argparse.Namespace, table: Table) -> tuple[Trial, ...]:
    trials = [Trial(Weights(cost_per_usd=weight)) for weight in given.weights]
    trials += [Trial(Weights(latency_per_s=weight)) for weight in given.latency_weights]
    trials += [Trial(Weights(), ceiling_usd=ceiling) for ceiling in given.ceiling]
    if given.ceiling and table.cost_usd is None:
        raise BadTable(f"{table.name} has no costs, so a ceiling on the mean cost means nothing")
    return tuple(dict.fromkeys(trials)) or default_trials(table)


def _scenario(given: argparse.Namespace, table: Table) -> Scenario | None:
    named = {"newcomer": given.newcomer, "removal": given.removed, "repricing": given.repriced}
    asked = [(kind, model) for kind, model in named.items() if model is not None]
    if len(asked) > 1:
        raise BadTable("give one of --newcomer, --removed and --repriced; one change at a time can be told apart")
    if not asked:
        return None
    default = min(WARM_UP, len(table.prompts) // 2) if table.first_part is None else int(table.first_part.sum())
    kind, model = asked[0]
    return Scenario(kind, model, given.at or default, given.times if kind == "repricing" else 1.0)


def _told(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _amount(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1e9:
        raise argparse.ArgumentTypeError(f"{text} is not allowed; 0 to 1e9")
    return value


def _ceiling(text: str) -> float:
    if not (value := _amount(text)):
        raise argparse.ArgumentTypeError("a mean cost of 0 USD cannot be held; give more than 0")
    return value


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not allowed; 1 or more")
    return value
