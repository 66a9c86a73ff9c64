"""The embedded catalogue with the weights of this tree: every tier draws, the scorer rates, the learner learns."""

from __future__ import annotations

import base64
import io
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from bandit.journal import Journal
from bandit.verify import verify
from serve.catalogue import load_catalogue
from serve.settings import Settings
from tests.e2e.cluster import free_port, wait_for

WEIGHTS = Path(__file__).resolve().parents[2] / "replicas" / "weights"
NEEDED = ("gan", "diffusion", "flow", "scorer")
MISSING = [name for name in NEEDED if not (WEIGHTS / f"{name}.safetensors").exists()]

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(MISSING), reason=f"replicas/weights has no {', '.join(MISSING)}: train them first"),
]


@pytest.fixture(scope="module")
def embedded() -> Iterator[tuple[str, Path]]:
    from serve.local import running

    directory = Path(tempfile.mkdtemp(prefix="sb-"))
    path = directory / "journal.db"
    settings = Settings(port=free_port(), journal_url=f"sqlite:///{path}")
    try:
        with running(load_catalogue(), settings, directory / "ray", print) as url:
            yield url, path
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def test_every_arm_draws_what_the_scorer_rates(embedded: tuple[str, Path]) -> None:
    url, _ = embedded
    for arm in load_catalogue().arms():
        body = {"prompt": "a red apple", "model": arm.name, "seed": 3, "size": "256x256"}
        response = httpx.post(f"{url}/v1/images/generations", json=body, timeout=60)
        assert response.status_code == 200, response.text[:500]
        answer = response.json()
        picture = Image.open(io.BytesIO(base64.b64decode(answer["data"][0]["b64_json"])))
        assert picture.size == (256, 256)
        assert len(np.unique(np.asarray(picture))) > 8, "a picture, not a plain colour"
        decision_url = f"{url}/v1/decisions/{answer['switchboard']['decision_id']}"
        told = wait_for(lambda where=decision_url: (found := httpx.get(where).json())["measured"]["quality"] and found)
        assert 0 < told["measured"]["quality"] <= 1
        assert told["outcome"]["arm"] == arm.name


def test_what_was_served_is_learned(embedded: tuple[str, Path]) -> None:
    url, path = embedded
    for number in range(12):
        body = {"prompt": f"{number} red apples"}
        assert httpx.post(f"{url}/v1/images/generations", json=body, timeout=60).status_code == 200
    wait_for(lambda: httpx.get(f"{url}/healthz").json()["policy"]["snapshot_version"])
    journal = Journal.open(f"sqlite:///{path}")
    assert not verify(journal).findings
    journal.close()
