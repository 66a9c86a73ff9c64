"""Tests of the guards in conftest.py."""

import os

import pytest
import ray


def test_ray_init_raises_outside_ray_tests() -> None:
    with pytest.raises(RuntimeError, match=r"test_ray_init_raises_outside_ray_tests called ray\.init; mark it"):
        ray.init()


def test_no_test_asks_a_hub() -> None:
    assert os.environ["HF_HUB_OFFLINE"] == "1"
