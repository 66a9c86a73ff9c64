"""Writes golden numbers of the flow: what the released code makes of random weights, under options that go together.

    python -m tests.bench.golden_flow CHECKOUT FOLDER

Refuses a case whose numbers prove nothing: one where going back does not return what went forward, where sampling grows
without bound, or where the Jacobi result is not the sequential one. The format is in FOLDER's README.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.bench import released_flow

GUIDANCE = 2.5
NOISE_STD = 0.3
AGREE = 2e-5
LARGEST = 15.0
SHARED: dict[str, object] = {
    "in_channels": 4, "img_size": 4, "patch_size": 1, "channels": 16, "num_blocks": 3, "layers_per_block": [1, 1, 2],
    "head_dim": 32, "rope": True, "sos": True, "seq_order": "L2R",
}  # fmt: skip
TEXT: dict[str, object] = {"txt_size": 5, "txt_dim": 8}
DEEP_ONLY: dict[str, object] = {**TEXT, "cond_top_only": True}
ORIGINAL: dict[str, object] = {"use_softplus": True, "use_final_norm": True, "soft_clip": 4}


@dataclass(frozen=True, slots=True)
class Case:
    """Options of the released constructor and the sizes that are fed in. None for `tokens`: no text at all."""

    name: str
    options: dict[str, object]
    height: int
    width: int
    tokens: int | None = 5
    batch: int = 2
    guide_top: bool = False
    denoised: bool = False
    projection: float = 0.4  # standard deviation of what `proj_out` adds; less where nothing bounds the scale


CASES = (
    Case(
        "gemma_like",
        {"num_heads": 4, "num_kv_heads": 2, "use_swiglu": True, "use_qk_norm": True, "use_post_norm": True}
        | {"use_bias": False, "norm_type": "rms_norm", "hf_style_rope": True, **ORIGINAL, **DEEP_ONLY},
        4, 4, denoised=True,
    ),
    Case(
        "text_everywhere",
        {"in_channels": 3, "layers_per_block": [1, 2, 1], "num_heads": 4, "num_kv_heads": 2, **ORIGINAL, **TEXT},
        4, 4, guide_top=True,
    ),
    Case(
        "clip_of_exponential",
        {"img_size": 5, "num_blocks": 4, "layers_per_block": [1], "num_heads": 2, "use_swiglu": True}
        | {"use_qk_norm": True, "soft_clip": 2.5, "seq_order": "R2L", **DEEP_ONLY},
        5, 5, projection=0.12,
    ),
    Case(
        "post_norm",
        {"num_heads": 3, "num_kv_heads": 1, "use_post_norm": True, "norm_type": "rms_norm", "use_softplus": True}
        | {"use_final_norm": True, "sos": False, **DEEP_ONLY},
        3, 7, tokens=3, denoised=True,
    ),
    Case(
        "deep_block_width",
        {"channels": 32, "layers_per_block": [0, 1, 1], "top_block_channels": 64, "seq_order": "R2L"}
        | {**ORIGINAL, **DEEP_ONLY},
        4, 4,
    ),
    Case(
        "deep_block_heads",
        {"img_size": 6, "channels": 24, "num_blocks": 2, "layers_per_block": [1, 2], "num_heads": 2, "num_kv_heads": 1}
        | {"top_block_channels": 16, "use_bias": False, **ORIGINAL, **DEEP_ONLY},
        6, 6, batch=1,
    ),
    Case(
        "patches",
        {"in_channels": 2, "img_size": 8, "patch_size": 2, "layers_per_block": [1, 1, 1], "head_dim": 64}
        | {"num_heads": 2, "pt_seq_len": 6, "use_softplus": True, "seq_order": "R2L", **TEXT},
        6, 10, projection=0.2,
    ),
    Case(
        "no_text",
        {"img_size": 5, "num_blocks": 2, "layers_per_block": [1, 2], "head_dim": 128, "num_heads": 1}
        | {"hf_style_rope": True, **ORIGINAL, "seq_order": "R2L"},
        4, 6, tokens=None,
    ),
)  # fmt: skip


def vary(model: nn.Module, seed: int, projection: float) -> None:
    """Draws whatever starts at zero or one, so that every weight shows in the numbers."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        drawn = torch.randn(weight.shape, generator=generator)
        if name.endswith("proj_out.weight"):
            weight.copy_(drawn * projection / weight.shape[1] ** 0.5)
        elif "norm" in name:
            weight.add_(drawn, alpha=0.2)
        elif name.endswith("bias"):
            weight.copy_(drawn * 0.1)
        elif name.endswith("sos_embed"):
            continue
        elif name.endswith("proj_in.weight"):
            weight.copy_(drawn * (1 / weight.shape[1]) ** 0.5)
        else:  # larger than as it starts: attention and text have to matter
            weight.copy_(drawn * (1.5 / weight.shape[1]) ** 0.5)


def numbers(case: Case, checkout: Path, model: nn.Module, seed: int) -> dict[str, Tensor]:
    """What NAME.io.safetensors holds."""
    generator = torch.Generator().manual_seed(seed)
    options = {**SHARED, **case.options}
    channels, width = options["in_channels"], options.get("txt_dim", 0)

    def draw(*shape: object) -> Tensor:
        return torch.randn(shape, generator=generator)

    found: dict[str, Tensor] = {name: draw(case.batch, channels, case.height, case.width) for name in ("x", "noise")}
    y = y_empty = None
    if case.tokens is not None:
        y, y_empty = draw(case.batch, case.tokens, width), draw(case.batch, case.tokens, width)
        found |= {"y": y, "y_uncond": y_empty}
    z, logdets = released_flow.forward(model, found["x"], y)
    found |= {"z": z, **{f"logdet.{number}": one for number, one in enumerate(logdets)}}
    converged = {"jacobi": True, "jacobi_block_size": 16, "jacobi_th": 0}
    for guidance in (0.0,) if y is None else (0.0, GUIDANCE):
        given = (model, found["noise"], y, y_empty, guidance)
        found[f"sample.g{guidance:g}"] = released_flow.sample(*given)
        if options["sos"]:
            found[f"jacobi.g{guidance:g}"] = released_flow.sample(*given, **converged)
    if case.guide_top:
        found["sample.g2.5.top"] = released_flow.sample(model, found["noise"], y, y_empty, GUIDANCE, guide_top=1)
    if case.denoised:
        found["denoised"] = released_flow.denoise(checkout, model, found["sample.g2.5"], y, NOISE_STD)
    return {name: tensor.contiguous() for name, tensor in found.items()}


def apart(found: Tensor, wanted: Tensor) -> float:
    """The largest difference, absolute for small numbers and relative for large ones."""
    return float(((found - wanted).abs() / (1 + wanted.abs())).max())


def objections(case: Case, model: nn.Module, found: dict[str, Tensor]) -> list[str]:
    """Why a case's numbers prove nothing; empty if they do."""
    said = []
    back, _ = released_flow.forward(model, found["sample.g0"], found.get("y"))
    if (difference := apart(back, found["noise"])) > AGREE:
        said.append(f"sampling and then forward is off by {difference:.1e}")
    for name, tensor in found.items():
        if not tensor.isfinite().all() or float(tensor.abs().max()) > LARGEST:
            said.append(f"{name} reaches {float(tensor.abs().max()):.1e}")
        if name.startswith("jacobi"):
            difference = apart(tensor, found[name.replace("jacobi", "sample")])
            said += [f"{name} is off its sequential result by {difference:.1e}"] if difference > AGREE else []
    if float((found["z"] - found["x"]).abs().mean()) < 0.2:
        said.append("the flow is nearly the identity")
    pairs = [("sample.g0", "sample.g2.5"), ("sample.g2.5", "sample.g2.5.top"), ("sample.g2.5", "denoised")]
    for one, other in pairs:
        if {one, other} <= set(found) and float((found[one] - found[other]).abs().mean()) < 0.01:
            said.append(f"{one} and {other} hardly differ")
    return said


def main() -> int:
    """Writes every case, or says why not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, help="checkout of the released code")
    parser.add_argument("folder", type=Path, help="where the cases go")
    given = parser.parse_args()
    module = released_flow.load(given.checkout)
    given.folder.mkdir(parents=True, exist_ok=True)
    refused = 0
    for seed, case in enumerate(CASES):
        options = {**SHARED, **case.options}
        model = released_flow.build(module, options, seed)
        vary(model, seed, case.projection)
        found = numbers(case, given.checkout, model, seed)
        if said := objections(case, model, found):
            print(f"{case.name}: {'; '.join(said)}", file=sys.stderr)
            refused += 1
            continue
        (given.folder / f"{case.name}.config.json").write_text(json.dumps(options, indent=1) + "\n", encoding="utf-8")
        weights = {name: tensor.contiguous().clone() for name, tensor in model.state_dict().items()}
        save_file(weights, given.folder / f"{case.name}.weights.safetensors")
        save_file(found, given.folder / f"{case.name}.io.safetensors")
        size = sum(path.stat().st_size for path in given.folder.glob(f"{case.name}.*"))
        spread = {name: round(float(found[name].std()), 2) for name in ("z", "logdet.0", "sample.g0")}
        print(f"{case.name}: {size / 1024:.0f} KiB, standard deviations {spread}")
    return 1 if refused else 0


if __name__ == "__main__":
    raise SystemExit(main())
