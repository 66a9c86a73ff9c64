"""The ledger and the analysis on a real PostgreSQL, where two transactions may read the same state."""

import os
import shutil
import subprocess
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from bandit.errors import ExperimentConflict, ExperimentError, ExperimentRefused
from bandit.experiments.analysis import report
from bandit.experiments.design import Plan, plan_from_json
from bandit.experiments.ledger import Ledger
from bandit.experiments.shadow import ShadowRow, append_shadows
from bandit.experiments.shares import TICKS, size
from bandit.experiments.state import LivePolicy
from bandit.fake_traffic import fake_request
from bandit.journal import Journal
from bandit.rows import Row
from bandit.tables import metadata

pytestmark = pytest.mark.postgres

CATALOGUE = LivePolicy("uniform", {}, "uniform")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """SWITCHBOARD_TEST_POSTGRES_URL, or a server of our own on a socket."""
    pytest.importorskip("psycopg", reason="needs psycopg: pip install 'psycopg[binary]'")
    if given := os.environ.get("SWITCHBOARD_TEST_POSTGRES_URL"):
        yield given
        return
    found = shutil.which("initdb")
    places = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    place = next((one for one in places if (one / "pg_ctl").exists()), None)
    if place is None:
        pytest.skip("needs PostgreSQL: set SWITCHBOARD_TEST_POSTGRES_URL or install the package postgresql")
    directory = Path(tempfile.mkdtemp(prefix="pg-"))
    user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
    if user:
        shutil.chown(directory, user, user)

    def call(program: str, *arguments: str) -> None:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}
        groups = [] if user else None
        subprocess.run(
            [place / program, *arguments], check=True, cwd=directory, user=user, extra_groups=groups, **quiet
        )  # type: ignore[call-overload]

    call("initdb", "-D", f"{directory}/data", "-U", "postgres", "--auth=trust", "-E", "UTF8")
    settings = f"-c listen_addresses='' -c unix_socket_directories={directory}"
    call("pg_ctl", "-D", f"{directory}/data", "-w", "-l", f"{directory}/log", "-o", settings, "start")
    yield f"postgresql://postgres@/postgres?host={directory}"
    call("pg_ctl", "-D", f"{directory}/data", "-w", "-m", "immediate", "stop")
    shutil.rmtree(directory)


@pytest.fixture
def journal(url: str) -> Iterator[Journal]:
    journal = Journal.open(url)
    yield journal
    with journal.write() as connection:
        metadata.drop_all(connection)
    journal.close()


def plan(name: str, **changes: object) -> Plan:
    value = {
        "experiment_id": name,
        "hypothesis": "none",
        "control": "old",
        "unit": "request",
        "variants": [{"name": one, "policy": "uniform"} for one in ("old", "new", "newer")],
    }
    return plan_from_json(value | changes)


def at_once(*commands: object) -> list[BaseException | None]:
    """Each in a thread of its own, begun together; what each raised."""
    errors: list[BaseException | None] = [None] * len(commands)
    together = threading.Barrier(len(commands))

    def run(place: int) -> None:
        together.wait(30)
        try:
            commands[place]()  # type: ignore[operator]
        except ExperimentError as error:
            errors[place] = error

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(commands))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return errors


def test_many_gateways_stop_a_variant_once(journal: Journal) -> None:
    Ledger(journal).create(plan("exp"), "ann", 1.0)
    Ledger(journal).start("exp", "ann", 2.0, catalogue=CATALOGUE)
    reports = [
        lambda number=number: Ledger(journal).stop_variant("exp", "new", f"gateway {number}", 3.0, reason="it raised")
        for number in range(12)
    ]
    assert at_once(*reports) == [None] * 12
    assert [event.kind for event in Ledger(journal).events()] == ["created", "started", "variant_stopped"]


def test_two_starts_at_once_never_claim_the_same_units(journal: Journal) -> None:
    ledger = Ledger(journal)
    names = [f"exp-{number}" for number in range(6)]
    for name in names:
        ledger.create(plan(name, traffic=0.4), "ann", 1.0)
    starts = [lambda name=name: Ledger(journal).start(name, "ann", 2.0, catalogue=CATALOGUE) for name in names]
    outcomes = Counter(type(error) for error in at_once(*starts))
    assert set(outcomes) <= {type(None), ExperimentConflict, ExperimentRefused}
    running = ledger.running()
    assert 1 <= len(running) == outcomes[type(None)] <= 2
    pieces = sorted(piece for one in running for piece in one.claim)
    assert all(first[1] <= second[0] for first, second in pairwise(pieces))
    assert size(pieces) == len(running) * 0.4 * TICKS


def test_two_changes_of_one_experiment_at_once_are_one_after_the_other_or_a_conflict(journal: Journal) -> None:
    ledger = Ledger(journal)
    ledger.create(plan("exp"), "ann", 1.0)
    ledger.start("exp", "ann", 2.0, catalogue=CATALOGUE)
    ramps = [
        lambda share=share: Ledger(journal).ramp("exp", "ann", 3.0, traffic=share)
        for share in (0.9, 0.8, 0.7, 0.6, 0.5)
    ]
    errors = at_once(*ramps)
    assert {type(error) for error in errors} <= {type(None), ExperimentConflict}
    assert [event.seq for event in ledger.events("exp")] == list(range(1, 3 + errors.count(None)))
    assert len(ledger.experiment("exp").history) == 1 + errors.count(None)


def test_report_reads_the_same_numbers_as_from_sqlite(journal: Journal, tmp_path: Path) -> None:
    other = Journal.open(f"sqlite:///{tmp_path}/journal.db")
    rng = Random(3)
    rows: list[Row] = []
    for number in range(300):
        request = fake_request(number, now_s=1000.0 + number)
        decision = replace(request.decision, variant=f"exp:{rng.choice(('old', 'new', 'newer'))}")
        rows += [decision, request.outcome]
        rows += [one for one in (request.quality, request.rating, request.late_rating) if one is not None]
    for one in (journal, other):
        Ledger(one).create(plan("exp", unit="user"), "ann", 1.0)
        Ledger(one).start("exp", "ann", 2.0, catalogue=CATALOGUE)
        one.append(rows)
        Ledger(one).stop("exp", "ann", 3.0, reason="over")
    here, there = report(journal, "exp", 9.0), report(other, "exp", 9.0)
    assert here == there
    assert here.variant("new").units > 5
    other.close()


def test_shadow_is_valued_alike(journal: Journal, tmp_path: Path) -> None:
    other = Journal.open(f"sqlite:///{tmp_path}/journal.db")
    found = []
    for one in (journal, other):
        Ledger(one).create(plan("exp", kind="shadow"), "ann", 1.0)
        Ledger(one).start("exp", "ann", 2.0, catalogue=CATALOGUE)
        requests = [fake_request(number, now_s=1000.0 + number) for number in range(100)]
        one.append([replace(request.decision, variant="exp:old") for request in requests])
        one.append([request.outcome for request in requests])
        one.append([request.quality for request in requests if request.quality is not None])
        shadows = [
            ShadowRow(
                request.decision.decision_id,
                "exp:new",
                1000.0,
                "uniform",
                None,
                fake_request(number + 1000).decision.decision,
            )
            for number, request in enumerate(requests)
        ]
        assert append_shadows(one, shadows) == 100
        assert append_shadows(one, shadows) == 0
        found.append(report(one, "exp", 9.0).variant("new").shadow)
    assert found[0] == found[1]
    assert found[0] is not None
    assert found[0].rounds > 80
    other.close()
