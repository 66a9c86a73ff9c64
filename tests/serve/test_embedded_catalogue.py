"""The embedded catalogue serves what was measured, and prices it by what it takes to draw."""

import json
from pathlib import Path

import pytest

from replicas.training.evaluate import TIERS
from serve.catalogue import load_catalogue


def test_presets_are_those_that_were_evaluated():
    served = {
        f"{tier.name}@{name}": dict(preset.options)
        for tier in load_catalogue().tiers
        for name, preset in tier.presets.items()
    }
    assert served == {name: dict(options) for name, (_, options) in TIERS.items()}


def test_service_times_are_those_measured(root: Path):
    seconds = json.loads((root / "docs" / "models.json").read_text(encoding="utf-8"))["seconds"]
    assert {arm.name: arm.service_s for arm in load_catalogue().arms()} == pytest.approx(seconds, rel=0.1)


def test_price_is_seconds_times_one_hourly_rate():
    arms = load_catalogue().arms()
    rates = [arm.price_usd / arm.service_s * 3600 for arm in arms]
    assert max(rates) / min(rates) < 1.1, "one device, one rate"


def test_large_tier_costs_most():
    prices = {arm.name: arm.price_usd for arm in load_catalogue().arms()}
    assert max(prices, key=lambda name: prices[name]) == "flow@standard"
