"""`python -m serve validate`: a table where all is well, else one line a problem and exit status 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from serve.__main__ import main
from serve.catalogue import parse_catalogue
from serve.validate import deployment_problems, table
from tests.serve.cluster_catalogue import CLUSTER

POSTGRES = "journal: {url: postgresql+psycopg://switchboard@db.internal/switchboard}\n"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit status of the command line."""
    monkeypatch.delenv("SWITCHBOARD_JOURNAL_URL", raising=False)
    monkeypatch.setattr("sys.argv", ["serve", *arguments])
    try:
        return main()
    except SystemExit as ended:
        return int(ended.code or 0)


def test_the_table_says_what_a_replica_takes_where_it_may_run_and_how_many_fit() -> None:
    assert table(parse_catalogue(CLUSTER, "tiers.yaml")) == (
        """\
         a replica takes         may run on         replicas  room for
gateway  0.1 CPU                 cpu or l4 or a100  2..4      800
learner  0.1 CPU                 cpu or l4 or a100  1..1      800
scorer   1 CPU                   cpu or l4 or a100  1..1      80
small    1 CPU, 0.5 L4, 4 GiB    l4                 0..4      8
medium   1 CPU, 1 GPU            l4, else a100      1..3      8
large    4 CPU, 2 GPU, 1 nvlink  a100               0..1      2

node type  at most  gives
cpu        3        8 CPU, 32 GiB
l4         4        8 CPU, 1 L4, 32 GiB
a100       2        12 CPU, 2 A100, 128 GiB, 1 nvlink

There is room for everything at its maximum at once."""
    )


def test_the_embedded_catalogue_is_valid_and_runs_on_one_machine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "validate") == 0
    said = capsys.readouterr()
    assert said.err == ""
    lines = said.out.splitlines()
    assert lines[4].split() == ["gan", "0.1", "CPU", "this", "machine", "1..2", "-"]
    assert lines[-1] == "One machine, no node types: at its maximum everything takes 1.3 CPUs and 0 GPUs."


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("max_replicas: 4}\n  - name: m", "max_replicas: 9}\n  - name: m", "31: tiers[0].scaling.max_replicas: 9 "),
        ("max_nodes: 3}", "max_node: 3}", "12: nodes[1].max_node: is no key here; did you mean max_nodes?"),
        (POSTGRES, "", "1: journal: SQLite is a file of one machine, and the nodes may be 9: give postgresql+psycopg://"),
        (POSTGRES, "journal: {url: sqlite:///here.db}\n", "8: journal.url: SQLite is a file of one machine"),
        ("{price_usd: 0.1,", "{options: {steps: 3}, price_usd: 0.1,", "47: tiers[2].presets.only.options.steps: "),
        ("replicas.fake:FakeScorer", "replicas.fake:FakeScore", "9: scorer.class: class 'replicas.fake:FakeScore'"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_one_line_and_exit_status_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    old: str,
    new: str,
    said: str,
) -> None:
    file = tmp_path / "tiers.yaml"
    assert CLUSTER.count(old) == 1
    file.write_text(CLUSTER.replace(old, new))
    assert run(monkeypatch, "validate", "--catalogue", str(file)) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert line.startswith(f"{file}:{said}")


def test_all_that_is_wrong_is_said_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "tiers.yaml"
    file.write_text(CLUSTER.replace(POSTGRES, "").replace("replicas.fake:FakeScorer", "replicas.fake:FakeScore"))
    assert run(monkeypatch, "validate", "--catalogue", str(file)) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_devices_and_models_are_looked_for_here_only_without_node_types(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The machine that checks a cluster's file need not be a GPU node."""
    start, end = CLUSTER.index("nodes:\n"), CLUSTER.index("tiers:")
    file = tmp_path / "tiers.yaml"
    file.write_text(CLUSTER)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert run(monkeypatch, "validate", "--catalogue", str(file)) == 0
    capsys.readouterr()
    file.write_text(CLUSTER[:start] + CLUSTER[end:])
    assert run(monkeypatch, "validate", "--catalogue", str(file)) == 2
    assert capsys.readouterr().err.count("device: cuda is not here") == 3


def test_sqlite_will_do_on_one_machine_and_where_the_nodes_name_another_journal() -> None:
    sqlite = parse_catalogue(CLUSTER.replace(POSTGRES, ""), "tiers.yaml")
    assert list(deployment_problems(sqlite, journal_elsewhere=True)) == []
    one = sqlite.model_copy(update={"nodes": (sqlite.nodes[0], sqlite.nodes[1].model_copy(update={"max_nodes": 1}))})
    assert list(deployment_problems(one, journal_elsewhere=False)) == []
