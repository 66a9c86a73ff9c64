"""python -m bandit evaluate: what would this policy have earned? Exit status 1: the log cannot answer."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from bandit.errors import CannotEvaluate
from bandit.journal import Journal

from .log import Log
from .prequential import walk
from .report import Report, report
from .rewards import KINDS, Reward
from .support import LEAST_EFFECTIVE
from .target import target_of

_SAID_EVERY_S = 2.0


def add_parser(commands: Any) -> None:
    """Adds `evaluate` to the subcommands of an argparse parser."""
    parser = commands.add_parser("evaluate", help="what another policy would have earned on the journal's requests")
    parser.set_defaults(command=_run)
    parser.add_argument("--journal", required=True, metavar="URL", help="sqlite:///file.db or postgresql+psycopg://...")
    parser.add_argument("--policy", required=True, metavar="NAME", help='a policy, an arm (always that one), or "live"')
    parser.add_argument("--options", default="{}", metavar="JSON", help="options of the policy, as a JSON object")
    parser.add_argument("--since", metavar="TIME", help="ISO 8601 (UTC if it says nothing) or Unix seconds")
    parser.add_argument("--until", metavar="TIME", help="the same; requests before this")
    parser.add_argument("--history-s", type=float, help="how far before --since outcomes are learned (default: all)")
    parser.add_argument("--frozen", action="store_true", help="learn what came before --since, and nothing after")
    parser.add_argument(
        "--explored-only", action="store_true", help="leave out rounds that the log drew without any other chance"
    )
    parser.add_argument("--reward", default="utility", choices=KINDS)
    parser.add_argument("--alpha", type=float, default=0.05, help="risk that an interval misses")
    parser.add_argument("--least-effective", type=float, default=LEAST_EFFECTIVE, metavar="ROUNDS")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the numbers there too")


def evaluate(
    journal: Journal,
    policy: str,
    options: Mapping[str, object] | None = None,
    *,
    since_s: float | None = None,
    until_s: float | None = None,
    history_s: float | None = None,
    frozen: bool = False,
    explored_only: bool = False,
    reward: str = "utility",
    alpha: float = 0.05,
    least_effective: float = LEAST_EFFECTIVE,
    said_on: TextIO | None = None,
) -> Report:
    """Judge a policy by the journal; progress goes to `said_on`.

    Raises UnknownPolicy, CannotEvaluate or JournalAway.
    """
    if not 0 < alpha < 1:
        raise CannotEvaluate(f"alpha is {alpha!r}; allowed: above 0 and below 1, such as 0.05")
    if not least_effective >= 1:
        raise CannotEvaluate(f"the least effective sample is {least_effective!r}; allowed: 1 round and more")
    if frozen and since_s is None:
        raise CannotEvaluate("a frozen policy learns what came before a time; give that time as --since")
    target, kind = target_of(journal, policy, options, frozen=frozen), Reward(reward)
    log = Log(journal, since_s, until_s, history_s)
    rounds = walk(log, target, kind, explored_only=explored_only, progress=_Said(said_on))
    return report(
        rounds,
        target.name,
        target.estimand(),
        reward=reward,
        first_s=log.first_s,
        last_s=log.last_s,
        alpha=alpha,
        least_effective=least_effective,
    )


def open_to_read(url: str) -> Journal:
    """The journal at a URL, which must be there: a mistyped path makes no new file.

    Raises CannotEvaluate, BadJournalUrl or JournalAway.
    """
    try:
        place = make_url(url)
    except (ArgumentError, ValueError):
        return Journal.open(url)  # says what is wrong with it
    is_file = place.get_backend_name() == "sqlite" and place.database and place.database != ":memory:"
    if is_file and not Path(str(place.database)).is_file():
        raise CannotEvaluate(f"there is no journal {place.database}; give the URL of one that a gateway has written")
    return Journal.open(url)


def options_from(text: str) -> dict[str, object]:
    """The JSON object of --options. Raises CannotEvaluate."""
    try:
        options = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CannotEvaluate(f"--options {text!r} is not JSON: {error}") from error
    if not isinstance(options, dict):
        raise CannotEvaluate(f'--options {text!r} is no JSON object; give one such as {{"floor": 0.05}}')
    return options


def time_from(text: str | None, name: str) -> float | None:
    """Unix seconds of an ISO 8601 time or a number. Raises CannotEvaluate."""
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        pass
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise CannotEvaluate(
            f"--{name} {text!r} is no time; give 2026-11-22, 2026-11-22T14:00 or Unix seconds"
        ) from error
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def save_json(answer: Report, path: Path) -> None:
    """Raises CannotEvaluate if the file cannot be written."""
    try:
        path.write_text(json.dumps(answer.to_json(), indent=2, allow_nan=False) + "\n")
    except OSError as error:
        raise CannotEvaluate(f"{path} cannot be written: {error.strerror or error}") from error


class _Said:
    """Progress in percent: on a terminal in one line, else a line every few seconds."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._last_s = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now_s = time.monotonic()
        if self._stream is None or (now_s - self._last_s < _SAID_EVERY_S and done < total):
            return
        self._last_s = now_s
        line = f"{done} of {total} events ({done / max(total, 1):.0%})"
        end = "\n" if done == total or not self._stream.isatty() else ""
        print(f"\r{line}" if self._stream.isatty() else line, end=end, file=self._stream, flush=True)


def _run(given: argparse.Namespace) -> int:
    options = options_from(given.options)
    since_s, until_s = time_from(given.since, "since"), time_from(given.until, "until")
    journal = open_to_read(given.journal)
    try:
        answer = evaluate(
            journal,
            given.policy,
            options,
            since_s=since_s,
            until_s=until_s,
            history_s=given.history_s,
            frozen=given.frozen,
            explored_only=given.explored_only,
            reward=given.reward,
            alpha=given.alpha,
            least_effective=given.least_effective,
            said_on=sys.stderr,
        )
    finally:
        journal.close()
    if given.json is not None:
        save_json(answer, given.json)
    print(answer.to_text())
    return 0 if answer.target.valuation is not None else 1
