"""A run that was stopped goes on where it was; what it writes can be loaded."""

import json
import signal
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from replicas.training.loop import Plan, Run, learning_rate, save_weights

PLAN = Plan(steps=40, learning_rate=0.05, warm_up_steps=4, ema_decay=0.9)


class Line(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.config = {"what": "line"}
        self.layer = torch.nn.Linear(2, 1)

    def loss(self, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        x = torch.randn(32, 2, generator=torch.Generator().manual_seed(step))
        return (self.layer(x) - x.sum(1, keepdim=True)).square().mean(), {}


@pytest.fixture(autouse=True)
def restored_signal_handlers():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def run(folder: Path, stop_at: int | None = None) -> Run:
    torch.manual_seed(0)
    model = Line()
    training = Run("line", model, PLAN, folder)

    def step(number: int):
        training.stopping = stop_at is not None and number + 1 >= stop_at
        return model.loss(number)

    training.train(step, lambda: None)
    return training


def test_resumed_run_ends_with_the_same_weights(tmp_path: Path):
    whole = run(tmp_path / "whole")
    assert run(tmp_path / "parts", stop_at=13).step == 13
    resumed = run(tmp_path / "parts")
    assert whole.step == resumed.step == 40
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name])
        assert torch.equal(whole.ema[name], resumed.ema[name])


def test_training_learns(tmp_path: Path):
    training = run(tmp_path)
    assert training.model.loss(10_000)[0] < 0.05


def test_learning_rate_warms_up_and_falls():
    rates = [learning_rate(PLAN, step) for step in range(41)]
    assert rates[0] < rates[3] <= PLAN.learning_rate
    assert rates[40] == pytest.approx(0.03 * PLAN.learning_rate)


def test_save_weights_carries_the_config_and_halves_matrices(tmp_path: Path):
    path = tmp_path / "line.safetensors"
    save_weights(Line(), path)
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["config"]) == {"what": "line"}
        assert file.get_tensor("layer.weight").dtype == torch.bfloat16
        assert file.get_tensor("layer.bias").dtype == torch.float32
