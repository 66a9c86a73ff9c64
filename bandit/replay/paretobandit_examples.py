"""The example data in ParetoBandit's wheel: `val.jsonl` is learned from, `test_holdout.jsonl` is counted.

One JSON object per prompt: {"prompt": ..., "arms": {model: {"reward": [0, 1], "cost": USD}}, ...}.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from bandit.errors import BadTable

from .table import Table

FIRST, COUNTED = "val.jsonl", "test_holdout.jsonl"


def find_examples() -> Path:
    """The folder in the installed package `pareto_bandit`. Raises BadTable if it is not installed."""
    spec = find_spec("pareto_bandit")
    if spec is None or spec.origin is None:
        raise BadTable(
            "the package paretobandit is not installed, so its data is not here; "
            "`pip install --no-deps paretobandit==0.1.1`, or give the folder that holds its val.jsonl"
        )
    return Path(spec.origin).parent / "data" / "examples"


def read_examples(folder: Path) -> Table:
    """Prompt ids are the number of the prompt, counted through both files. Raises BadTable."""
    first, counted = _lines(folder / FIRST), _lines(folder / COUNTED)
    rows = first + counted
    models = tuple(rows[0][2])
    for path, line, arms, _ in rows:
        if set(arms) != set(models):
            raise BadTable(f"{path}, line {line}: arms are {', '.join(arms)}; those before: {', '.join(models)}")
    quality = [[arms[model][0] for model in models] for _, _, arms, _ in rows]
    cost_usd = [[arms[model][1] for model in models] for _, _, arms, _ in rows]
    return Table(
        name="paretobandit",
        prompt_ids=tuple(str(number) for number in range(len(rows))),
        prompts=tuple(prompt for _, _, _, prompt in rows),
        models=models,
        quality=np.array(quality),
        cost_usd=np.array(cost_usd),
        latency_s=None,
        first_part=np.arange(len(rows)) < len(first),
    )


def _lines(path: Path) -> list[tuple[Path, int, dict[str, tuple[float, float]], str]]:
    rows = []
    try:
        with path.open(encoding="utf-8") as text:
            for line, row in enumerate(text, start=1):
                if row.strip():
                    value = json.loads(row)
                    arms = {name: (float(one["reward"]), float(one["cost"])) for name, one in value["arms"].items()}
                    rows.append((path, line, arms, str(value["prompt"])))
    except OSError as error:
        raise BadTable(f"{path} cannot be read: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadTable(f"{path}, line {line}: not a row of ParetoBandit's examples ({error!r}); expected an object "
                       'with "prompt" and "arms"')  from error  # fmt: skip
    if not rows:
        raise BadTable(f"{path} is empty")
    return rows
