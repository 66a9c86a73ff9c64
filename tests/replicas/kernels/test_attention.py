"""Tests of the public function: what it refuses, and who computes."""

from __future__ import annotations

from types import SimpleNamespace

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


@pytest.mark.parametrize("backend", ["reference", "triton"])
def test_scale_may_be_a_tensor_of_one_number(backend: module.Backend, kernel_device: torch.device) -> None:
    q, k, v = (x.to(kernel_device) for x in inputs(1, 2, 2, 3, 5, 32, torch.float32))
    found = attention(q, k, v, scale=torch.tensor(0.25), backend=backend)
    assert torch.equal(found, attention(q, k, v, scale=0.25, backend=backend))


@pytest.mark.parametrize(
    ("capability", "fits"),
    [((7, 5), False), ((8, 0), True), ((8, 6), True), ((8, 7), False), ((8, 9), True), ((9, 0), True), ((10, 0), False),
     ((12, 0), False)],
)  # fmt: skip
def test_kernels_are_for_the_architectures_that_they_were_compiled_for(
    capability: tuple[int, int], fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(module, "_triton_is_installed", lambda: True)
    module._architecture.cache_clear()
    q = SimpleNamespace(is_cuda=True, dtype=torch.bfloat16, shape=(1, 1, 1, 64), device=torch.device("cuda", 0))
    assert module._kernels_fit(q) == fits  # type: ignore[arg-type]
    module._architecture.cache_clear()


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
