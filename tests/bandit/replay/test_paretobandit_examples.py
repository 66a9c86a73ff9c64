from __future__ import annotations

import json
from pathlib import Path

import pytest

from bandit.errors import BadTable
from bandit.replay.paretobandit_examples import find_examples, read_examples
from bandit.replay.source import read_table


def write(folder: Path, first: int = 12, counted: int = 10) -> None:
    for name, count, reward in (("val.jsonl", first, 0.25), ("test_holdout.jsonl", counted, 0.75)):
        rows = [
            {"prompt": f"{name} {n}", "source": "x", "arms": {m: {"reward": reward, "cost": cost} for m, cost in
             (("owner/small", 1e-5), ("owner/large", 1e-3 * (n + 1)))}}
            for n in range(count)
        ]  # fmt: skip
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def test_first_file_is_learned_from_and_second_counted(tmp_path: Path) -> None:
    write(tmp_path)
    table = read_table(str(tmp_path))
    assert table.models == ("owner/small", "owner/large")
    assert len(table.prompts) == 22
    assert table.first_part is not None
    assert table.first_part.tolist() == [True] * 12 + [False] * 10
    assert table.cost_usd is not None
    assert table.cost_usd[13].tolist() == [1e-5, 2e-3]
    assert table.quality[11].tolist() == [0.25, 0.25]
    assert table.quality[12].tolist() == [0.75, 0.75]
    assert table.prompt_ids[12] == "12"
    assert table.latency_s is None


def test_row_without_arms_is_told_with_its_line(tmp_path: Path) -> None:
    write(tmp_path)
    with (tmp_path / "val.jsonl").open("a") as text:
        text.write('{"prompt": "a"}\n')
    with pytest.raises(BadTable, match=r"val\.jsonl, line 13: not a row"):
        read_examples(tmp_path)


def test_row_with_other_arms_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    with (tmp_path / "test_holdout.jsonl").open("a") as text:
        text.write('{"prompt": "a", "arms": {"other": {"reward": 1, "cost": 1}}}\n')
    with pytest.raises(BadTable, match=r"test_holdout\.jsonl, line 11: arms are other"):
        read_examples(tmp_path)


def test_package_that_is_not_installed_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bandit.replay.paretobandit_examples.find_spec", lambda name: None)
    with pytest.raises(BadTable, match="pip install --no-deps paretobandit"):
        find_examples()
