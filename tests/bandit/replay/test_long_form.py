from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from bandit.errors import BadTable
from bandit.replay.long_form import read_long_form
from bandit.replay.source import read_table
from tests.bandit.replay.made_up_table import made_up, rows_of, write_csv


def rows(count: int = 30, **cells: object) -> list[dict[str, object]]:
    """Two models, `count` prompts; `cells` are more columns."""
    return [
        {"prompt_id": f"p{n}", "prompt": f"prompt {n}, with a comma", "model": model, "quality": 0.5, **cells}
        for n in range(count)
        for model in ("a", "b")
    ]


def test_table_comes_back_as_it_was_written(tmp_path: Path) -> None:
    table = made_up(50)
    read = read_long_form(write_csv(tmp_path / "table.csv", rows_of(table)))
    assert (read.prompt_ids, read.prompts, read.models) == (table.prompt_ids, table.prompts, table.models)
    assert np.array_equal(read.quality, table.quality)
    assert read.cost_usd is not None
    assert np.array_equal(read.cost_usd, table.cost_usd)
    assert read.latency_s is not None
    assert np.array_equal(read.latency_s, table.latency_s)
    assert read.first_part is None
    assert read.notes == ()
    assert read.name == "table"


def test_gzip_is_known_by_its_bytes_and_not_by_its_name(tmp_path: Path) -> None:
    plain = write_csv(tmp_path / "plain.csv", rows())
    packed = tmp_path / "packed.csv"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert read_long_form(packed).prompts == read_long_form(plain).prompts


def test_columns_that_are_not_needed_may_be_absent_and_others_are_ignored(tmp_path: Path) -> None:
    read = read_long_form(write_csv(tmp_path / "t.csv", rows(colour="red", r1=5)))
    assert read.cost_usd is None
    assert read.latency_s is None


def test_prompt_with_line_breaks_and_quotes_and_of_great_length_is_read_whole(tmp_path: Path) -> None:
    text = 'a "red"\ncat, \U0001f408 ' + "x" * 200_000
    given = rows()
    for row in given:
        row["prompt"] = text
    assert set(read_long_form(write_csv(tmp_path / "t.csv", given)).prompts) == {text}


def test_prompt_that_is_not_there_for_every_model_is_dropped_and_counted(tmp_path: Path) -> None:
    given = rows()
    given[3]["quality"] = ""
    del given[10]
    read = read_long_form(write_csv(tmp_path / "t.csv", given))
    assert len(read.prompts) == 28
    assert "p1" not in read.prompt_ids
    assert "p5" not in read.prompt_ids
    assert read.notes == ("2 of 30 prompts dropped: not there for every model",)


def test_split_column_says_which_part_is_learned_from(tmp_path: Path) -> None:
    given = rows()
    for number, row in enumerate(given):
        row["split"] = "test" if number >= 40 else "train"
    read = read_long_form(write_csv(tmp_path / "t.csv", given))
    assert read.first_part is not None
    assert read.first_part.tolist() == [True] * 20 + [False] * 10


def test_list_price_stands_in_for_an_empty_cost_and_is_noted(tmp_path: Path) -> None:
    read = read_long_form(write_csv(tmp_path / "t.csv", rows(cost="", usd_per_m_input="0.2", usd_per_m_output="0.6")))
    assert read.cost_usd is not None
    assert read.cost_usd == pytest.approx(0.0004)
    assert "list price" in read.notes[0]


def test_cost_that_is_given_is_not_replaced_by_the_list_price(tmp_path: Path) -> None:
    given = rows(cost="0.5", usd_per_m_input="0.2", usd_per_m_output="0.6")
    read = read_long_form(write_csv(tmp_path / "t.csv", given))
    assert read.cost_usd is not None
    assert set(read.cost_usd.ravel()) == {0.5}


@pytest.mark.parametrize(
    ("column", "text", "says"),
    [
        ("quality", "1.5", "line 9: quality is '1.5'; allowed: 0 to 1"),
        ("quality", "good", "line 9: quality is 'good'"),
        ("quality", "nan", "line 9: quality is 'nan'"),
        ("cost", "-1", "line 9: cost is '-1'; allowed: 0 or more"),
        ("latency", "inf", "line 9: latency is 'inf'"),
        ("model", " ", "line 9: model is empty"),
        ("prompt", "another", "line 9: prompt_id 'p3' has another prompt than in line 8"),
        ("model", "a", "line 9: prompt_id 'p3' with model 'a' was in line 8 already"),
    ],
)
def test_bad_cell_is_told_with_its_line(tmp_path: Path, column: str, text: str, says: str) -> None:
    given = rows(cost="0.1", latency="0.1")
    given[7][column] = text
    with pytest.raises(BadTable) as error:
        read_long_form(write_csv(tmp_path / "t.csv", given))
    assert says in str(error.value)


def test_slip_in_a_large_table_is_left_out_and_named(tmp_path: Path) -> None:
    """Of 3,162 ratings by people in one published table two are typed wrongly: 41 and 33 on a scale of 1 to 5."""
    given = rows(count=600)
    given[4]["quality"] = "3.91667"
    read = read_long_form(write_csv(tmp_path / "t.csv", given))
    assert len(read.prompts) == 599
    assert any("line 6: quality is '3.91667'" in note for note in read.notes)


def test_table_on_another_scale_is_refused_with_the_number_of_bad_rows(tmp_path: Path) -> None:
    with pytest.raises(BadTable, match=r"line 2: quality is '4'.*\(and 59 more\)"):
        read_long_form(write_csv(tmp_path / "t.csv", [{**row, "quality": 4} for row in rows()]))


def test_missing_column_is_named_beside_those_that_are_there(tmp_path: Path) -> None:
    given = [{"prompt_id": "1", "prompt": "a", "arm": "b", "quality": 1}]
    with pytest.raises(BadTable, match=r"line 1: column model is missing; there is prompt_id, prompt, arm, quality"):
        read_long_form(write_csv(tmp_path / "t.csv", given))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "column prompt_id, prompt, model, quality is missing"),
        (b"prompt_id,prompt,model,quality\n", "a header and no rows"),
        (b"prompt_id,prompt,model,quality\n1,a,b\n", "line 2: 4 columns in the header"),
        (b"prompt_id,prompt,model,quality\n1,a,b,1,2,3\n", "line 2: 4 columns in the header"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "cannot be read"),
        (b"\x1f\x8bbroken", "cannot be read"),
    ],
)
def test_wrong_file_is_refused_in_words(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(BadTable, match=says):
        read_long_form(tmp_path / "t.csv")


def test_one_model_or_a_handful_of_prompts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadTable, match="one model only"):
        read_long_form(write_csv(tmp_path / "t.csv", rows()[::2]))
    with pytest.raises(BadTable, match="5 complete prompts; at least 20"):
        read_long_form(write_csv(tmp_path / "t.csv", rows(5)))


def test_table_without_any_complete_prompt_is_refused(tmp_path: Path) -> None:
    given = [row for row in rows() if (row["model"] == "a") == (int(str(row["prompt_id"])[1:]) % 2 == 0)]
    with pytest.raises(BadTable, match=r"no prompt has quality of every model \(a, b\)"):
        read_long_form(write_csv(tmp_path / "t.csv", given))


def test_path_that_is_no_table_says_what_may_be_given(tmp_path: Path) -> None:
    with pytest.raises(BadTable, match=r"there is no file .* the word paretobandit"):
        read_table(str(tmp_path / "nowhere.csv"))
    with pytest.raises(BadTable, match=r"is a folder without val\.jsonl"):
        read_table(str(tmp_path))
