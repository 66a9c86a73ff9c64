"""Run as a program: compiles what attention would launch on an H100, by Triton's own launcher, with no GPU there.

Triton asks its driver which GPU there is; a stand-in answers. Everything else is the code that runs on a GPU: the
arguments are bound and specialised on, the tuner sifts, the kernel is compiled. Prints one JSON object per launch.
"""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace
from typing import Any

import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

from replicas.kernels import attention_triton, attention_tuning, compile_attention
from replicas.kernels.attention_configurations import Configuration

H100 = SimpleNamespace(
    major=9, minor=0, multi_processor_count=132, shared_memory_per_block_optin=232448, name="stand-in for an H100"
)


class Driver:
    """What Triton's launcher asks before it compiles."""

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


def launch(name: str, blocks: Any, head_dim: int, *arguments: Any) -> None:
    """As `attention_tuning.launch` up to the launch, for the first configuration that is offered."""
    if name in attention_tuning.TUNED:
        (built,) = attention_tuning._tuner(name).warmup(
            *arguments, grid=(1,), HEAD_DIM=head_dim, enable_fp_fusion=True
        )  # fmt: skip
        config = attention_tuning._fitting(name, arguments[0], ROWS if name == "decode" else None)[0]
    else:
        (config,) = attention_tuning.candidates(name, "fp32", head_dim)
        built = attention_tuning.KERNELS[name].warmup(
            *arguments, grid=(1,), **attention_tuning.sizes(name, head_dim, config.block_m, config.block_n),
            num_warps=config.warps, num_stages=config.stages, enable_fp_fusion=True,
        )  # fmt: skip
    report(name, arguments, config, built)


def report(name: str, arguments: tuple[Any, ...], config: Configuration, built: Any) -> None:
    registers, stack, local = compile_attention._resources(built.asm["cubin"])
    out = {torch.float32: "fp32", torch.bfloat16: "bf16"}[arguments[3 if name == "decode" else 2].dtype]
    out = out if name == "decode" else "bf16"
    found = {
        "kernel": name, "out": out, "block_m": config.block_m, "block_n": config.block_n, "warps": config.warps,
        "stages": config.stages, "registers": registers, "spilled_bytes": stack + local,
        "shared_bytes": built.metadata.shared,
    }  # fmt: skip
    print(json.dumps(found), flush=True)


ROWS = 2


def main() -> int:
    """Tiles with gradients, and one query on a split and on an unsplit prefix; keys are slices of a cache."""
    driver.set_active(Driver())
    torch.cuda.get_device_properties = lambda device: H100
    torch.cuda.get_device_capability = lambda device: (9, 0)
    offered = attention_tuning.offered
    attention_tuning.offered = lambda *asked: offered(*asked)[:1]  # type: ignore[assignment]
    attention_triton.launch = launch  # type: ignore[assignment]
    q = torch.randn(2, 70, 4, 64).bfloat16().transpose(1, 2)
    k, v = torch.randn(2, 2, 2, 320, 64).bfloat16()
    out, lse = attention_triton.attend(q, k[:, :, :150], v[:, :, :150], 0.125)
    attention_triton.gradients(q, k[:, :, :150], v[:, :, :150], out, lse, torch.randn_like(out), 0.125, True, True)
    attention_triton.attend(q[:, :, :1], k[:, :, :300], v[:, :, :300], 0.125)
    attention_triton.attend(q[:, :, :1], k[:, :, :100], v[:, :, :100], 0.125)
    return 0


if __name__ == "__main__":
    sys.exit(main())
