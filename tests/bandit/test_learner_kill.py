"""The learner is killed with SIGKILL again and again while requests come in; its state must not show it."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import func, select

from bandit.fake_traffic import fake_request
from bandit.fold import Fold
from bandit.joins import joins_after
from bandit.journal import Journal
from bandit.policies import build
from bandit.snapshots import Snapshots
from bandit.tables import joins, outcomes
from bandit.verify import verify

KILLS = 12
POLICY = "vowpal"

WRITER = """
import collections, itertools, pathlib, sys, time
from bandit.fake_traffic import fake_request
from bandit.journal import Journal
from bandit.journal_writer import JournalWriter
from bandit.rows import Verdict

url, enough = sys.argv[1], pathlib.Path(sys.argv[2])
late = collections.deque()
with JournalWriter(Journal.open(url)) as writer:
    for number in itertools.count():
        if number >= 300 and enough.exists():
            break
        request = fake_request(number, now_s=time.time() - 2)  # its outcome comes up to 1.8 s later
        signals = [signal for signal in (request.rating, request.quality) if signal is not None]
        futures = [writer.submit([request.decision]), writer.submit([request.outcome])]
        late.append(request.late_rating)
        if len(late) > 40:  # the learner has closed that join, unless it was dead all the time
            signals.append(late.popleft())
        futures += [writer.submit([signal]) for signal in signals if signal is not None]
        for future in futures:
            assert future.result(60) in ((Verdict.ACCEPTED,), (Verdict.LATE,))
        time.sleep(0.005)
"""


def learn(root: Path, url: str, *more: str) -> list[str]:
    quick = ("--lease-s", "0.3", "--poll-s", "0.01", "--snapshot-every", "13", "--snapshot-after-s", "0.2")
    window = ("--join-window-s", "0.5")
    return [sys.executable, "-m", "bandit", "learn", "--journal", url, "--policy", POLICY, *quick, *window, *more]


def last_join(journal: Journal) -> int:
    with journal.read() as connection:
        return connection.scalar(select(func.coalesce(func.max(joins.c.position), 0))) or 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_learner_ends_with_the_bytes_of_an_uninterrupted_one(tmp_path: Path, root: Path) -> None:
    url = f"sqlite:///{tmp_path}/journal.db"
    journal = Journal.open(url, busy_timeout_s=30)
    rng = Random(11)
    enough = tmp_path / "enough"
    log = (tmp_path / "learner.log").open("ab")
    writer = subprocess.Popen([sys.executable, "-c", WRITER, url, str(enough)], cwd=root)
    learner: subprocess.Popen[bytes] | None = None
    kills, kills_at_work = 0, 0
    try:
        while kills < KILLS:
            before = last_join(journal)
            learner = subprocess.Popen(learn(root, url), cwd=root, stderr=log)
            if kills % 4 != 3:  # else it dies at a random point of its start
                while last_join(journal) <= before and learner.poll() is None:
                    time.sleep(0.002)
                kills_at_work += last_join(journal) > before
                time.sleep(rng.random() * 0.3)
            else:
                time.sleep(rng.random())
            learner.kill()
            assert learner.wait(30) == -signal.SIGKILL, (tmp_path / "learner.log").read_text()
            kills += 1
        enough.touch()
        assert writer.wait(120) == 0
        time.sleep(0.6)  # the windows of the last unscored requests end
        learner = subprocess.Popen(learn(root, url, "--until-idle"), cwd=root, stderr=log)
        assert learner.wait(120) == 0, (tmp_path / "learner.log").read_text()
    finally:
        for process in (writer, learner):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait(30)
        log.close()

    result = verify(journal)
    assert result.findings == ()
    requests = result.counts["decisions"]
    assert result.counts["outcomes"] == requests >= 300
    assert result.counts["open_joins"] == result.counts["bad_records"] == 0
    assert kills_at_work >= KILLS // 2  # else the kills hit nothing and this test shows nothing

    with journal.read() as connection:
        rows = joins_after(connection, 0, 2 * requests)
        assert len(set(connection.scalars(select(outcomes.c.decision_id)))) == requests
    assert [row["position"] for row in rows] == list(range(1, result.counts["joins"] + 1))
    assert len({(row["decision_id"], row["source"]) for row in rows}) == len(rows)
    assert len([row for row in rows if not row["source"]]) == requests
    assert len([row for row in rows if row["reason"] == "vote"]) > 20
    assert {row["reason"] for row in rows} == {"complete", "window", "not_served", "vote", "other_caller"}

    fold = Fold(lambda: build(POLICY), "words-1")
    assert fold.learn(rows) == []
    newest = Snapshots(journal).newest(POLICY)
    assert newest is not None
    assert newest.position == len(rows)
    assert newest.token > KILLS // 2  # so many learners followed one another
    assert newest.payload == fold.policy.state()
    # The comparison can fail: the same records in another order give other bytes.
    other = Fold(lambda: build(POLICY), "words-1")
    other.learn({**row, "position": place} for place, row in enumerate(reversed(rows), start=1))
    assert other.policy.state() != fold.policy.state()
    journal.close()


@pytest.mark.slow
def test_second_learner_takes_over_from_a_killed_one(tmp_path: Path, root: Path) -> None:
    url = f"sqlite:///{tmp_path}/journal.db"
    journal = Journal.open(url, busy_timeout_s=30)
    first = subprocess.Popen(learn(root, url, "--lease-s", "2"), cwd=root, stderr=subprocess.DEVNULL)
    second = None
    try:
        for start in (0, 50):
            now_s = time.time() - 10
            for number in range(start, start + 50):
                request = fake_request(number, now_s=now_s)
                signals = [signal for signal in (request.rating, request.quality) if signal is not None]
                journal.append([request.decision, request.outcome, *signals])
            while last_join(journal) < start + 50:
                assert (first if start == 0 else second).poll() is None  # type: ignore[union-attr]
                time.sleep(0.01)
            if start == 0:
                second = subprocess.Popen(learn(root, url, "--lease-s", "2"), cwd=root, stderr=subprocess.DEVNULL)
                first.kill()
                first.wait(30)
        assert second is not None
        second.terminate()
        assert second.wait(60) == 0
    finally:
        for process in (first, second):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait(30)
    newest = Snapshots(journal).newest(POLICY)
    assert newest is not None
    assert (newest.position, newest.token) == (100, 2)
    assert verify(journal).findings == ()
    journal.close()
