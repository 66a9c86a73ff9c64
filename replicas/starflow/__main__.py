"""The flow from the command line.

python -m replicas.starflow describe starflow_3B_t2i_256x256.yaml --dtype bfloat16 --device cuda
python -m replicas.starflow draw "a red panda" --model DIR --text-encoder DIR --autoencoder DIR --out panda.png
python -m replicas.starflow likelihood panda.png "a red panda" --model DIR --text-encoder DIR --autoencoder DIR
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from replicas.errors import ReplicaError, SizeNotPossible
from replicas.flow import FlowTier
from replicas.loading import dtype_of
from replicas.tier import GenerationRequest

from .aspect import SQUARE, sizes
from .loader import device_of
from .memory import GIB, Footprint
from .release import read_release
from .sampling.settings import PRESETS

_BATCHES = (1, 4, 8, 16)


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0: done. 2: the command cannot be carried out."""
    parser = _parser()
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        given.command(given)
    except (ReplicaError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m replicas.starflow", description="Look at a flow, or use it.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    describe = commands.add_parser("describe", help="parameters, sizes and memory of a released configuration")
    describe.set_defaults(command=_describe)
    describe.add_argument("configuration", type=Path, metavar="CONFIG.yaml")
    describe.add_argument("--dtype", default="float32", help="of the weights (default: float32)")
    describe.add_argument("--device", default="cuda", choices=("cpu", "cuda"), help="(default: cuda)")
    describe.add_argument("--text-width", type=int, default=None, help="numbers in a state of the text encoder")

    draw = commands.add_parser("draw", help="one picture as a file")
    draw.set_defaults(command=_draw)
    draw.add_argument("prompt")
    draw.add_argument("--out", type=Path, required=True, help="file to write, .png or another kind that Pillow knows")
    draw.add_argument("--preset", default="standard", choices=tuple(PRESETS))
    draw.add_argument("--guidance", type=float, default=None, help="(default: the configuration's own)")
    draw.add_argument("--aspect", default=SQUARE, help="width:height (default: 1:1)")

    likelihood = commands.add_parser("likelihood", help="how likely pictures are, given their prompt")
    likelihood.set_defaults(command=_likelihood)
    likelihood.add_argument("image", type=Path, help="of a size that the flow draws")
    likelihood.add_argument("prompt")

    for command in (draw, likelihood):
        command.add_argument("--seed", type=_seed, default=0, help="of the noise (default: 0)")
        command.add_argument("--model", default=None, help="folder of a released flow (default: the flow of this tree)")
        command.add_argument("--text-encoder", default=None, help="folder, or hub id with --text-encoder-revision")
        command.add_argument("--text-encoder-revision", default=None)
        command.add_argument("--autoencoder", default=None, help="folder, or hub id with --autoencoder-revision")
        command.add_argument("--autoencoder-revision", default=None)
        command.add_argument("--dtype", default="float32")
        command.add_argument("--device", default="cpu")
    return parser


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**63:
        raise argparse.ArgumentTypeError(f"{text!r}; allowed: a whole number from 0 to 2**63 - 1")
    return int(text)


def _describe(given: argparse.Namespace) -> None:
    release = read_release(given.configuration, text_width=given.text_width)
    config, dtype = release.config, dtype_of(given.dtype)
    footprint = Footprint(config, dtype, given.device)
    print(f"parameters        {footprint.parameters:,}")
    print(f"text encoder      {release.text_encoder or 'none'}, {config.txt_size} tokens of {config.txt_dim} numbers")
    print(f"autoencoder       {release.autoencoder or 'none'}, {config.in_channels} channels")
    multiple_px = release.pixels_per_latent * config.patch_size
    allowed = sizes(release.image_size_px, multiple_px, any_aspect=config.rope)
    print("sizes (h x w)     " + ", ".join(f"{h} x {w} ({aspect})" for aspect, (h, w) in allowed.items()))
    print(f"weights           {footprint.weights_bytes / GIB:.2f} GiB in {given.dtype}, without the parts around them")
    print(f"beside them, in GiB on {given.device}, with guidance {release.guidance:g} and the denoising step:")
    print("pictures at once  " + "".join(f"{rows:>9}" for rows in _BATCHES))
    side = config.img_size
    for name, settings in PRESETS.items():
        needs = [
            footprint.drawing_bytes(rows, side, side, guidance=release.guidance, settings=settings, denoise=True)
            for rows in _BATCHES
        ]
        print(f"{name:<18}" + "".join(f"{need / GIB:>9.2f}" for need in needs))


def _draw(given: argparse.Namespace) -> None:
    options = {} if given.guidance is None else {"guidance": given.guidance}
    tier = _loaded(given, {given.preset: options})
    if given.aspect not in tier.sizes_px:
        raise SizeNotPossible(f"aspect {given.aspect!r}; this flow draws {', '.join(tier.sizes_px)}")
    request = GenerationRequest(given.prompt, given.seed, given.preset, *tier.sizes_px[given.aspect])
    Image.fromarray(tier.generate([request])[0]).save(given.out)
    for notice in tier.notices():
        if notice is not None:
            print(notice, file=sys.stderr)
    print(given.out)


def _likelihood(given: argparse.Namespace) -> None:
    tier = _loaded(given, None)
    with Image.open(given.image) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    found = tier.log_likelihood(pixels[None], [given.prompt], [given.seed])
    print(f"{found.nats.item():.2f} nats, {found.bits_per_dimension.item():.4f} bits a dimension of {found.dimensions}")


def _loaded(given: argparse.Namespace, presets: dict[str, dict[str, float]] | None) -> FlowTier:
    device_of(given.device)
    tier = FlowTier(
        given.model, presets, text_encoder=given.text_encoder, text_encoder_revision=given.text_encoder_revision,
        autoencoder=given.autoencoder, autoencoder_revision=given.autoencoder_revision, dtype=given.dtype,
    )  # fmt: skip
    tier.load(given.device)
    return tier


if __name__ == "__main__":
    sys.exit(main())
