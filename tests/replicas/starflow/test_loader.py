"""What an operator can give wrongly; each is an error that says what is wrong, and nothing in a file is run."""

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from replicas.errors import ModelNotLoadable
from replicas.starflow.latents import ImageAutoencoder
from replicas.starflow.loader import Source, device_of, load_pipeline
from replicas.starflow.memory import GIB, Footprint
from replicas.starflow.presets import options_of
from replicas.starflow.text import TextEncoder

Load = Callable[..., Any]


@pytest.fixture
def folder(released_flow_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(released_flow_folder, tmp_path / "flow"))


@pytest.fixture
def load(folder: Path, t5_folder: Path, autoencoder_folder: Path) -> Load:
    def load(**changes: Any) -> Any:
        parts = {"folder": str(folder), "text_encoder": str(t5_folder), "autoencoder": str(autoencoder_folder)}
        return load_pipeline(Source(**{**parts, **changes}), "cpu")

    return load


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    state = torch.load(folder / "tiny.pth", weights_only=True)
    change(state)
    torch.save(state, folder / "tiny.pth")


def test_need_is_told_on_stderr_before_the_weights_are_read(
    load: Load, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A logger would not do: below warnings it is silent in a library and in a replica of Serve."""
    (folder / "tiny.pth").write_bytes(b"")
    with pytest.raises(ModelNotLoadable, match=r"tiny\.pth"):
        load(dtype="bfloat16")
    said = capsys.readouterr().err
    assert "parameters as bfloat16: 0.00 GiB, text encoder as float32: 0.00 GiB; " in said
    assert "GiB are free on cpu" in said


def test_pth_and_safetensors_hold_the_same_flow(load: Load, folder: Path) -> None:
    first = load()
    assert not any(parameter.requires_grad for parameter in first.flow.parameters())
    save_file(torch.load(folder / "tiny.pth", weights_only=True), folder / "tiny.safetensors")
    (folder / "tiny.pth").unlink()
    second = load()
    for name, value in first.flow.state_dict().items():
        assert torch.equal(value, second.flow.state_dict()[name])
    assert (first.habits.noise_std, first.habits.guidance, first.habits.image_px) == (0.3, 2.5, 64)


def test_weights_are_held_in_the_dtype_that_is_asked_for(load: Load) -> None:
    assert {parameter.dtype for parameter in load(dtype="bfloat16").flow.parameters()} == {torch.bfloat16}
    with pytest.raises(ModelNotLoadable, match="dtype 'int8' is unknown"):
        load(dtype="int8")


def test_folder_must_hold_one_configuration_and_one_file_of_weights(load: Load, folder: Path) -> None:
    with pytest.raises(ModelNotLoadable, match=r"no such folder.*local folder that holds the released configuration"):
        load(folder="/no/such/folder")
    shutil.copy(folder / "tiny.pth", folder / "other.pth")
    with pytest.raises(ModelNotLoadable, match=r"one file of weights .* holds: other\.pth, tiny\.pth"):
        load()
    (folder / "tiny.yaml").unlink()
    with pytest.raises(ModelNotLoadable, match=r"one configuration \(.yaml or .yml\), and holds: none"):
        load()


def test_checkpoint_of_another_layout_names_what_is_missing_and_unknown(load: Load, folder: Path) -> None:
    def rename(state: dict[str, torch.Tensor]) -> None:
        state["blocks.0.attn_blocks.0.self_attention.qkv.weight"] = state.pop(
            "blocks.0.attn_blocks.0.attention.qkv.weight"
        )

    change_weights(folder, rename)
    with pytest.raises(
        ModelNotLoadable,
        match=r"missing: blocks\.0\.attn_blocks\.0\.attention\.qkv\.weight; unknown: blocks\.0\.attn_blocks\.0\.self_",
    ):
        load()


def test_checkpoint_of_another_width_names_the_shapes(load: Load, folder: Path) -> None:
    text = (folder / "tiny.yaml").read_text()
    (folder / "tiny.yaml").write_text(text.replace("channels: 64", "channels: 96"))
    with pytest.raises(ModelNotLoadable, match=r"of another shape: .*\[64\] instead of \[96\]"):
        load()


def test_weights_that_are_not_finite_are_named(load: Load, folder: Path) -> None:
    def spoil(state: dict[str, torch.Tensor]) -> None:
        state["blocks.1.proj_in.bias"][0] = torch.nan

    change_weights(folder, spoil)
    with pytest.raises(ModelNotLoadable, match=r"not finite numbers: blocks\.1\.proj_in\.bias"):
        load()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_truncated_checkpoint_says_to_copy_it_again(load: Load, folder: Path, share: float) -> None:
    content = (folder / "tiny.pth").read_bytes()
    (folder / "tiny.pth").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ModelNotLoadable, match=r"tiny\.pth.*copy the file again"):
        load()


class _Marks:
    """What an attacker puts into a pickle."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("plain_pickle", [False, True])
def test_code_in_a_checkpoint_is_refused_and_never_run(
    load: Load, folder: Path, tmp_path: Path, plain_pickle: bool
) -> None:
    marker = tmp_path / "was-run"
    content = {"blocks.0.proj_in.weight": _Marks(marker)}
    if plain_pickle:
        (folder / "tiny.pth").write_bytes(pickle.dumps(content))
    else:
        torch.save(content, folder / "tiny.pth")
    with pytest.raises(ModelNotLoadable, match=r"tiny\.pth"):
        load()
    assert not marker.exists()
    torch.load(folder / "tiny.pth", weights_only=False) if not plain_pickle else pickle.loads(pickle.dumps(content))  # noqa: S301
    assert marker.exists(), "the test's own checkpoint does nothing"


def test_parts_must_be_those_that_the_flow_was_trained_with(load: Load, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ModelNotLoadable, match="trained with 'google/flan-t5-xl' as text_encoder, and text_encoder is N"
    ):
        load(text_encoder=None)
    with pytest.raises(ModelNotLoadable, match="trained with 'stabilityai/sd-vae-ft-ema' as autoencoder"):
        load(autoencoder=None)
    text = (folder / "tiny.yaml").read_text()
    (folder / "tiny.yaml").write_text(text.replace("channel_size: 4", "channel_size: 3"))
    with pytest.raises(ModelNotLoadable, match=r"makes latents of 4 channels, 8 px wide.*models latents of 3 channels"):
        load()


def test_text_encoder_of_another_width_is_no_crash(load: Load, tmp_path: Path) -> None:
    from transformers import T5Config, T5EncoderModel

    T5EncoderModel(T5Config(vocab_size=8, d_model=16, d_kv=8, d_ff=8, num_layers=1, num_heads=2)).save_pretrained(
        tmp_path / "wide"
    )
    with pytest.raises(ModelNotLoadable, match=r"proj_txt\.weight \[64, 24\] instead of \[64, 16\]"):
        load(text_encoder=str(tmp_path / "wide"))


def test_flow_that_would_not_fit_is_refused_before_it_is_read(load: Load, folder: Path) -> None:
    (folder / "tiny.pth").write_bytes(b"")
    with pytest.raises(
        ModelNotLoadable, match=r"weights need 0\.00 GiB \(flow of .* as float32: .*\), and 0.00 GiB are free on cpu"
    ):
        load(memory_gib=1e-4)


def test_parts_count_towards_what_the_weights_may_take(load: Load, folder: Path) -> None:
    """Each fits alone: with the text encoder, then with the autoencoder, too much is asked for before a read."""
    pipeline = load()
    assert isinstance(pipeline.words, TextEncoder)
    assert isinstance(pipeline.pictures, ImageAutoencoder)
    flow = Footprint(pipeline.flow.config, torch.float32).weights_bytes
    words, pictures = pipeline.words.held_bytes, pipeline.pictures.held_bytes
    assert flow + words + pictures == pipeline.memory.held_bytes
    assert load(memory_gib=(flow + words + pictures) / GIB).memory.free_bytes == 0
    (folder / "tiny.pth").write_bytes(b"")
    with pytest.raises(ModelNotLoadable, match=r"weights need .*text encoder as float32: 0\.00 GiB\), and"):
        load(memory_gib=(flow + words - 1) / GIB)
    with pytest.raises(ModelNotLoadable, match=r"weights need .*autoencoder: 0\.00 GiB\), and"):
        load(memory_gib=(flow + words + pictures - 1) / GIB)


def test_memory_that_runs_out_while_loading_is_said(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: Any, **named: Any) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")

    monkeypatch.setattr("replicas.starflow.loader.load_flow", full)
    with pytest.raises(ModelNotLoadable, match=r"cpu ran out of memory while flow of .* were loaded; take a smaller"):
        load()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cudaa", "device 'cudaa' is unknown; allowed: cpu, cuda"),
        ("meta", "device 'meta' is unknown"),
        ("cuda:99", "device 'cuda:99': this machine has [0-9]+ CUDA devices"),
    ],
)
def test_device_that_is_not_there_is_refused(name: str, said: str) -> None:
    with pytest.raises(ModelNotLoadable, match=said):
        device_of(name)
    assert device_of("cpu") == torch.device("cpu")


def test_autoencoder_that_decodes_noise_makes_the_denoising_step_needless(load: Load, folder: Path) -> None:
    assert load().habits.denoise
    (folder / "tiny.yaml").write_text((folder / "tiny.yaml").read_text() + "- finetuned_vae: abc\n")
    assert not load().habits.denoise


def test_flow_of_pixels_without_text_needs_no_parts(load: Load, folder: Path) -> None:
    """The older layout: TARFlow, learned positions, no start token."""
    from replicas.starflow.model import StarFlow
    from replicas.starflow.release import read_release

    (folder / "tiny.yaml").write_text(
        "arguments:\n- img_size: 16\n- channel_size: 3\n- patch_size: 4\n- channels: 64\n- blocks: 2\n"
        "- layers_per_block: 1\n- noise_std: 0.05\n"
    )
    torch.save(StarFlow(read_release(folder / "tiny.yaml").config).state_dict(), folder / "tiny.pth")
    pipeline = load(text_encoder=None, autoencoder=None)
    assert dict(pipeline.sizes_px) == {"1:1": (16, 16)}
    drawn = pipeline.draw(["ignored", "ignored"], [1, 2], (16, 16), options_of("exact", {"guidance": 0.0}))
    assert drawn.images.shape == (2, 16, 16, 3)
    assert drawn.images.std() > 1
    assert drawn.notices == (None, None)
    assert pipeline.log_likelihood(drawn.images, ["", ""], [1, 2]).nats.shape == (2,)
