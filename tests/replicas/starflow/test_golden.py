"""The numbers of the released code, case by case: `golden/` here, the shared folder, and one named by STARFLOW_GOLDEN.

Each case is a configuration, a state dict, and what the released code made of both; `golden/README.md` says more.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from replicas.starflow.checkpoint import load_flow
from replicas.starflow.config import FlowConfig
from replicas.starflow.denoise import denoise
from replicas.starflow.model import StarFlow
from replicas.starflow.sampling.sample import sample
from replicas.starflow.sampling.settings import SamplerSettings

HERE = Path(__file__).resolve().parent / "golden"
SHARED = Path(__file__).resolve().parents[4] / "shared" / "golden" / "starflow"
VARIABLE = "STARFLOW_GOLDEN"
TOLERANCE = 1e-4
PART_TOKENS = 16
DENOISED_STD = 0.3
NEEDED = {"x", "z", "noise", "logdet.0", "sample.g0"}


@dataclass(frozen=True)
class Case:
    """One golden case: its configuration, where its weights lie, and the tensors of the released code."""

    folder: Path
    name: str

    def config(self) -> FlowConfig:
        return FlowConfig.from_constructor(json.loads((self.folder / f"{self.name}.config.json").read_text("utf-8")))

    @property
    def weights(self) -> Path:
        return self.folder / f"{self.name}.weights.safetensors"

    def numbers(self) -> dict[str, Tensor]:
        found = load_file(self.folder / f"{self.name}.io.safetensors")
        assert set(found) >= NEEDED, f"{self.name}.io.safetensors in {self.folder} lacks {sorted(NEEDED - set(found))}"
        return found


def cases(folder: Path) -> list[Case]:
    return [Case(folder, path.name.removesuffix(".config.json")) for path in sorted(folder.glob("*.config.json"))]


def parameters() -> Iterator[object]:
    """Cases of all three folders, and one that skips or fails for a folder that has none."""
    for case in cases(HERE):
        yield pytest.param(case, id=case.name)
    shared = cases(SHARED)
    for case in shared:
        yield pytest.param(case, id=f"shared-{case.name}")
    if not shared:
        yield pytest.param(None, id="shared", marks=pytest.mark.skip(reason=f"no golden cases in {SHARED}"))
    if VARIABLE in os.environ:
        given = cases(Path(os.environ[VARIABLE])) if os.environ[VARIABLE] else []
        for case in given:
            yield pytest.param(case, id=f"given-{case.name}")
        if not given:
            yield pytest.param(None, id="given")


@pytest.fixture(params=list(parameters()))
def case(request: pytest.FixtureRequest) -> Case:
    if request.param is None:
        pytest.fail(
            f"{VARIABLE}={os.environ.get(VARIABLE)!r} holds no NAME.config.json; give a folder of golden cases as "
            f"{HERE / 'README.md'} describes them, or unset it"
        )
    return request.param


def agrees(found: Tensor, wanted: Tensor) -> None:
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted, atol=TOLERANCE, rtol=TOLERANCE)


def guidance_of(key: str) -> float:
    return float(key.split(".g", 1)[1].removesuffix(".top"))


def drawn(flow: StarFlow, numbers: dict[str, Tensor], key: str, settings: SamplerSettings) -> Tensor:
    return sample(
        flow, numbers["noise"], numbers.get("y"), numbers.get("y_uncond"), guidance=guidance_of(key), settings=settings
    )


def test_forward_agrees_with_released_code(case: Case) -> None:
    numbers = case.numbers()
    flow = load_flow(case.config(), case.weights)
    with torch.inference_mode():
        z, log_determinants, *_ = flow(numbers["x"], numbers.get("y"))
    agrees(z, numbers["z"])
    assert len(log_determinants) == sum(key.startswith("logdet.") for key in numbers)
    for block, found in enumerate(log_determinants):
        wanted = numbers[f"logdet.{block}"]
        if wanted.dim() == 1:  # the released code gives an identity block's in one number a picture
            wanted = wanted[:, None, None].expand_as(found)
        agrees(found, wanted)


def test_sequential_sampling_and_denoising_agree_with_released_code(case: Case) -> None:
    numbers = case.numbers()
    flow = load_flow(case.config(), case.weights)
    for key in sorted(key for key in numbers if key.startswith("sample.")):
        settings = SamplerSettings(method="sequential", guide_deep_only=key.endswith(".top"))
        agrees(drawn(flow, numbers, key, settings), numbers[key])
    if "denoised" in numbers:
        agrees(denoise(flow, numbers["sample.g2.5"], numbers.get("y"), DENOISED_STD), numbers["denoised"])


def test_jacobi_to_convergence_agrees_with_released_code(case: Case) -> None:
    """Where the released code has no Jacobi result, for want of an SOS token, ours must reach its sequential one."""
    numbers = case.numbers()
    flow = load_flow(case.config(), case.weights)
    settings = SamplerSettings(
        method="jacobi", tolerance=0.0, deep_part_tokens=PART_TOKENS, shallow_part_tokens=PART_TOKENS
    )
    keys = [key for key in numbers if key.startswith("jacobi.")]
    for key in sorted(keys or [key for key in numbers if key.startswith("sample.") and not key.endswith(".top")]):
        agrees(drawn(flow, numbers, key, settings), numbers[key])


def test_state_dict_of_torch_gives_the_same_flow_as_safetensors(case: Case, tmp_path: Path) -> None:
    """Released checkpoints are `.pth` files of a state dict, deprecated buffers included."""
    path = tmp_path / "released.pth"
    torch.save(load_file(case.weights), path)
    numbers, config = case.numbers(), case.config()
    with torch.inference_mode():
        one, other = (load_flow(config, file)(numbers["x"], numbers.get("y")).z for file in (path, case.weights))
    assert torch.equal(one, other)


def test_every_committed_case_is_whole() -> None:
    """A case that lost a file, or a folder that lost its cases, would pass by testing nothing."""
    names = {case.name for case in cases(HERE)}
    assert len(names) >= 8
    assert {path.name for path in HERE.glob("*.safetensors")} == {
        f"{name}.{kind}.safetensors" for name in names for kind in ("weights", "io")
    }
