"""Make the sentence encoder's projection from public prompts: `python -m replicas.training.sentence_projection CSV`.

CSV (or CSV.gz) has the columns `source` and `prompt`; sources without a clear licence are left out, unknown ones too.
The result is the mean and the first 128 principal components of the prompts' sentence vectors, where a source counts by
the square root of its size, so that the largest does not decide alone. No prompt is in it.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

from replicas.sentence_encoder import SentenceEncoder
from replicas.sentence_projection import INPUT_NUMBERS, OUTPUT_NUMBERS, PROBE, PROJECTION

SOURCES = {
    "dpg_bench": "Apache-2.0 (TencentQQGYLab/ELLA)",
    "dsg1k": "Apache-2.0 (j-min/DSG)",
    "gecko2k": "CC-BY-4.0 (google-deepmind/gecko_benchmark_t2i)",
    "geneval": "MIT (djghosh13/geneval)",
    "imagereward100": "Apache-2.0 (THUDM/ImageReward)",
    "partiprompts": "Apache-2.0 (google-research/parti)",
    "t2i_compbench": "MIT (Karine-Huang/T2I-CompBench)",
    "unigenbench": "CC-BY-4.0 (Tencent, CodeGoat24/UniGenBench)",
}
ENCODER = "sentence-transformers/all-MiniLM-L6-v2, Apache-2.0"


def read_prompts(path: Path) -> tuple[list[str], list[str]]:
    """Sources and prompts of the rows whose source is one of SOURCES."""
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    text = io.StringIO(content.decode("utf-8"), newline="")  # a prompt may hold line ends
    rows = [(row["source"], row["prompt"]) for row in csv.DictReader(text) if row["source"] in SOURCES]
    return [source for source, _ in rows], [prompt for _, prompt in rows]


def weights_of(sources: Sequence[str]) -> NDArray[np.float64]:
    """[N], sums to 1: a source's prompts together weigh as the square root of their number."""
    count = Counter(sources)
    weights = np.array([count[source] ** -0.5 for source in sources])
    return weights / weights.sum()


def components(
    vectors: NDArray[np.float32], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weighted mean [D] and principal axes [D, D] as columns, strongest first, the largest number of each positive."""
    mean = weights @ vectors.astype(np.float64)
    centred = vectors - mean
    _, axes = np.linalg.eigh((centred * weights[:, None]).T @ centred)
    axes = axes[:, ::-1]  # eigh: weakest first
    signs = np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    return mean, axes * signs


def kept_variance(vectors: NDArray[np.float32], mean: NDArray[np.float64], basis: NDArray[np.float64]) -> float:
    """Share of the vectors' own variance (about their own mean) that lies in the basis."""
    centred = vectors - vectors.mean(axis=0, dtype=np.float64)
    return float(((centred @ basis) ** 2).sum() / (centred**2).sum())


def main() -> None:
    """Read, encode, write, and say what is kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prompts", type=Path, metavar="CSV")
    parser.add_argument("--model", help="folder of the encoder (default: the installed package)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--out", type=Path, default=PROJECTION)
    given = parser.parse_args()
    sources, prompts = read_prompts(given.prompts)
    if len(prompts) <= OUTPUT_NUMBERS:
        parser.error(f"{given.prompts} has {len(prompts)} prompts of the sources {', '.join(SOURCES)}; more are needed")
    encoder = SentenceEncoder(given.model, projection=None, threads=given.threads)
    encoder.load()
    vectors, probe = encoder.encode(prompts), encoder.encode([PROBE])[0]
    assert vectors.shape[1] == INPUT_NUMBERS
    mean, axes = components(vectors, weights_of(sources))
    basis = axes[:, :OUTPUT_NUMBERS]
    count = Counter(sources)
    metadata = {
        "what": f"mean and first {OUTPUT_NUMBERS} principal components of sentence vectors; holds no prompt",
        "encoder": ENCODER,
        "sources": json.dumps({name: f"{count[name]} prompts, {SOURCES[name]}" for name in sorted(count)}),
        "weights": "each source by the square root of its number of prompts",
        "probe": PROBE,
        "made_by": f"python -m replicas.training.sentence_projection, torch {torch.__version__}",
        "date": datetime.now(UTC).date().isoformat(),
        "licence": "Apache-2.0, as this repository",
    }
    parts = {"mean": mean, "basis": basis, "probe": probe}
    save_file({name: np.ascontiguousarray(part, np.float32) for name, part in parts.items()}, given.out, metadata)
    print(f"{given.out}: from {len(prompts)} prompts of {len(count)} sources")
    for name in sorted(count):
        share = kept_variance(vectors[np.array(sources) == name], mean, basis)
        print(f"  {name:16} {count[name]:6} prompts, {share:.3f} of their variance kept")
    print(f"  {'all, unweighted':16} {len(prompts):6} prompts, {kept_variance(vectors, mean, basis):.3f}")


if __name__ == "__main__":
    main()
