"""`python -m bandit replay PATH`: a table replayed under several policies, weights, ceilings and seeds."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np

from bandit.context import PromptFeatures, Weights
from bandit.errors import BadTable, UnknownPolicy
from bandit.features import SCHEMAS, extract

from .comparison import Comparison, compare
from .entrants import Entrant, Start, entrants, options_from
from .peers import PEERS, peer
from .reckoning import counted_rows
from .references import Foreseen, foresee
from .regression import design
from .report import json_of, text_of
from .run import Replay, order_of, replay
from .source import read_table
from .stage import known_arms, unchanged
from .statistics import Resampling
from .table import Table
from .trial import Trial, default_trials
from .vectors import read_vectors

WARM_UP = 2_000  # rounds that are not counted, where the table does not say; at most half of them


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The subcommand and its options."""
    parser = commands.add_parser("replay", help="replay a table of prompts and models as a bandit")
    parser.set_defaults(command=_replay)
    parser.add_argument("table", metavar="PATH", help="CSV or CSV.gz in long form, a folder with ParetoBandit's "
                        "examples, or the word paretobandit")  # fmt: skip
    parser.add_argument("--policy", action="append", default=[], metavar="NAME[=JSON]",
                        help="may be given several times (default: every policy that needs no option)")  # fmt: skip
    parser.add_argument("--options", default="{}", metavar="JSON", help="options of every --policy")
    parser.add_argument("--features", default=SCHEMAS[-1], choices=SCHEMAS, help="features schema")
    parser.add_argument("--vectors", metavar="FILE", help="sentence vectors of the prompts, .npz or .npy")
    parser.add_argument("--seeds", type=_positive, default=5, metavar="COUNT")
    parser.add_argument("--weights", type=_amount, nargs="+", default=[], metavar="PER_USD",
                        help="utility = quality - weight x USD; one run for each")  # fmt: skip
    parser.add_argument("--latency-weights", type=_amount, nargs="+", default=[], metavar="PER_S",
                        help="utility = quality - weight x seconds; one run for each")  # fmt: skip
    parser.add_argument("--ceiling", type=_amount, nargs="+", action="extend", default=[], metavar="USD",
                        help="mean cost to hold, by policies with the option budget_usd; a run for each")  # fmt: skip
    parser.add_argument("--count-from", type=_positive, metavar="ROUND",
                        help=f"first round that counts (default: {WARM_UP}, at most half)")  # fmt: skip
    parser.add_argument("--split", choices=("auto", "on", "off"), default="auto",
                        help="learn from the table's own first part and count the rest (auto: where that rest is a "
                        "tenth of the table or more)")  # fmt: skip
    parser.add_argument("--peers", nargs="*", choices=PEERS, metavar="NAME",
                        help=f"libraries of others beside us (default: all of {', '.join(PEERS)})")  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("runs/replay"), metavar="FOLDER", help="for the JSON")


def _replay(given: argparse.Namespace) -> int:
    table = read_table(given.table)
    table = _split(table, given.split)
    print(
        f"{table.name}: {len(table.prompts)} prompts, {len(table.models)} models",
        *table.notes,
        sep="\n  ",
        file=sys.stderr,
    )
    taking_part = entrants(given.policy, options_from(given.options, "--options"))
    if given.peers is not None:
        taking_part += [peer(name) for name in given.peers or PEERS]
    trials = _trials(given, table)
    features = features_of(table, given.features, given.vectors)
    count_from = given.count_from or min(WARM_UP, len(table.prompts) // 2)
    if count_from >= len(table.prompts):
        raise BadTable(f"--count-from {count_from}: the table has {len(table.prompts)} prompts, nothing would count")
    foreseen = foresee(table, design(features))
    resampling = Resampling(given.seeds, len(table.prompts))
    comparisons = []
    for trial in trials:
        comparisons.append(
            run_trial(table, trial, taking_part, features, foreseen, given.seeds, count_from, resampling)
        )
        print(text_of(comparisons[-1]), end="\n\n", flush=True)
    out = given.out / f"{table.name}.json"
    given.out.mkdir(parents=True, exist_ok=True)
    run: dict[str, object] = {
        "policies": [one.label for one in taking_part], "options": given.options, "features": given.features,
        "vectors": given.vectors, "seeds": given.seeds, "split": table.first_part is not None,
        "count_from": count_from if table.first_part is None else int(table.first_part.sum()),
    }  # fmt: skip
    out.write_text(json.dumps(json_of(table, comparisons, run), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    print(f"written: {out}", file=sys.stderr)
    return 0


def features_of(table: Table, schema: str, vectors: str | None) -> list[PromptFeatures]:
    """Computed once and shared by all policies, weights and seeds. Raises BadTable or UnknownSchema."""
    features = [extract(prompt, schema) for prompt in table.prompts]
    if vectors is None:
        return features
    rows = read_vectors(Path(vectors), table).tolist()
    return [replace(one, vector=tuple(row)) for one, row in zip(features, rows, strict=True)]


def run_trial(
    table: Table,
    trial: Trial,
    taking_part: Sequence[Entrant],
    features: Sequence[PromptFeatures],
    foreseen: Foreseen,
    seeds: int,
    count_from: int,
    resampling: Resampling,
) -> Comparison:
    """All entrants that can take part, over all seeds, in the same orders. Raises BadTable."""
    runs: dict[str, list[Replay]] = {}
    kinds = {}
    table.worth(trial.weights)  # a weight that charges nothing is told before the first round
    for one in taking_part:
        started = perf_counter()
        try:
            runs[one.label] = [_one_seed(table, trial, one, features, count_from, seed) for seed in range(seeds)]
        except UnknownPolicy as error:
            print(f"  {one.label} is left out of {trial.title!r}: {error}", file=sys.stderr)
            continue
        kinds[one.label] = one.kind
        print(f"  {trial.title}: {one.label}, {seeds} seeds, {perf_counter() - started:.1f} s", file=sys.stderr)
    counted = counted_rows(table, seeds, count_from)
    return compare(table, trial, foreseen, runs, kinds, counted, resampling)


def _one_seed(
    table: Table, trial: Trial, entrant: Entrant, features: Sequence[PromptFeatures], count_from: int, seed: int
) -> Replay:
    first = table.first_part
    if first is None:
        first = np.zeros(len(table.prompts), dtype=bool)
        first[order_of(table, seed)[:count_from]] = True
    arms = known_arms(table, first)
    vectors = np.array([features[row].vector for row in np.flatnonzero(first).tolist()], dtype=np.float32)
    router = entrant.make(Start(trial, vectors, seed))
    return replay(router, table, features, trial.weights, unchanged(arms), seed)


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
    return tuple(trials) or default_trials(table)


def _amount(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1e9:
        raise argparse.ArgumentTypeError(f"{text} is not allowed; 0 to 1e9")
    return value


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not allowed; 1 or more")
    return value
