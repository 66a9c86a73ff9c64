"""Small flows with random weights that are far from the identity."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from replicas.starflow.config import FlowConfig
from replicas.starflow.model import StarFlow

# Each names the paths that it takes through the samplers; 24 tokens of the 6 x 4 grid, 5 of text.
VARIANTS: dict[str, dict[str, Any]] = {
    "released": {},
    "older": {"sos": False, "use_softplus": False, "soft_clip": 0, "cond_top_only": False, "seq_order": "R2L"},
    "text everywhere": {"cond_top_only": False, "num_kv_heads": 1},
    "language model": {
        "use_swiglu": True, "use_qk_norm": True, "use_post_norm": True, "norm_type": "rms_norm", "use_bias": False,
        "hf_style_rope": True, "num_kv_heads": 1,
    },
    "no text": {"txt_size": 0, "txt_dim": 0, "cond_top_only": False, "layers_per_block": (1, 0, 2)},
    "learned positions": {"rope": False, "img_size": 6, "sos": False},
    "wide deep block": {"top_block_channels": 96, "norm_type": "none"},
}  # fmt: skip


def build(**changes: Any) -> StarFlow:
    options: dict[str, Any] = {
        "in_channels": 3, "img_size": 6, "patch_size": 1, "channels": 64, "num_blocks": 3,
        "layers_per_block": (1, 1, 2), "head_dim": 32, "rope": True, "sos": True, "txt_size": 5, "txt_dim": 12,
        "cond_top_only": True, "use_softplus": True, "use_final_norm": True, "soft_clip": 4.0, "seq_order": "L2R",
    }  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        flow = StarFlow(FlowConfig.from_constructor({**options, **changes}))
        for name, weight in flow.named_parameters():
            if name.endswith("proj_out.weight"):
                torch.nn.init.normal_(weight, std=0.03)
            elif name.endswith("norm.weight"):
                weight.data += 0.1 * torch.randn_like(weight)
    return flow.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def flow_of() -> Callable[..., StarFlow]:
    return build


@pytest.fixture(params=VARIANTS)
def any_flow(request: pytest.FixtureRequest) -> StarFlow:
    return build(**VARIANTS[request.param])
