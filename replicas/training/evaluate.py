"""Measure the embedded models: `python -m replicas.training.evaluate`. Writes a table (JSON, Markdown) and a contact sheet.

The independent check (detector.py) reads every picture; the scorer is judged beside it, never used as the judge.
Captions are held out: their combinations were never trained on.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from ..autoencoder import Autoencoder
from ..detector import Detector, has_objects, matches
from ..diffusion import DiffusionTier
from ..embedded import WEIGHTS, load_module
from ..embedded_scorer import EmbeddedScorer
from ..flow import FlowTier
from ..gan import GanTier
from ..patches import to_uint8, to_unit_range
from ..scenes.negatives import negative
from ..scenes.prompts import KINDS, Scene, sample_scene
from ..scenes.render import render_many
from ..tier import GenerationRequest, Tier

TIERS: Mapping[str, tuple[type[Tier], Mapping[str, Any]]] = {
    "gan": (GanTier, {}),
    "diffusion@draft": (DiffusionTier, {"steps": 4, "guidance": 3.0}),
    "diffusion@standard": (DiffusionTier, {"steps": 12, "guidance": 3.0}),
    "flow": (FlowTier, {"guidance": 2.0}),
}


def draw(tier: Tier, scenes: list[Scene], seed: int, batch: int = 25) -> np.ndarray:
    """One picture a scene, seeds counting up."""
    pictures = []
    for begin in range(0, len(scenes), batch):
        part = scenes[begin : begin + batch]
        requests = [GenerationRequest(s.caption, seed + begin + i, "measured") for i, s in enumerate(part)]
        pictures.append(tier.generate(requests))
    return np.concatenate(pictures)


def seconds_an_image(tier: Tier, batch: int, repeats: int = 12) -> float:
    """Median wall time of one batch, over its size."""
    requests = [GenerationRequest("a cat to the left of a dog", i, "measured") for i in range(batch)]
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        tier.generate(requests)
        times.append(time.perf_counter() - started)
    return float(np.median(times)) / batch


def auc(score: np.ndarray, right: np.ndarray) -> float | None:
    """Probability that a right picture scores above a wrong one (ties count half)."""
    good, bad = score[right], score[~right]
    if not len(good) or not len(bad):
        return None
    return float((good[:, None] > bad).mean() + 0.5 * (good[:, None] == bad).mean())


def judge_scorer(scorer: EmbeddedScorer, images: np.ndarray, scenes: list[Scene], rng: Random) -> dict[str, float]:
    """Share of held-out originals whose right caption scores above a caption wrong by one thing."""
    right = scorer.score(images, [s.caption for s in scenes])
    out = {}
    for name, attribute in (("object", False), ("attribute", True)):
        wrong = scorer.score(images, [negative(rng, s, attribute)[1] for s in scenes])
        out[name] = float((right > wrong).mean())
    return out


def contact_sheet(rows: Mapping[str, np.ndarray], captions: list[str], path: Path) -> None:
    """Tiers across, prompts down, each picture twice its size."""
    cell, left, top = 132, 250, 22
    sheet = Image.new("RGB", (left + cell * len(rows), top + cell * len(captions)), "#eeeeee")
    pen = ImageDraw.Draw(sheet)
    for column, (name, pictures) in enumerate(rows.items()):
        pen.text((left + column * cell + 4, 5), name, fill="black")
        for row, picture in enumerate(pictures):
            large = Image.fromarray(picture).resize((128, 128), Image.Resampling.NEAREST)
            sheet.paste(large, (left + column * cell, top + row * cell))
    for row, caption in enumerate(captions):
        pen.text((6, top + row * cell + 56), caption, fill="black")
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, optimize=True)


def markdown(result: Mapping[str, Any]) -> str:
    """The table of the README: share fully right by the check, per kind of prompt."""
    kinds = list(result["check"]["original"])
    lines = ["| | " + " | ".join(kinds) + " | s an image | AUC of the scorer |", "|---" * (len(kinds) + 3) + "|"]
    for name, rates in result["check"].items():
        cells = [f"{rates[kind]['right']:.2f}" for kind in kinds]
        seconds = result["seconds"].get(name)
        ranked = result["auc"].get(name)
        cells += [f"{seconds:.3f}" if seconds else "", f"{ranked:.2f}" if ranked else ""]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure what has weights, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="held-out prompts a kind")
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder of models.json, models.md, contact_sheet.png")
    parser.add_argument("--only", nargs="*", default=list(TIERS))
    parser.add_argument("--seed", type=int, default=20_000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rng = Random(options.seed)
    detector = load_module(Detector, options.weights / "detector.safetensors")
    autoencoder = load_module(Autoencoder, options.weights / "autoencoder.safetensors")
    scenes = [sample_scene(rng, kind, held_out=True) for kind in KINDS for _ in range(options.count)]
    kinds = np.array([scene.kind for scene in scenes])
    originals = render_many(scenes)
    drawn = {"original": originals}
    with torch.inference_mode():
        latents = autoencoder.encode(to_unit_range(originals))
        drawn["autoencoder"] = np.concatenate([to_uint8(autoencoder.decode(part)) for part in latents.split(50)])
    seconds: dict[str, float] = {}
    chosen = [i for kind in KINDS for i in np.flatnonzero(kinds == kind)[:3]]
    for name in options.only:
        cls, sampler = TIERS[name]
        tier = cls(str(options.weights), {"measured": sampler}) if cls is not DiffusionTier else cls(None, {"measured": sampler})
        tier.load("cpu")
        tier.warm_up()
        drawn[name] = draw(tier, scenes, options.seed)
        seconds[name] = seconds_an_image(tier, 1)
        print(f"{name}: drawn, {seconds[name]:.3f} s an image", flush=True)
    scorer = None
    if (options.weights / "scorer.safetensors").exists():
        scorer = EmbeddedScorer(str(options.weights))
        scorer.load("cpu")
    check: dict[str, dict[str, dict[str, float]]] = {}
    ranking: dict[str, float | None] = {}
    quality: dict[str, dict[str, float]] = {}
    rows = []  # (score, right) of every generated picture
    for name, pictures in drawn.items():
        seen = [reading for part in np.array_split(pictures, 20) for reading in detector.read(part)]
        right = np.array([matches(scene, found) for scene, found in zip(scenes, seen, strict=True)])
        present = np.array([has_objects(scene, found) for scene, found in zip(scenes, seen, strict=True)])
        check[name] = {k: {"right": float(right[kinds == k].mean()), "objects": float(present[kinds == k].mean())} for k in KINDS}
        if scorer:
            score = np.concatenate([scorer.score(pictures[i : i + 50], [s.caption for s in scenes[i : i + 50]]) for i in range(0, len(scenes), 50)])
            quality[name] = {k: float(score[kinds == k].mean()) for k in KINDS}
            if name in options.only:
                ranking[name] = auc(score, right)
                rows.append((score, right))
    result: dict[str, Any] = {
        "prompts_a_kind": options.count, "machine": platform.processor() or platform.machine(),
        "date": time.strftime("%Y-%m-%d"), "check": check, "scorer": quality, "auc": ranking, "seconds": seconds,
    }  # fmt: skip
    if scorer and rows:
        result["auc_all"] = auc(np.concatenate([s for s, _ in rows]), np.concatenate([r for _, r in rows]))
        result["scorer_accuracy"] = {
            kind: judge_scorer(scorer, originals[kinds == kind], [s for s in scenes if s.kind == kind], rng) for kind in KINDS
        }  # fmt: skip
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "models.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (options.out / "models.md").write_text(markdown(result) + "\n", encoding="utf-8")
    contact_sheet({k: v[chosen] for k, v in drawn.items() if k != "autoencoder"}, [scenes[i].caption for i in chosen], options.out / "contact_sheet.png")
    print(markdown(result))
    print({k: result[k] for k in ("auc_all", "scorer_accuracy") if k in result})


if __name__ == "__main__":
    main()
