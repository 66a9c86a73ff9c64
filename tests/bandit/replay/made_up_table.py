"""Tables with known answers for the tests of the replay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bandit.replay.table import Table


def made_up(prompts: int = 400, seed: int = 0) -> Table:
    """`small` draws what has no number in it (0.9 against 0.6), `large` all alike (0.8), at ten times the cost."""
    rng = np.random.default_rng(seed)
    hard = rng.random(prompts) < 0.5
    texts = tuple(f"{rng.integers(2, 9)} cats number {n}" if one else f"a cat number {n}" for n, one in enumerate(hard))
    quality = np.stack([np.where(hard, 0.4, 0.9), np.where(hard, 0.8, 0.8)], axis=1)
    quality = np.clip(quality + rng.normal(0, 0.05, quality.shape), 0, 1)
    cost_usd = np.tile([0.001, 0.01], (prompts, 1)) * rng.uniform(0.8, 1.2, (prompts, 1))
    return Table("made up", tuple(map(str, range(prompts))), texts, ("small", "large"), quality, cost_usd,
                 np.tile([0.1, 1.0], (prompts, 1)))  # fmt: skip


def with_first_part(table: Table, share: float = 0.5) -> Table:
    """The same, of which the first prompts are given to learn from."""
    count = len(table.prompts)
    return replace(table, first_part=np.arange(count) < share * count)


def write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    """Long form, columns as the first row has them."""
    import csv

    with path.open("w", encoding="utf-8", newline="") as text:
        writer = csv.DictWriter(text, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def rows_of(table: Table) -> list[dict[str, object]]:
    """As `../shared/data/README.md` describes them."""
    return [
        {
            "prompt_id": key, "prompt": text, "model": model, "quality": table.quality[row, column],
            "cost": "" if table.cost_usd is None else table.cost_usd[row, column],
            "latency": "" if table.latency_s is None else table.latency_s[row, column],
        }
        for row, (key, text) in enumerate(zip(table.prompt_ids, table.prompts, strict=True))
        for column, model in enumerate(table.models)
    ]  # fmt: skip
