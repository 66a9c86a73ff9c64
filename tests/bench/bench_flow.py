"""Seconds from noise to latents of every sampler of the flow, and its error; the released code beside it.

    python -m tests.bench.bench_flow results.csv [--released CHECKOUT] [--channels 512] [--side 16] [--repeats 5]

Random weights (`proj_out` of standard deviation 0.02), batch 1, guidance 2.5, 16 text tokens 64 wide, float32, 2
threads; without options the 57 M parameters that the aims are given for. Both programs get the same weights, noise and
text, and take turns in every repetition, so that whatever else the machine does meets them alike. Without --released
only ours is measured. CHECKOUT is one of apple/ml-starflow at commit e565a46, which needs einops and tqdm.

Errors are against the exact sequential result, the released code's where it is there: ‖x − x*‖ / ‖x*‖, and its square,
which is the form that the released code's threshold has. A ratio is taken within a repetition. "Times the limit" is
against one forward pass of ours, which is what a sampler would take that needed a single iteration per block.

Runs the golden test first and measures nothing on red. Aims: exact sequential at least 3 times as fast as the released
sequential; a preset with an error of at most 1e-3 at least 1.5 times as fast as the released code's fastest at 1e-3.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import torch
from torch import Tensor, nn

from replicas.starflow.config import FlowConfig
from replicas.starflow.model import StarFlow
from replicas.starflow.sampling.sample import sample
from replicas.starflow.sampling.settings import PRESETS, SamplerSettings
from tests.bench import released_flow
from tests.bench.bench_decide import COLUMNS, ROOT, Row, commit, machine

TEST = "tests/replicas/starflow/test_golden.py"
GUIDANCE = 2.5
PROJECTION_STD = 0.02
RELEASED_SEQUENTIAL = "released sequential"
THRESHOLD = 1e-3  # of the released code's own examples; its stopping rule is a mean square, so errors of 2e-2 pass it
AS_EXACT = 1e-6  # the threshold at which its relative error is 1e-3
RELEASED_JACOBI = ((16, THRESHOLD), (64, THRESHOLD), (256, THRESHOLD), (256, AS_EXACT))  # tokens of a block, threshold
FLOAT32_ALONE = {"standard, float32 alone": replace(PRESETS["standard"], rough_first=False)}
OURS_EXACT = "ours exact"
OURS_FORWARD = "ours forward"
Call = Callable[[], Tensor]


@dataclass(frozen=True, slots=True)
class Size:
    """A flow in the layout of the released text-to-image models."""

    channels: int = 512
    layers: tuple[int, ...] = (2, 2, 2, 2, 2, 8)
    side: int = 16
    head_dim: int = 64
    text_tokens: int = 16
    text_width: int = 64
    batch: int = 1

    def options(self) -> dict[str, object]:
        """Of the released constructor."""
        return {
            "in_channels": 4, "img_size": self.side, "patch_size": 1, "channels": self.channels,
            "num_blocks": len(self.layers), "layers_per_block": list(self.layers), "head_dim": self.head_dim,
            "rope": True, "sos": True, "txt_size": self.text_tokens, "txt_dim": self.text_width, "cond_top_only": True,
            "use_softplus": True, "use_final_norm": True, "soft_clip": 4, "seq_order": "L2R",
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pair:
    """The same random flow in both programs, and what both get: noise [B, 4, H, W], text states [B, L, D]."""

    ours: StarFlow
    released: nn.Module | None
    noise: Tensor
    y: Tensor
    y_empty: Tensor


@dataclass(slots=True)
class Measured:
    """Of one contender: seconds of every repetition, and its last result."""

    wall_s: list[float] = field(default_factory=list)
    processor_s: list[float] = field(default_factory=list)
    result: Tensor | None = None


def pair(size: Size, checkout: Path | None = None, seed: int = 0) -> Pair:
    """Weights drawn in ours and given to the released code where there is a checkout of it."""
    torch.manual_seed(seed)
    ours = StarFlow(FlowConfig.from_constructor(size.options())).eval().requires_grad_(False)
    for name, weight in ours.named_parameters():
        if name.endswith("proj_out.weight"):
            weight.normal_(0.0, PROJECTION_STD)
    released = None
    if checkout is not None:
        released = released_flow.build(released_flow.load(checkout), size.options(), seed)
        missing, unexpected = released.load_state_dict(ours.state_dict(), strict=False)
        assert unexpected == []
        assert {name for name, _ in released.named_parameters()}.isdisjoint(missing)  # what is missing are buffers
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(size.batch, 4, size.side, size.side, generator=generator)
    y, y_empty = torch.randn(2, size.batch, size.text_tokens, size.text_width, generator=generator)
    return Pair(ours, released, noise, y, y_empty)


def contenders(flows: Pair, settings: dict[str, SamplerSettings]) -> dict[str, Call]:
    """Name and call of everything that is measured; the released code's first, where it is there."""
    calls: dict[str, Call] = {}
    if flows.released is not None:
        given = (flows.released, flows.noise, flows.y, flows.y_empty, GUIDANCE)
        calls[RELEASED_SEQUENTIAL] = partial(released_flow.sample, *given)
        for tokens, threshold in RELEASED_JACOBI:
            how = {"jacobi": True, "jacobi_block_size": tokens, "jacobi_th": threshold}
            name = f"released jacobi {tokens} at {threshold:.0e}"
            calls[name] = partial(released_flow.sample, *given, **how)
        calls["released forward"] = lambda: released_flow.forward(given[0], flows.noise, flows.y)[0]
    calls[OURS_FORWARD] = lambda: flows.ours(flows.noise, flows.y).z
    for name, setting in settings.items():
        calls[f"ours {name}"] = partial(draw, flows, setting)
    return calls


def draw(flows: Pair, settings: SamplerSettings) -> Tensor:
    """Ours, guided."""
    return sample(flows.ours, flows.noise, flows.y, flows.y_empty, guidance=GUIDANCE, settings=settings)


@torch.inference_mode()
def take_turns(calls: dict[str, Call], repeats: int) -> dict[str, Measured]:
    """Every call once for each repetition, after one round that is not counted."""
    measured = {name: Measured() for name in calls}
    for repetition in range(repeats + 1):
        for name, call in calls.items():
            wall, processor = perf_counter(), process_time()
            result = call()
            wall, processor = perf_counter() - wall, process_time() - processor
            if repetition:
                measured[name].wall_s.append(wall)
                measured[name].processor_s.append(processor)
            measured[name].result = result
        print(f"repetition {repetition} of {repeats}, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    return measured


def rows(measured: dict[str, Measured], shape: str) -> Iterator[Row]:
    """Times, errors, and the ratios that the aims are given in."""
    reference = measured.get(RELEASED_SEQUENTIAL, measured[OURS_EXACT])
    at_threshold = [name for name in measured if name.endswith(f"at {THRESHOLD:.0e}")]
    fastest = min(at_threshold, key=lambda name: median(measured[name].wall_s), default=None)
    for name, one in measured.items():
        yield Row(name, shape, "wall time", "s", one.wall_s)
        yield Row(name, shape, "processor time", "s", one.processor_s)
        if "forward" in name:
            continue
        error = relative_error(one, reference)
        yield Row(name, shape, "relative error", "1", [error] * 2)
        yield Row(name, shape, "its square", "1", [error**2] * 2)
        yield Row(name, shape, "times the limit", "1", ratios(one, measured[OURS_FORWARD]))
        if RELEASED_SEQUENTIAL in measured:
            yield Row(name, shape, "faster than released sequential", "1", ratios(reference, one))
        if fastest:
            yield Row(name, shape, f"faster than {fastest}", "1", ratios(measured[fastest], one))


def ratios(one: Measured, other: Measured) -> list[float]:
    """Wall time of `one` over that of `other`, repetition by repetition."""
    return [a / b for a, b in zip(one.wall_s, other.wall_s, strict=True)]


def relative_error(one: Measured, reference: Measured) -> float:
    """‖x − x*‖ / ‖x*‖."""
    assert one.result is not None
    assert reference.result is not None
    return float((one.result - reference.result).norm() / reference.result.norm())


def settings_from(texts: Sequence[str]) -> dict[str, SamplerSettings]:
    """`NAME=VALUE,NAME=VALUE` as settings that are no preset, each under its own text."""
    made = {}
    for text in texts:
        values: dict[str, object] = {}
        for part in text.split(","):
            name, _, value = part.partition("=")
            if name not in asdict(SamplerSettings()):
                raise SystemExit(f"--settings {text}: {name} is none of {', '.join(asdict(SamplerSettings()))}")
            values[name] = number(value)
        made[text] = SamplerSettings(**values)  # type: ignore[arg-type]
    return made


def number(value: str) -> object:
    """What a setting's text means: a whole number, a number, true or false, or itself."""
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return {"true": True, "false": False, "none": None}.get(value.lower(), value)


def table(found: Sequence[Row]) -> str:
    """Medians: a line for each contender, a column for each metric."""
    columns = list(dict.fromkeys(f"{row.metric}, {row.unit}" if row.unit != "1" else row.metric for row in found))
    lines = [f"[{number}] {column}" for number, column in enumerate(columns)]
    lines.append("".join(f"{f'[{number}]':>11}" for number in range(len(columns))))
    for what in dict.fromkeys(row.what for row in found):
        medians = {row.metric: f"{row.percentiles()[1]:.3g}" for row in found if row.what == what}
        lines.append("".join(f"{medians.get(column.partition(',')[0], ''):>11}" for column in columns) + f"  {what}")
    return "\n".join(lines)


def main() -> int:
    """Test, measure, print, append."""
    usual = Size()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, help="CSV file to append to")
    parser.add_argument("--released", type=Path, help="checkout of the released code, to be measured in the same run")
    parser.add_argument("--channels", type=int, default=usual.channels)
    parser.add_argument("--layers", type=int, nargs="+", default=list(usual.layers), help="the deep block's last")
    parser.add_argument("--side", type=int, default=usual.side, help="of the square grid, in tokens")
    parser.add_argument("--batch", type=int, default=usual.batch)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0, help="of weights, noise and text")
    parser.add_argument("--settings", nargs="*", default=[], help="more samplers of ours: method=jacobi,tolerance=1e-4")
    options = parser.parse_args()
    if options.repeats < 2:
        parser.error(f"--repeats {options.repeats}: percentiles need at least 2")
    torch.set_num_threads(options.threads)
    more = settings_from(options.settings)
    if subprocess.run([sys.executable, "-m", "pytest", "-q", str(ROOT / TEST)], cwd=ROOT, check=False).returncode:
        print("tests are red: nothing was measured", file=sys.stderr)
        return 1
    size = Size(channels=options.channels, layers=tuple(options.layers), side=options.side, batch=options.batch)
    flows = pair(size, options.released, options.seed)
    million = sum(weight.numel() for weight in flows.ours.parameters()) / 1e6
    shape = f"{million:.0f} M parameters, {size.side}x{size.side} tokens, batch {size.batch}, float32"
    versions = f"python {platform.python_version()}, torch {torch.__version__}, {options.threads} threads"
    stamp = [machine(), versions, commit(), datetime.now(UTC).date().isoformat()]
    print(f"{'; '.join(stamp)}; load {os.getloadavg()[0]:.1f}")
    if options.released is None:
        print("no --released: ours alone is measured, errors are against our own sequential result")
    measured = take_turns(contenders(flows, {**PRESETS, **FLOAT32_ALONE, **more}), options.repeats)
    print(f"load {os.getloadavg()[0]:.1f} at the end; {shape}")
    new = not options.path.exists()
    found = list(rows(measured, shape))
    with options.path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(COLUMNS)
        for row in found:
            numbers = [f"{value:.4g}" for value in row.percentiles()]
            writer.writerow([row.what, row.shape, row.metric, row.unit, *numbers, *stamp])
    print(table(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
