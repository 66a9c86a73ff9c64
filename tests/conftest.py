"""Guards and fixtures for all tests: no Ray, no hub and no thread storms unless a test asks for them."""

from __future__ import annotations

import os
from pathlib import Path

# Before torch or numpy are imported: a test machine has few cores, and threads that fight for them are slower than one.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TRITON_INTERPRET", "1")  # read when triton is imported, by whomever
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def no_ray_outside_ray_tests(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A unit test that starts a cluster by accident is slow and flaky: make `ray.init` raise instead."""
    if request.node.get_closest_marker("ray") is None:
        import ray

        def refuse(*args: object, **kwargs: object) -> None:
            raise RuntimeError(
                f"{request.node.nodeid} called ray.init; mark it with @pytest.mark.ray if it needs a real Ray"
            )

        monkeypatch.setattr(ray, "init", refuse)


@pytest.fixture(scope="session")
def root() -> Path:
    """The directory that holds pyproject.toml."""
    return ROOT


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The directory `shared/` with reference data, in the tree or beside it; without it the test is skipped."""
    for candidate in (ROOT / "shared", ROOT.parent / "shared"):
        if candidate.is_dir():
            return candidate
    pytest.skip("needs the directory shared/ with reference data, in this tree or beside it; it is not there")
