"""Train the scorer: `python -m replicas.training.scorer`. Needs the autoencoder's weights, to draw spoiled pictures.

Every picture meets every caption of the batch, its own three wrong captions among them, with the label worked out from
the scenes. A share of the pictures is spoiled (part of an object's latents replaced): those match no caption.
"""

from __future__ import annotations

from random import Random

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from replicas.autoencoder import Autoencoder
from replicas.detector import Seen, matches
from replicas.embedded import load_module
from replicas.embedded_scorer import DualEncoder
from replicas.patches import GRID, PATCH_PX, to_unit_range
from replicas.scenes.negatives import OPPOSITE, negative
from replicas.scenes.prompts import Placed, Scene, sample_scene
from replicas.scenes.render import object_map, render_many
from replicas.scenes.vocabulary import OBJECTS, RELATIONS
from replicas.text import WordTokenizer

from .detector import degrade
from .loop import Plan, Run, compiled, parse_arguments, save_weights

BATCH = 32
SPOILED = 6  # of a batch
NEGATIVES = 3  # wrong captions a picture: one wrong object, two wrong attributes


def truth(scene: Scene) -> Seen:
    """What a perfect reader would see."""
    middle = [(p.index, (p.y_px + p.size_px // 2) // 8, (p.x_px + p.size_px // 2) // 8) for p in scene.objects]
    return Seen(tuple(middle), scene.background)


def spoil(latents: Tensor, scene: Scene, rng: Random) -> Tensor:
    """Replace 40 to 90 % of one object's tokens by noise or by other tokens of the picture: [64, 16] -> [64, 16]."""
    placed = rng.choice(scene.objects)
    rows = range(placed.y_px // PATCH_PX, (placed.y_px + placed.size_px) // PATCH_PX)
    columns = range(placed.x_px // PATCH_PX, (placed.x_px + placed.size_px) // PATCH_PX)
    tokens = [r * GRID + c for r in rows for c in columns]
    hit = rng.sample(tokens, max(3, int(len(tokens) * rng.uniform(0.4, 0.9))))
    out = latents.clone()
    if rng.random() < 0.5:
        out[hit] = latents[hit] * rng.uniform(0, 0.6) + torch.randn(len(hit), latents.shape[1]) * rng.uniform(0.6, 1.2)
    else:
        out[hit] = latents[[rng.randrange(GRID * GRID) for _ in hit]]
    return out


def trained_negative(rng: Random, scene: Scene, attribute: bool) -> Scene:
    """A caption wrong by one thing that is not held out: one that is only ever wrong in training would stay wrong."""
    for _ in range(20):
        wrong, words = negative(rng, scene, attribute)
        if wrong.kind == "single" or not wrong.held_out(words):
            break
    else:
        wrong, words = negative(rng, scene, attribute=False)
    places = tuple(Placed(index, 0, 0, 0) for index in wrong.indices)
    return Scene(wrong.kind, words, wrong.background, places, wrong.relation)


def sides(scene: Scene) -> Tensor:
    """[objects * relations] 0 or 1: the first object lies where the relation says, the second opposite."""
    out = torch.zeros(len(OBJECTS), len(RELATIONS))
    if scene.relation is not None:
        names = list(RELATIONS)
        out[scene.objects[0].index, names.index(scene.relation)] = 1
        out[scene.objects[1].index, names.index(OPPOSITE[scene.relation])] = 1
    return out.flatten()


def main() -> None:
    """Run or resume."""
    options = parse_arguments(__doc__ or "", steps=6000)
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    tokenize = WordTokenizer()
    model = DualEncoder(tokenize.size)
    autoencoder = load_module(Autoencoder, options.weights / "autoencoder.safetensors")
    run = Run("scorer", model, Plan(options.steps, learning_rate=1e-3), options.runs)
    rng = Random(options.seed + 1_000_003 * run.step + 23)

    def pictures(scenes: list[Scene]) -> Tensor:
        """Half as rendered, half through noisy latents; the first SPOILED of them spoiled."""
        pixels = to_unit_range(render_many(scenes))
        with torch.no_grad():
            latents = autoencoder.encode(pixels[: BATCH // 2])
            latents = latents + 0.4 * torch.rand(len(latents), 1, 1) * torch.randn_like(latents)
            spoiled = [spoil(latents[i], scenes[i], rng) for i in range(SPOILED)]
            drawn = autoencoder.decode(torch.cat([torch.stack(spoiled), latents[SPOILED:]]))
        return torch.cat([drawn.clamp(-1, 1), degrade(pixels[BATCH // 2 :])])

    def forward(
        pixels: Tensor, ids: Tensor, label: Tensor, own: Tensor, cells: Tensor, placed: Tensor, related: Tensor
    ) -> tuple[Tensor, Tensor]:
        images, cell_logits = model.encode_images(pixels)
        texts = model.encode_texts(ids)
        logits = model.logits(images @ texts.T)  # [B, captions]
        wrong = functional.binary_cross_entropy_with_logits(logits, label, reduction="none")
        groups = (label, own * (1 - label), (1 - own) * (1 - label))  # right, wrong by one thing, wrong
        loss = sum((wrong * group).sum() / group.sum() for group in groups)
        kept = functional.cross_entropy(cell_logits.float()[SPOILED:].flatten(0, 1), cells)
        place_logits = model.locate(torch.cat([images[SPOILED:], texts]))
        place = functional.binary_cross_entropy_with_logits(place_logits, placed, reduction="none").sum(-1)
        guessed = ((logits > 0).float() == label).float()
        right = (guessed * groups[1]).sum() / groups[1].sum()
        return loss + 4 * kept + 0.2 * (place * related).sum() / related.sum(), right

    objective = compiled(forward, options)

    def step(_: int) -> tuple[Tensor, dict[str, float]]:
        scenes = [sample_scene(rng) for _ in range(BATCH)]
        asked = list(scenes)
        for scene in scenes:
            for i in range(NEGATIVES):
                asked.append(trained_negative(rng, scene, attribute=i > 0))
        label = torch.tensor([[float(matches(question, seen)) for question in asked] for seen in map(truth, scenes)])
        label[:SPOILED] = 0
        own = torch.eye(BATCH)
        own = torch.cat([own, own.repeat_interleave(NEGATIVES, 1)], 1)
        cells = torch.from_numpy(np.stack([object_map(scene) for scene in scenes[SPOILED:]])).flatten()
        facts = [*scenes[SPOILED:], *asked]
        placed = torch.stack([sides(fact) for fact in facts])
        related = torch.tensor([float(fact.relation is not None) for fact in facts])
        ids = tokenize([question.caption for question in asked])
        with torch.autocast("cpu", torch.bfloat16):
            loss, right = objective(pictures(scenes), ids, label, own, cells, placed, related)
        return loss, {"hard": right.item()}

    run.train(step, lambda: save_weights(model, options.weights / "scorer.safetensors", run.ema_state()))


if __name__ == "__main__":
    main()
