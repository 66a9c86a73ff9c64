"""`python -m bandit interference` and `python -m bandit peeking`: run a study, print it, write JSON and a picture."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bandit.errors import BadTraffic

from .picture import draw_interference, draw_peeking
from .report import interference_text, peeking_text
from .study import FULL, QUICK, interference, peeking

_RUNS, _PRICE_RUNS = 10_000, 2_000
_QUICK_RUNS, _QUICK_PRICE_RUNS = 500, 200


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Both subcommands."""
    for name, run, words in (
        ("interference", _interference, "simulate experiments on shared queues: plain split, switchback, pools"),
        ("peeking", _peeking, "simulate daily looks at an A/A: false alarms, and what it costs to be allowed to look"),
    ):
        parser = commands.add_parser(name, help=words)
        parser.set_defaults(command=run)
        parser.add_argument("--quick", action="store_true", help="a small study, in seconds; its numbers are rough")
        if run is _interference:
            words = "simulations at once (default: 1); the numbers stay the same"
            parser.add_argument("--processes", type=int, default=1, choices=range(1, 65), metavar="1-64", help=words)
        parser.add_argument("--out", metavar="FOLDER", help=f"write {name}.json and {name}.png there")


def _interference(given: argparse.Namespace) -> int:
    study = interference(QUICK if given.quick else FULL, given.processes, _say)
    print(interference_text(study))
    _write(given.out, "interference", study, draw_interference)
    return 0


def _peeking(given: argparse.Namespace) -> int:
    runs, price_runs = (_QUICK_RUNS, _QUICK_PRICE_RUNS) if given.quick else (_RUNS, _PRICE_RUNS)
    study = peeking(runs, price_runs, say=_say)
    print(peeking_text(study))
    _write(given.out, "peeking", study, draw_peeking)
    return 0


def _write(out: str | None, name: str, study: Mapping[str, Any], draw: Any) -> None:
    if out is None:
        return
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(study, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        draw(folder / f"{name}.png", study)
    except OSError as error:
        raise BadTraffic(f"--out {out!r} cannot be written: {error.strerror}; name a folder that can") from error


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)
