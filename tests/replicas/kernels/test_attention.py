"""Tests of the public function: what it refuses, and who computes."""

from __future__ import annotations

import pytest
import torch

from replicas.errors import AttentionNotPossible, ReplicaError
from replicas.kernels import attention as module
from replicas.kernels.attention import attention
from replicas.kernels.attention_reference import attention_reference
from tests.replicas.kernels.attention_inputs import inputs


def zeros(*shape: int, dtype: torch.dtype = torch.float32, device: str = "cpu") -> torch.Tensor:
    return torch.zeros(shape, dtype=dtype, device=device)


@pytest.mark.parametrize("dtype", module.DTYPES)
def test_attention_on_a_cpu_is_the_reference(dtype: torch.dtype) -> None:
    q, k, v = inputs(2, 4, 2, 5, 9, 32, dtype)
    assert torch.equal(attention(q, k, v, scale=0.5), attention_reference(q, k, v, scale=0.5))


@pytest.mark.parametrize(
    ("q", "k", "v", "scale", "words"),
    [
        (zeros(2, 3, 4), zeros(1, 2, 3, 4), zeros(1, 2, 3, 4), 1.0, r"q \[2, 3, 4\].*must be \[B, H, Tq, D\]"),
        (zeros(1, 2, 3, 4), zeros(1, 2, 3, 4), zeros(1, 2, 5, 4), 1.0, r"v \[1, 2, 5, 4\]"),
        (zeros(1, 2, 3, 4), zeros(2, 2, 3, 4), zeros(2, 2, 3, 4), 1.0, "the same B and D"),
        (zeros(1, 2, 3, 4), zeros(1, 2, 3, 8), zeros(1, 2, 3, 8), 1.0, "the same B and D"),
        (zeros(1, 2, 0, 4), zeros(1, 2, 3, 4), zeros(1, 2, 3, 4), 1.0, "no size may be 0"),
        (zeros(1, 3, 3, 4), zeros(1, 2, 3, 4), zeros(1, 2, 3, 4), 1.0, "3 query heads on 2 key heads.*multiple"),
        (zeros(1, 2, 4, 4), zeros(1, 2, 3, 4), zeros(1, 2, 3, 4), 1.0, "4 queries and 3 keys.*append the new keys"),
        (zeros(1, 2, 3, 4), zeros(1, 2, 3, 4, dtype=torch.float16), zeros(1, 2, 3, 4), 1.0, "one type"),
        (*[zeros(1, 2, 3, 4, dtype=torch.int32)] * 3, 1.0, r"torch\.int32.*convert with"),
        (zeros(1, 2, 3, 4), *[zeros(1, 2, 3, 4, device="meta")] * 2, 1.0, "q on cpu, k on meta.*one device"),
        (*[zeros(1, 2, 3, 4)] * 3, 0.0, r"scale 0\.0: it must be finite and above 0"),
        (*[zeros(1, 2, 3, 4)] * 3, float("nan"), "scale nan"),
    ],
)
def test_attention_refuses_what_it_is_not_defined_for(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float, words: str
) -> None:
    with pytest.raises(AttentionNotPossible, match=words) as raised:
        attention(q, k, v, scale=scale)
    assert isinstance(raised.value, ReplicaError)


def test_unknown_backend_is_refused() -> None:
    with pytest.raises(AttentionNotPossible, match="backend 'cuda' is unknown: give 'auto', 'reference' or 'triton'"):
        attention(*[zeros(1, 1, 1, 32)] * 3, scale=1.0, backend="cuda")  # type: ignore[arg-type]


def test_kernels_are_refused_where_triton_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_triton_is_installed", lambda: False)
    with pytest.raises(AttentionNotPossible, match="needs the package triton, which is not installed"):
        attention(*[zeros(1, 1, 1, 32)] * 3, scale=1.0, backend="triton")


def test_explicit_reference_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_kernels_fit", lambda q: pytest.fail("nobody asked"))
    attention(*[zeros(1, 1, 1, 32)] * 3, scale=1.0, backend="reference")
