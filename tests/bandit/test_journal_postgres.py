"""The journal on a real PostgreSQL: SWITCHBOARD_TEST_POSTGRES_URL, or a server of our own from installed binaries."""

import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from bandit import leases, tables
from bandit.appends import append, lock_decisions
from bandit.errors import BadRow, Contradiction, JournalAway, LeaseLost
from bandit.fake_traffic import fake_request
from bandit.fold import Fold
from bandit.joins import close_due, joins_after
from bandit.journal import Journal
from bandit.journal_writer import JournalWriter
from bandit.learner import Learner, LearnerSettings
from bandit.policies import build
from bandit.rows import DecisionRow, SignalRow, Verdict
from bandit.snapshots import Snapshots
from bandit.tables import metadata
from bandit.verify import verify
from bandit.votes import vote_source

pytestmark = pytest.mark.postgres

START_S = 1_700_000_000.0


class Server:
    """A PostgreSQL of our own, on a socket in a directory of our own."""

    def __init__(self, binaries: Path, directory: Path) -> None:
        self._binaries = binaries
        self._directory = directory
        self._user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
        if self._user:
            shutil.chown(directory, self._user, self._user)
        self._call("initdb", "-D", f"{directory}/data", "-U", "postgres", "--auth=trust", "-E", "UTF8")
        self.url = f"postgresql://postgres@/postgres?host={directory}"

    def start(self) -> None:
        settings = f"-c listen_addresses='' -c unix_socket_directories={self._directory}"
        log = f"{self._directory}/log"
        self._call("pg_ctl", "-D", f"{self._directory}/data", "-w", "-l", log, "-o", settings, "start")

    def stop(self, mode: str = "fast") -> None:
        self._call("pg_ctl", "-D", f"{self._directory}/data", "-w", "-m", mode, "stop")

    def _call(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._binaries / program, *arguments],
            check=True,
            cwd=self._directory,
            user=self._user,
            extra_groups=[] if self._user else None,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
        )


def binaries() -> Path | None:
    found = shutil.which("initdb")
    places = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in places if (place / "pg_ctl").exists()), None)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    pytest.importorskip("psycopg", reason="needs psycopg: pip install 'psycopg[binary]'")
    place = binaries()
    if place is None:
        pytest.skip("needs PostgreSQL: set SWITCHBOARD_TEST_POSTGRES_URL or install the package postgresql")
    directory = Path(tempfile.mkdtemp(prefix="pg-"))
    server = Server(place, directory)
    server.start()
    yield server
    server.stop("immediate")
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def url(request: pytest.FixtureRequest) -> str:
    given = os.environ.get("SWITCHBOARD_TEST_POSTGRES_URL")
    return given or request.getfixturevalue("server").url


@pytest.fixture
def journal(url: str) -> Iterator[Journal]:
    journal = Journal.open(url)
    yield journal
    with journal.write() as connection:
        metadata.drop_all(connection)
    journal.close()


def served(first: int = 0) -> tuple[DecisionRow, object, SignalRow]:
    for number in range(first, first + 1000):
        request = fake_request(number, now_s=START_S)
        if request.outcome.status == "served" and request.quality:
            return request.decision, request.outcome, request.quality
    raise AssertionError


def test_story_reads_back_as_written(journal: Journal) -> None:
    decision, outcome, quality = served()
    decision = replace(decision, prompt="a cat, «ünïcode» 🐈", seed=-(2**63))
    assert journal.append([decision, outcome, quality]) == [Verdict.ACCEPTED] * 3  # type: ignore[list-item]
    assert journal.append([decision, outcome, quality]) == [Verdict.DUPLICATE] * 3  # type: ignore[list-item]
    story = journal.read_decision(decision.decision_id)
    assert story is not None
    assert (story.decision, story.outcome, story.signals) == (decision, outcome, (quality,))
    assert list(story.decision.decision.probabilities) == list(decision.decision.probabilities)
    with pytest.raises(Contradiction):
        journal.append_signal(replace(quality, value=quality.value / 2))
    assert journal.health().backend == "postgresql"
    assert journal.health().reachable


@pytest.mark.parametrize("poison", ["a\x00b", "a\ud800b"])
def test_text_that_postgresql_does_not_take_is_made_storable(journal: Journal, poison: str) -> None:
    decision, _, _ = served()
    journal.append_decision(replace(decision, prompt=poison, model_requested=poison))
    story = journal.read_decision(decision.decision_id)
    assert story is not None
    assert story.decision.prompt == story.decision.model_requested == "a\ufffdb"


def test_row_that_the_database_refuses_fails_alone(journal: Journal) -> None:
    good, _, _ = served()
    bad, _, _ = served(500)
    features = replace(bad.context.features, schema="words\x00")  # no caller's text, so nobody makes it storable
    results = journal.append([replace(bad, context=replace(bad.context, features=features)), good])
    assert isinstance(results[0], BadRow)
    assert results[1] is Verdict.ACCEPTED
    assert journal.read_decision(good.decision_id) is not None


def test_one_of_many_gets_the_lease(journal: Journal) -> None:
    def acquire(number: int) -> object:
        with journal.write() as connection:
            return leases.acquire(connection, "learner", f"h{number}", now_s=0, duration_s=10)

    with ThreadPoolExecutor(8) as pool:
        assert sum(lease is not None for lease in pool.map(acquire, range(8))) == 1
    with journal.read() as connection:
        assert connection.scalars(select(tables.leases.c.token)).all() == [1]


def test_take_over_waits_for_the_transaction_that_checked_the_lease(journal: Journal) -> None:
    """Between a check and its commit nobody may take the lease over, or two learners would number joins at once."""
    with journal.write() as connection:
        lease = leases.acquire(connection, "learner", "a", now_s=0, duration_s=10)
    assert lease is not None
    taken = threading.Event()

    def take_over() -> None:
        with journal.write() as connection:
            assert leases.acquire(connection, "learner", "b", now_s=100, duration_s=10) is not None
        taken.set()

    thread = threading.Thread(target=take_over)
    with journal.write() as connection:
        leases.check(connection, lease)
        thread.start()
        assert not taken.wait(0.3)
    assert taken.wait(30)
    thread.join()
    with pytest.raises(LeaseLost), journal.write() as connection:
        leases.check(connection, lease)


def test_vote_that_races_with_the_closing_of_its_join_is_learned_once(journal: Journal) -> None:
    """It said 'accepted' and was in no record when both transactions ran at once."""
    decision, outcome, quality = served()
    rating = SignalRow(decision.decision_id, "rating", vote_source(decision.caller_hash), 1.0, START_S)
    journal.append([decision, outcome, quality])  # type: ignore[list-item]
    verdicts: list[object] = []
    thread = threading.Thread(target=lambda: verdicts.append(journal.append_signal(rating)))
    with journal.write() as connection:
        assert (
            close_due(connection, now_s=START_S + 9, window_s=60, vote_window_s=60, default_quality=0.5, limit=9) == 1
        )
        thread.start()
        time.sleep(0.2)  # the signal stands at the decision's lock
        assert verdicts == []
    thread.join(30)
    assert verdicts == [Verdict.ACCEPTED]
    with journal.write() as connection:
        assert (
            close_due(connection, now_s=START_S + 9, window_s=60, vote_window_s=60, default_quality=0.5, limit=9) == 1
        )
    story = journal.read_decision(decision.decision_id)
    assert story is not None
    assert story.join is not None
    assert story.join.record is not None
    assert story.join.record.rating is None
    assert [join.record.rating for join in story.vote_joins if join.record] == [1.0]
    assert verify(journal).findings == ()


def test_quality_that_races_with_its_outcome_closes_the_join_at_once(journal: Journal) -> None:
    decision, outcome, quality = served()
    journal.append_decision(decision)
    thread = threading.Thread(target=lambda: journal.append_signal(quality))
    with journal.write() as connection:
        lock_decisions(connection, [decision.decision_id])
        thread.start()
        time.sleep(0.2)
        append(connection, [outcome])  # type: ignore[list-item]
    thread.join(30)
    with journal.write() as connection:
        assert close_due(connection, now_s=START_S, window_s=60, vote_window_s=60, default_quality=0.5, limit=9) == 1


def test_learners_take_turns_while_writers_write(journal: Journal) -> None:
    settings = LearnerSettings(join_window_s=0.5, lease_s=0.2, snapshot_every=17, snapshot_after_s=0.1, batch=20)
    done = threading.Event()
    failures: list[BaseException] = []

    def write(start: int) -> None:
        for number in range(start, start + 100):
            request = fake_request(number, now_s=time.time() - 10)
            rows = [request.decision, request.outcome, request.quality, request.rating]
            writer.submit([row for row in rows if row is not None]).result(60)
            if request.late_rating is not None:
                writer.submit([request.late_rating]).result(60)

    def learn(name: str) -> None:
        try:
            while not done.is_set():
                policies = {"vowpal": lambda: build("vowpal")}
                learner = Learner(journal, policies, name, features_schema="words-1", settings=settings)
                for _ in range(10):
                    learner.step(time.time())
                time.sleep(0.25)  # sleeps while it holds the lease, and starts anew as if it had been killed
        except BaseException as error:  # noqa: BLE001 - shown below
            failures.append(error)

    learners = [threading.Thread(target=learn, args=(f"learner-{n}",)) for n in range(2)]
    with JournalWriter(journal) as writer:
        writers = [threading.Thread(target=write, args=(1000 * n,)) for n in range(3)]
        for thread in writers + learners:
            thread.start()
        for thread in writers:
            thread.join()
    done.set()
    for thread in learners:
        thread.join()
    assert failures == []
    last = Learner(journal, {"vowpal": lambda: build("vowpal")}, "last", features_schema="words-1", settings=settings)
    while last.step(time.time() + 100).more:
        pass
    last.stop(time.time() + 100)
    result = verify(journal)
    assert result.findings == ()
    assert result.counts["decisions"] == result.counts["outcomes"] == 300
    fold = Fold(lambda: build("vowpal"), "words-1")
    with journal.read() as connection:
        rows = joins_after(connection, 0, 1000)
    assert len([row for row in rows if not row["source"]]) == 300
    # A vote that came before its join closed is in that join: how many have one of their own depends on the race.
    assert len([row for row in rows if row["source"]]) > 5
    fold.learn(rows)
    newest = Snapshots(journal).newest("vowpal")
    assert newest is not None
    assert (newest.position, newest.payload) == (len(rows), fold.policy.state())
    assert newest.token > 1


def test_writer_outlasts_a_crash_of_the_server(journal: Journal, request: pytest.FixtureRequest) -> None:
    if os.environ.get("SWITCHBOARD_TEST_POSTGRES_URL"):
        pytest.skip("stops the server, so it needs one of our own: unset SWITCHBOARD_TEST_POSTGRES_URL")
    server = request.getfixturevalue("server")
    with JournalWriter(journal, first_pause_s=0.05) as writer:
        assert writer.submit([served()[0]]).result(30) == (Verdict.ACCEPTED,)
        server.stop("immediate")
        waiting = [writer.submit([fake_request(number).decision]) for number in range(2000, 2020)]
        assert not journal.health().reachable
        with pytest.raises(JournalAway):
            journal.append_decision(served(500)[0])
        server.start()
        assert {future.result(60) for future in waiting} == {(Verdict.ACCEPTED,)}
    assert verify(journal).counts["decisions"] == 21
