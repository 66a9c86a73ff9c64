import sys
from pathlib import Path

import huggingface_hub.constants
import pytest

from replicas.errors import ClassNotUsable, ModelNotLoadable, UnknownPreset
from replicas.fake import FakeScorer, FakeTier
from replicas.loading import build_scorer, build_tier, check_folder, check_source, resolve, transformers_folder
from replicas.scorer import Scorer
from replicas.tier import Tier

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's own package `ours` with the modules tiers, needy and broken."""
    package = tmp_path / "ours"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "tiers.py").write_text(
        "from replicas.fake import FakeTier\nfrom replicas.tier import Tier\n"
        "class OurTier(FakeTier): pass\nclass Unfinished(Tier): pass\nNUMBER = 3\n"
    )
    (package / "needy.py").write_text("import a_package_that_nobody_has\n")
    (package / "broken.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield package
    for name in [name for name in sys.modules if name == "ours" or name.startswith("ours.")]:
        del sys.modules[name]


def test_resolve_finds_classes_of_the_tree_and_of_a_user(user_module: Path) -> None:
    assert resolve("replicas.fake:FakeTier", Tier) is FakeTier
    assert resolve("ours.tiers:OurTier", Tier).__name__ == "OurTier"


@pytest.mark.parametrize(
    "import_path",
    ["", "replicas.fake.FakeTier", "replicas.fake:", ":FakeTier", "a b:C", "replicas.fake:Fake.Tier", "a:B\n"],
)
def test_resolve_bad_syntax_shows_the_right_one(import_path: str) -> None:
    with pytest.raises(ClassNotUsable, match=r"package\.module:ClassName"):
        resolve(import_path, Tier)


@pytest.mark.parametrize(
    ("import_path", "expected"),
    [
        ("no_such_package.tiers:OurTier", "no module 'no_such_package'.*check the spelling"),
        ("ours.no_such:OurTier", "no module 'ours.no_such'.*check the spelling"),
        ("ours.needy:OurTier", "no module 'a_package_that_nobody_has'; ours.needy itself needs it"),
        ("ours.broken:OurTier", "importing ours.broken raised ZeroDivisionError"),
        ("ours.tiers:OurTeir", "has no OurTeir; subclasses of Tier in it: FakeTier, OurTier"),
        ("ours.tiers:NUMBER", "is 3, not a subclass of replicas.tier.Tier"),
        ("replicas.fake:FakeScorer", "not a subclass of replicas.tier.Tier"),
        ("ours.tiers:Unfinished", "still has to define: close, generate, load, warm_up"),
    ],
)
def test_resolve_unusable_class_says_what_to_do(user_module: Path, import_path: str, expected: str) -> None:
    with pytest.raises(ClassNotUsable, match=expected):
        resolve(import_path, Tier)


def test_build_tier_hands_over_model_presets_and_options() -> None:
    tier = build_tier("replicas.fake:FakeTier", model="m", presets={"fast": {}}, native_size_px=(8, 16))
    assert isinstance(tier, FakeTier)
    assert (tier.model, tier.presets, tier.native_size_px) == ("m", {"fast": {}}, (8, 16))


def test_build_tier_unknown_option_names_the_known_ones() -> None:
    with pytest.raises(ClassNotUsable, match=r"servise_s.*it takes .*\bservice_s:"):
        build_tier("replicas.fake:FakeTier", servise_s=1.0)


def test_build_tier_error_of_the_class_itself_passes_through() -> None:
    with pytest.raises(UnknownPreset):
        build_tier("replicas.fake:FakeTier", presets={"fast": {"nope": 1}})


def test_build_scorer_refuses_a_tier() -> None:
    assert isinstance(build_scorer("replicas.fake:FakeScorer"), FakeScorer)
    with pytest.raises(ClassNotUsable, match=Scorer.__name__):
        build_scorer("replicas.fake:FakeTier")


@pytest.mark.parametrize("name", ["unet/diffusion_pytorch_model.bin", "model.ckpt", "w.pt", "w.PTH", "deep/er/w.pkl"])
def test_check_folder_pickle_alone_is_refused_and_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "diffusion_pytorch_model.safetensors").touch()
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).touch()
    with pytest.raises(ModelNotLoadable, match=f"{name}.*safe_serialization=True"):
        check_folder(tmp_path)


def test_check_folder_pickle_beside_safetensors_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "pytorch_model.bin").touch()
    check_folder(tmp_path)


def test_check_folder_empty_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelNotLoadable, match="is empty"):
        check_folder(tmp_path)


def test_check_source_local_folder_needs_no_revision(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    assert check_source(str(tmp_path), None) == tmp_path


def test_check_source_file_asks_for_the_folder(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ModelNotLoadable, match="is a file; give the folder"):
        check_source(str(tmp_path / "model.safetensors"), None)


@pytest.mark.parametrize("model", ["/no/such/folder", "./owner/name", "one", "a/b/c", "../x", "owner/na me"])
def test_check_source_missing_path_says_where_it_looked(model: str) -> None:
    with pytest.raises(ModelNotLoadable, match=r"there is no such folder \(looked at /"):
        check_source(model, COMMIT)


@pytest.mark.parametrize("revision", [None, "main", "v1.0", COMMIT[:7], COMMIT.upper(), COMMIT + "0"])
def test_check_source_hub_id_without_a_commit_is_refused(revision: str | None) -> None:
    with pytest.raises(ModelNotLoadable, match="40 hexadecimal digits"):
        check_source("owner/name", revision)


def test_check_source_hub_id_with_a_commit_is_allowed() -> None:
    assert check_source("owner/name", COMMIT) is None


def cached_snapshot(cache: Path) -> Path:
    """The folder in which the hub's cache keeps owner/name at COMMIT."""
    folder = cache / "models--owner--name" / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    return folder


def test_transformers_folder_offline_takes_the_pinned_commit_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    folder = cached_snapshot(tmp_path)
    (folder / "model.safetensors").touch()
    assert transformers_folder("owner/name", COMMIT) == folder
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelNotLoadable, match=r"pytorch_model\.bin"):
        transformers_folder("owner/name", COMMIT)


def test_transformers_folder_offline_and_not_cached_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelNotLoadable, match="HF_HUB_OFFLINE"):
        transformers_folder("owner/name", COMMIT)
