"""Tests of the catalogue: the embedded default, and every way in which a file can be wrong."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from bandit.context import Weights
from replicas.loading import build_scorer, build_tier
from serve.catalogue import EMBEDDED, Catalogue, load_catalogue, parse_catalogue
from serve.catalogue_errors import CatalogueError
from serve.errors import ServeError

SMALL = """\
version: 1
policy: {name: fixed, floor: 0.2, options: {arm: one@fast}}
weights:
  auto: {quality: 1, latency_per_s: 0, cost_per_usd: 0}
  low: {quality: 1, latency_per_s: 1, cost_per_usd: 1e-3}
  medium: {quality: 1, latency_per_s: 0, cost_per_usd: 0}
  high: {quality: 2, latency_per_s: 0, cost_per_usd: 0}
scorer: {class: "replicas.fake:FakeScorer"}
tiers:
  - name: one
    class: replicas.fake:FakeTier
    family: fake
    presets:
      fast: {price_usd: 0.5, service_s: 1}
  - name: two
    class: replicas.fake:FakeTier
    family: fake
    revision: null
    presets:
      draft: {price_usd: 0, service_s: 2.5, options: {steps: 4}}
      fine: {price_usd: 1, service_s: 5}
    sizes: [64x64, 128x32]
"""


def changed(old: str, new: str) -> str:
    assert SMALL.count(old) >= 1, f"{old!r} is not in the example"
    return SMALL.replace(old, new, 1)


def problems(text: str) -> tuple[str, ...]:
    with pytest.raises(CatalogueError) as caught:
        parse_catalogue(text, "tiers.yaml")
    return caught.value.problems


def test_embedded_catalogue_offers_the_three_tiers_and_fits_two_cores() -> None:
    catalogue = load_catalogue()
    assert [tier.name for tier in catalogue.tiers] == ["gan", "diffusion", "flow"]
    assert [arm.name for arm in catalogue.arms()] == [
        "gan@fast",
        "diffusion@draft",
        "diffusion@standard",
        "flow@standard",
    ]
    everything = [
        (catalogue.gateway.resources, catalogue.gateway.scaling.max_replicas),
        (catalogue.learning.resources, 1),
        (catalogue.scorer.resources, catalogue.scorer.scaling.max_replicas),
        *((tier.resources, tier.scaling.max_replicas) for tier in catalogue.tiers),
    ]
    assert sum(resources.num_cpus * replicas for resources, replicas in everything) <= 2


def test_embedded_catalogue_names_classes_that_take_its_options() -> None:
    """Builds, but loads no weights."""
    catalogue = load_catalogue()
    for entry in catalogue.tiers:
        tier = build_tier(**entry.build_arguments())
        assert (tier.family, set(tier.presets)) == (entry.family, set(entry.presets))
    build_scorer(catalogue.scorer.class_path, **catalogue.scorer.class_options())


def test_arms_carry_estimates_and_no_load() -> None:
    arms = parse_catalogue(SMALL, "tiers.yaml").arms()
    assert [(arm.name, arm.tier, arm.preset, arm.family, arm.price_usd, arm.service_s) for arm in arms] == [
        ("one@fast", "one", "fast", "fake", 0.5, 1.0),
        ("two@draft", "two", "draft", "fake", 0.0, 2.5),
        ("two@fine", "two", "fine", "fake", 1.0, 5.0),
    ]
    assert all(arm.available and arm.in_flight == 0 for arm in arms)


def test_weights_take_openais_words_too() -> None:
    catalogue = parse_catalogue(SMALL, "tiers.yaml")
    assert catalogue.weights_for("hd") == catalogue.weights_for("high") == Weights(quality=2.0)
    assert catalogue.weights_for("low") == Weights(quality=1.0, latency_per_s=1.0, cost_per_usd=0.001)
    assert catalogue.qualities() == ("auto", "low", "medium", "high", "standard", "hd")


def test_sizes_are_height_and_width() -> None:
    catalogue = parse_catalogue(SMALL, "tiers.yaml")
    assert catalogue.tier("two").sizes_px == {"64x64": (64, 64), "128x32": (32, 128)}
    assert catalogue.sizes_px() == {"64x64": (64, 64), "128x32": (32, 128)}


def test_build_arguments_leave_out_what_is_absent() -> None:
    tier = parse_catalogue(SMALL, "tiers.yaml").tier("two")
    assert tier.build_arguments() == {
        "import_path": "replicas.fake:FakeTier",
        "presets": {"draft": {"steps": 4}, "fine": {}},
    }
    named = parse_catalogue(changed("revision: null", "model: /models/x\n    dtype: bfloat16"), "tiers.yaml").tier(
        "two"
    )
    assert named.build_arguments()["model"] == "/models/x"
    assert named.build_arguments()["dtype"] == "bfloat16"


def test_catalogue_survives_the_way_to_another_process() -> None:
    catalogue = parse_catalogue(SMALL, "tiers.yaml")
    assert Catalogue.model_validate_json(catalogue.to_json()) == catalogue


def test_catalogue_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load_catalogue().tiers[0].name = "other"


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        (
            "options: {steps",
            "optoins: {steps",
            20,
            "draft.optoins: is no key here; did you mean options? allowed: price_usd,",
        ),
        ("price_usd: 0.5", "price_usd: -1", 14, "price_usd: should be greater than or equal to 0; given -1"),
        ("price_usd: 0.5", "price_usd: '0.5'", 14, "price_usd: should be a valid number; given '0.5'"),
        ("price_usd: 0.5", "price_usd: true", 14, "price_usd: should be a valid number; given True"),
        ("price_usd: 0.5", "price_usd: .inf", 14, "price_usd: must be finite, given .inf"),
        ("price_usd: 0.5", "price_usd: -.INF", 14, "must be finite"),
        ("price_usd: 0.5", "price_usd: .nan", 14, "must be finite"),
        ("price_usd: 0.5", "price_usd: 1e999", 14, "must be finite, given 1e999"),
        ("price_usd: 0.5, ", "", 14, "tiers[0].presets.fast.price_usd: is missing; required: price_usd, service_s"),
        ("service_s: 1}", "service_s: 0}", 14, "service_s: should be greater than 0; given 0"),
        ("\n      fast: {price_usd: 0.5, service_s: 1}", " {}", 13, "tiers[0].presets: needs at least 1"),
        ("fast:", "Fast One:", 14, "should be a name of a-z, 0-9, _ and -"),
        ("name: two", "name: one", 15, "tiers[1].name: 'one' is the name of tiers[0] already"),
        ("name: two", "name: auto", 15, "tiers[1].name: auto is reserved"),
        (
            "name: two",
            "name: Two",
            15,
            "name: should be a name of a-z, 0-9, _ and - (at most 64 characters); given 'Two'",
        ),
        ("name: two", "name: 7", 15, "tiers[1].name: should be a name"),
        (":FakeTier", ".FakeTier", 11, "tiers[0].class: should be an import path"),
        ("128x32", "128X32", 22, "tiers[1].sizes[1]: should be WIDTHxHEIGHT in pixels"),
        ("128x32", "0x32", 22, "should be WIDTHxHEIGHT"),
        ("128x32", "64x64", 22, "tiers[1].sizes[1]: 64x64 is given twice"),
        ("revision: null", "scaling: {min_replicas: 3, max_replicas: 2}", 18, "min_replicas 3 is above max_replicas 2"),
        ("revision: null", "batch: {max_size: 9}", 15, "tiers[1].max_ongoing_requests: 4 is below batch.max_size 9"),
        ("revision: null", "device: cuda", 18, "tiers[1].device: cuda without a GPU"),
        ("revision: null", "resources: {num_gpus: 1}", 18, "num_gpus: reserves a GPU that device: cpu does not use"),
        ("revision: null", "resources: {num_gpus: 1.5}", 18, "must be a whole number, given 1.5"),
        ("revision: null", "revision: main", 18, "revision: should be the 40 hexadecimal digits of a commit"),
        ("revision: null", "dtype: int8", 18, "dtype: should be 'float32', 'float16' or 'bfloat16'; given 'int8'"),
        ("revision: null", "options: {presets: 1}", 18, "options.presets: belongs beside options"),
        ("revision: null", "threads: 0", 18, "threads: should be greater than or equal to 1"),
        ("revision: null", "max_ongoing_requests: 1", 15, "target_ongoing_requests: 2 is above max_ongoing_requests 1"),
        ("revision: null", "resources:", 18, "tiers[1].resources: should be a mapping of num_cpus, "),
        (
            "1, latency_per_s: 1, cost_per_usd: 1e-3",
            "0, latency_per_s: 0, cost_per_usd: 0",
            5,
            "all three weights are 0",
        ),
        ("  high: {quality: 2", "  hi: {quality: 2", 3, "weights: high is missing"),
        ("version: 1", "version: 2", 1, "version: should be 1; given 2"),
        ("arm: one@fast", "arm: one@slow", 2, "policy.options.arm: the fixed policy needs an arm of this catalogue"),
        ("arm: one@fast", "arm: one@slow", 2, "given 'one@slow'; allowed: one@fast, two@draft, two@fine"),
        ("arm: one@fast", "", 2, "policy.name: policy 'fixed' needs option 'arm'"),
        ("name: fixed", "name: fix", 2, "policy.name: there is no policy 'fix'; known: "),
        ("name: fixed", "fallback: fixed, name: fixed", 2, "policy.fallback: policy 'fixed' needs option 'arm'"),
        ("floor: 0.2", "floor: 1.5", 2, "policy.floor: should be less than or equal to 1; given 1.5"),
    ],
)
def test_parse_refuses_an_impossible_value_and_names_its_line(old: str, new: str, line: int, said: str) -> None:
    (problem,) = problems(changed(old, new))
    assert problem.startswith(f"tiers.yaml:{line}: ")
    assert said in problem


def test_parse_says_all_problems_at_once_in_the_order_of_lines() -> None:
    text = changed("price_usd: 0.5", "price_usd: -1").replace("floor: 0.2", "flor: 0.2").replace("128x32", "1x")
    assert [problem.split(":")[1] for problem in problems(text)] == ["2", "14", "22"]


def test_parse_never_repeats_a_journal_url_that_may_hold_a_password() -> None:
    (problem,) = problems(SMALL + "journal: {url: 'mysql://me:hunter2@host/db'}\n")
    assert "journal.url: should be sqlite:///file.db or postgresql+psycopg://" in problem
    assert "hunter2" not in problem


def test_load_names_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(ServeError, match=r"none\.yaml: cannot be read: No such file"):
        load_catalogue(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"version: 1\nname: \xff\n")
    with pytest.raises(CatalogueError, match=r"latin\.yaml:2: is not UTF-8 text \(byte 0xff\)"):
        load_catalogue(tmp_path / "latin.yaml")


def test_rays_own_schema_takes_the_autoscaling_config_and_queue_limits() -> None:
    config = pytest.importorskip("ray.serve.config")
    catalogue = load_catalogue()
    for limits in (catalogue.gateway.scaling, catalogue.scorer.scaling, *(tier.scaling for tier in catalogue.tiers)):
        given = limits.autoscaling_config()
        read = config.AutoscalingConfig(**given)
        assert {name: getattr(read, name) for name in given} == given


def test_embedded_catalogue_is_the_file_beside_the_module() -> None:
    assert EMBEDDED.name == "catalogue.yaml"
    assert parse_catalogue(EMBEDDED.read_text(), "catalogue.yaml") == load_catalogue()
