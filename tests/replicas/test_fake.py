import numpy as np
import pytest

from replicas.errors import DrawingFailed, NotLoaded, UnknownPreset
from replicas.fake import FakeScorer, FakeTier
from replicas.tier import GenerationRequest


def loaded_tier(**options: object) -> FakeTier:
    tier = FakeTier(presets={"fast": {}, "slow": {"service_s": 0.5}}, **options)
    tier.load("cpu")
    tier.warm_up()
    return tier


def loaded_scorer() -> FakeScorer:
    scorer = FakeScorer()
    scorer.load("cpu")
    return scorer


def test_generate_image_of_batch_equals_same_image_alone() -> None:
    tier = loaded_tier(native_size_px=(24, 40))
    requests = [GenerationRequest("two cats", seed, "fast") for seed in range(3)]
    batch = tier.generate(requests)
    assert batch.shape == (3, 24, 40, 3)
    assert batch.dtype == np.uint8
    assert np.array_equal(batch[1], tier.generate(requests[1:2])[0])


@pytest.mark.parametrize(
    "other",
    [
        GenerationRequest("two dogs", 1, "fast"),
        GenerationRequest("two cats", 2, "fast"),
        GenerationRequest("two cats", 1, "slow"),
    ],
)
def test_generate_another_prompt_seed_or_preset_gives_another_image(other: GenerationRequest) -> None:
    tier = loaded_tier(sleep=lambda seconds: None)
    first = tier.generate([GenerationRequest("two cats", 1, "fast")])
    assert not np.array_equal(first, tier.generate([other]))


def test_generate_sleeps_once_a_batch_for_the_presets_own_time() -> None:
    slept: list[float] = []
    tier = loaded_tier(service_s=0.25, sleep=slept.append)
    tier.generate([GenerationRequest("a", 0, "fast"), GenerationRequest("b", 0, "fast")])
    tier.generate([GenerationRequest("a", 0, "slow")])
    assert slept == [0.25, 0.5]


def test_generate_fails_every_third_batch() -> None:
    tier = loaded_tier(fail_every=3)
    outcomes = []
    for _ in range(6):
        try:
            tier.generate([GenerationRequest("a", 0, "fast")])
            outcomes.append("drawn")
        except DrawingFailed:
            outcomes.append("failed")
    assert outcomes == ["drawn", "drawn", "failed"] * 2


def test_generate_before_load_and_after_close_is_refused() -> None:
    tier = FakeTier(presets={"fast": {}})
    with pytest.raises(NotLoaded):
        tier.generate([GenerationRequest("a", 0, "fast")])
    tier.load("cpu")
    tier.close()
    with pytest.raises(NotLoaded):
        tier.generate([GenerationRequest("a", 0, "fast")])


def test_generate_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(UnknownPreset, match="fast, slow"):
        loaded_tier().generate([GenerationRequest("a", 0, "best")])


def test_generate_mixed_presets_in_one_batch_are_refused() -> None:
    with pytest.raises(ValueError, match="one preset and one size"):
        loaded_tier().generate([GenerationRequest("a", 0, "fast"), GenerationRequest("a", 0, "slow")])


@pytest.mark.parametrize(
    "options", [{"service_s": -1.0}, {"service_s": float("nan")}, {"fail_every": 0}, {"native_size_px": (0, 64)}]
)
def test_fake_tier_impossible_option_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        FakeTier(**options)


def test_fake_tier_unknown_preset_option_names_the_known_ones() -> None:
    with pytest.raises(UnknownPreset, match=r"'fast'.*stepz.*service_s"):
        FakeTier(presets={"fast": {"stepz": 8}})


def test_score_depends_on_prompt_and_image_only() -> None:
    images = loaded_tier().generate([GenerationRequest("a", seed, "fast") for seed in range(2)])
    scores = loaded_scorer().score(images, ["a", "a"])
    assert scores.dtype == np.float32
    assert scores[0] != scores[1]
    assert loaded_scorer().score(images[1:], ["a"])[0] == scores[1]
    assert loaded_scorer().score(images[1:], ["b"])[0] != scores[1]


def test_score_is_spread_over_the_unit_interval() -> None:
    images = np.zeros((400, 2, 2, 3), dtype=np.uint8)
    scores = loaded_scorer().score(images, [f"prompt {i}" for i in range(400)])
    assert scores.min() >= 0
    assert scores.max() < 1
    assert np.histogram(scores, bins=4, range=(0, 1))[0].min() > 60


def test_score_before_load_is_refused() -> None:
    with pytest.raises(NotLoaded):
        FakeScorer().score(np.zeros((1, 2, 2, 3), dtype=np.uint8), ["a"])


def test_score_without_a_prompt_for_each_image_is_refused() -> None:
    with pytest.raises(ValueError, match="2 images and 1 prompts"):
        loaded_scorer().score(np.zeros((2, 2, 2, 3), dtype=np.uint8), ["a"])


def test_set_presets_takes_effect_and_is_checked() -> None:
    tier = loaded_tier()
    tier.presets = {"new": {}}
    assert tier.generate([GenerationRequest("a", 0, "new")]).shape == (1, 64, 64, 3)
    with pytest.raises(UnknownPreset, match="service_s is -1"):
        tier.presets = {"new": {"service_s": -1}}
    with pytest.raises(UnknownPreset, match="this tier has: new"):
        tier.generate([GenerationRequest("a", 0, "fast")])
