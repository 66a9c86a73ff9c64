"""The bandit without Ray.

python -m bandit learn --journal sqlite:///switchboard.db --policy vowpal
python -m bandit verify --journal sqlite:///switchboard.db
python -m bandit evaluate --journal sqlite:///switchboard.db --policy uniform
python -m bandit replay table.csv
python -m bandit interference --out docs
python -m bandit peeking
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import secrets
import signal
import socket
import sys
import threading
from functools import partial

from .errors import BanditError
from .evaluation import command as evaluation
from .features import DEFAULT_SCHEMA, SCHEMAS
from .interference import command as interference
from .journal import Journal
from .learner import Learner, LearnerSettings
from .learner_loop import run
from .policies import build
from .replay import command as replay
from .verify import verify


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0: done, or all promises hold. 1: a finding. 2: the command cannot be carried out."""
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        return given.command(given)
    except BanditError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    defaults = LearnerSettings()
    parser = argparse.ArgumentParser(prog="python -m bandit", description="Learn from the journal, or check it.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    learn = commands.add_parser("learn", help="close joins, learn from them, publish snapshots")
    learn.set_defaults(command=_learn)
    learn.add_argument("--journal", required=True, metavar="URL", help="sqlite:///file.db or postgresql+psycopg://...")
    learn.add_argument("--policy", required=True, action="append", metavar="NAME", help="may be given several times")
    learn.add_argument("--options", default="{}", metavar="JSON", help="options of the policies, as a JSON object")
    learn.add_argument("--features", default=DEFAULT_SCHEMA, choices=SCHEMAS, help="features schema to learn from")
    learn.add_argument("--holder", default=None, help="name of this process, used by no other (default: made up)")
    learn.add_argument("--poll-s", type=float, default=0.5, help="pause between steps with nothing to do")
    learn.add_argument("--join-window-s", type=float, default=defaults.join_window_s)
    learn.add_argument("--vote-window-s", type=float, default=defaults.vote_window_s)
    learn.add_argument("--default-quality", type=float, default=defaults.default_quality)
    learn.add_argument("--lease-s", type=float, default=defaults.lease_s)
    learn.add_argument("--snapshot-every", type=int, default=defaults.snapshot_every, metavar="JOINS")
    learn.add_argument("--snapshot-after-s", type=float, default=defaults.snapshot_after_s)
    learn.add_argument("--until-idle", action="store_true", help="end when nothing is left to do")

    check = commands.add_parser("verify", help="check what the journal promises")
    check.set_defaults(command=_verify)
    check.add_argument("--journal", required=True, metavar="URL")

    evaluation.add_parser(commands)
    interference.add_parser(commands)
    replay.add_parser(commands)
    return parser


def _learn(given: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        options = json.loads(given.options)
    except ValueError as error:
        raise BanditError(f"--options {given.options!r} is not JSON: {error}") from error
    policies = {name: partial(build, name, options) for name in given.policy}
    for make in policies.values():
        make()  # a wrong name or option is told now, not after the lease was taken
    settings = LearnerSettings(
        join_window_s=given.join_window_s,
        vote_window_s=given.vote_window_s,
        default_quality=given.default_quality,
        lease_s=given.lease_s,
        snapshot_every=given.snapshot_every,
        snapshot_after_s=given.snapshot_after_s,
    )
    holder = given.holder or f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    journal = Journal.open(given.journal)
    learner = Learner(journal, policies, holder, features_schema=given.features, settings=settings)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    run(learner, stop, poll_s=given.poll_s, until_idle=given.until_idle)
    journal.close()
    return 0


def _verify(given: argparse.Namespace) -> int:
    journal = Journal.open(given.journal)
    result = verify(journal)
    journal.close()
    for name, count in result.counts.items():
        print(f"{name:12} {count:>10}")
    for finding in result.findings:
        print(finding)
    print("every promise holds" if not result.findings else f"{len(result.findings)} findings")
    return 1 if result.findings else 0


if __name__ == "__main__":
    sys.exit(main())
