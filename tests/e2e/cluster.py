"""What the end-to-end tests share: a catalogue of fake tiers, and ways to find and kill what runs."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from bandit.journal import Journal
from serve.processes import descendants

Found = TypeVar("Found")

CATALOGUE = """
version: 1
gateway: {deadline_s: 60, circuit_failures: 3, circuit_cooldown_s: 2}
policy: {name: factored, floor: 0.3}
learning: {join_window_s: 20, snapshot_every: 5, snapshot_after_s: 1}
weights:
  auto: {quality: 1.0, latency_per_s: 0.01, cost_per_usd: 1.0}
  low: {quality: 1.0, latency_per_s: 0.5, cost_per_usd: 9.0}
  medium: {quality: 1.0, latency_per_s: 0.01, cost_per_usd: 1.0}
  high: {quality: 1.0, latency_per_s: 0.0, cost_per_usd: 0.0}
scorer: {class: "replicas.fake:FakeScorer", threads: null, resources: {num_cpus: 0.1}}
tiers:
  - name: small
    class: replicas.fake:FakeTier
    family: fake
    threads: null
    presets: {fast: {price_usd: 0.001, service_s: 0.01}}
    batch: {max_size: 8, wait_s: 0.002}
    max_ongoing_requests: 32
    sizes: [64x64, 256x256]
    resources: {num_cpus: 0.1}
  - name: slow
    class: replicas.fake:FakeTier
    family: fake
    threads: null
    presets: {long: {price_usd: 0.01, service_s: 3.0, options: {service_s: 3.0}}}
    batch: {max_size: 8, wait_s: 0.002}
    max_ongoing_requests: 32
    sizes: [64x64]
    resources: {num_cpus: 0.1}
  - name: narrow
    class: replicas.fake:FakeTier
    family: fake
    threads: null
    presets: {only: {price_usd: 0.002, service_s: 1.0, options: {service_s: 1.0}}}
    max_ongoing_requests: 1
    max_queued_requests: 1
    sizes: [64x64]
    scaling: {target_ongoing_requests: 1.0}
    resources: {num_cpus: 0.1}
"""


@dataclass(frozen=True)
class Served:
    """What is running, and where."""

    url: str
    journal: Journal
    journal_path: Path


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def replica_pids(application: str) -> list[int]:
    """Processes of an application's replicas, among those that this test has started."""
    pids = []
    for pid in descendants():
        try:
            title = Path(f"/proc/{pid}/cmdline").read_text()
        except OSError:
            continue
        if f"ServeReplica:{application}:" in title:
            pids.append(pid)
    return pids


def kill_replicas(application: str) -> list[int]:
    """kill -9 for all replicas of an application."""
    pids = replica_pids(application)
    assert pids, f"no replica of {application} runs"
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    return pids


def wait_for(look: Callable[[], Found], limit_s: float = 60.0) -> Found:
    """What `look` returns once that is true."""
    deadline_s = time.monotonic() + limit_s
    while not (found := look()):
        assert time.monotonic() < deadline_s, f"waited {limit_s} s in vain"
        time.sleep(0.2)
    return found
