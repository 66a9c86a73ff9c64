"""Rasterise the icons of `@iconify-json/fluent-emoji-flat` (MIT, Microsoft) into sprites.safetensors.

npm pack @iconify-json/fluent-emoji-flat@1.2.6 && tar xzf iconify-json-fluent-emoji-flat-1.2.6.tgz
pip install resvg-py==0.5.0
python -m replicas.scenes.build_sprites package/icons.json
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

from .prompts import LARGE_PX, SMALL_PX
from .render import SPRITES
from .vocabulary import OBJECTS


def main(icons_json: str) -> None:
    """Write one [objects, size, size, 4] uint8 RGBA tensor a size."""
    import resvg_py

    icons = json.loads(Path(icons_json).read_text(encoding="utf-8"))["icons"]
    tensors = {}
    for size in (SMALL_PX, LARGE_PX):
        pictures = []
        for thing in OBJECTS:
            svg = (
                '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
                f'viewBox="0 0 32 32">{icons[thing.icon]["body"]}</svg>'
            )
            png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size))
            pictures.append(np.asarray(Image.open(io.BytesIO(png)).convert("RGBA")))
        tensors[f"px{size}"] = np.stack(pictures)
    save_file(tensors, SPRITES, metadata={"source": "@iconify-json/fluent-emoji-flat@1.2.6", "license": "MIT"})
    print(f"{SPRITES}: {len(OBJECTS)} objects")


if __name__ == "__main__":
    main(sys.argv[1])
