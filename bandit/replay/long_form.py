"""Tables as CSV or CSV.gz in long form: one row per prompt and model.

    prompt_id, prompt, model, quality                 must be there; quality in [0, 1]
    cost (USD), latency (seconds)                     may be empty or absent
    split                                             "test", "holdout" or "eval" rows are the part that is counted
    usd_per_m_input, usd_per_m_output                 list prices; they stand in for an empty cost

Other columns are ignored. Only prompts with every cell of every model are kept; how many were dropped is in the notes.
A few qualities out of range are slips of whoever typed them in: those cells count as empty, and the notes name them.
More than that is a table on another scale, and refused.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import isfinite, nan
from pathlib import Path

import numpy as np

from bandit.errors import BadTable

from .table import Floats, Table

REQUIRED = ("prompt_id", "prompt", "model", "quality")
COUNTED_SPLITS = frozenset({"test", "holdout", "test_holdout", "eval", "evaluation"})
SLIPS = 0.002  # of all rows, at most
LONGEST_FIELD = 16 * 2**20  # characters; the csv module's own limit of 131,072 is shorter than some prompts


@dataclass(slots=True)
class _Prompt:
    text: str
    split: str
    line: int
    cells: dict[str, tuple[float, float, float]] = field(default_factory=dict)  # model: quality, cost, latency
    lines: dict[str, int] = field(default_factory=dict)


def read_long_form(path: Path) -> Table:
    """Raises BadTable, naming file, line, what was there and what is allowed."""
    prompts: dict[str, _Prompt] = {}
    models: dict[str, None] = {}
    notes: list[str] = []
    listed = False
    slips: list[str] = []
    for line, row in _rows(path):
        known = prompts.get(row["prompt_id"])
        if known is None:
            known = prompts[row["prompt_id"]] = _Prompt(row["prompt"], (row.get("split") or "").strip().lower(), line)
        elif known.text != row["prompt"]:
            raise BadTable(f"{path}, line {line}: prompt_id {row['prompt_id']!r} has another prompt than in line "
                           f"{known.line}; one id, one prompt")  # fmt: skip
        model = row["model"].strip()
        if not model:
            raise BadTable(f"{path}, line {line}: model is empty")
        if model in known.cells:
            raise BadTable(f"{path}, line {line}: prompt_id {row['prompt_id']!r} with model {model!r} was in line "
                           f"{known.lines[model]} already; keep one of them")  # fmt: skip
        models[model] = None
        cost = _number(path, line, row, "cost")
        if cost != cost:  # NaN: empty
            cost = _list_price(path, line, row)
            listed |= cost == cost
        try:
            quality = _number(path, line, row, "quality", highest=1.0)
        except BadTable as error:
            slips.append(str(error))
            quality = nan
        known.cells[model] = (quality, cost, _number(path, line, row, "latency"))
        known.lines[model] = line
    if not prompts:
        raise BadTable(f"{path} has a header and no rows")
    if len(slips) > SLIPS * sum(len(one.cells) for one in prompts.values()):
        raise BadTable(slips[0] + (f" (and {len(slips) - 1} more)" if len(slips) > 1 else ""))
    notes += [f"left out: {slip}" for slip in slips]
    if listed:
        notes.append("cost: the list price of 1,000 tokens, half of them input (the source gives no cost of an answer)")
    return _complete(path, prompts, tuple(models), notes)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and row, from plain or gzipped text; the file's first bytes say which it is, not its name."""
    csv.field_size_limit(LONGEST_FIELD)
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
        opener = gzip.open if packed else open
        with opener(path, "rt", encoding="utf-8-sig", newline="") as text:
            reader = csv.DictReader(text)
            names = reader.fieldnames or []
            missing = [name for name in REQUIRED if name not in names]
            if missing:
                raise BadTable(f"{path}, line 1: column {', '.join(missing)} is missing; there is "
                               f"{', '.join(names)[:300] or 'nothing'}; needed: {', '.join(REQUIRED)}")  # fmt: skip
            for row in reader:
                if None in row or None in row.values():
                    raise BadTable(f"{path}, line {reader.line_num}: {len(names)} columns in the header, "
                                   "another number here")  # fmt: skip
                yield reader.line_num, row
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise BadTable(f"{path} cannot be read as CSV or CSV.gz in UTF-8: {error}") from error


def _number(path: Path, line: int, row: dict[str, str], name: str, highest: float | None = None) -> float:
    """A number of 0 or more; NaN where the cell is empty."""
    text = (row.get(name) or "").strip()
    if not text:
        return nan
    try:
        value = float(text)
    except ValueError:
        value = nan
    if not isfinite(value) or value < 0 or (highest is not None and value > highest):
        allowed = "0 or more, or empty" if highest is None else f"0 to {highest:g}, or empty"
        raise BadTable(f"{path}, line {line}: {name} is {text!r}; allowed: {allowed}")
    return value


def _list_price(path: Path, line: int, row: dict[str, str]) -> float:
    """USD for 500 tokens in and 500 out, from the list prices of a million; NaN without both."""
    prices = _number(path, line, row, "usd_per_m_input"), _number(path, line, row, "usd_per_m_output")
    return sum(prices) / 2 / 1000


def _complete(path: Path, prompts: dict[str, _Prompt], models: tuple[str, ...], notes: list[str]) -> Table:
    cells = np.full((len(prompts), len(models), 3), nan)
    for number, one in enumerate(prompts.values()):
        for column, model in enumerate(models):
            if model in one.cells:
                cells[number, column] = one.cells[model]
    given = ~np.isnan(cells)
    there = [0, *(part for part in (1, 2) if given[:, :, part].any())]
    complete = given[:, :, there].all(axis=(1, 2))
    if not complete.any():
        columns = ", ".join(("quality", "cost", "latency")[part] for part in there)
        raise BadTable(f"{path}: no prompt has {columns} of every model ({', '.join(models)})")
    if not complete.all():
        notes.append(f"{int((~complete).sum())} of {len(prompts)} prompts dropped: not there for every model")
    kept = [one for one, keep in zip(prompts.values(), complete, strict=True) if keep]
    values = cells[complete]
    counted = np.array([one.split in COUNTED_SPLITS for one in kept])
    return Table(
        name=path.name.removesuffix(".gz").removesuffix(".csv"),
        prompt_ids=tuple(key for key, keep in zip(prompts, complete, strict=True) if keep),
        prompts=tuple(one.text for one in kept),
        models=models,
        quality=values[:, :, 0],
        cost_usd=_part(values, 1, there),
        latency_s=_part(values, 2, there),
        first_part=None if counted.all() or not counted.any() else ~counted,
        notes=tuple(notes),
    )


def _part(values: Floats, part: int, there: list[int]) -> Floats | None:
    return values[:, :, part] if part in there else None
