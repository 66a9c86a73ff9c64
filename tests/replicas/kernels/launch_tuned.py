"""Run as a program: what the tuner chooses and launches on an H100 for one call after another, with no GPU there.

Triton's own Autotuner, launcher's cache and all, over stand-ins for the driver, the measurement and the launch. Reads
calls from its arguments, `heads:kv_heads:queries` or `deterministic`, and prints one JSON object per call.
"""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Any

import torch
from triton.runtime import JITFunction, driver
from triton.runtime.autotuner import Autotuner

from replicas.kernels import attention_triton
from tests.replicas.kernels.launch_ahead import H100, Driver

done: dict[str, Any] = {}


def bench(self: Any, *arguments: Any, config: Any, **rest: Any) -> list[float]:
    """The most warps, then the most keys, are the fastest: never the first that is offered."""
    done["measured"] += 1
    return [1 / (config.num_warps * 1000 + config.kwargs["BLOCK_N"])] * 3


def run(self: Any, *arguments: Any, **given: Any) -> None:
    if self.__name__ == "decode_kernel":
        done.update(block_m=given["BLOCK_M"], block_n=given["BLOCK_N"])


def tune(self: Any, *arguments: Any, **given: Any) -> Any:
    done["tuner"] += 1
    return untouched(self, *arguments, **given)


untouched = Autotuner.run


def main() -> int:
    driver.set_active(Driver())
    torch.cuda.get_device_properties = lambda device: H100
    torch.cuda.device = lambda device: contextlib.nullcontext()  # type: ignore[assignment,misc]
    Autotuner._bench, Autotuner.run, JITFunction.run = bench, tune, run
    for call in sys.argv[1:]:
        if call == "deterministic":
            torch.use_deterministic_algorithms(True)
            continue
        heads, kv_heads, queries = map(int, call.split(":"))
        done.clear()
        done.update(rows=heads // kv_heads * queries, measured=0, tuner=0)
        q = torch.zeros(2, heads, queries, 64, dtype=torch.bfloat16)
        k = torch.zeros(2, kv_heads, 1000, 64, dtype=torch.bfloat16)
        attention_triton.attend(q, k, k, 0.125)
        print(json.dumps(done), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
