from dataclasses import replace
from typing import Any

import pytest

from replicas.starflow.sampling.settings import PRESETS, SamplerSettings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("method", "newton"), ("tolerance", -1e-3), ("tolerance", float("nan")), ("deep_part_tokens", 0),
        ("shallow_part_tokens", 2.5), ("shallow_part_tokens", True), ("attention_temperature", 0.0),
        ("attention_temperature", float("inf")), ("rough_first", 1), ("colors", 0), ("colors", 1.5),
        ("guide_deep_only", "yes"),
    ],
)  # fmt: skip
def test_setting_out_of_range_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} is {value!r}; allowed: "):
        replace(SamplerSettings(), **{name: value})


def test_parts_are_no_longer_than_what_is_read() -> None:
    settings = SamplerSettings(deep_part_tokens=64)
    assert settings.part_tokens(True, 256) == 64
    assert settings.part_tokens(True, 48) == 48
    assert settings.part_tokens(False, 256) == 256


def test_presets_run_from_rough_to_exact() -> None:
    assert list(PRESETS) == ["draft", "standard", "exact"]
    assert PRESETS["draft"].tolerance > PRESETS["standard"].tolerance > PRESETS["exact"].tolerance
