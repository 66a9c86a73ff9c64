"""Released YAML configurations: a list of arguments, of which some build the model and most only trained it."""

import pytest

from replicas.errors import ModelNotLoadable
from replicas.starflow.release import read_release

# What the released 3B text-to-image configuration says, argument by argument.
TEXT_TO_IMAGE = {
    "no_flip": 1, "fsdp": 1, "fsdp_text_encoder": 1, "img_size": 256, "txt_size": 128, "channel_size": 4,
    "patch_size": 1, "channels": 3072, "blocks": 6, "layers_per_block": "2 2 2 2 2 24", "noise_std": 0.3,
    "batch_size": 1024, "lr": 6.4e-05, "min_lr": 1e-6, "nvp": 1, "rope": 1, "adaln": 0, "sos": 1, "seq_order": "L2R",
    "wds": 1, "use_softplus": 1, "cond_top_only": 1, "use_final_norm": 1, "gradient_checkpoint": 0,
    "vae": "stabilityai/sd-vae-ft-ema", "text": "google/flan-t5-xl", "cfg": 2.5, "drop_label": 0.1, "sample_freq": 10,
    "soft_clip": 4, "latent_norm_regularization": 1e-4,
}  # fmt: skip


@pytest.fixture
def written(tmp_path):
    def write(**change):
        arguments = {name: value for name, value in {**TEXT_TO_IMAGE, **change}.items() if value is not ...}
        path = tmp_path / "release.yaml"
        path.write_text("arguments:\n" + "".join(f"- {name}: {value}\n" for name, value in arguments.items()))
        return path

    return write


def test_the_text_to_image_release_is_read(written):
    release = read_release(written())
    config = release.config
    assert (config.img_size, config.channels, config.layers_per_block) == (32, 3072, (2, 2, 2, 2, 2, 24))
    assert (config.txt_size, config.txt_dim, config.cond_top_only, config.sos) == (128, 2048, True, True)
    assert (release.image_size_px, release.pixels_per_latent, release.noise_std, release.guidance) == (256, 8, 0.3, 2.5)
    assert (release.autoencoder, release.text_encoder) == ("stabilityai/sd-vae-ft-ema", "google/flan-t5-xl")


def test_what_is_left_out_has_the_released_default(written):
    release = read_release(written(noise_std=..., cfg=..., seq_order=..., soft_clip=..., head_dim=...))
    assert (release.noise_std, release.guidance, release.names_aspect) == (0.3, 0.0, False)
    assert read_release(written(mix_aspect=1)).names_aspect
    assert read_release(written(noise_type="gaussian", finetuned_vae="none")).denoise
    assert not read_release(written(finetuned_vae="px82zaheuu")).denoise
    assert (release.config.seq_order, release.config.soft_clip, release.config.head_dim) == ("R2L", 0, 64)


def test_a_flow_over_pixels_has_no_autoencoder(written):
    release = read_release(written(vae=..., channel_size=3, img_size=64, patch_size=2))
    assert (release.autoencoder, release.pixels_per_latent, release.config.img_size) == (None, 1, 64)


def test_the_number_of_layers_counts_the_blocks(written):
    assert read_release(written(layers_per_block="2 2 8", blocks=6)).config.num_blocks == 3
    assert read_release(written(layers_per_block=2, blocks=3)).config.layers_per_block == (2, 2, 2)


def test_a_text_encoder_of_unknown_width_needs_it_given(written):
    path = written(text="someone/encoder")
    with pytest.raises(ModelNotLoadable, match="width of text encoder 'someone/encoder' is not known; give text_width"):
        read_release(path)
    assert read_release(path, text_width=24).config.txt_dim == 24


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"vid_size": "81:16", "temporal_causal": 1}, "asks for temporal_causal, vid_size, which belong to video"),
        ({"use_pretrained_lm": "gemma3_4b"}, "use_pretrained_lm"),
        ({"colour": 1}, "unknown arguments: colour; known: "),
        ({"nvp": 0}, "nvp is 0"),
        ({"img_size": 250}, "img_size is 250; allowed: a multiple of 8 px"),
        ({"layers_per_block": "2 two"}, "layers_per_block is '2 two'; allowed: whole numbers"),
        ({"noise_std": 0}, "noise_std 0.0 and cfg 2.5"),
        ({"cfg": -1}, "cfg -1.0"),
        ({"layers_per_block": 2.5}, "layers_per_block is 2.5; allowed: whole numbers"),
        ({"layers_per_block": "[2.7, 2]"}, r"layers_per_block is \[2.7, 2\]; allowed: whole numbers"),
        ({"layers_per_block": "true"}, "layers_per_block is True; allowed: whole numbers"),
        ({"noise_std": "true"}, "noise_std is True; allowed: numbers"),
        ({"vae": 3}, "vae is 3; allowed: a name"),
        ({"text": "[a]"}, r"text is \['a'\]; allowed: a name"),
        ({"adaln": 1}, "adaln is 1; transformer layers with adaptive norms"),
        ({"noise_type": "uniform"}, "noise_type is 'uniform'; allowed: gaussian"),
        ({"text": "imagenet.vocab"}, "reads class labels"),
        ({"channels": 0}, "release.yaml: flow configuration: channels is 0"),
    ],
)
def test_an_argument_that_cannot_be_is_refused_by_name(written, change, said):
    with pytest.raises(ModelNotLoadable, match=said):
        read_release(written(**change))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("arguments: [", "not readable as YAML"),
        ("arguments: " + "[" * 5000, "not readable as YAML"),
        ("arguments:\n- lr: 2025-13-45\n", "not readable as YAML"),
        ("channels: 3", "holds `arguments:`"),
        ("arguments:\n- rope: 1\n- rope: 0\n", "rope is given twice"),
        ("!!python/object/apply:os.system ['true']", "not readable as YAML"),
    ],
)
def test_a_file_that_is_no_released_configuration_says_so(tmp_path, text, said):
    path = tmp_path / "release.yaml"
    path.write_text(text)
    with pytest.raises(ModelNotLoadable, match=said):
        read_release(path)


def test_a_file_that_is_not_there_says_so(tmp_path):
    with pytest.raises(ModelNotLoadable, match="not readable as YAML"):
        read_release(tmp_path / "none.yaml")
