"""Tests of the benchmark of attention where there is no GPU: that it says so, and that its rows are right."""

from __future__ import annotations

import csv
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from replicas.kernels.attention_reference import attention_reference
from tests.bench import bench_attention as bench
from tests.bench.bench_attention import Case, Row, cases, flash, measure, reference, released_call, wall_ms, write
from tests.replicas.kernels.attention_inputs import TOLERANCES, error, inputs

SMALL = Case("block of 4", 2, 2, 4, 9, 32, backward=True)
KINDS = [torch.float32, torch.bfloat16]
CPU = torch.device("cpu")


def test_without_a_gpu_it_says_that_nothing_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["bench_attention", str(tmp_path / "results.csv")])
    assert bench.main() == 0
    assert capsys.readouterr().out.startswith("No CUDA device here: nothing was measured, and no speed is claimed.")
    assert list(tmp_path.iterdir()) == []


def test_red_tests_measure_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "tests_are_green", lambda device: False)
    monkeypatch.setattr(sys, "argv", ["bench_attention", str(tmp_path / "results.csv"), "--cpu"])
    assert bench.main() == 1
    assert capsys.readouterr() == ("", "tests are red: nothing was measured\n")
    assert list(tmp_path.iterdir()) == []


def test_cases_are_those_of_the_3b_model() -> None:
    found = list(cases([1, 8]))
    assert {case.batch for case in found} == {2, 16}
    assert {(case.heads, case.width, case.heads * case.width) for case in found} == {(48, 64, 3072)}
    assert {case.queries for case in found} == {1, 16, 64, 256, 1152}
    assert max(case.keys for case in found) == 1152
    assert all(case.backward == (case.queries == case.keys) for case in found)


@pytest.mark.parametrize(("queries", "keys"), [(1, 9), (4, 9), (9, 9)])
def test_contenders_compute_the_same(queries: int, keys: int) -> None:
    q, k, v = inputs(2, 2, 2, queries, keys, 32, torch.float32)
    exact = attention_reference(q.double(), k.double(), v.double(), scale=32**-0.5)
    assert error(released_call(q, k, v), exact) <= TOLERANCES[torch.float32]
    if queries in (1, keys):  # on a CPU the flash backend knows no lower-right bias
        assert error(flash(q, k, v), exact) <= TOLERANCES[torch.float32]


def test_a_contender_that_is_wrong_is_not_timed() -> None:
    with pytest.raises(ValueError, match=r"values on B 2, H 2, Tq 4, Tk 9, D 32 torch.float32 is off by .*not timed"):
        list(measure([SMALL], [torch.float32], {"values": lambda q, k, v: v[:, :, :4] * 2}, CPU))


def test_a_contender_whose_gradients_are_wrong_is_not_timed_backward(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return reference(q, k, v.detach() + 2 * (v - v.detach()))

    monkeypatch.setattr(bench, "times_ms", lambda call, device: (1.0, 2.0, 3.0))
    rows = measure([SMALL], [torch.float32], {"wrong": wrong}, CPU)
    assert next(rows).metric == "forward"
    with pytest.raises(ValueError, match=r"wrong on .* is off by 1: it is not timed"):
        next(rows)


def test_flash_is_left_out_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "times_ms", lambda call, device: (1.0, 2.0, 3.0))
    contenders = {"flash": reference, "released call": released_call}
    found = [(row.what, row.dtype) for row in measure([replace(SMALL, backward=False)], KINDS, contenders, CPU)]
    assert found == [("released call", torch.float32), ("flash", torch.bfloat16), ("released call", torch.bfloat16)]


def test_ours_is_the_kernels_or_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(bench, "attention", lambda q, k, v, scale, backend: asked.append(backend))
    bench.ours(*inputs(1, 1, 1, 1, 1, 32, torch.float32))
    assert asked == ["triton"]


def test_the_interpreter_is_not_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(bench, "tests_are_green", lambda device: pytest.fail("it goes on"))
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr(sys, "argv", ["bench_attention", str(tmp_path / "results.csv")])
    assert bench.main() == 2
    assert "TRITON_INTERPRET is set" in capsys.readouterr().err


def test_wall_is_one_of_the_calls_that_follow_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten calls of 2 ms and 5 ms until the last has ended, by a clock that only they move."""
    now = [0.0]
    monkeypatch.setattr(bench, "perf_counter", lambda: now[0])

    def pass_ms(duration: float) -> None:
        now[0] += duration / 1000

    found = wall_ms(lambda: pass_ms(2), lambda: pass_ms(5), following=10, seconds=0.1)
    assert found == pytest.approx((2.5, 2.5, 2.5))


def test_rows_have_one_cell_per_column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "times_ms", lambda call, device: (call(), (1.0, 2.0, 30.12345))[1])
    rows = measure([SMALL], [torch.float32], {"released call": released_call}, CPU)
    path = tmp_path / "results.csv"
    write(path, rows, ["a machine", "versions", "commit", "date"])
    write(path, iter([Row("ours", SMALL, torch.bfloat16, "forward", 1, 2, 3)]), ["m", "v", "c", "d"])
    with path.open(newline="") as file:
        header, forward, backward, second = csv.reader(file)
    assert header == bench.COLUMNS
    shape = "block of 4: B 2, H 2, Tq 4, Tk 9, D 32"
    assert forward[:5] == ["released call", shape, "float32", "forward", "ms"]
    assert forward[5:] == ["1", "2", "30.12", "a machine", "versions", "commit", "date"]
    assert backward[:5] == ["released call", shape, "float32", "backward", "ms"]
    assert second == ["ours", shape, "bfloat16", "forward", "ms", "1", "2", "3", "m", "v", "c", "d"]


def test_percentiles_are_of_single_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls of 1 to 11 ms by a clock that only they move; the first one warms up."""
    now, durations = [0.0], iter([100, *range(1, 12), *[6] * 10_000])
    monkeypatch.setattr(bench, "perf_counter", lambda: now[0])

    def call() -> None:
        now[0] += next(durations) / 1000

    assert bench.times_ms(call, CPU, seconds=0.065) == pytest.approx((3, 6, 9))
