"""Finds what only a replica would notice otherwise: classes, options and devices of a catalogue. Loads no weights.

    python -m serve.preflight < catalogue.json        prints what is wrong as JSON: [[path, words], ...]

A process of its own, as classes import torch: it runs while Ray starts, and `up` deploys nothing before it is through.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path as FilePath
from typing import Any

from replicas.errors import ReplicaError
from replicas.loading import build_scorer, build_tier, check_source, resolve
from replicas.scorer import Scorer
from replicas.sentence_encoder import installed_folder
from replicas.tier import Tier

from .catalogue import EMBEDDED, Catalogue, EncoderEntry, ScorerEntry, TierEntry
from .catalogue_errors import CatalogueError
from .yaml_source import Path, parse_yaml

Problem = tuple[Path, str]


def problems_in(catalogue: Catalogue, *, here: bool = True) -> list[Problem]:
    """What would keep a replica from starting, each with its path in the catalogue.

    `here`: model folders, installed weights and devices count too, as replicas will run on this machine.
    """
    found = [(("scorer", *path), words) for path, words in _scorer_problems(catalogue.scorer, here)]
    if here and catalogue.encoder is not None and (words := _refused(partial(_check_encoder, catalogue.encoder))):
        found.append((("encoder",), words))
    for index, tier in enumerate(catalogue.tiers):
        found += [(("tiers", index, *path), words) for path, words in _tier_problems(tier, here)]
    return found


def refusal(problems: list[Problem], catalogue_file: FilePath | None) -> CatalogueError:
    """The error that names file and line of each problem."""
    file = catalogue_file or EMBEDDED
    located = parse_yaml(file.read_text("utf-8-sig"), str(file))
    return CatalogueError([located.problem(tuple(path), words) for path, words in problems])


def _scorer_problems(entry: ScorerEntry, here: bool) -> Iterator[Problem]:
    if words := _refused(lambda: resolve(entry.class_path, Scorer)):  # type: ignore[type-abstract]
        yield ("class",), words
        return
    if words := _refused(lambda: build_scorer(entry.class_path, **entry.class_options())):
        yield ("options" if entry.options else "class",), words
    if here:
        yield from _source_problems(entry)


def _tier_problems(entry: TierEntry, here: bool) -> Iterator[Problem]:
    if words := _refused(lambda: resolve(entry.class_path, Tier)):  # type: ignore[type-abstract]
        yield ("class",), words
        return
    arguments = entry.build_arguments()
    if words := _refused(lambda: build_tier(**{**arguments, "presets": None})):
        yield ("options" if entry.options else "class",), words
    else:
        for name, options in arguments["presets"].items():
            one = {**arguments, "presets": {name: options}}
            if words := _refused(lambda one=one: build_tier(**one)):  # type: ignore[misc]
                key = next((key for key in options if key in words), None)
                yield ("presets", name, "options", *([key] if key else [])), words
    if here:
        yield from _source_problems(entry)


def _check_encoder(entry: EncoderEntry) -> None:
    """Raises ReplicaError if the weights are not here."""
    if entry.model is None:
        installed_folder()
    else:
        check_source(entry.model, entry.revision)


def _source_problems(entry: ScorerEntry | TierEntry) -> Iterator[Problem]:
    """Model folder and device. A class from elsewhere may take a model of any form, so only those here are checked."""
    model = entry.model
    ours = entry.class_path.startswith("replicas.") and not entry.class_path.startswith("replicas.fake:")
    if model is not None and ours and (words := _refused(lambda: check_source(model, entry.revision))):
        yield ("model",), words
    if entry.device.startswith("cuda"):
        import torch

        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        number = int(entry.device.partition(":")[2] or 0)
        if number >= count:
            yield ("device",), f"{entry.device} is not here: torch {torch.__version__} sees {count} CUDA devices"


def _refused(attempt: Callable[[], Any]) -> str | None:
    """What the attempt says against it, in one line; None: nothing."""
    try:
        attempt()
    except ReplicaError as error:
        words = str(error)
    except Exception as error:  # noqa: BLE001 - a class from elsewhere may raise anything
        words = f"{type(error).__name__}: {error}"
    else:
        return None
    return " ".join(words.split())


if __name__ == "__main__":
    print(json.dumps(problems_in(Catalogue.model_validate_json(sys.stdin.read()))))
