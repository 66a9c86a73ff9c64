"""A local Ray with all applications, in this process: what `up` supervises and the end-to-end tests use.

with running(catalogue, settings, temp_dir) as url: ...
python -m serve.local < start.json      (JSON of Start; started by up.py, which owns signals, cleaning, the terminal)
"""

from __future__ import annotations

import logging
import math
import os
import secrets
import signal
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import FrameType

import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve.config import HTTPOptions, ProxyLocation
from ray.serve.exceptions import RayServeException

from bandit.errors import BanditError

from .app import applications
from .catalogue import Catalogue
from .errors import BadSettings, NotStarted
from .processes import end_descendants, end_with_parent
from .settings import Settings
from .up import STOP_SIGNAL, Start

START_LIMIT_S = 300.0
_OBJECT_STORE_BYTES = 100 * 2**20  # images travel inside messages or as small objects; the default is 30 % of memory
_POLL_S = 0.2

Say = Callable[[str], None]


def start(
    catalogue: Catalogue,
    settings: Settings,
    temp_dir: Path,
    say: Say = lambda line: None,
    before_deploying: Callable[[], None] = lambda: None,
) -> str:
    """Start Ray and all applications, and return the URL once they answer. Raises NotStarted."""
    started_s = time.monotonic()
    # Workers import these packages, whatever directory they run in.
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [str(Path(__file__).resolve().parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # `up` sets it, and more that is read at import
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's 15 lets any other program starve the replicas
    ray.init(
        address="local",
        num_cpus=cpus_needed(catalogue),
        object_store_memory=_OBJECT_STORE_BYTES,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        namespace="switchboard",
        _temp_dir=str(temp_dir),
        _node_ip_address="127.0.0.1",
    )
    say(f"Ray started after {time.monotonic() - started_s:.1f} s")
    serve.start(
        proxy_location=ProxyLocation.HeadOnly,
        http_options=HTTPOptions(host=settings.host, port=settings.port),
    )
    before_deploying()
    deployables = applications(catalogue, settings)
    serve.run_many(
        [
            serve.RunTarget(deployable.application, name=name, route_prefix=deployable.route_prefix)
            for name, deployable in deployables.items()
        ],
        wait_for_ingress_deployment_creation=False,
        wait_for_applications_running=False,
    )
    waiting = set(deployables)
    while waiting:
        status = serve.status()
        for name in sorted(waiting):
            state = status.applications.get(name)
            if state is None:
                continue
            if state.status == "RUNNING":
                waiting.discard(name)
                say(f"{name} ready after {time.monotonic() - started_s:.1f} s")
            elif state.status in ("DEPLOY_FAILED", "UNHEALTHY"):
                details = "\n".join(deployment.message for deployment in state.deployments.values())
                raise NotStarted(f"{name} did not start: {state.message}\n{details}".strip())
        if waiting and time.monotonic() - started_s > START_LIMIT_S:
            raise NotStarted(f"{', '.join(sorted(waiting))} not ready after {START_LIMIT_S:.0f} s")
        time.sleep(_POLL_S)
    url = url_of(settings.host, settings.port)
    _wait_for_http(url, started_s + START_LIMIT_S)
    return url


def stop() -> None:
    """End all applications, which write what they hold, and Ray."""
    try:
        if ray.is_initialized():
            serve.shutdown()
    finally:
        ray.shutdown()


@contextmanager
def running(catalogue: Catalogue, settings: Settings, temp_dir: Path, say: Say = lambda line: None) -> Iterator[str]:
    """Started on entry, stopped on exit."""
    try:
        yield start(catalogue, settings, temp_dir, say)
    finally:
        stop()


def cpus_needed(catalogue: Catalogue) -> int:
    """Logical CPUs for every replica that the catalogue allows, so that scaling up never waits for a reservation."""
    reserved = [
        (catalogue.gateway.resources, catalogue.gateway.scaling.max_replicas),
        (catalogue.learning.resources, 1),
    ]
    reserved += [(entry.resources, entry.scaling.max_replicas) for entry in (catalogue.scorer, *catalogue.tiers)]
    return max(1, math.ceil(sum(resources.num_cpus * replicas for resources, replicas in reserved)))


def url_of(host: str, port: int) -> str:
    """Where a client on this machine reaches it."""
    reachable = "127.0.0.1" if host in ("0.0.0.0", "::", "") else host  # noqa: S104 - compared, not bound
    return f"http://{f'[{reachable}]' if ':' in reachable else reachable}:{port}"


def main(told_json: str) -> int:
    """The child process of `up`: start, say so, wait for STOP_SIGNAL, stop."""
    end_with_parent(STOP_SIGNAL)
    told = Start.model_validate_json(told_json)
    if os.getppid() != told.supervisor_pid:  # it was gone before it could be watched
        return 1
    catalogue = Catalogue.model_validate_json(told.catalogue_json)
    stop_request = _StopRequest()
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    try:
        # Ray prints what its daemons think to standard output; its logs have it too.
        with redirect_stdout((told.temp_dir / "ray-messages.txt").open("w")):
            _stay_up(catalogue, told, stop_request)
    except (NotStarted, RayError, RayServeException, BadSettings, BanditError, OSError, RuntimeError) as error:
        print(f"not started: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


class _StopRequest:
    """What STOP_SIGNAL does: before `ready` it ends this process on the spot, after that it is noted.

    No exception: Ray swallows those that come up inside its calls. On the spot, as nothing is accepted before `ready`,
    and `up` ends all that Ray has started.
    """

    def __init__(self) -> None:
        self.ready = False
        self.came = False
        signal.signal(STOP_SIGNAL, self._on_signal)

    def wait(self) -> None:
        """Until it comes."""
        while not self.came:
            time.sleep(_POLL_S)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if not self.ready:
            end_descendants(0.0)  # nobody else does where `up` was killed
            os._exit(0)
        self.came = True


def _stay_up(catalogue: Catalogue, told: Start, stop_request: _StopRequest) -> None:
    try:
        url = start(catalogue, told.settings, told.ray_dir, _say, lambda: _wait_for_file(told.checked_file))
        told.ready_file.touch()
        stop_request.ready = True
        _say(f"ready in {time.time() - told.asked_at_s:.0f} s: {url}")
        _say(examples(url))
        stop_request.wait()
    finally:
        stop()


def examples(url: str) -> str:
    """What to type next."""
    return f"""
  curl -s {url}/v1/images/generations -H 'Content-Type: application/json' -d '{{"prompt": "two cats"}}'

  from openai import OpenAI
  client = OpenAI(base_url="{url}/v1", api_key="none")
  image = client.images.generate(model="auto", prompt="two cats").data[0].b64_json

  python -m serve generate "two cats"        Ctrl-C stops everything"""


def _say(line: str) -> None:
    print(line, file=sys.__stdout__, flush=True)


def _wait_for_file(path: Path) -> None:
    while not path.exists():  # without a limit: `up` ends this process if it is not to go on
        time.sleep(_POLL_S)


def _wait_for_http(url: str, deadline_s: float) -> None:
    """The proxy learns of a route a moment after its application runs."""
    while True:
        try:
            with urllib.request.urlopen(f"{url}/healthz", timeout=5) as answer:  # noqa: S310 - our own http URL
                if answer.status == 200:
                    return
        except OSError:
            if time.monotonic() > deadline_s:
                raise NotStarted(f"{url}/healthz does not answer") from None
        time.sleep(_POLL_S)


if __name__ == "__main__":
    sys.exit(main(sys.stdin.read()))
