"""`python -m serve demo` against a real local Ray with tiers that need no model."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from serve.catalogue import parse_catalogue
from serve.local import running
from serve.settings import Settings

CATALOGUE = """\
version: 1
policy: {name: factored, floor: 0.1}
learning: {snapshot_every: 5, snapshot_after_s: 0.5}
weights:
  auto: {quality: 1.0, latency_per_s: 0.1, cost_per_usd: 100.0}
  low: {quality: 1.0, latency_per_s: 0.1, cost_per_usd: 100.0}
  medium: {quality: 1.0, latency_per_s: 0.1, cost_per_usd: 100.0}
  high: {quality: 2.0, latency_per_s: 0.0, cost_per_usd: 0.0}
scorer: {class: "replicas.fake:FakeScorer", resources: {num_cpus: 0.1}}
tiers:
  - {name: cheap, class: "replicas.fake:FakeTier", family: fake, resources: {num_cpus: 0.1},
     presets: {fast: {price_usd: 0.0001, service_s: 0.01}}}
  - {name: dear, class: "replicas.fake:FakeTier", family: fake, resources: {num_cpus: 0.1},
     presets: {fine: {price_usd: 0.005, service_s: 0.05, options: {service_s: 0.05}}}}
"""


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ray_dir = Path(tempfile.mkdtemp(prefix="sb-"))  # a short path: Ray puts sockets below it
    settings = Settings(port=port, journal_url=f"sqlite:///{tmp_path / 'journal.db'}")
    try:
        with running(parse_catalogue(CATALOGUE, "demo.yaml"), settings, ray_dir) as url:
            yield url
    finally:
        shutil.rmtree(ray_dir, ignore_errors=True)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_demo_measures_a_real_gateway_and_writes_picture_and_numbers(url: str, root: Path, tmp_path: Path) -> None:
    out = tmp_path / "demo.png"
    command = [sys.executable, "-m", "serve", "demo", "--count", "30", "--references", "10", "--seed", "3"]
    done = subprocess.run(
        [*command, "--quality", "high", "--out", str(out), "--url", url],
        cwd=root, capture_output=True, text=True, check=False, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    assert "| **router** |" in done.stdout
    with Image.open(out) as picture:
        assert picture.format == "PNG"

    results = json.loads(out.with_suffix(".json").read_text())
    assert results["arms"] == ["cheap@fast", "dear@fine"]
    assert results["weights"] == {"quality": 2.0, "latency_per_s": 0.0, "cost_per_usd": 0.0}
    assert results["comparison"]["prompts"] == 10
    rows = results["rows"]
    assert len(rows) == 30 + 2 * 10
    assert all(row["utility"] == pytest.approx(2 * row["quality"]) for row in rows)
    assert {row["right"] for row in rows} == {False}  # gradients show nothing that was asked for

    # The same prompt and seed give the same picture whoever asks for it.
    by_name = {(row["number"], row["arm"]): row for row in rows if row["model"] != "auto"}
    routed = [row for row in rows if row["model"] == "auto" and row["number"] >= 20]
    assert [row["quality"] for row in routed] == [by_name[row["number"], row["arm"]]["quality"] for row in routed]
    assert results["comparison"]["router_minus"]["oracle"]["mean"] <= 1e-9
    # Asked for by name: no choice, and so no propensity but 1.
    assert {row["propensity"] for row in by_name.values()} == {1.0}
    assert any(row["snapshot_version"] is not None for row in routed), "the router learned while the demo ran"
