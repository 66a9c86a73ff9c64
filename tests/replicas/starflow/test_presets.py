from typing import Any

import pytest

from replicas.errors import UnknownPreset
from replicas.starflow.presets import DEFAULT_SAMPLER, built_in, options_of
from replicas.starflow.sampling.settings import PRESETS


def test_built_in_presets_are_the_samplers_settings() -> None:
    assert set(built_in()) == {"draft", "standard", "exact"}
    for name, options in built_in().items():
        assert options_of(name, options).settings == PRESETS[name]
    exact = options_of("exact", {})
    assert (exact.guidance, exact.temperature, exact.denoise) == (None, 1.0, None)


def test_options_change_the_settings_that_the_sampler_names() -> None:
    drawn = options_of("mine", {"sampler": "draft", "tolerance": 0.5, "guidance": 3, "denoise": False})
    assert (drawn.settings.method, drawn.settings.tolerance) == (PRESETS["draft"].method, 0.5)
    assert (drawn.guidance, drawn.denoise) == (3.0, False)
    assert options_of("mine", {}).settings == PRESETS[DEFAULT_SAMPLER]
    assert options_of("exact", {"sampler": "draft"}).settings == PRESETS["draft"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"guidance": -1}, "guidance is -1; allowed: a finite number of at least 0"),
        ({"guidance": float("nan")}, "guidance is nan"),
        ({"guidance": True}, "guidance is True"),
        ({"guidance": "2"}, "guidance is '2'"),
        ({"temperature": 0}, "temperature is 0; allowed: a finite number above 0"),
        ({"denoise": 1}, "denoise is 1; allowed: true, false"),
        ({"sampler": "fast"}, "sampler is 'fast'; allowed: draft, standard, exact"),
        ({"method": "magic"}, "method is 'magic'"),
        ({"tolerance": -1.0}, "tolerance is -1.0"),
        ({"tolerance": "small"}, "tolerance|must be real number"),
        ({"guidence": 2.0, "steps": 3}, "unknown option guidence, steps; the flow tier allows: guidance, temperature"),
    ],
)
def test_option_out_of_range_is_refused_with_what_is_allowed(options: dict[str, Any], expected: str) -> None:
    with pytest.raises(UnknownPreset, match=expected) as raised:
        options_of("p", options)
    assert "preset 'p'" in str(raised.value)
