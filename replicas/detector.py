"""The independent check: which objects stand where, and on what background, read off the pixels alone.

A grid detector that was trained on rendered scenes only. It knows nothing of prompts, of the scorer, or of the tiers;
`matches` then compares what it read with what was asked. It is used to measure the tiers, never to serve.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from .blocks import Block, RMSNorm
from .patches import GRID, TOKENS, to_patches, to_unit_range
from .scenes.prompts import Scene
from .scenes.vocabulary import BACKGROUNDS, OBJECTS


@dataclass(frozen=True, slots=True)
class Seen:
    """What the detector read: (object index, row, column) of each object, and the background's index."""

    objects: tuple[tuple[int, int, int], ...]
    background: int


class Detector(nn.Module):
    """ViT over 8-px patches: a class (nothing or an object) a cell, and one background a picture."""

    def __init__(self, width: int = 128, layers: int = 4, heads: int = 2) -> None:
        super().__init__()
        self.config = {"width": width, "layers": layers, "heads": heads}
        self.embed = nn.Linear(192, width)
        self.position = nn.Parameter(0.02 * torch.randn(TOKENS, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = RMSNorm(width)
        self.cell = nn.Linear(width, 1 + len(OBJECTS))
        self.background = nn.Linear(width, len(BACKGROUNDS))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 64, 64, 3] in [-1, 1] -> cell logits [B, 64, 1 + objects], background logits [B, backgrounds]."""
        x = self.embed(to_patches(pixels)) + self.position
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return self.cell(x), self.background(x.mean(1))

    @torch.inference_mode()
    def read(self, images: np.ndarray) -> list[Seen]:
        """[B, 64, 64, 3] uint8 -> what stands in each picture. A cell counts where it is surer than not."""
        cells, backgrounds = self(to_unit_range(images))
        probability = cells.softmax(-1)
        best, index = probability[..., 1:].max(-1)
        found = []
        for b in range(len(images)):
            objects = []
            for token in torch.nonzero(best[b] > 0.5).flatten().tolist():
                objects.append((int(index[b, token]), token // GRID, token % GRID))
            found.append(Seen(tuple(objects), int(backgrounds[b].argmax())))
        return found


_HOLDS = {
    "left": lambda a, b: a[2] < b[2],
    "right": lambda a, b: a[2] > b[2],
    "above": lambda a, b: a[1] < b[1],
    "below": lambda a, b: a[1] > b[1],
}


def matches(scene: Scene, seen: Seen) -> bool:
    """Fully right: exactly the objects that were asked for, and the background, or relation, if one was asked for."""
    asked = Counter(placed.index for placed in scene.objects)
    if Counter(found[0] for found in seen.objects) != asked:
        return False
    if scene.kind == "background" and seen.background != scene.background:
        return False
    if scene.relation is not None:
        where = {found[0]: found for found in seen.objects}
        return bool(_HOLDS[scene.relation](where[scene.objects[0].index], where[scene.objects[1].index]))
    return True


def has_objects(scene: Scene, seen: Seen) -> bool:
    """The kinds of object that were asked for are all there, whatever their number or place."""
    return {placed.index for placed in scene.objects} <= {found[0] for found in seen.objects}
