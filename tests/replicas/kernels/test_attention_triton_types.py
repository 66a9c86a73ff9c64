"""Tests of the kernels in every type and head dim, against the float64 reference: result and gradients."""

from __future__ import annotations

import pytest
import torch

from replicas.kernels.attention import KERNEL_DTYPES, KERNEL_HEAD_DIMS
from tests.replicas.kernels.attention_inputs import check

pytestmark = pytest.mark.usefixtures("buffers_of_nan")


@pytest.mark.parametrize("width", KERNEL_HEAD_DIMS)
@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
def test_tiles_are_the_reference_in_every_type_and_head_dim(
    dtype: torch.dtype, width: int, kernel_device: torch.device
) -> None:
    """Forward kernel; one tile and a rest, groups of two, masked and whole blocks of keys."""
    check((1, 2, 1, 33, 58), width, dtype, kernel_device)


@pytest.mark.parametrize("width", KERNEL_HEAD_DIMS)
@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
def test_splits_are_the_reference_in_every_type_and_head_dim(
    dtype: torch.dtype, width: int, kernel_device: torch.device
) -> None:
    """Decode and reduce kernels; two heads packed, two splits."""
    check((1, 2, 1, 2, 140), width, dtype, kernel_device)
