"""Routers over seeds: what is the same for all of them is computed once here, so that they differ in nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from bandit.context import PromptFeatures
from bandit.errors import BadTable, UnknownPolicy
from bandit.features import extract, needs_vector

from .comparison import Comparison, compare
from .entrants import Entrant, Start
from .reckoning import counted_rows
from .references import foresee
from .regression import design
from .run import Replay, order_of, replay
from .scenario import Adoption, Scenario, adoption
from .stage import known_arms, unchanged
from .statistics import Resampling
from .table import Table
from .trial import Trial
from .vectors import read_vectors

WARM_UP = 2_000  # rounds that are not counted, where the table does not say; at most half of them


@dataclass(frozen=True, slots=True)
class Outcome:
    """One trial; adoptions only where a scenario was run."""

    comparison: Comparison
    left_out: Mapping[str, str]  # entrant: why
    adoptions: Mapping[str, Adoption] = field(default_factory=dict)


def features_of(table: Table, schema: str, vectors: str | None) -> list[PromptFeatures]:
    """Vectors go into the features even where the schema has none: for peers that choose by them.

    Raises BadTable, UnknownSchema, or BadVector where the schema needs vectors of another width, or any.
    """
    if vectors is None:
        return [extract(prompt, schema) for prompt in table.prompts]
    rows = read_vectors(Path(vectors), table)
    if needs_vector(schema):
        return [extract(prompt, schema, vector=row) for prompt, row in zip(table.prompts, rows, strict=True)]
    return [
        replace(extract(prompt, schema), vector=tuple(row))
        for prompt, row in zip(table.prompts, rows.tolist(), strict=True)
    ]


class Harness:
    """A table with features, seeds and perhaps a scenario. Raises BadTable if nothing would be counted."""

    def __init__(
        self,
        table: Table,
        features: Sequence[PromptFeatures],
        seeds: int,
        count_from: int | None = None,
        scenario: Scenario | None = None,
        peer_features: Sequence[PromptFeatures] | None = None,  # None: peers see what our policies see
    ) -> None:
        self._features = {"policy": features, "peer": features if peer_features is None else peer_features}
        self.table, self.seeds, self.scenario = table, seeds, scenario
        self.count_from = count_from or min(WARM_UP, len(table.prompts) // 2)
        if table.first_part is not None:
            self.count_from = int(table.first_part.sum())
        if scenario is not None:
            scenario.check(table)
            self.count_from = max(self.count_from, scenario.at)
        if self.count_from >= len(table.prompts):
            raise BadTable(
                f"counting from round {self.count_from} leaves none of the {len(table.prompts)} of {table.name}"
            )
        self._counted_table = table if scenario is None else scenario.table_after(table)
        self._counted = counted_rows(table, seeds, self.count_from)
        self._resampling = Resampling(seeds, len(table.prompts))
        self._foreseen = foresee(self._counted_table, design(features))
        self._vectors = {
            kind: np.array([one.vector for one in seen], dtype=np.float32) for kind, seen in self._features.items()
        }

    def run(self, trial: Trial, entrants: Sequence[Entrant], told: Callable[[str], None] = lambda _: None) -> Outcome:
        """All entrants in the same orders; who cannot take part is left out, with the reason. Raises BadTable."""
        self._counted_table.worth(trial.weights)  # a weight that charges nothing is told before the first round
        runs: dict[str, list[Replay]] = {}
        left_out = {}
        for one in entrants:
            try:
                runs[one.label] = [self.one_seed(trial, one, seed) for seed in range(self.seeds)]
            except UnknownPolicy as error:
                left_out[one.label] = str(error)
                told(f"{trial.title}: without {one.label}: {error}")
            else:
                told(f"{trial.title}: {one.label}, {self.seeds} seeds done")
        kinds = {one.label: one.kind for one in entrants}
        adoptions = {}
        if self.scenario is not None:
            adoptions = {name: adoption(self.table, self.scenario, done) for name, done in runs.items()}
            runs = {name: [self.scenario.replay_after(self.table, one) for one in done] for name, done in runs.items()}
        comparison = compare(self._counted_table, trial, self._foreseen, runs, kinds, self._counted, self._resampling)
        return Outcome(comparison, left_out, adoptions)

    def one_seed(self, trial: Trial, entrant: Entrant, seed: int) -> Replay:
        """A fresh router over all prompts once. Raises UnknownPolicy where it cannot take part."""
        first = np.zeros(len(self.table.prompts), dtype=bool)
        first[order_of(self.table, seed)[: self.count_from]] = True
        arms = known_arms(self.table, first)
        router = entrant.make(Start(trial, self._vectors[entrant.kind][first], seed))
        stages = unchanged(arms) if self.scenario is None else self.scenario.stages(arms)
        return replay(router, self.table, self._features[entrant.kind], trial.weights, stages, seed)
