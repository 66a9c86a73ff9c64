from __future__ import annotations

from pathlib import Path

import pytest

from serve.catalogue import EMBEDDED, parse_catalogue
from serve.preflight import problems_in, refusal
from tests.e2e.cluster import CATALOGUE

FAKE = "class: replicas.fake:FakeTier"


@pytest.mark.parametrize(
    ("before", "after", "path", "words"),
    [
        (FAKE, "class: os:system", ("tiers", 0, "class"), "not a subclass"),
        (FAKE, "class: replicas.fake:NoSuch", ("tiers", 0, "class"), "FakeTier"),
        (FAKE, "class: no_such_module:Tier", ("tiers", 0, "class"), "no module"),
        (FAKE, f"{FAKE}\n    options: {{colour: red}}", ("tiers", 0, "options"), "colour"),
        (FAKE, f"{FAKE}\n    options: {{service_s: -1}}", ("tiers", 0, "options"), "service_s is -1"),
        ("options: {service_s: 3.0}", "options: {steps: 3}", ("tiers", 1, "presets", "long", "options", "steps"), ""),
        ("replicas.fake:FakeScorer", "replicas.fake:FakeTier", ("scorer", "class"), "Scorer"),
        ('FakeScorer"', 'FakeScorer", model: here', ("scorer", "class"), "model"),
    ],
)
def test_problems_in_finds_what_no_replica_could_load(
    before: str, after: str, path: tuple[str | int, ...], words: str
) -> None:
    ((found_path, found_words),) = problems_in(parse_catalogue(CATALOGUE.replace(before, after, 1), "test"))
    assert found_path == path
    assert words in found_words
    assert "\n" not in found_words


def test_problems_in_a_device_and_a_model_that_are_not_here() -> None:
    text = EMBEDDED.read_text()
    gan = "class: replicas.gan:GanTier"
    text = text.replace(gan, gan + "\n    model: /no/such/folder").replace("device: cpu", "device: cuda:99", 1)
    scorer = text.index("scorer:\n")
    text = text[:scorer] + text[scorer:].replace("{num_cpus: 0.1}", "{num_cpus: 0.1, num_gpus: 1}", 1)
    found = dict(problems_in(parse_catalogue(text, "test")))
    assert set(found) == {("scorer", "device"), ("tiers", 0, "model")}
    assert "CUDA devices" in found["scorer", "device"]


@pytest.mark.parametrize("text", [CATALOGUE, EMBEDDED.read_text()])
def test_problems_in_finds_nothing_wrong_with_a_good_catalogue(text: str) -> None:
    assert problems_in(parse_catalogue(text, "test")) == []


def test_refusal_names_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.yaml"
    path.write_text(CATALOGUE)
    line = next(number for number, words in enumerate(CATALOGUE.splitlines(), 1) if "class: replicas.fake:F" in words)
    error = refusal([(("tiers", 0, "class"), "is wrong")], path)
    assert error.problems == (f"{path}:{line}: tiers[0].class: is wrong",)
