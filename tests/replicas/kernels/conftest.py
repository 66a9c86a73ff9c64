"""Where the kernels run in tests: under Triton's interpreter on the CPU, or, with TRITON_INTERPRET=0, on a GPU."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch

# Before anything imports Triton, which reads it when a kernel is defined.
os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture(scope="session")
def kernel_device() -> torch.device:
    """The device whose tensors the kernels take in this process."""
    if find_spec("triton") is None:
        pytest.skip("needs Triton, which is not installed: pip install -e '.[dev]'")
    from replicas.kernels.attention_tuning import interpreting

    if os.environ["TRITON_INTERPRET"] == "1":
        assert interpreting(), (
            "Triton was imported before TRITON_INTERPRET=1 was set. Cause: a test module or conftest.py collected "
            "earlier imports it. Cure: set the variable in tests/conftest.py, or start pytest with it."
        )
        mend_products_of_bfloat16()
        return torch.device("cpu")
    if not torch.cuda.is_available():
        pytest.skip(f"TRITON_INTERPRET={os.environ['TRITON_INTERPRET']} asks for a GPU, and there is none")
    return torch.device("cuda")


@pytest.fixture
def buffers_of_nan(monkeypatch: pytest.MonkeyPatch, kernel_device: torch.device) -> None:
    """What a kernel leaves out shows."""
    from replicas.kernels import attention_triton as module

    def nan(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        return torch.full(shape, float("nan"), dtype=dtype, device=device)

    monkeypatch.setattr(module, "empty", nan)


def mend_products_of_bfloat16() -> None:
    """The interpreter of Triton 3.7 keeps bfloat16 as its bits and multiplies these as integers; here, as numbers."""
    import triton.language as tl
    from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

    multiply = InterpreterBuilder.create_dot
    if multiply.__name__ == "of_numbers":
        return

    def as_numbers(given: Any) -> Any:
        if given.dtype.scalar != tl.bfloat16:
            return given
        return TensorHandle((given.data.astype(np.uint32) << 16).view(np.float32), tl.float32)

    def of_numbers(self: Any, a: Any, b: Any, *rest: Any) -> Any:
        return multiply(self, as_numbers(a), as_numbers(b), *rest)

    InterpreterBuilder.create_dot = of_numbers
