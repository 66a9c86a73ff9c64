"""How long the sentence encoder takes for a prompt, on one thread, and what its vector adds to a decision.

    python -m tests.bench.bench_encode results.csv [--times 100]

Rows for float32 and bfloat16, for a short prompt, a long one and one of 256 word pieces (the most that is read), alone
and eight at once; then `features.extract` without and with a vector that is there already. Runs the encoder's tests
first and measures nothing on red. Prints a table and appends one CSV row per line of it.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path

from bandit.features import DEFAULT_SCHEMA, SCHEMAS, extract, needs_vector
from replicas.sentence_encoder import SentenceEncoder
from tests.bench.bench_decide import COLUMNS, PROMPTS, ROOT, Row, commit, machine, timed

TESTS = ("replicas/test_sentence_encoder.py", "replicas/test_sentence_projection.py", "bandit/test_features.py")
LONGEST = " ".join(PROMPTS.values()) * 20  # cut to 4,000 characters, and those to 256 word pieces
FASTER = 5  # the shortest call is repeated that much more often


def measure(times: int) -> Iterator[Row]:
    """Wall and processor time of the same calls. Raises ModelNotLoadable without weights."""
    for dtype in ("float32", "bfloat16"):
        encoder = SentenceEncoder(dtype=dtype, threads=1)
        encoder.load()
        for what, text in (*PROMPTS.items(), ("longest", LONGEST)):
            for batch in (1, 8):
                call = partial(encoder.encode, [text] * batch)
                many = times * FASTER if what == "short" and batch == 1 else times
                yield from timed(f"encode, {dtype}", f"{what} prompt x {batch}", call, many)
        vector = encoder.encode([PROMPTS["short"]])[0]
        encoder.close()
    with_vector = next(schema for schema in SCHEMAS if needs_vector(schema))
    yield from timed("features.extract", DEFAULT_SCHEMA, partial(extract, PROMPTS["short"]), times * 50)
    yield from timed(
        "features.extract", with_vector, partial(extract, PROMPTS["short"], with_vector, vector=vector), times * 50
    )


def main() -> int:
    """Test, measure, print, append."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, help="CSV file to append to")
    parser.add_argument("--times", type=int, default=100)
    options = parser.parse_args()
    tests = [str(ROOT / "tests" / name) for name in TESTS]
    if subprocess.run([sys.executable, "-m", "pytest", "-q", *tests], cwd=ROOT, check=False).returncode:
        print("tests are red: nothing was measured", file=sys.stderr)
        return 1
    versions = ", ".join(
        [f"python {platform.python_version()}", *(f"{name} {version(name)}" for name in ("torch", "transformers"))]
    )
    stamp = [machine(), versions, commit(), datetime.now(UTC).date().isoformat()]
    print(f"{stamp[0]}; {stamp[1]}; {stamp[2]}; load {os.getloadavg()[0]:.1f}")
    new = not options.path.exists()
    with options.path.open("a", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(COLUMNS)
        for row in measure(options.times):
            numbers = [f"{value:.4g}" for value in row.percentiles()]
            writer.writerow([row.what, row.shape, row.metric, row.unit, *numbers, *stamp])
            print(
                f"{row.what:<20}{row.shape:<22}{row.metric:<16}{row.unit:<4}" + "".join(f"{n:>10}" for n in numbers),
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
