"""Batches of one's own captioned pictures, as latents and text states, for flows of any size.

    pictures = Pictures(Path("photos"), read_release(Path("starflow.yaml")), autoencoder, text_encoder)

`photos/` holds pictures and, beside each, a caption in a text file of the same name (a.jpg and a.txt).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor

from replicas.errors import ModelNotLoadable
from replicas.seeds import generators
from replicas.starflow.aspect import sizes, with_aspect
from replicas.starflow.latents import ImageAutoencoder, Pixels
from replicas.starflow.release import Release
from replicas.starflow.text import TextEncoder

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp"})


class Pictures:
    """Captioned pictures, cropped to squares, or with `mix_aspect` in the release to the nearest of its aspect ratios.

    Raises ModelNotLoadable where the folder holds no captioned picture, or release and encoders do not fit together.
    """

    def __init__(
        self, folder: Path, release: Release, autoencoder: ImageAutoencoder | Pixels, text: TextEncoder | None
    ) -> None:
        """`text` None: of a flow that reads none; `Pixels`: of one without an autoencoder."""
        config = release.config
        for what, given, wanted in (
            ("channels of the autoencoder's latents", autoencoder.channels, config.in_channels),
            ("pixels a latent of the autoencoder", autoencoder.factor, release.pixels_per_latent),
            ("width of the text encoder's states", 0 if text is None else text.width, config.txt_dim),
        ):
            if given != wanted:
                raise ModelNotLoadable(f"{what}: {given}, and the configuration wants {wanted}; give those it names")
        multiple_px = release.pixels_per_latent * config.patch_size
        self._names_aspect = release.names_aspect
        allowed = sizes(release.image_size_px, multiple_px, any_aspect=config.rope and release.names_aspect)
        self._aspects = {size_px: aspect for aspect, size_px in allowed.items()}
        self._autoencoder, self._text = autoencoder, text
        self._by_size: dict[tuple[int, int], list[Path]] = {}
        for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES):
            if path.with_suffix(".txt").is_file():
                self._by_size.setdefault(self._nearest(path), []).append(path)
        if not self._by_size:
            raise ModelNotLoadable(
                f"{folder} holds no picture ({', '.join(sorted(SUFFIXES))}) with a caption beside it; "
                "give a.jpg and a.txt"
            )

    def batch(self, size: int, dropped_text: float, rng: Random) -> tuple[Tensor, Tensor | None]:
        """Latents [B, C, h, w] of one size and text states [B, L, D]; a share of the captions is empty."""
        grids = list(self._by_size)
        size_px = rng.choices(grids, [len(self._by_size[one]) for one in grids])[0]
        paths = rng.choices(self._by_size[size_px], k=size)
        captions = [
            "" if rng.random() < dropped_text else path.with_suffix(".txt").read_text("utf-8").strip() for path in paths
        ]
        if self._names_aspect:
            captions = [with_aspect(caption, self._aspects[size_px]) for caption in captions]
        pixels, sources = _pixels(paths, size_px), generators([rng.getrandbits(62) for _ in paths])
        if isinstance(self._autoencoder, Pixels):
            latents = self._autoencoder.encode(pixels)
        else:
            latents = self._autoencoder.encode(pixels, sources)
        return latents, None if self._text is None else self._text.encode(captions).states

    def _nearest(self, path: Path) -> tuple[int, int]:
        with Image.open(path) as picture:
            width_px, height_px = ImageOps.exif_transpose(picture).size
        shape = math.log(height_px / width_px)
        return min(self._aspects, key=lambda size_px: abs(math.log(size_px[0] / size_px[1]) - shape))


def _pixels(paths: Sequence[Path], size_px: tuple[int, int]) -> np.ndarray:
    """[B, H, W, 3] uint8, cropped around the middle."""
    height_px, width_px = size_px
    fitted = []
    for path in paths:
        with Image.open(path) as picture:
            whole = ImageOps.exif_transpose(picture).convert("RGB")
            fitted.append(np.asarray(ImageOps.fit(whole, (width_px, height_px), Image.Resampling.LANCZOS)))
    return np.stack(fitted)
