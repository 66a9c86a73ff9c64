"""The loop that every training command shares: resumable checkpoints, learning rate, EMA, progress, stop on a signal.

A command gives the model and a function that computes one step's loss; the rest is here. Checkpoints hold model, EMA,
optimiser and step (read back with `weights_only=True`), so that a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

WEIGHTS = Path(__file__).parents[1] / "weights"


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how fast. `steps` fixes the cosine schedule; the run may be stopped and resumed before it."""

    steps: int
    learning_rate: float
    warm_up_steps: int = 300
    weight_decay: float = 0.01
    ema_decay: float = 0.999
    clip_norm: float = 1.0
    checkpoint_every_s: float = 120.0


def parse_arguments(what: str, steps: int, **more: Callable[[str], Any]) -> argparse.Namespace:
    """The options that all training commands have, and `more` of this one: name -> what makes a value of its text."""
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("--steps", type=int, default=steps, help="length of the whole schedule")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of checkpoints")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--no-compile", action="store_true", help="skip torch.compile (needs a C++ compiler; 2 times faster)"
    )
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="folder the finished weights are written to")
    for name, kind in more.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=None)
    return parser.parse_args()


def compiled(function: Callable[..., Any], options: argparse.Namespace) -> Callable[..., Any]:
    """`function` through torch.compile with fixed shapes, or as it is with --no-compile."""
    if options.no_compile:
        return function
    torch._dynamo.config.recompile_limit = 16  # nine aspect ratios are nine shapes, one more than it allows
    return torch.compile(function, dynamic=False)


def learning_rate(plan: Plan, step: int) -> float:
    """Linear warm-up, then a cosine down to 3 % of the peak."""
    if step < plan.warm_up_steps:
        return plan.learning_rate * (step + 1) / plan.warm_up_steps
    done = min(1.0, (step - plan.warm_up_steps) / max(1, plan.steps - plan.warm_up_steps))
    return plan.learning_rate * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * done)))


def make_optimiser(model: nn.Module, plan: Plan) -> torch.optim.AdamW:
    """AdamW without weight decay on vectors (norms, biases)."""
    matrices = [p for p in model.parameters() if p.requires_grad and p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.requires_grad and p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": plan.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=plan.learning_rate, betas=(0.9, 0.98), fused=True)


def save_weights(model: nn.Module, path: Path, state: dict[str, Tensor] | None = None, half: bool = True) -> None:
    """Write safetensors (bfloat16 matrices by default, to stay small) with the model's config as JSON metadata."""
    state = state or model.state_dict()
    tensors = {
        name: (value.to(torch.bfloat16) if half and value.is_floating_point() and value.ndim >= 2 else value)
        .detach().cpu().contiguous().clone()
        for name, value in state.items()
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    config = getattr(model, "config", {})
    described = asdict(config) if is_dataclass(config) and not isinstance(config, type) else config
    save_file(tensors, partial, metadata={"config": json.dumps(described)})
    partial.replace(path)


class Run:
    """One resumable training run of one model."""

    def __init__(self, name: str, model: nn.Module, plan: Plan, folder: Path) -> None:
        self.name, self.model, self.plan = name, model, plan
        self.path = folder / f"{name}.checkpoint"
        folder.mkdir(parents=True, exist_ok=True)
        self.optimiser = make_optimiser(model, plan)
        self.ema = {k: v.detach().clone().float() for k, v in model.state_dict().items()}
        self.step = 0
        self.stopping = False
        if self.path.exists():
            saved = torch.load(self.path, weights_only=True, map_location="cpu")
            try:
                model.load_state_dict(saved["model"])
            except RuntimeError as error:
                raise SystemExit(
                    f"{self.path} is of another {name} model ({str(error).splitlines()[-1].strip()}); move it away to "
                    "start anew, or name another folder with --runs"
                ) from error
            self.optimiser.load_state_dict(saved["optimiser"])
            self.ema = {name: value.to(self.ema[name].device) for name, value in saved["ema"].items()}
            self.step = saved["step"]
            print(f"{name}: resumed at step {self.step}", flush=True)

    def ema_state(self) -> dict[str, Tensor]:
        """The averaged weights, in the dtypes of the model."""
        return {k: self.ema[k].to(v.dtype) for k, v in self.model.state_dict().items()}

    def checkpoint(self) -> None:
        """Write everything that resuming needs, atomically."""
        partial = self.path.with_suffix(".partial")
        saved = {
            "model": self.model.state_dict(), "optimiser": self.optimiser.state_dict(),
            "ema": self.ema, "step": self.step,
        }  # fmt: skip
        torch.save(saved, partial)
        partial.replace(self.path)

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        self.stopping = True

    def train(
        self, loss_of_step: Callable[[int], tuple[Tensor, dict[str, float]]], on_checkpoint: Callable[[], None]
    ) -> None:
        """Step until the plan ends or SIGINT/SIGTERM; then checkpoint and call `on_checkpoint` once more."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        saved_s = printed_s = started_s = time.monotonic()
        first = self.step
        running: dict[str, float] = {}
        while self.step < self.plan.steps and not self.stopping:
            for group in self.optimiser.param_groups:
                group["lr"] = learning_rate(self.plan, self.step)
            loss, values = loss_of_step(self.step)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.plan.clip_norm)
            if torch.isfinite(norm):
                self.optimiser.step()
            self.optimiser.zero_grad(set_to_none=True)
            self.step += 1
            decay = min(self.plan.ema_decay, (1 + self.step) / (10 + self.step))
            with torch.no_grad():
                current = self.model.state_dict()
                floats = [k for k, v in current.items() if v.is_floating_point()]
                torch._foreach_lerp_([self.ema[k] for k in floats], [current[k].float() for k in floats], 1 - decay)
            for key, value in {"loss": loss.item(), **values}.items():
                running[key] = 0.98 * running.get(key, value) + 0.02 * value
            now_s = time.monotonic()
            if now_s - printed_s > 10:
                pace_s = (now_s - started_s) / (self.step - first)
                left_min = pace_s * (self.plan.steps - self.step) / 60
                shown = " ".join(f"{k} {v:.4f}" for k, v in running.items())
                print(
                    f"{self.name} {self.step}/{self.plan.steps} {shown} {pace_s:.3f} s/step {left_min:.0f} min left",
                    flush=True,
                )
                printed_s = now_s
            if now_s - saved_s > self.plan.checkpoint_every_s:
                self.checkpoint()
                on_checkpoint()
                saved_s = now_s
        self.checkpoint()
        on_checkpoint()
