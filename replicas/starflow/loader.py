"""From a folder with a released flow, and what goes around it, to a pipeline on a device.

The folder holds one YAML configuration and one file of weights (.safetensors, or a .pth whose content is tensors only).
Text encoder and autoencoder are given beside it: a local folder, or a hub id with its pinned revision.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from replicas.errors import ModelNotLoadable
from replicas.loading import dtype_of

from .checkpoint import load_flow
from .latents import ImageAutoencoder, Pixels
from .memory import GIB, Footprint, MemoryLimit, free_bytes, ran_out
from .parts_memory import PartsFootprint
from .pipeline import FlowPipeline, Habits
from .release import Release, read_release
from .text import TextEncoder, weights_bytes_of, width_of

_CONFIGURATIONS = (".yaml", ".yml")
_WEIGHTS = (".safetensors", ".pth")


@dataclass(frozen=True, slots=True)
class Source:
    """Where a flow and its parts lie, and how to hold them. dtypes are float32, bfloat16 or float16."""

    folder: str
    text_encoder: str | None = None  # None: a flow that reads no text
    text_encoder_revision: str | None = None
    text_encoder_dtype: str = "float32"
    autoencoder: str | None = None  # None: a flow of pixels
    autoencoder_revision: str | None = None
    dtype: str = "float32"  # of the flow; means, scales and latents are at least float32
    memory_gib: float | None = None  # that all of it and a batch may take; None: what the device has free


def load_pipeline(source: Source, device: str) -> FlowPipeline:
    """Read, check and place everything. What the weights need is told on stderr before they are read.

    Raises ModelNotLoadable, which says what is missing, does not belong together or does not fit in memory.
    """
    place = device_of(device)
    configuration, weights = flow_files(source.folder)
    dtype = dtype_of(source.dtype)
    text_width = None
    if source.text_encoder is not None:
        text_width = width_of(source.text_encoder, source.text_encoder_revision)
    release = read_release(configuration, text_width=text_width)
    _check_parts(release, source)
    footprint = Footprint(release.config, dtype, place.type)
    needs = {f"flow of {footprint.parameters:,} parameters as {source.dtype}": footprint.weights_bytes}
    if release.config.txt_size and source.text_encoder is not None:
        needs[f"text encoder as {source.text_encoder_dtype}"] = weights_bytes_of(
            source.text_encoder, source.text_encoder_revision, source.text_encoder_dtype
        )
    free = free_bytes(place) if source.memory_gib is None else int(source.memory_gib * GIB)
    # Neither a logger's level nor Serve hides it there: where loading ends with the process, it is the last to be seen.
    print(f"{_told(needs)}; {free / GIB:.2f} GiB are free on {place}", file=sys.stderr, flush=True)
    _check_fits(needs, free, place)
    try:
        return _placed(release, source, weights, place, needs, free)
    except (MemoryError, RuntimeError) as error:
        if not ran_out(error):
            raise
        raise ModelNotLoadable(
            f"{place} ran out of memory while {_told(needs)} were loaded; take a smaller dtype or another device"
        ) from error


def device_of(name: str) -> torch.device:
    """The device of that name, if this machine has it. Raises ModelNotLoadable."""
    try:
        place = torch.device(name)
    except RuntimeError:
        place = torch.device("meta")
    if place.type not in ("cpu", "cuda"):
        raise ModelNotLoadable(f"device {name!r} is unknown; allowed: cpu, cuda, or cuda:N for one of several")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if place.type == "cuda" and (place.index or 0) >= count:
        raise ModelNotLoadable(f"device {name!r}: this machine has {count} CUDA devices; take another, or cpu")
    return place


def _placed(
    release: Release, source: Source, weights: Path, place: torch.device, needs: Mapping[str, int], free: int
) -> FlowPipeline:
    device = str(place)
    words: TextEncoder | None = None
    pictures: ImageAutoencoder | Pixels = Pixels()
    if release.config.txt_size and source.text_encoder is not None:
        words = TextEncoder(
            source.text_encoder, window=release.config.txt_size, revision=source.text_encoder_revision,
            dtype=source.text_encoder_dtype,
        )  # fmt: skip
    if source.autoencoder is not None:
        autoencoder = pictures = ImageAutoencoder(source.autoencoder, revision=source.autoencoder_revision)
        autoencoder.load(device)
    _check_pictures(release, pictures, source)
    _check_fits({**needs, "autoencoder": pictures.held_bytes}, free, place)
    flow = load_flow(release.config, weights, device=device, dtype=dtype_of(source.dtype))
    held_bytes = sum(p.numel() * p.element_size() for p in flow.parameters())
    if words is not None:
        words.load(device)
        held_bytes += words.held_bytes
    held_bytes += pictures.held_bytes
    habits = Habits(
        image_px=release.image_size_px, noise_std=release.noise_std, guidance=release.guidance, denoise=release.denoise,
        names_aspect=release.names_aspect, any_aspect=release.config.rope,  # learned positions are those of one grid
    )  # fmt: skip
    parts = PartsFootprint(
        None if words is None else words.footprint,
        pictures.footprint if isinstance(pictures, ImageAutoencoder) else None,
    )
    return FlowPipeline(flow, words, pictures, habits, MemoryLimit(place, source.memory_gib, held_bytes), parts)


def flow_files(folder: str) -> tuple[Path, Path]:
    """The configuration and the weights in a local folder. Raises ModelNotLoadable."""
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise ModelNotLoadable(
            f"flow {folder!r}: there is no such folder (looked at {path.absolute()}); give the local folder that holds "
            "the released configuration (.yaml) and its weights (.pth or .safetensors)"
        )
    return _only(path, _CONFIGURATIONS, "configuration"), _only(path, _WEIGHTS, "file of weights")


def _only(folder: Path, suffixes: tuple[str, ...], what: str) -> Path:
    found = sorted(path for path in folder.iterdir() if path.suffix in suffixes and path.is_file())
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise ModelNotLoadable(
            f"flow folder {folder} must hold one {what} ({' or '.join(suffixes)}), and holds: {names}; "
            "give every model a folder of its own"
        )
    return found[0]


def _check_parts(release: Release, source: Source) -> None:
    for what, named, given in (
        ("text_encoder", release.text_encoder if release.config.txt_size else None, source.text_encoder),
        ("autoencoder", release.autoencoder, source.autoencoder),
    ):
        if (named is None) != (given is None):
            asked = f"was trained with {named!r}" if named else "was trained without"
            raise ModelNotLoadable(
                f"flow {source.folder!r} {asked} as {what}, and {what} is {given!r}; "
                + (f"give as {what} its local folder, or its hub id and revision" if named else "leave it out")
            )


def _check_pictures(release: Release, pictures: ImageAutoencoder | Pixels, source: Source) -> None:
    found, wanted = (pictures.factor, pictures.channels), (release.pixels_per_latent, release.config.in_channels)
    if found != wanted:
        raise ModelNotLoadable(
            f"autoencoder {source.autoencoder!r} makes latents of {found[1]} channels, {found[0]} px wide; flow "
            f"{source.folder!r} models latents of {wanted[1]} channels, {wanted[0]} px wide: give the autoencoder that "
            f"it was trained with, {release.autoencoder!r}"
        )


def _told(needs: Mapping[str, int]) -> str:
    return ", ".join(f"{what}: {need / GIB:.2f} GiB" for what, need in needs.items())


def _check_fits(needs: Mapping[str, int], free: int, place: torch.device) -> None:
    if sum(needs.values()) > free:
        raise ModelNotLoadable(
            f"the weights need {sum(needs.values()) / GIB:.2f} GiB ({_told(needs)}), and {free / GIB:.2f} GiB are free "
            f"on {place}; take a smaller dtype, another device, or raise memory_gib where it is set too low"
        )
