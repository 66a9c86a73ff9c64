"""Measure the embedded models: `python -m replicas.training.evaluate`. Writes tables and a contact sheet.

The independent check (detector.py) reads every picture; the scorer is judged beside it, never used as the judge.
Captions are held out: their combinations were never trained on.
"""

from __future__ import annotations

import argparse
import json
import platform
import textwrap
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from replicas.autoencoder import Autoencoder
from replicas.detector import Detector, has_objects, matches
from replicas.embedded import WEIGHTS, load_module
from replicas.embedded_scorer import EmbeddedScorer
from replicas.flow import FlowTier
from replicas.gan import GanTier
from replicas.latent_diffusion import EmbeddedLatentDiffusion
from replicas.patches import to_uint8, to_unit_range
from replicas.scenes.negatives import negative
from replicas.scenes.prompts import KINDS, Scene, sample_scene
from replicas.scenes.render import render_many
from replicas.tier import GenerationRequest, Tier


def embedded_flow(folder: str, presets: Mapping[str, Mapping[str, Any]]) -> FlowTier:
    """The flow tier with the weights of `folder`."""
    tier = FlowTier(presets=presets)
    tier.embedded_folder = Path(folder)
    return tier


# As in the embedded catalogue (a test compares them).
TIERS: Mapping[str, tuple[Callable[..., Tier], Mapping[str, Any]]] = {
    "gan@fast": (GanTier, {}),
    "diffusion@draft": (EmbeddedLatentDiffusion, {"steps": 4, "guidance": 1.5}),
    "diffusion@standard": (EmbeddedLatentDiffusion, {"steps": 8, "guidance": 1.5}),
    "flow@standard": (embedded_flow, {"guidance": 1.0, "temperature": 0.9, "deep_part_tokens": 1}),
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
    """Prompts across, what was asked for and each tier down, every picture at 1.5 times its size."""
    cell, left, top = 100, 130, 58
    sheet = Image.new("RGB", (left + cell * len(captions), top + cell * len(rows)), "#f2f2f2")
    pen = ImageDraw.Draw(sheet)
    for column, caption in enumerate(captions):
        pen.multiline_text((left + column * cell + 2, 4), textwrap.fill(caption, 16), fill="black", spacing=1)
    for row, (name, pictures) in enumerate(rows.items()):
        pen.text((6, top + row * cell + 42), name, fill="black")
        for column, picture in enumerate(pictures):
            large = Image.fromarray(picture).resize((96, 96), Image.Resampling.LANCZOS)
            sheet.paste(large, (left + column * cell + 2, top + row * cell + 2))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, optimize=True)


def machine() -> str:
    """The CPU's name and the number of threads used."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, 1 thread"


def markdown(result: Mapping[str, Any]) -> str:
    """The tables of the README: share fully right by the check, per kind of prompt; the scorer against the check."""
    lines = ["| | " + " | ".join(KINDS) + " | s an image | AUC of the scorer |", "|---" * (len(KINDS) + 3) + "|"]
    for name, rates in result["check"].items():
        cells = [f"{rates[kind]:.2f}" for kind in KINDS]
        for column, digits in (("seconds", 3), ("auc", 2)):
            value = result.get(column, {}).get(name)
            cells.append("" if value is None else f"{value:.{digits}f}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    if "scorer_accuracy" in result:
        lines += ["", "| scorer tells right from | " + " | ".join(KINDS) + " |", "|---" * (len(KINDS) + 1) + "|"]
        for row in ("object", "attribute"):
            cells = [f"{result['scorer_accuracy'][kind][row]:.2f}" for kind in KINDS]
            lines.append(f"| wrong {row} | " + " | ".join(cells) + " |")
        lines += ["", f"AUC over all generated pictures: {result['auc_of_all']:.2f}"]
    lines += ["", f"{result['prompts_a_kind']} held-out prompts a kind, {result['date']}, {result['machine']}."]
    return "\n".join(lines)


def draw_all(options: argparse.Namespace, scenes: list[Scene]) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Pictures of every model for every scene, and the seconds that one image takes alone."""
    originals = render_many(scenes)
    autoencoder = load_module(Autoencoder, options.weights / "autoencoder.safetensors")
    with torch.inference_mode():
        latents = autoencoder.encode(to_unit_range(originals))
        decoded = [to_uint8(autoencoder.decode(part)) for part in latents.split(50)]
    drawn, seconds = {"original": originals, "autoencoder": np.concatenate(decoded)}, {}
    for name in options.only:
        kind, sampler = TIERS[name]
        tier = kind(str(options.weights), {"measured": sampler})
        tier.load("cpu")
        tier.warm_up()
        drawn[name] = draw(tier, scenes, options.seed)
        seconds[name] = seconds_an_image(tier, 1)
        print(f"{name}: drawn, {seconds[name]:.3f} s an image", flush=True)
    return drawn, seconds


def rate_per_kind(scenes: list[Scene], flags: np.ndarray) -> dict[str, float]:
    """Mean of one value a scene, per kind of prompt."""
    return {kind: float(np.mean([f for s, f in zip(scenes, flags, strict=True) if s.kind == kind])) for kind in KINDS}


def check_all(detector: Detector, scenes: list[Scene], drawn: Mapping[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """What the independent check says of each model's pictures: fully right, and right objects, a flag a scene."""
    out = {}
    for name, pictures in drawn.items():
        seen = [reading for part in np.array_split(pictures, 20) for reading in detector.read(part)]
        pairs = list(zip(scenes, seen, strict=True))
        out[name] = {
            "right": np.array([matches(*p) for p in pairs]),
            "objects": np.array([has_objects(*p) for p in pairs]),
        }
    return out


def score_all(scorer: EmbeddedScorer, scenes: list[Scene], drawn: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The scorer's value of each picture."""
    captions = [scene.caption for scene in scenes]
    parts = range(0, len(scenes), 50)
    return {
        name: np.concatenate([scorer.score(pictures[i : i + 50], captions[i : i + 50]) for i in parts])
        for name, pictures in drawn.items()
    }


def main() -> None:
    """Measure what has weights, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="held-out prompts a kind")
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder of models.{json,md}, contact_sheet.png")
    parser.add_argument("--only", nargs="*", default=list(TIERS))
    parser.add_argument("--seed", type=int, default=20_000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rng = Random(options.seed)
    scenes = [sample_scene(rng, kind, held_out=True) for kind in KINDS for _ in range(options.count)]
    drawn, seconds = draw_all(options, scenes)
    checked = check_all(load_module(Detector, options.weights / "detector.safetensors"), scenes, drawn)
    result: dict[str, Any] = {
        "prompts_a_kind": options.count, "machine": machine(), "date": time.strftime("%Y-%m-%d"), "seconds": seconds,
        "check": {name: rate_per_kind(scenes, flags["right"]) for name, flags in checked.items()},
        "objects": {name: rate_per_kind(scenes, flags["objects"]) for name, flags in checked.items()},
    }  # fmt: skip
    if (options.weights / "scorer.safetensors").exists():
        scorer = EmbeddedScorer(str(options.weights))
        scorer.load("cpu")
        scores = score_all(scorer, scenes, drawn)
        result["scorer"] = {name: rate_per_kind(scenes, values) for name, values in scores.items()}
        result["auc"] = {name: auc(scores[name], checked[name]["right"]) for name in options.only}
        generated = [np.concatenate([side[name] for name in options.only]) for side in (
            scores, {name: flags["right"] for name, flags in checked.items()}
        )]  # fmt: skip
        result["auc_of_all"] = auc(*generated)
        originals = drawn["original"]
        result["scorer_accuracy"] = {
            kind: judge_scorer(
                scorer, originals[[s.kind == kind for s in scenes]], [s for s in scenes if s.kind == kind], rng
            )
            for kind in KINDS
        }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "models.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (options.out / "models.md").write_text(markdown(result) + "\n", encoding="utf-8")
    chosen = [options.count * k + i for k in range(len(KINDS)) for i in range(2)]
    shown = {name: pictures[chosen] for name, pictures in drawn.items() if name != "autoencoder"}
    contact_sheet(shown, [scenes[i].caption for i in chosen], options.out / "contact_sheet.png")
    print(markdown(result))


if __name__ == "__main__":
    main()
