"""Matrix products with a layer's weights, by whichever library this machine multiplies fastest with.

Where no gradient is wanted, a CPU takes oneDNN: in float32 it is about twice as fast as MKL on AMD processors (and as
exact), and weights packed for few rows are read at the speed of memory. On other devices PyTorch chooses.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

Multiply = Callable[[Tensor], Tensor]
_LEAST_PACKED_ROWS = 2  # oneDNN's kernel for one row reads slower than its kernel for two, which serves one as well


class Linear(nn.Linear):
    """nn.Linear, by oneDNN on a CPU where no gradient is wanted."""

    def forward(self, x: Tensor) -> Tensor:  # [..., in] -> [..., out]
        if x.dtype == self.weight.dtype and takes_onednn(x) and not torch.is_autocast_enabled("cpu"):
            return _onednn(x, self.weight, self.bias)
        return functional.linear(x, self.weight, self.bias)


def takes_onednn(x: Tensor) -> bool:
    """Whether a product with x of a weight of its type is oneDNN's."""
    return (
        x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.bfloat16)
        and not torch.is_grad_enabled()
        and torch.backends.mkldnn.is_available()
    )


def packed(linear: nn.Linear, rows: int) -> Multiply:
    """`linear` with its weight copied into the layout that suits `rows` rows best; as it is where there is none."""
    weight, bias = linear.weight.detach(), linear.bias
    if not takes_onednn(weight):
        return linear
    copy = torch.ops.mkldnn._reorder_linear_weight(weight, max(_LEAST_PACKED_ROWS, rows))
    return lambda x: _onednn(x, copy, bias)


def halved(linear: nn.Linear) -> Multiply:
    """`linear` computed in bfloat16, which is the type of what it gives."""
    half = Linear(linear.in_features, linear.out_features, linear.bias is not None, device="meta")
    half.weight = nn.Parameter(linear.weight.bfloat16(), requires_grad=False)
    if linear.bias is not None:
        half.bias = nn.Parameter(linear.bias.bfloat16(), requires_grad=False)
    return lambda x: half(x.bfloat16())


def halving_is_faster(device: torch.device) -> bool:
    """Whether this device multiplies bfloat16 faster than float32."""
    if device.type == "cpu":
        return torch.backends.mkldnn.is_available() and (
            torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        )
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return product
