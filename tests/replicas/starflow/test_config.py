"""Options that do not fit together are refused by name; those of the releases are understood."""

import pytest

from replicas.errors import ModelNotLoadable
from replicas.starflow.config import FlowConfig

SMALL = {
    "in_channels": 4, "img_size": 8, "patch_size": 2, "channels": 64, "num_blocks": 3, "layers_per_block": [1, 0, 2],
    "head_dim": 32, "rope": 1, "sos": 1, "txt_size": 6, "txt_dim": 24,
}  # fmt: skip


def test_options_of_the_released_constructor_are_taken():
    config = FlowConfig.from_constructor({**SMALL, "use_checkpoint": 1, "temporal_causal": 0})
    assert (config.sos, config.layers_per_block, config.token_channels, config.grid_side) == (True, (1, 0, 2), 16, 4)


def test_one_number_of_layers_stands_for_all_blocks():
    assert FlowConfig.from_constructor({**SMALL, "layers_per_block": [2]}).layers_per_block == (2, 2, 2)
    assert FlowConfig.from_constructor({**SMALL, "layers_per_block": 2}).layers_per_block == (2, 2, 2)


def test_reading_order_alternates_and_the_deep_block_of_four_reads_forwards_from_left_to_right():
    four = {**SMALL, "num_blocks": 4, "layers_per_block": [1]}
    orders = {
        order: [FlowConfig.from_constructor({**four, "seq_order": order}).reads_backwards(i) for i in range(4)]
        for order in ("L2R", "R2L")
    }
    assert orders == {"L2R": [True, False, True, False], "R2L": [False, True, False, True]}


@pytest.mark.parametrize(("top_only", "readers"), [(True, [False, False, True]), (False, [True, True, True])])
def test_text_is_read_by_the_deep_block_only_where_asked(top_only, readers):
    config = FlowConfig.from_constructor({**SMALL, "cond_top_only": top_only})
    assert [config.reads_text(i) for i in range(3)] == readers


def test_a_deep_block_of_another_width_has_heads_of_its_own():
    config = FlowConfig.from_constructor({**SMALL, "top_block_channels": 128, "num_kv_heads": 2})
    assert (config.heads_of(config.channels), config.heads_of(config.deep_channels)) == ((2, 2), (4, 2))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"depth": 3}, "unknown options: depth; known: .*channels"),
        ({"temporal_causal": 1}, "asks for temporal_causal, which belong to video"),
        ({"learnable_self_denoiser": True}, "learnable_self_denoiser"),
        ({"channels": 0}, "channels is 0; allowed: a whole number of at least 1"),
        ({"channels": True}, "channels is True"),
        ({"channels": 16}, "channels is 16; allowed: at least head_dim, 32, or num_heads given"),
        ({"sos": 2}, "sos is 2; allowed: true or false"),
        ({"layers_per_block": [1, 2]}, "layers_per_block is .*num_blocks = 3"),
        ({"layers_per_block": [1, 1, 0]}, "at least one layer in the deep block"),
        ({"img_size": 7}, "img_size is 7; allowed: a multiple of patch_size, 2"),
        ({"norm_type": "batch"}, "norm_type is 'batch'; allowed: layer_norm, rms_norm, none"),
        ({"seq_order": "up"}, "seq_order is 'up'; allowed: R2L, L2R"),
        ({"soft_clip": -1}, "soft_clip is -1"),
        ({"soft_clip": float("nan")}, "soft_clip is nan"),
        ({"head_dim": 16}, "head_dim is 16; allowed: more than 16"),
        ({"num_heads": 4, "num_kv_heads": 3}, "num_kv_heads is 3; allowed: a divisor of 4 heads"),
        ({"cond_top_only": True, "txt_size": 0, "txt_dim": 0}, "cond_top_only is True; allowed: false"),
        ({"txt_size": 0}, "txt_dim is 24; allowed: 0 where txt_size is 0"),
    ],
)
def test_an_option_that_cannot_be_is_refused_by_name(change, said):
    with pytest.raises(ModelNotLoadable, match=said):
        FlowConfig.from_constructor({**SMALL, **change})


def test_a_missing_option_is_named():
    with pytest.raises(ModelNotLoadable, match=r"lacks options: .*channels"):
        FlowConfig.from_constructor({name: value for name, value in SMALL.items() if name != "channels"})
