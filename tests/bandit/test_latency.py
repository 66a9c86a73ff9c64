from __future__ import annotations

from dataclasses import replace

import pytest

from bandit.context import ArmContext
from bandit.errors import BadState
from bandit.latency import LatencyModel

ARM = ArmContext("gan@one", "gan", "one", "gan", price_usd=0.001, service_s=0.1)


def test_predict_takes_the_catalogues_estimate_until_something_was_measured() -> None:
    assert LatencyModel(0.05).predict_s(ARM) == 0.1


def test_predict_scales_with_the_load_per_replica() -> None:
    assert LatencyModel(0.05).predict_s(replace(ARM, in_flight=6, replicas=2)) == pytest.approx(0.4)
    assert LatencyModel(0.05).predict_s(replace(ARM, in_flight=1, replicas=0)) == pytest.approx(0.2)


def test_predict_counts_batches_and_not_images() -> None:
    """A batch of eight that takes 0.2 s takes that for one image too, and for a ninth a second batch is drawn."""
    batched, model = replace(ARM, batch=8), LatencyModel(0.05)
    for in_flight in [0, 7] * 30:
        model.learn(replace(batched, in_flight=in_flight), latency_s=0.2)
    for in_flight, batches in ((0, 1), (7, 1), (8, 2), (15, 2), (16, 3)):
        assert model.predict_s(replace(batched, in_flight=in_flight)) == pytest.approx(0.2 * batches, rel=0.05)
    assert model.predict_s(replace(batched, in_flight=16, replicas=3)) == pytest.approx(0.2, rel=0.05)


def test_learn_at_least_moves_only_upwards() -> None:
    model = LatencyModel(0.05)
    model.learn_at_least(ARM, 0.05)
    assert model.predict_s(ARM) == 0.1
    model.learn_at_least(ARM, 0.3)
    assert 0.1 < model.predict_s(ARM) <= 0.3


def test_learn_frees_a_latency_of_the_load_that_it_was_measured_under() -> None:
    model = LatencyModel(0.05)
    for _ in range(50):
        model.learn(replace(ARM, in_flight=3), latency_s=0.8)
    assert model.predict_s(ARM) == pytest.approx(0.2, rel=0.05)


def test_learn_follows_a_change() -> None:
    model = LatencyModel(0.1)
    for latency_s in [0.1] * 100 + [0.3] * 100:
        model.learn(ARM, latency_s)
    assert model.predict_s(ARM) == pytest.approx(0.3, rel=0.01)


def test_learn_survives_a_cold_start() -> None:
    """One minute of model loading must not drive a fast arm out of all later decisions."""
    model = LatencyModel(0.05)
    for _ in range(100):
        model.learn(ARM, 0.1)
    model.learn(ARM, 60.0)
    assert model.predict_s(ARM) < 0.12


def test_learn_starts_from_an_estimate_of_zero() -> None:
    model = LatencyModel(0.5)
    for _ in range(20):
        model.learn(replace(ARM, service_s=0.0), 0.2)
    assert model.predict_s(ARM) == pytest.approx(0.2, rel=0.01)


def test_read_gives_back_the_same_model() -> None:
    model = LatencyModel(0.05)
    for latency_s in (0.1, 0.3, 1 / 3):
        model.learn(ARM, latency_s)
    again = LatencyModel.read(model.state(), 0.05)
    for one in (model, again):
        one.learn(ARM, 0.7)
    assert again.state() == model.state()


@pytest.mark.parametrize(
    "state",
    [
        b"",
        b"[]",
        b"null",
        b"\xff",
        b'{"a": 1}',
        b'{"a": [NaN, 1]}',
        b'{"a": [Infinity, 1]}',
        b'{"a": [-0.1, 1]}',
        b'{"a": [0.1, 0]}',
        b'{"a": [0.1, true]}',
        b'{"a": ["x", 1]}',
        b"[" * 200_000,
    ],
    ids=range(12),
)
def test_read_refuses_what_no_model_wrote(state: bytes) -> None:
    with pytest.raises(BadState):
        LatencyModel.read(state, 0.05)
